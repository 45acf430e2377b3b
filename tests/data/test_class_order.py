"""The classes of a data set in a network's order."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.class_order import order_classes
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.evaluation.results import image_results


@pytest.fixture
def shapes(tmp_path) -> CocoDataset:
    write_shapes(tmp_path, train=0, val=4, image_size=(64, 64))
    return CocoDataset.of(tmp_path, "val")


def names_and_masks(dataset: CocoDataset) -> list[tuple[str, int]]:
    found = []
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        found += [
            (("crowd " if k < 0 else "") + dataset.class_names[abs(k)], int(masks[..., i].sum()))
            for i, k in enumerate(class_ids)
        ]
    return found


def test_objects_keep_their_class(shapes):
    before = names_and_masks(shapes)
    names = ["BG", "triangle", "star", "square", "circle"]
    assert order_classes(shapes, names)
    assert shapes.class_names == names and shapes.num_classes == 5
    assert names_and_masks(shapes) == before and len(before) > 4
    assert not order_classes(shapes, names)


def test_what_a_network_finds_gets_the_category_of_its_name(shapes):
    order_classes(shapes, ["BG", "triangle", "star", "square", "circle"])
    image_id = int(shapes.image_ids[0])
    detections = {
        "rois": np.array([[0, 0, 9, 9]] * 4, np.int32),
        "class_ids": np.array([1, 2, 3, 4]),
        "scores": np.ones(4),
        "masks": np.ones((64, 64, 4), bool),
    }
    results = image_results(shapes, image_id, detections)
    assert [result["category_id"] for result in results] == [3, 1, 2]  # no category of stars


def test_what_cannot_be_told_apart_is_an_error(shapes):
    with pytest.raises(ValueError, match="received others too: circle"):
        order_classes(shapes, ["BG", "square", "triangle"])
    with pytest.raises(ValueError, match="the network has several classes of one name, circle"):
        order_classes(shapes, ["BG", "circle", "square", "triangle", "circle"])
