"""The U-Net sample: its data, its measures, and the whole command on a few tiny images."""

from __future__ import annotations

import csv
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets.shapes import write_shapes
from mrcnn.edge_loss import EdgeAgreementLoss
from tests.samples.edge_samples import load


@pytest.fixture(scope="module")
def unet() -> ModuleType:
    return load("unet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, 3, 3, (48, 48))
    return folder


def test_the_whole_command(unet, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(unet, "LEVELS", 2)  # less to compile
    options = ["--image-size", "32", "--batch-size", "2", "--width", "4"]
    steps = ["--steps", "3", "--steps-per-epoch", "2", "--seeds", "9"]
    status = unet.main(["--dataset", str(folder), *options, *steps, "--output", str(tmp_path)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert "One seed says little" in captured.out and "Seed 9, cross entropy" in captured.err

    with open(tmp_path / "unet.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*load("comparison").FIELDS, *unet.METRICS)
    trainings = ("cross entropy", "with edge agreement")
    expected = [("9", training, step) for training in trainings for step in ("2", "3")]
    assert [(row["seed"], row["training"], row["step"]) for row in rows] == expected
    for row in rows:
        assert 0 <= float(row["iou"]) <= 1 and 0 <= float(row["boundary_iou"]) <= 1
        assert np.isfinite(float(row["loss"]))
    # On the same batches from the same weights, the edge loss comes on top.
    assert float(rows[2]["loss"]) > float(rows[0]["loss"])
    with Image.open(tmp_path / "unet.png") as page:
        assert page.width > 900 and np.asarray(page).std() > 10


@pytest.mark.parametrize(
    "options, message",
    [
        (["--image-size", "30"], "--image-size: expected a multiple of 4"),
        (["--width", "6"], "--width: expected a multiple of 4"),
        (["--seeds", "1", "1"], "--seeds: expected different numbers"),
        (["--edge-loss-filters", "scharr"], "'scharr' is unknown"),
        ([], "instances_train.json"),
    ],
)
def test_errors_are_sentences(unet, tmp_path, capsys, options, message):
    assert unet.main(["--dataset", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


def test_targets_are_unions_of_the_masks(unet, folder):
    from mrcnn.datasets.coco import CocoDataset

    dataset = CocoDataset()
    dataset.load_coco(folder, "train")
    dataset.prepare()
    pairs = unet.load_pairs(folder, "train", limit=2)
    assert len(pairs) == 2
    for image_id, (image, target) in enumerate(pairs):
        np.testing.assert_array_equal(image, dataset.load_image(image_id))
        np.testing.assert_array_equal(target, dataset.load_mask(image_id)[0].any(axis=2))


def test_batches_are_a_function_of_seed_and_step(unet):
    target = np.arange(40 * 30).reshape(40, 30) % 7 == 0
    pairs = [(np.repeat(target[..., None], 3, 2).astype(np.uint8), target)]
    images, targets = unet.make_batch(pairs, 16, 5, seed=3, step=8)
    assert images.shape == (5, 16, 16, 3) and images.dtype == np.uint8
    assert targets.shape == (5, 16, 16, 1) and targets.dtype == np.float32
    np.testing.assert_array_equal(images[..., :1], targets)  # cut and flipped together
    np.testing.assert_array_equal(unet.make_batch(pairs, 16, 5, seed=3, step=8)[0], images)
    assert (unet.make_batch(pairs, 16, 5, seed=3, step=9)[0] != images).any()
    assert (unet.make_batch(pairs, 16, 5, seed=2, step=8)[0] != images).any()


def test_small_images_get_zeros_around(unet):
    image, target = np.full((5, 20, 3), 9, np.uint8), np.ones((5, 20), bool)
    image, target = unet.cut_window(image, target, 8, np.random.default_rng(0))
    assert image.shape == (8, 8, 3)
    assert target[1:6].all() and target.sum() == image.any(axis=2).sum() == 5 * 8


def test_measures(unet):
    target = np.zeros((2, 64, 64), bool)
    target[0, 10:40, 10:40] = True
    assert unet.measure(target, target) == {"iou": 1, "boundary_iou": 1}
    assert unet.measure(target, ~target) == {"iou": 0, "boundary_iou": 0}
    assert unet.measure(target[1:], target[1:]) == {"iou": 0, "boundary_iou": 0}
    moved = np.roll(target, 2, axis=2)
    measured = unet.measure(target, moved)
    assert measured["iou"] == pytest.approx(28 / 32)
    assert 0 < measured["boundary_iou"] < 0.6


def test_the_edge_agreement_is_added_to_the_cross_entropy(unet):
    random = np.random.default_rng(0)
    target = random.integers(0, 2, (2, 6, 6, 1)).astype(np.float32)
    logits = random.normal(size=target.shape).astype(np.float32)
    edge_loss = EdgeAgreementLoss(from_logits=True)
    entropy = np.mean(np.logaddexp(0, logits) - target * logits, axis=(1, 2, 3))
    np.testing.assert_allclose(unet.segmentation_loss()(target, logits), entropy, rtol=1e-4)
    both = unet.segmentation_loss(edge_loss)(target, logits)
    np.testing.assert_allclose(both - entropy, edge_loss.call(target, logits), rtol=1e-4)


def test_errors_are_colored(unet):
    target, predicted = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    (colors,) = unet.color_errors(target, predicted).tolist()
    expected = [unet.FOUND, unet.MISSED, unet.EXTRA, (0, 0, 0)]
    assert [tuple(color) for color in colors] == expected
