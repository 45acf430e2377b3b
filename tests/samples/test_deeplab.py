"""The DeepLab sample: its network, and the whole command on a few tiny images."""

from __future__ import annotations

import csv
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets.shapes import write_shapes
from tests.samples.edge_samples import compile_eagerly, load


@pytest.fixture(scope="module")
def deeplab() -> ModuleType:
    return load("deeplab")


def test_the_network_is_a_deeplab(deeplab):
    model = deeplab.build_deeplab(64, 4, seed=0)
    assert model.output_shape == (None, 64, 64, 1)
    convolutions = [layer for layer in model.layers if hasattr(layer, "dilation_rate")]
    rates = {layer.dilation_rate[0] for layer in convolutions}
    assert rates == {1, deeplab.ATROUS_RATE, *deeplab.ASPP_RATES}
    # Three strides, and none in the atrous blocks: the encoder's map has an eighth of the sides.
    sides = [layer.output.shape[1] for layer in convolutions if layer.dilation_rate[0] > 1]
    assert set(sides) == {64 // deeplab.OUTPUT_STRIDE}
    again = deeplab.build_deeplab(64, 4, seed=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_lies_far_away_is_seen(deeplab):
    """The image pooling lets each pixel depend on every other one, and only that one so far."""
    model = deeplab.build_deeplab(128, 4, seed=1)
    image = np.full((1, 128, 128, 3), 90, np.uint8)
    before = np.asarray(model(image))
    image[0, :8, :8] = 255
    changed = np.abs(np.asarray(model(image)) - before)[0, ..., 0]
    assert changed[:16, :16].max() > changed[100:, 100:].max() > 0


def test_the_whole_command(deeplab, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(load("comparison"), "compile_model", compile_eagerly)
    write_shapes(tmp_path / "shapes", 2, 2, (48, 48))
    options = ["--image-size", "32", "--batch-size", "2", "--width", "4", "--seeds", "3"]
    options += ["--steps", "2", "--steps-per-epoch", "2", "--output", str(tmp_path / "out")]
    assert deeplab.main(["--dataset", str(tmp_path / "shapes"), *options]) == 0
    assert "with edge agreement" in capsys.readouterr().out
    with open(tmp_path / "out" / "deeplab.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["training"] for row in rows] == ["cross entropy", "with edge agreement"]
    assert all(0 <= float(row["boundary_iou"]) <= 1 for row in rows)
    assert float(rows[1]["loss"]) > float(rows[0]["loss"])
    with Image.open(tmp_path / "out" / "deeplab.png") as page:
        assert page.width > 900


def test_errors_name_the_sample(deeplab, tmp_path, capsys):
    assert deeplab.main(["--dataset", str(tmp_path), "--image-size", "36"]) == 2
    assert "deeplab.py: --image-size: expected a multiple of 8" in capsys.readouterr().err
