"""The layers of a model that hold weights."""

from __future__ import annotations

import keras

from mrcnn.weights.layers import weighted_layers
from tests.weights.networks import NAMES, RPN, build


def test_inner_models_are_entered_and_layers_without_weights_left_out():
    found = {layer.name: owners for layer, owners in weighted_layers(build())}
    assert set(found) == set(NAMES)
    for name, owners in found.items():
        assert owners == (("rpn_model",) if name in RPN else ())


def test_owners_come_outermost_first():
    def wrapped(name: str, inside) -> keras.Model:
        x = keras.Input((2,))
        return keras.Model(x, inside(x), name=name)

    model = wrapped("outer", wrapped("middle", wrapped("inner", keras.layers.Dense(1, name="d"))))
    assert [(layer.name, owners) for layer, owners in weighted_layers(model)] == [
        ("d", ("middle", "inner"))
    ]


def test_a_shared_layer_comes_once():
    shared = keras.layers.Dense(2, name="shared")
    x = keras.Input((2,))
    head = keras.Input((2,))
    inner = keras.Model(head, shared(head), name="inner")
    model = keras.Model(x, shared(inner(inner(x))))
    assert [layer.name for layer, _ in weighted_layers(model)] == ["shared"]
