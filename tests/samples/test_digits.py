"""The digits sample: its scenes, the split of the digits, and the whole command, made small."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "samples" / "digits" / "digits.py"

spec = importlib.util.spec_from_file_location("digits_sample", FILE)
digits = importlib.util.module_from_spec(spec)
spec.loader.exec_module(digits)


@pytest.fixture(scope="module")
def dataset():
    pytest.importorskip("sklearn")
    dataset = digits.DigitsDataset("val", seed=3)
    dataset.load_digits(30, 96, 128)
    dataset.prepare()
    return dataset


def test_no_digit_is_in_both_subsets():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    images, values = sklearn_datasets.load_digits(return_X_y=True)
    train, val = digits.digit_images("train"), digits.digit_images("val")
    assert len(train.values) + len(val.values) == len(values)
    whole = {tuple(row) for row in (images / 16).tolist()}
    parts = [{tuple(row.ravel()) for row in part.shades} for part in (train, val)]
    assert parts[0] | parts[1] == whole
    assert not parts[0] & parts[1]  # as pictures, not only by their numbers
    for part, share in ((train, 0.8), (val, 0.2)):
        counts = np.bincount(part.values, minlength=10) / np.bincount(values)
        np.testing.assert_allclose(counts, share, atol=0.01)
        assert part.shades.min() == 0 and part.shades.max() == 1
    with pytest.raises(ValueError, match="subset: expected one of .*'test'"):
        digits.digit_images("test")


def test_images_and_masks_belong_together(dataset):
    assert dataset.class_names == ["BG", *digits.NAMES]
    seen = set()
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        masks, class_ids = dataset.load_mask(image_id)
        placed = dataset.image_reference(image_id)
        assert image.shape == (96, 128, 3) and image.dtype == np.uint8
        assert masks.shape == (96, 128, len(placed)) and masks.dtype == bool
        assert 1 <= len(placed) <= digits.DIGITS_AN_IMAGE[1]
        assert class_ids.tolist() == [digit.value + 1 for digit in placed]
        assert masks.sum(axis=2).max() == 1  # later digits cover earlier ones
        color = np.array(dataset.image_info[image_id]["background"][0])
        for index, digit in enumerate(placed):
            assert np.linalg.norm(np.subtract(digit.ink, color)) >= digits.MIN_CONTRAST
            ys, xs = np.nonzero(masks[..., index])
            assert len(ys) >= 20
            assert digit.top <= ys.min() and ys.max() < digit.top + digit.size
            assert digit.left <= xs.min() and xs.max() < digit.left + digit.size
            inside = image[masks[..., index]].mean(axis=0)
            assert np.linalg.norm(inside - digit.ink) < np.linalg.norm(inside - color)
        seen |= set(class_ids.tolist())
    assert seen == set(range(1, 11))


def test_an_upright_digit_is_the_handwritten_one(dataset):
    """Averaged over 8 x 8 blocks, a digit's opacity follows the shades that it was made of."""
    known = digits.digit_images("val")
    for index in range(20):
        digit = digits.PlacedDigit(index, 0, 5, 7, 64, 0.0, (0, 0, 0))
        opacity = dataset._opacity(digit, (96, 128))
        blocks = opacity[7:71, 5:69].reshape(8, 8, 8, 8).mean(axis=(1, 3))
        assert np.corrcoef(blocks.ravel(), known.shades[index].ravel())[0, 1] > 0.95
        outside = opacity.copy()
        outside[7:71, 5:69] = 0
        assert not outside.any()


def test_the_seed_and_the_subset_decide():
    pytest.importorskip("sklearn")

    def described(subset, seed, count=4):
        dataset = digits.DigitsDataset(subset, seed)
        dataset.load_digits(count, 64, 96)
        return [(info["digits"], info["background"]) for info in dataset.image_info]

    assert described("train", 3) == described("train", 3) == described("train", 3, 6)[:4]
    assert described("train", 3) != described("train", 4)
    assert described("train", 3) != described("val", 3)
    with pytest.raises(ValueError, match="at least 64 pixels"):
        digits.DigitsDataset().load_digits(1, 32, 128)


def test_the_command_trains_and_evaluates(tmp_path, capsys):
    pytest.importorskip("sklearn")
    command = ["--logs", str(tmp_path), "--steps", "2", "--training-mode", "fine"]
    command += ["--train-images", "4", "--val-images", "2", "--image-size", "64", "--rois", "8"]
    command += ["--steps-per-epoch", "2", "--validation-steps", "1", "--batch-size", "2"]
    command += ["--workers", "1", "--set", "PRE_NMS_LIMIT=100", "POST_NMS_ROIS_TRAINING=30"]
    command += ["TOP_DOWN_PYRAMID_SIZE=16", "MASK_CONV_FILTERS=8", "FPN_CLASSIF_FC_LAYERS_SIZE=16"]
    assert digits.main(command) == 0
    (run,) = tmp_path.iterdir()
    assert run.name.startswith("digits2")
    with open(run / "coco_val.csv", newline="", encoding="utf-8") as file:
        assert {row["iou_type"] for row in csv.DictReader(file)} >= {"segm", "bbox"}
    assert (run / "detections_val.png").is_file()
    out = capsys.readouterr().out
    assert "4 images with" in out and "of 1442 handwritten ones" in out


def test_without_scikit_learn_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    digits.digit_images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert digits.main(["--logs", str(tmp_path)]) == 2
    assert 'pip install "mrcnn[digits]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
