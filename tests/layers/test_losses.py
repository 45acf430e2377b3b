"""The layer that adds one loss to the total."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.layers.losses import FUNCTIONS, LossLayer
from mrcnn.ops import losses

B, A = 2, 9


def rpn_case(seed: int) -> list[np.ndarray]:
    """The inputs of the RPN's class loss: matches [B, A] and logits [B, A, 2]."""
    random = np.random.default_rng(seed)
    match = random.integers(-1, 2, (B, A)).astype(np.int32)
    match[:, :2] = [1, -1]
    return [match, random.normal(0, 3, (B, A, 2)).astype(np.float32)]


def test_adds_the_weighted_loss_and_returns_it():
    match, logits = rpn_case(8)
    layer = LossLayer("rpn_class_loss", weight=2.5)
    value = float(layer([match, logits]))
    assert value == pytest.approx(2.5 * float(losses.rpn_class_loss(match, logits)))
    assert [float(loss) for loss in layer.losses] == [value]
    assert layer.name == "rpn_class_loss"


def test_config_round_trip():
    layer = LossLayer("mrcnn_mask_loss", weight=0.5, name="other")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (again.function, again.weight, again.name) == ("mrcnn_mask_loss", 0.5, "other")


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="mrcnn_mask_loss.*'mask_loss'"):
        LossLayer("mask_loss")


def test_in_a_model():
    match = keras.Input((A,), dtype="int32")
    logits = keras.Input((A, 2))
    loss = LossLayer("rpn_class_loss")([match, logits])
    assert loss.shape == ()
    model = keras.Model([match, logits], loss)
    inputs = rpn_case(9)
    expected = float(losses.rpn_class_loss(*inputs))
    assert float(model(inputs)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_name_is_a_function(name):
    assert FUNCTIONS[name] is getattr(losses, name)
