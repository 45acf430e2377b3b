"""Weights in fewer bits make smaller files that compute nearly the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.export.formats import FORMATS, WEIGHTS
from mrcnn.tensorflow_backend.export import Traced
from tests.export.test_exporting import needs

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="converters take graphs from TensorFlow"
)


class SmallNetwork(keras.Model):
    """One of each kind of kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                layers.Conv2D(64, 7, strides=2, padding="same", activation="relu"),
                layers.Conv2DTranspose(64, 2, strides=2, activation="relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(512, activation="tanh"),
                layers.Dense(40),
            ]
        )

    def call(self, image):
        return {"values": self.parts(keras.ops.cast(image, "float32") / 255)}


@pytest.fixture(scope="module")
def network() -> SmallNetwork:
    keras.utils.set_random_seed(0)
    return SmallNetwork()


@pytest.mark.parametrize(
    "name", [name for name, form in FORMATS.items() if form.weights == WEIGHTS]
)
def test_smaller_files_compute_nearly_the_same(network, tmp_path, name):
    form = needs(name)
    traced = Traced(network, (1, 32, 32, 3))
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    expected = network(image)["values"].numpy()
    sizes, errors = {}, {}
    for weights in WEIGHTS:
        path = tmp_path / weights / f"net{form.suffix}"
        path.parent.mkdir()
        form.write(traced, path, weights)
        errors[weights] = np.abs(form.load(path)(image)["values"] - expected).max()
        sizes[weights] = sum(map(_bytes, path.parent.iterdir()))
    scale = np.abs(expected).max()
    assert errors["float32"] < 1e-5 * scale
    assert errors["float16"] < 2e-3 * scale
    assert errors["float16"] < errors["int8"] < 0.05 * scale
    assert sizes["float16"] < 0.65 * sizes["float32"]
    assert sizes["int8"] < 0.45 * sizes["float32"]


def _bytes(path: Path) -> int:
    return path.stat().st_size
