"""The command `mrcnn edges`, from each of its three kinds of input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from keras import ops
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn import network
from mrcnn.commands import cli, edge_pairs
from mrcnn.commands.edges import SMOOTHINGS
from mrcnn.data.boxes import norm_boxes
from mrcnn.data.masks import paste_masks
from mrcnn.data.unmolding import locate_detections
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.drawing.edge_comparison import SMOOTHING
from mrcnn.ops import edges
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.runs.settings import save_settings
from mrcnn.weights.matterport import save_weights
from tests.tiny import tiny_config

SETTINGS = {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64}


def write_mask(path: Path, mask: np.ndarray) -> str:
    Image.fromarray(mask.astype(np.uint8)).save(path)
    return str(path)


def read_losses(folder: Path) -> list[dict[str, str]]:
    with open(folder / "losses.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pictures(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.png") if Image.open(path).width > 100}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, train=1, val=2, image_size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def dataset(shapes) -> CocoDataset:
    dataset = CocoDataset()
    dataset.load_coco(shapes, "val", year="")
    dataset.prepare()
    return dataset


@pytest.fixture
def results(dataset, tmp_path) -> Path:
    """Results that are the truth itself, but for a large one, which is a pixel too far right."""
    entries = []
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        largest = masks.sum(axis=(0, 1)).argmax()
        for k, class_id in enumerate(class_ids):
            shift = int(image_id == dataset.image_ids[0] and k == largest)
            rle = mask_api.encode(np.asfortranarray(np.roll(masks[..., k], shift, axis=1)))
            entries.append(
                {
                    "image_id": dataset.image_info[image_id]["id"],
                    "category_id": dataset.class_info[abs(class_id)]["id"],
                    "score": 0.9 if shift else 0.4 + 0.01 * len(entries),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    return path


def test_two_mask_images(tmp_path, capsys):
    truth = np.zeros((20, 24))
    truth[4:15, 6:18] = 255
    predicted = np.roll(truth, 2, axis=1) * 0.8
    files = write_mask(tmp_path / "a.png", predicted), write_mask(tmp_path / "b.png", truth)
    command = ["--prediction", files[0], "--truth", files[1], "--output", str(tmp_path / "out")]
    command += ["--filters", "sobel", "--norm", "l1", "--smoothing", "all"]
    assert cli.main(["edges", *command]) == 0

    rows = read_losses(tmp_path / "out")
    assert [row["smoothing"] for row in rows] == list(SMOOTHINGS)
    expected = edges.roi_edge_agreement(
        np.floor(predicted)[None] / 255,
        truth[None] / 255,
        EdgeSettings(norm="l1", smoothing_gt=True),
    )
    assert float(rows[1]["sobel"]) == pytest.approx(float(expected[0]), rel=1e-5)
    assert float(rows[0]["iou"]) == pytest.approx(10 / 14)
    pages = {f"instances_{kind}.png" for kind in SMOOTHINGS}
    assert pictures(tmp_path / "out") == {"kernels.png", "pair_0001.png", *pages}
    printed = capsys.readouterr().out
    assert str(tmp_path / "out" / "pair_0001.png") in printed and "losses.csv" in printed

    # Cropped, a mask and its own copy agree.
    command = ["--prediction", files[1], "--truth", files[1], "--mask-size", "28"]
    command += ["--filters", "roberts", "laplace", "--output", str(tmp_path / "same")]
    assert cli.main(["edges", *command]) == 0
    (row,) = read_losses(tmp_path / "same")
    assert float(row["roberts"]) == float(row["laplace"]) == 0


def test_coco_results(shapes, dataset, results, tmp_path, capsys):
    options = ["--dataset", str(shapes), "--results", str(results), "--count", "2"]
    out = tmp_path / "out"
    assert cli.main(["edges", *options, "--magnitude", "--output", str(out)]) == 0
    rows = read_losses(out)
    entries = json.loads(results.read_text())
    crowds = 1  # which no prediction matches
    assert len(rows) == len(entries) - crowds > 2
    # Of the default filters, those without a gradient have no magnitude.
    assert list(rows[0])[6:] == ["sobel", "prewitt", "roberts", "sobel+laplace"]
    ious = [float(row["iou"]) for row in rows]
    assert ious == sorted(ious, reverse=True) and ious[-2] == 1 > ious[-1]
    assert {float(row["sobel"]) for row in rows[:-1]} == {0} and float(rows[-1]["sobel"]) > 0
    worst = max(entries, key=lambda entry: entry["score"])
    assert rows[-1]["image"] == str(worst["image_id"])
    category = {info["id"]: info["name"] for info in dataset.class_info}[worst["category_id"]]
    assert rows[-1]["class"] == category and float(rows[-1]["score"]) == worst["score"]
    drawn = {"pair_0001.png", f"pair_{len(rows):04d}.png"}
    assert pictures(out) == {"kernels.png", "instances_none.png", *drawn}

    # Of a second run in the same folder, nothing of the first is left.
    (out / "mine.png").write_bytes((out / "kernels.png").read_bytes())
    options = [*options[:-1], "1", "--smoothing", "both", "--filters", "sobel"]
    assert cli.main(["edges", *options, "--output", str(out)]) == 0
    assert pictures(out) == {"kernels.png", "instances_both.png", "pair_0001.png", "mine.png"}
    assert "removed the files of a former run" in capsys.readouterr().out

    # A file of another's is left alone, before any work.
    (out / "losses.csv").write_text("epoch,loss\n")
    assert cli.main(["edges", *options, "--output", str(out)]) == 2
    assert "losses.csv" in capsys.readouterr().err
    assert len(pictures(out)) == 4


def test_the_truth_is_cropped_to_the_prediction_as_in_training(dataset, results):
    pairs = list(edge_pairs.results_pairs(dataset, str(results), 56, edge_pairs.Selection(limit=1)))
    masks, _ = dataset.load_mask(dataset.image_ids[0])
    assert len(pairs) == masks.shape[-1]
    for pair in pairs:
        assert pair.predicted.shape == pair.target.shape == (56, 56)
        assert set(np.unique(pair.target)) <= {0, 1}
        # The prediction's own box: it touches all four sides.
        for side in (pair.predicted[0], pair.predicted[-1], *pair.predicted.T[[0, -1]]):
            assert side.any()
    shifted = min(pairs, key=lambda pair: pair.iou)
    y1, x1, y2, x2 = shifted.place.box
    height, width = y2 - y1, x2 - x1
    # One pixel of the box is 56 / width of the crop: the truth begins that much further left.
    expected = np.roll(shifted.predicted, -round(56 / width), axis=1)
    inner = slice(4, -round(56 / width) - 4)
    assert (expected == shifted.target)[:, inner].mean() > 0.9 and height > 1


def test_a_network(shapes, dataset, tmp_path, monkeypatch):
    config = tiny_config(NUM_CLASSES=dataset.num_classes, IMAGES_PER_GPU=1)
    save_settings(config, tmp_path)
    weights = save_weights(network.build_inference(config), tmp_path / "tiny.h5")
    # An untrained network finds nothing; so let the best detection count as a match.
    masks, _ = dataset.load_mask(dataset.image_ids[0])
    taken = {}

    def match_first(gt_boxes, gt_ids, gt_masks, boxes, ids, scores, found, iou_threshold):
        assert found.shape[:2] == gt_masks.shape[:2] and iou_threshold == 0.3
        taken["masks"] = found
        return None, np.array([0.0] + [-1.0] * (len(ids) - 1)), np.full((len(ids), 9), 0.4)

    monkeypatch.setattr(edge_pairs, "compute_matches", match_first)
    boxes = ["DETECTION_BOXES=matterport"]  # the mask fills whole pixels
    config = edge_pairs.network_config(weights, dataset.num_classes, boxes)
    selection = edge_pairs.Selection(limit=1, min_iou=0.3)
    pairs = list(edge_pairs.network_pairs(dataset, weights, config, selection))
    (pair,) = pairs
    assert pair.predicted.shape == pair.target.shape == (28, 28)
    assert 0 < pair.predicted.min() < pair.predicted.max() < 1  # probabilities, not a mask
    assert pair.iou == 0.4 and pair.place.image_id == dataset.image_ids[0]
    # The box and the probabilities are those of the detection's mask in the image.
    pasted = paste_masks(pair.predicted[None], np.array([pair.place.box]), masks.shape)
    np.testing.assert_array_equal(pasted[..., 0], taken["masks"][..., 0])
    y1, x1, y2, x2 = pair.place.box
    inside = masks[y1:y2, x1:x2, 0].mean()
    assert pair.target.mean() == pytest.approx(inside, abs=0.1)

    with pytest.raises(ValueError, match="28 x 28"):
        edge_pairs.expect_mask_size(config, 56, weights)
    with pytest.raises(ValueError, match="classes"):
        edge_pairs.network_config(weights, dataset.num_classes, ["NUM_CLASSES=9"])
    monkeypatch.undo()
    options = ["--dataset", str(shapes), "--model", str(weights), "--min-iou", "1", "--limit", "1"]
    assert cli.main(["edges", *options, "--output", str(tmp_path / "out")]) == 2  # no match


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--prediction and --truth"),
        (["--prediction", "a.png"], "received --prediction"),
        (["--dataset", "d", "--results", "r", "--model", "m"], "--dataset and --model"),
        (["--prediction", "no.png", "--truth", "no.png"], "no such image"),
        (["--dataset", "no", "--results", "no.json"], "expected the folder of a data set"),
        (["--filters", "scharr"], "laplace"),
        (["--filters", "laplace", "--magnitude"], "prewitt"),
        (["--norm", "l0"], "l1"),
        (["--count", "0"], "--count"),
    ],
)
def test_unusable_options_are_sentences(tmp_path, capsys, options, message):
    assert cli.main(["edges", *options, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unusable_masks_are_sentences(tmp_path, capsys):
    small, large = np.zeros((4, 4)), np.zeros((4, 5))
    files = [write_mask(tmp_path / f"{k}.png", mask) for k, mask in enumerate((small, large))]
    colored = write_mask(tmp_path / "c.png", np.arange(48).reshape(4, 4, 3))
    for prediction, more, message in (
        (files[1], [], "4 x 5"),
        (files[0], ["--mask-size", "28"], "pixel above 127"),
        (colored, [], "colors"),
    ):
        command = ["--prediction", prediction, "--truth", files[0], *more]
        assert cli.main(["edges", *command, "--output", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_unusable_results_are_sentences(shapes, results, tmp_path, capsys):
    entries = json.loads(results.read_text())
    path = tmp_path / "bad.json"
    for content, message in (
        ({"annotations": []}, "a list of results"),
        ([{"image_id": 1}], "'category_id'"),
        ([{**entries[0], "image_id": -7}], "image_id -7"),
        ([{**entries[0], "category_id": 99}], "category_id 99"),
        ([{**entries[0], "segmentation": {"size": [3, 3], "counts": "0"}}], "result 1"),
        ([], "no prediction matches"),
    ):
        path.write_text(json.dumps(content))
        command = ["--dataset", str(shapes), "--results", str(path)]
        assert cli.main(["edges", *command, "--output", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_the_kinds_of_smoothing_are_those_of_the_drawings():
    assert list(SMOOTHING) == list(SMOOTHINGS)


def test_the_truth_is_cropped_where_the_prediction_has_its_samples():
    """An image of 400 x 600 at 128: what is cropped is the place of each pixel itself."""
    detection = np.array([[*norm_boxes(np.array([40, 50, 70, 90]), (128, 128)), 1, 0.9]])
    masks = np.ones((1, 28, 28, 2))
    shapes = (400, 600, 3), (128, 128, 3), (21, 0, 106, 128)
    found = locate_detections(detection, masks, *shapes, tiny_config(MINI_MASK_SHAPE=(56, 56)))
    (box,) = edge_pairs._sampled_boxes(found, shapes[0])
    places = np.indices((400, 600)) + 0.5
    inside = 0.5 * (found.boxes[0, 2:] - found.boxes[0, :2]) / 56
    for axis, image in enumerate(places):
        crop = edge_pairs._crop(image, box, (28, 28))
        first, last = found.boxes[0, axis], found.boxes[0, axis + 2]
        expected = np.linspace(first + inside[axis], last - inside[axis], 28)
        np.testing.assert_allclose(np.moveaxis(crop, axis, 0)[:, 0], expected, atol=1e-3)


def test_a_crop_keeps_probabilities_and_binary_masks():
    mask = np.zeros((8, 8), np.float32)
    mask[2:6, 2:6] = 1
    box = np.array([0, 0, 1, 1], np.float32)
    binary = edge_pairs._crop(mask, box, (5, 5))
    assert set(np.unique(binary)) == {0, 1}
    soft = edge_pairs._crop(0.5 * mask, box, (5, 5))
    assert soft[2, 2] == 0.5 and ((soft > 0) & (soft < 0.5)).any()
    assert ops.convert_to_numpy(soft).dtype == np.float32
