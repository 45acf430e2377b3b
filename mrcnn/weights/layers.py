"""The layers of a model that hold weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    Found = tuple[keras.Layer, tuple[str, ...]]


def weighted_layers(model: keras.Model) -> Iterator[Found]:
    """Yield each layer that has weights, once, in the order of the model.

    Models inside the model, such as `rpn_model`, are entered.

    Yields:
        (layer, names of the inner models that hold it, outermost first)
    """
    seen: set[int] = set()

    def walk(layers: Sequence[keras.Layer], owners: tuple[str, ...]) -> Iterator[Found]:
        for layer in layers:
            if hasattr(layer, "layers"):
                yield from walk(layer.layers, (*owners, layer.name))
            elif layer.weights and id(layer) not in seen:
                seen.add(id(layer))
                yield layer, owners

    yield from walk(model.layers, ())
