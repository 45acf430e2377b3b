"""Sizes at the network's scale, against the sample of training."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.sample import load_sample
from mrcnn.doctor import sizes
from mrcnn.doctor.examine import DatasetFiles, examine
from tests.doctor.sound import noise, sound
from tests.doctor.test_examine import config_of, load

SHAPES = ((48, 64), (33, 61), (97, 150), (64, 64))


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"IMAGE_MIN_DIM": 32, "IMAGE_MAX_DIM": 128},
        {"IMAGE_RESIZE_MODE": "pad64", "IMAGE_MIN_DIM": 64, "IMAGE_PAD_SHAPE": (192, 256)},
        {"IMAGE_RESIZE_MODE": "none", "IMAGE_PAD_SHAPE": (128, 192)},
    ],
    ids=["square", "square-larger", "pad64", "none"],
)
def test_boxes_lie_where_training_sees_them(tmp_path, size, settings):
    data = sound(tmp_path / "data")
    height, width = size
    data.save(noise(0, *size))
    data.train["images"][0].update(height=height, width=width)
    random = np.random.default_rng(height)
    for annotation in data.train["annotations"][:10]:
        x, y = random.integers(0, width - 9), random.integers(0, height - 9)
        w, h = random.integers(6, [width - x + 1, height - y + 1])
        x, y, w, h = map(int, (x, y, w, h))
        annotation.update(bbox=[x, y, w, h], area=w * h)
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    data.write()
    config = config_of({"NUM_CLASSES": 3, **settings})
    sample = load_sample(load(data.folder), 0, config, np.random.default_rng(0))
    files = DatasetFiles(data.folder)
    objects = examine(files, config, jobs=1, progress=False).subsets[0].objects
    np.testing.assert_array_equal(objects.boxes[:10], sample.boxes)
    assert tuple(objects.input_sizes[0]) == sample.image.shape[:2]


def test_in_the_mode_crop_the_whole_scaled_image_counts():
    config = config_of({"IMAGE_RESIZE_MODE": "crop"})
    placement = sizes.place_image((48, 96), config)
    assert placement.scaled == placement.input_size == (64, 128) and placement.offset == (0, 0)


@pytest.mark.parametrize(
    ("annotation", "box"),
    [
        ({"segmentation": [[1, 2, 5, 2, 5, 9]], "bbox": [0, 0, 1, 1]}, (1, 2, 4, 7)),
        ({"segmentation": [[1, 2, 5, 2, 5, 9], [0, 3, 8, 3, 8, 4]]}, (0, 2, 8, 7)),
        ({"segmentation": {"size": [9, 9], "counts": "11"}, "bbox": [2, 1, 3, 4]}, (2, 1, 3, 4)),
        ({"bbox": [2, 1, 3, 4]}, (2, 1, 3, 4)),
        ({"segmentation": [], "bbox": []}, None),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, None),
    ],
)
def test_the_box_that_an_annotation_states(annotation, box):
    assert sizes.stated_box(annotation) == box


def test_stated_objects_leave_crowds_and_empty_boxes_out():
    placement = sizes.place_image((64, 64), config_of({}))
    stated = [
        {"bbox": [8, 4, 16, 24]},
        {"bbox": [8, 4, 16, 24], "iscrowd": 1},
        {"bbox": [8, 4, 0, 24]},
    ]
    objects = sizes.stated_objects(stated, placement)
    expected = placement.boxes(np.array([[8, 4, 16, 24]], float))
    np.testing.assert_array_equal(objects.boxes, expected)
    assert len(objects.input_sizes) == 1
    assert len(sizes.ObjectSizes(np.ones((10, 4)), np.ones((10, 2))).some(4).boxes) == 4
