"""A small network with Matterport's layer names, and what its weights files hold."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np

from mrcnn.weights.layers import weighted_layers

RPN = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
NAMES = ["conv1", "bn_conv1", *RPN, "mrcnn_class_logits"]


def build(classes: int = 3, seed: int = 0, rpn_name: str | None = "rpn_model") -> keras.Model:
    """A small network with a nested RPN (or a flat one: None), dropout and random weights."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="input_image")
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(image)
    x = layers.BatchNormalization(name="bn_conv1")(x)
    x = layers.ReLU(name="activation")(x)

    def rpn(feature):
        shared = layers.Conv2D(5, 3, padding="same", name=RPN[0])(feature)
        return [
            layers.Conv2D(n, 1, name=name)(shared) for n, name in zip((6, 12), RPN[1:], strict=True)
        ]

    if rpn_name:
        feature = keras.Input((8, 8, 4))
        heads = keras.Model(feature, rpn(feature), name=rpn_name)(x)
    else:
        heads = rpn(x)
    x = layers.Dropout(0.5, seed=7, name="dropout")(layers.Flatten(name="flatten")(x))
    x = layers.Dense(classes, name="mrcnn_class_logits")(x)
    model = keras.Model(image, [x, *heads], name="mask_rcnn")
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(generator.random(weight.shape, dtype=np.float32) + 0.5)
    return model


def values(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {
        layer.name: [weight.numpy() for weight in layer.weights]
        for layer, _ in weighted_layers(model)
    }


def assert_same(found, expected, names=None) -> None:
    for name in names or expected:
        for ours, theirs in zip(found[name], expected[name], strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def read_layout(path) -> dict[str, dict[str, np.ndarray]]:
    """An independent reader: {layer: {weight name: array}}, in the order of the attributes."""

    def listed(group: h5py.Group, attribute: str) -> list[str]:
        if attribute in group.attrs:
            return [name.decode() for name in group.attrs[attribute]]
        parts = [key for key in group.attrs if key.startswith(attribute)]
        parts.sort(key=lambda key: int(key.removeprefix(attribute)))
        return [name.decode() for key in parts for name in group.attrs[key]]

    with h5py.File(path) as file:
        assert set(file) == set(listed(file, "layer_names"))
        return {
            layer: {
                name: file[f"{layer}/{name}"][()] for name in listed(file[layer], "weight_names")
            }
            for layer in listed(file, "layer_names")
        }


def edit(path: Path, change) -> Path:
    """Apply a change to an open HDF5 file."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path
