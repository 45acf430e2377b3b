"""The switches of a model's loss layers: which losses are part of the total, and train it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras

from mrcnn.config import LOSS_NAMES
from mrcnn.layers.gradnorm import GradNormWeighting
from mrcnn.layers.losses import UncertaintyWeighting
from mrcnn.layers.switched_loss import SwitchedLoss


def switch_losses(model: keras.Model, on: Mapping[str, bool]) -> None:
    """Set the switches of the loss layers, by name, and those of their learned weights."""
    in_order = [name for name in LOSS_NAMES if name in on]
    places = tuple(place for place, name in enumerate(in_order) if on[name])
    for layer in model.layers:
        if isinstance(layer, SwitchedLoss):
            layer.is_on = on[layer.name]
        elif isinstance(layer, UncertaintyWeighting | GradNormWeighting):
            layer.on = None if len(places) == len(in_order) else places


@contextmanager
def all_losses_on(model: keras.Model) -> Iterator[None]:
    """In this context, all losses are part of the total."""
    before = {layer.name: layer.is_on for layer in model.layers if isinstance(layer, SwitchedLoss)}
    switch_losses(model, dict.fromkeys(before, True))
    try:
        yield
    finally:
        switch_losses(model, before)
