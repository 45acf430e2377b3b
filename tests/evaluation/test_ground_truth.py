"""Ground truth of the COCO metrics, made from masks."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.evaluation.ground_truth import coco_ground_truth


def test_a_mask_without_a_pixel_is_no_object():
    class Hidden(Dataset):
        def load_mask(self, image_id):
            masks = np.zeros((8, 9, 2), bool)
            masks[2:5, 3:7, 1] = True
            return masks, np.array([1, 2], np.int32)

    dataset = Hidden()
    for class_id in (5, 7):
        dataset.add_class("drawn", class_id, str(class_id))
    dataset.add_image("drawn", "a", None)
    dataset.prepare()
    (entry,) = coco_ground_truth(dataset, progress=False).dataset["annotations"]
    assert entry["category_id"] == 7 and entry["image_id"] == "a"
    assert entry["area"] == 12 and entry["bbox"] == [3, 2, 4, 3]


def test_a_ground_truth_of_several_sources_is_refused():
    mixed = Dataset()
    mixed.add_class("cityscapes", 24, "person")
    mixed.add_class("coco", 24, "zebra")
    mixed.prepare()
    with pytest.raises(ValueError, match="'cityscapes', 'coco'"):
        coco_ground_truth(mixed)
