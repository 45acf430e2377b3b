"""ParallelModel: the inner model under another name."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from mrcnn.parallel_model import ParallelModel


@pytest.fixture
def inner() -> keras.Model:
    x = keras.Input((3,), name="x")
    return keras.Model(x, keras.layers.Dense(2, name="dense")(x), name="inner")


def test_one_device_is_quiet_and_more_are_explained(inner):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ParallelModel(inner, 1).gpu_count == 1
    with pytest.warns(UserWarning, match=r"gpu_count=4.*Config\.GPU_COUNT"):
        assert ParallelModel(inner, gpu_count=4).gpu_count == 4


def test_it_is_the_inner_model(inner):
    model = ParallelModel(inner, 1)
    assert isinstance(model, ParallelModel) and isinstance(model, keras.Model)
    assert model.inner_model is inner
    assert model.layers == inner.layers and model.name == "inner"
    assert model.get_layer("dense") is inner.get_layer("dense")
    assert "ParallelModel" in repr(model)
    with pytest.raises(AttributeError, match="no_such_thing"):
        model.no_such_thing  # noqa: B018


def test_make_parallel_returns_the_outputs(inner):
    outputs = ParallelModel(inner, 1).make_parallel()
    assert [output is one for output, one in zip(outputs, inner.outputs, strict=True)] == [True]


def test_it_is_called_trained_and_changed_as_the_inner_model(inner):
    model = ParallelModel(inner, 1)
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(model(x), inner(x))
    assert model(keras.Input((3,))).shape == (None, 2)
    before = inner.get_weights()[0].copy()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, np.zeros((4, 2), np.float32), epochs=1, verbose=0)
    assert np.abs(inner.get_weights()[0] - before).max() > 0
    model.trainable = False
    assert inner.trainable is False and model.trainable_weights == []
    model.note = 1
    del model.note
    assert not hasattr(inner, "note")


def test_summary_is_the_inner_models(inner):
    lines: list[str] = []
    ParallelModel(inner, 1).summary(print_fn=lines.append)
    assert "dense" in "\n".join(lines)


def test_weights_are_saved_and_loaded_as_the_inner_models(inner, tmp_path):
    model = ParallelModel(inner, 1)
    path = str(tmp_path / "inner.weights.h5")
    model.save_weights(path)
    before = [weight.copy() for weight in inner.get_weights()]
    inner.set_weights([weight + 1 for weight in before])
    model.load_weights(path)
    for weight, old in zip(inner.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
