"""Crops of a data set in COCO's format: a window around each object, and windows without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.crops import CropDataset, is_empty, window_around
from mrcnn.datasets.shapes import CLASS_NAMES, write_shapes


class CropConfig(Config):
    NAME = "crops"
    NUM_CLASSES = 1 + len(CLASS_NAMES)
    IMAGES_PER_GPU = 8
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64
    MAX_GT_INSTANCES = 1
    MINI_MASK_SHAPE = (2, 2)
    LOADER_WORKERS = 0


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> CocoDataset:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, train=6, val=2, image_size=(128, 128))
    return CocoDataset.of(folder, "train")


def test_each_object_has_a_window_around_it(shapes: CocoDataset):
    crops = CropDataset(shapes, empty=0)
    objects = [
        (int(of), annotation)
        for of in shapes.image_ids
        for annotation in shapes.annotations(of)
        if not annotation["iscrowd"]
    ]
    assert len(crops.image_ids) == len(objects) and crops.class_names == shapes.class_names
    for (of, annotation), info in zip(objects, crops.image_info, strict=True):
        y1, x1, y2, x2 = info["window"]
        x, y, width, height = annotation["bbox"]
        assert info["of"] == of and info["class_id"] == annotation["category_id"]
        assert y1 <= y and x1 <= x and y2 >= y + height and x2 >= x + width
        assert y2 - y1 == x2 - x1 <= 1.25 * max(width, height) + 1
    image = crops.load_image(0)
    y1, x1, y2, x2 = crops.image_info[0]["window"]
    np.testing.assert_array_equal(image, shapes.load_image(objects[0][0])[y1:y2, x1:x2])
    masks, class_ids = crops.load_mask(0)
    assert masks.all() and masks.shape == (*image.shape[:2], 1)
    assert class_ids.tolist() == [crops.image_info[0]["class_id"]]


def test_empty_windows_hold_no_object(shapes: CocoDataset):
    crops = CropDataset(shapes, seed=1)
    empty = [info for info in crops.image_info if info["class_id"] == 0]
    objects = len(crops.image_info) - len(empty)
    assert len(empty) == round(objects / len(CLASS_NAMES)) > 2
    for info in empty:
        covered = np.zeros((128, 128), int)
        y1, x1, y2, x2 = info["window"]
        for annotation in shapes.annotations(info["of"]):
            x, y, width, height = map(round, annotation["bbox"])
            part = np.zeros((128, 128), bool)
            part[y : y + height, x : x + width] = True
            inside = part[y1:y2, x1:x2].sum()
            assert inside <= 0.1 * min(part.sum(), (y2 - y1) * (x2 - x1)) + 1
            covered += part
    number = crops.image_info.index(empty[0])
    masks, class_ids = crops.load_mask(number)
    assert masks.shape[2] == 0 and len(class_ids) == 0
    again, other = CropDataset(shapes, seed=1), CropDataset(shapes, seed=2)
    assert again.image_info == crops.image_info != other.image_info


def test_the_loader_makes_batches_of_them(shapes: CocoDataset):
    crops = CropDataset(shapes)
    with Loader(SampleStream.of(crops, CropConfig(), seed=0)) as loader:
        batch = loader.batch(0)
        ids = loader.image_ids(0)
    assert batch["input_image"].shape == (8, 64, 64, 3)
    expected = [crops.image_info[i]["class_id"] for i in ids]
    assert batch["input_gt_class_ids"][:, 0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corner=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    part=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    context=st.floats(0, 2),
)
def test_a_window_lies_in_the_image_and_around_the_box(size, corner, part, context):
    low = [c * side for c, side in zip(corner, size, strict=True)]
    high = [a + p * (side - a) for a, p, side in zip(low, part, size, strict=True)]
    box = np.array([*low, *high])
    y1, x1, y2, x2 = window_around(box, size, context)
    assert 0 <= y1 < y2 <= size[0] and 0 <= x1 < x2 <= size[1]
    # A pixel that the box only touches may be missing, where the window is no larger than the box.
    assert y1 <= box[0] + 1 and x1 <= box[1] + 1 and y2 >= box[2] - 1 and x2 >= box[3] - 1
    assert y2 - y1 == x2 - x1 or y2 - y1 == size[0] or x2 - x1 == size[1]


def test_a_small_object_in_a_large_window_makes_it_full():
    window = (10, 10, 50, 50)
    assert is_empty(window, np.zeros((0, 4)))
    assert not is_empty(window, np.array([[20.0, 20, 24, 24]]))
    assert is_empty(window, np.array([[0.0, 0, 11, 60]]))  # a strip of one pixel of it
    assert not is_empty(window, np.array([[0.0, 0, 200, 200]]))


def coco_of(folder: Path, annotations: list[dict]) -> CocoDataset:
    (folder / "annotations").mkdir()
    (folder / "train").mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "train" / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 50, "height": 40}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 3, "iscrowd": 0, **annotation}
            for i, annotation in enumerate(annotations, start=1)
        ],
    }
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return CocoDataset.of(folder, "train", box_only=True)


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def test_crowds_and_specks_are_no_crops_and_full_images_have_no_empty_window(tmp_path: Path):
    whole = {"segmentation": square(0, 0, 50), "bbox": [0, 0, 50, 40], "iscrowd": 0}
    crowd = {"segmentation": {"size": [40, 50], "counts": [0, 2000]}, "iscrowd": 1, "area": 2000}
    dataset = coco_of(tmp_path, [whole, {"bbox": [5, 5, 2, 3], "area": 6}, crowd])
    crops = CropDataset(dataset)
    assert len(crops.image_info) == 1 and crops.image_info[0]["window"] == (0, 0, 40, 50)
    assert crops.left_out == {
        "crowds": 1,
        "objects under 4 pixels": 1,
        "empty windows for which there was no room": 1,
    }
    assert crops.summary() == (
        "1 images: 1 thing, 0 empty windows; left out: 1 objects under 4 pixels, 1 crowds, "
        "1 empty windows for which there was no room."
    )


def test_without_objects_there_is_nothing_to_cut_out(tmp_path: Path):
    with pytest.raises(ValueError, match="expected objects to cut out; the 1 images have none"):
        CropDataset(coco_of(tmp_path, []))
    with pytest.raises(ValueError, match="context: expected a number of at least 0"):
        CropDataset(CocoDataset(), context=-1)
