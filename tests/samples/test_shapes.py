"""The shapes sample: the tutorial's data set, and training and evaluation in one command."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mrcnn.data.boxes import compute_overlaps, extract_bboxes

REPOSITORY = Path(__file__).resolve().parents[2]


def load_sample(name: str):
    path = REPOSITORY / "samples" / name / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shapes = load_sample("shapes")


@pytest.fixture(scope="module")
def dataset():
    dataset = shapes.ShapesDataset(seed=1)
    dataset.load_shapes(30, 96, 128)
    dataset.prepare()
    return dataset


def test_the_settings_are_the_tutorials():
    config = shapes.ShapesConfig()
    assert config.NAME == "shapes" and config.NUM_CLASSES == 4 and config.BATCH_SIZE == 8
    assert config.IMAGE_SHAPE.tolist() == [128, 128, 3] and config.BACKBONE == "resnet101"
    assert config.STEPS_PER_EPOCH == 100 and config.TRAIN_ROIS_PER_IMAGE == 32
    assert issubclass(shapes.SmallShapesConfig, shapes.ShapesConfig)


def test_images_and_masks_belong_together(dataset):
    assert dataset.class_names == ["BG", "square", "circle", "triangle"]
    seen = set()
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        masks, class_ids = dataset.load_mask(image_id)
        described = dataset.image_reference(image_id)
        assert image.shape == (96, 128, 3) and image.dtype == np.uint8
        assert masks.shape == (96, 128, len(described)) and masks.dtype == bool
        assert 1 <= len(described) <= shapes.MAX_SHAPES
        assert [dataset.class_names[k] for k in class_ids] == [name for name, _, _ in described]
        for index, (_, color, _) in enumerate(described):
            assert (image[masks[..., index]] == color).all()
        background = dataset.image_info[image_id]["bg_color"]
        assert (image[~masks.any(axis=2)] == background).all()
        assert masks.sum(axis=2).max() == 1  # later shapes cover earlier ones
        seen |= set(class_ids.tolist())
    assert seen == {1, 2, 3}


def test_shapes_fill_their_boxes_and_overlap_little(dataset):
    for name, part in (("square", 1), ("circle", np.pi / 4), ("triangle", 0.5)):
        mask = dataset.draw_shape(np.zeros((100, 100), np.uint8), name, (50, 50, 30), 1)
        y1, x1, y2, x2 = extract_bboxes(mask[..., None].astype(bool))[0]
        assert (y1, y2) == (20, 81) and abs((x1 + x2) / 2 - 50.5) <= 1
        assert mask.mean() * 100**2 / ((y2 - y1) * (x2 - x1)) == pytest.approx(part, abs=0.04)
    with pytest.raises(ValueError, match="shape: .*'hexagon'"):
        dataset.draw_shape(np.zeros((9, 9, 3), np.uint8), "hexagon", (4, 4, 2), (1, 2, 3))
    for info in dataset.image_info:
        boxes = np.array([[y - s, x - s, y + s, x + s] for _, _, (x, y, s) in info["shapes"]])
        overlaps = compute_overlaps(boxes, boxes) - np.eye(len(boxes))
        assert overlaps.max() <= shapes.MAX_OVERLAP + 1e-6


def test_random_shapes_lie_in_the_image(dataset):
    for _ in range(50):
        name, color, (x, y, s) = dataset.random_shape(96, 128)
        assert name in shapes.NAMES and all(0 <= c <= 255 for c in color)
        assert 20 <= x < 108 and 20 <= y < 76 and 20 <= s < 24
    background, described = dataset.random_image(96, 128)
    assert len(background) == 3 and 1 <= len(described) <= 4


def test_the_seed_decides():
    def described(seed):
        dataset = shapes.ShapesDataset(seed=seed)
        dataset.load_shapes(5, 64, 64)
        return [info["shapes"] for info in dataset.image_info]

    assert described(3) == described(3) != described(4)
    assert described(None) != described(None)
    with pytest.raises(ValueError, match="40 pixels"):
        shapes.ShapesDataset().load_shapes(1, 32, 64)


def test_the_command_trains_and_evaluates(tmp_path, capfd):
    command = ["--logs", str(tmp_path), "--steps", "2", "--training-mode", "fine"]
    command += ["--train-images", "4", "--val-images", "2", "--image-size", "64", "--rois", "8"]
    command += ["--steps-per-epoch", "2", "--validation-steps", "1", "--batch-size", "2"]
    command += ["--workers", "1", "--set", "PRE_NMS_LIMIT=100"]
    command += ["TOP_DOWN_PYRAMID_SIZE=16", "MASK_CONV_FILTERS=8", "FPN_CLASSIF_FC_LAYERS_SIZE=16"]
    assert shapes.main([*command, "POST_NMS_ROIS_TRAINING=30"]) == 0
    (run,) = tmp_path.iterdir()
    assert run.name.startswith("shapes2")
    with open(run / "coco_val.csv", newline="", encoding="utf-8") as file:
        assert {row["iou_type"] for row in csv.DictReader(file)} >= {"segm", "bbox"}
    assert (run / "detections_val.png").is_file() and (run / "losses.png").is_file()
    out, err = capfd.readouterr()
    assert "4 images with" in out and "2 images in" in out
    # What TensorFlow's C++ part says of itself, in the first run of a process.
    assert "0000 00:00:" not in err


def test_wrong_options_are_clear_errors(tmp_path, capsys):
    assert shapes.main(["--logs", str(tmp_path), "--image-size", "100"]) == 2
    assert "64" in capsys.readouterr().err
    assert shapes.main(["--logs", str(tmp_path), "--edge-loss-filters", "scharr"]) == 2
    assert "laplace" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
