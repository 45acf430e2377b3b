"""Sums of gradients in a graph that TensorFlow would rewrite to save memory."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from mrcnn.inference.model import InferenceNetwork
from mrcnn.matterport.inspection import Inspector
from mrcnn.tensorflow_backend.sums import with_fixed_sums
from mrcnn.training import compile, gradients
from mrcnn.training.model import TrainingModel
from tests.tiny import tiny_config

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's optimizer of graphs"
)


@keras.saving.register_keras_serializable(package="tests")
class Mean(keras.layers.Layer):
    """Adds the mean of its input to the loss, and returns it."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs))
        return keras.ops.mean(inputs)


def large_model() -> TrainingModel:
    """One layer of 40 MB, used four times: its gradient is the sum of four."""
    inputs = [keras.Input(batch_shape=(1, 1000), name=f"input_{n}") for n in range(4)]
    layer = keras.layers.Dense(10_000, use_bias=False)
    outputs = {"rpn_class_loss": Mean()(keras.layers.add([layer(x) for x in inputs]))}
    return TrainingModel({x.name: x for x in inputs}, outputs)


def operations_of(call: Callable[[], object]) -> set[str]:
    """The names of all operations of a call's graphs, as TensorFlow runs them."""
    from tensorflow.python.eager import context

    context.context().enable_graph_collection()
    try:
        call()
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_graph_collection()
    return {node.op for graph in graphs for node in graph.post_optimization_graph.node}


def batch_for(model: keras.Model) -> dict[str, np.ndarray]:
    return {x.name: np.ones(x.shape, np.float32) for x in model.inputs}


def training_step(model: TrainingModel) -> None:
    compile.compile_model(model, tiny_config(), 0.01, 0.9)
    model.train_on_batch(batch_for(model))


def replayed_step(model: TrainingModel) -> None:
    losses, norms = gradients.measure(model, tiny_config(), batch_for(model))
    assert "rpn_class_loss" in losses and len(norms) == 1


@on_tensorflow
@pytest.mark.parametrize("step", [training_step, replayed_step])
def test_no_sum_of_a_step_is_in_the_order_in_which_its_terms_come(step, monkeypatch):
    found = {}
    for name, wrap in (("ours", with_fixed_sums), ("Keras's", lambda function: function)):
        monkeypatch.setattr("mrcnn.training.model.with_fixed_sums", wrap)
        model = large_model()
        found[name] = operations_of(lambda: step(model))  # noqa: B023
    assert "AddN" in found["ours"] and "TemporaryVariable" not in found["ours"]
    # Otherwise this test would no longer show anything.
    assert "TemporaryVariable" in found["Keras's"]


@keras.saving.register_keras_serializable(package="tests")
class LargeSum(keras.layers.Layer):
    """The sum of eight arrays of 40 MB, of which the mean is returned."""

    def call(self, inputs):
        import tensorflow as tf

        steps = tf.linspace(0.0, 1.0, 10_000_000)
        mean = tf.reduce_mean(tf.cast(inputs, tf.float32))
        return tf.reduce_mean(tf.add_n([tf.exp(steps * mean + k) for k in range(8)]))[None]

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((1,), dtype="float32")


def summing_model(kind: type[keras.Model]) -> keras.Model:
    """From the two inputs of a network's first graph to a large sum."""
    config = tiny_config()
    image = keras.Input(batch_shape=(1, 64, 64, 3), dtype="uint8", name="input_image")
    shape = (1, config.IMAGE_META_SIZE)
    meta = keras.Input(batch_shape=shape, name="input_image_meta")
    return kind([image, meta], {"sum": LargeSum(name="sum")(image)})


def looked_into(model: keras.Model) -> None:
    images = np.ones((1, 64, 64, 3), np.float32)
    metas = np.ones((1, tiny_config().IMAGE_META_SIZE), np.float32)
    Inspector(model, tiny_config()).run_graph(
        images, metas, [("sum", model.get_layer("sum").output)]
    )


def predicted(model: keras.Model) -> None:
    model.predict_on_batch([np.ones(x.shape, x.dtype) for x in model.inputs])


@on_tensorflow
@pytest.mark.parametrize(
    ("call", "kind"), [(looked_into, TrainingModel), (predicted, InferenceNetwork)]
)
def test_no_sum_of_other_graphs_is_either(call, kind, monkeypatch):
    found = {}
    for name, wrap in (("ours", with_fixed_sums), ("Keras's", lambda function: function)):
        monkeypatch.setattr("mrcnn.inference.model.with_fixed_sums", wrap)
        model = summing_model(kind)
        found[name] = operations_of(lambda: call(model))  # noqa: B023
    assert "AddN" in found["ours"] and "TemporaryVariable" not in found["ours"]
    assert "TemporaryVariable" in found["Keras's"]


def test_the_function_is_called_as_it_was():
    assert with_fixed_sums(lambda a, *, b: (a, b))(1, b=2) == (1, 2)


@on_tensorflow
def test_the_options_of_the_caller_stay():
    from tensorflow.python.eager import context

    before = context.context().function_call_options.config_proto_serialized
    with pytest.raises(ZeroDivisionError):
        with_fixed_sums(lambda: 1 / 0)()
    assert context.context().function_call_options.config_proto_serialized == before
