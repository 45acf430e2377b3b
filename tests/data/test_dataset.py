"""The base class of data sets: numbering, maps between ids, loading, and errors."""

from __future__ import annotations

import copy
import logging
import pickle

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset


@pytest.fixture
def dataset():
    """Two sources whose ids overlap."""
    dataset = Dataset()
    dataset.add_class("coco", 7, "train")
    dataset.add_class("shapes", 1, "square")
    dataset.add_class("coco", 1, "person, human")
    dataset.add_image("shapes", 0, path=None, width=64, shapes=["square"])
    dataset.add_image("coco", 42, "photos/42.jpg")
    dataset.add_image("coco", "b", "photos/b.jpg", annotations=[])
    dataset.prepare()
    return dataset


def test_classes_are_numbered_after_the_background(dataset):
    assert dataset.num_classes == 4
    assert dataset.class_ids.tolist() == [0, 1, 2, 3]
    assert dataset.class_names == ["BG", "train", "square", "person"]
    assert dataset.class_info[0] == {"source": "", "id": 0, "name": "BG"}
    assert dataset.class_info[3] == {"source": "coco", "id": 1, "name": "person, human"}


def test_images_are_numbered_from_zero(dataset):
    assert dataset.num_images == 3
    assert dataset.image_ids.tolist() == [0, 1, 2]
    assert dataset.image_info[0] == {
        "id": 0, "source": "shapes", "path": None, "width": 64, "shapes": ["square"],
    }  # fmt: skip
    assert dataset.image_from_source_map == {"shapes.0": 0, "coco.42": 1, "coco.b": 2}
    assert dataset.source_image_link(1) == "photos/42.jpg"


def test_each_source_knows_its_own_classes_and_the_background(dataset):
    assert dataset.sources == ["", "coco", "shapes"]
    assert dataset.source_class_ids == {"": [0], "coco": [0, 1, 3], "shapes": [0, 2]}


def test_class_ids_of_a_source_map_to_internal_ones_and_back(dataset):
    assert dataset.class_from_source_map == {".0": 0, "coco.7": 1, "shapes.1": 2, "coco.1": 3}
    for class_id, info in enumerate(dataset.class_info):
        internal = dataset.map_source_class_id(f"{info['source']}.{info['id']}")
        assert internal == class_id
        assert dataset.get_source_class_id(class_id, info["source"]) == info["id"]


def test_a_class_is_added_once(dataset):
    dataset.add_class("coco", 7, "another name")
    dataset.prepare()
    assert dataset.class_names == ["BG", "train", "square", "person"]


def test_preparing_again_counts_what_was_added_since(dataset):
    dataset.add_image("coco", 43, "photos/43.jpg")
    assert dataset.num_images == 3
    dataset.prepare()
    assert dataset.image_ids.tolist() == [0, 1, 2, 3]


def test_only_the_background():
    dataset = Dataset()
    dataset.prepare()
    assert dataset.class_names == ["BG"]
    assert dataset.sources == [""]
    assert dataset.image_ids.size == 0


def test_images_are_read_as_rgb(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    dataset = Dataset()
    dataset.add_image("files", 1, str(tmp_path / "grey.png"))
    dataset.prepare()
    np.testing.assert_array_equal(dataset.load_image(0), np.stack([grey] * 3, axis=-1))


def test_without_load_mask_there_are_no_instances_and_a_warning(dataset, caplog):
    with caplog.at_level(logging.WARNING):
        masks, class_ids = dataset.load_mask(1)
    assert masks.shape == (0, 0, 0)
    assert class_ids.shape == (0,)
    assert class_ids.dtype == np.int32
    assert "load_mask" in caplog.text


def test_reference_is_empty_unless_overridden(dataset):
    assert dataset.image_reference(0) == ""


def test_class_map_has_no_effect_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        dataset = Dataset(class_map={"a": "b"})
        dataset.prepare(class_map={"a": "b"})
    assert caplog.text.count("class_map") == 2
    assert dataset.class_names == ["BG"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_and_travels_to_workers(dataset, copied):
    twin = copied(dataset)
    assert twin.class_names == dataset.class_names
    assert twin.image_info == dataset.image_info


@pytest.mark.parametrize("name", ["image_ids", "class_names", "num_images", "source_class_ids"])
def test_prepare_was_forgotten(name):
    dataset = Dataset()
    with pytest.raises(AttributeError, match=rf"'{name}'.*prepare\(\)"):
        getattr(dataset, name)
    assert not hasattr(dataset, name)


def test_other_missing_attributes_do_not_blame_prepare(dataset):
    with pytest.raises(AttributeError, match=r"Dataset has no attribute 'colour'\.$"):
        _ = dataset.colour


def test_sources_with_a_dot_are_refused():
    dataset = Dataset()
    with pytest.raises(ValueError, match=r"without a dot.*'coco\.2017'"):
        dataset.add_class("coco.2017", 1, "person")
    with pytest.raises(ValueError, match=r"without a dot.*'coco\.2017'"):
        dataset.add_image("coco.2017", 1, "a.jpg")


def test_unknown_class_of_a_source(dataset):
    with pytest.raises(ValueError, match=r"no class 'coco\.99'.*'coco\.7'"):
        dataset.map_source_class_id("coco.99")


def test_class_of_another_source(dataset):
    with pytest.raises(ValueError, match=r"Class 2 \('square'\).*'shapes'.*'coco'"):
        dataset.get_source_class_id(2, "coco")
