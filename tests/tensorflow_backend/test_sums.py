"""Sums of gradients in a graph that TensorFlow would rewrite to save memory."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.tensorflow_backend.sums import with_fixed_sums
from mrcnn.training import compile
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


def operations_of_a_step(model: TrainingModel) -> set[str]:
    """The names of all operations of a training step, as TensorFlow runs it."""
    from tensorflow.python.eager import context

    batch = {x.name: np.ones(x.shape, np.float32) for x in model.inputs}
    context.context().enable_graph_collection()
    try:
        model.train_on_batch(batch)
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_graph_collection()
    return {node.op for graph in graphs for node in graph.post_optimization_graph.node}


@on_tensorflow
def test_no_sum_of_a_training_step_is_in_the_order_in_which_its_terms_come(monkeypatch):
    found = {}
    for name, wrap in (("ours", with_fixed_sums), ("Keras's", lambda function: function)):
        monkeypatch.setattr("mrcnn.training.model.with_fixed_sums", wrap)
        model = large_model()
        compile.compile_model(model, tiny_config(), 0.01, 0.9)
        found[name] = operations_of_a_step(model)
    assert "AddN" in found["ours"] and "TemporaryVariable" not in found["ours"]
    # Otherwise this test would no longer show anything.
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
