"""Losses that layers add: none is lost where Python uses an address again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers.switched_loss import SwitchedLoss, forget_losses
from mrcnn.training.model import TrainingModel


class Mean(SwitchedLoss):
    """Adds the mean of what it is given; `note` is called when it begins."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.note: Callable[[], None] = lambda: None

    def call(self, x):
        self.note()
        loss = ops.mean(x)
        self.add(loss)
        return loss

    def compute_output_spec(self, x):
        return keras.KerasTensor((), dtype="float32")


def model_of_two(kind: type[keras.Model]) -> tuple[keras.Model, list[Mean]]:
    x = keras.Input(batch_shape=(2, 3), name="x")
    layers = [Mean(name="first"), Mean(name="second")]
    hidden = keras.layers.Dense(3)(x)
    model = kind(inputs={"x": x}, outputs={layer.name: layer(hidden) for layer in layers})
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return model, layers


X = {"x": np.ones((2, 3), np.float32)}


def in_their_order(model: keras.Model, layers: list[Mean]) -> list[Mean]:
    """The layers as the model calls them."""
    called: list[Mean] = []
    for layer in layers:
        layer.note = functools.partial(called.append, layer)
    model(X)
    assert len(called) == 2
    return called


def test_in_a_step_no_layer_remembers_the_losses_of_the_one_before():
    """Keras would take a new loss for an old one of the same `id`, and leave it out."""
    model, layers = model_of_two(TrainingModel)
    first, second = in_their_order(model, layers)
    remembered: list[int] = []
    first.note = lambda: remembered.append(len(first._loss_ids) + len(second._loss_ids))
    second.note = lambda: None
    for _ in range(3):
        model.train_on_batch(X)
    assert remembered and set(remembered) == {0}


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX's steps go by `id`")
def test_a_layer_of_its_own_takes_no_other_loss_out_of_the_total():
    """In a model that is not of this package: an old `id` that is a new loss's."""
    model, layers = model_of_two(keras.Model)
    _, second = in_their_order(model, layers)

    class Old(set):
        """What `second` remembers: everything, until it is made to forget."""

        def __init__(self) -> None:
            super().__init__()
            self.all = True

        def __contains__(self, item: object) -> bool:
            return self.all or super().__contains__(item)

        def clear(self) -> None:
            self.all = False
            super().clear()

    object.__setattr__(second, "_loss_ids", Old())
    outputs, _, losses = model.stateless_call(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        X,
        return_losses=True,
    )
    assert len(losses) == 2 and sum(map(float, losses)) == pytest.approx(
        float(outputs["first"]) + float(outputs["second"])
    )


def test_forgetting_reaches_the_layers_inside():
    model, layers = model_of_two(keras.Model)
    for layer in layers:
        layer._loss_ids.add(1)
    forget_losses(model)
    assert not any(layer._loss_ids for layer in layers)
