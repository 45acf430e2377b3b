"""The synthetic shapes: deterministic files, correct annotations, everything present."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as mask_api

from mrcnn.data.boxes import extract_bboxes
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import (
    CROWD_IMAGE,
    EMPTY_IMAGE,
    LARGE_IMAGE,
    MAX_COVERED,
    MAX_CUT_OFF,
    PERIOD,
    SMALL_RADIUS,
    draw_image,
    write_shapes,
)

TRAIN, VAL = 2 * PERIOD, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, TRAIN, VAL, seed=3)
    return folder


@pytest.fixture(scope="module")
def train(folder) -> CocoDataset:
    dataset = CocoDataset()
    dataset.load_coco(folder, "train")
    dataset.prepare()
    return dataset


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shapes(tmp_path / name, 3, 1, (48, 64), seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 3 + 1 + 2
    for path, data in files(tmp_path / "a").items():
        assert files(tmp_path / "c")[path] != data


def test_an_image_does_not_depend_on_the_number_of_images(tmp_path):
    write_shapes(tmp_path / "few", 2, 1, (48, 48))
    write_shapes(tmp_path / "many", 5, 2, (48, 48))
    few, many = files(tmp_path / "few"), files(tmp_path / "many")
    for path, data in few.items():
        if path.suffix == ".png":
            assert many[path] == data
    for split, count in (("train", 2), ("val", 1)):
        some, more = (
            json.loads((tmp_path / name / f"annotations/instances_{split}.json").read_text())
            for name in ("few", "many")
        )
        assert some["images"] == more["images"][:count]
        assert some["annotations"] == more["annotations"][: len(some["annotations"])]


def test_splits_differ_and_share_no_id(folder):
    train, val = (
        json.loads((folder / f"annotations/instances_{split}.json").read_text())
        for split in ("train", "val")
    )
    for part in ("images", "annotations"):
        ids = [entry["id"] for data in (train, val) for entry in data[part]]
        assert len(set(ids)) == len(ids)
    assert (folder / "train/000000.png").read_bytes() != (folder / "val/000000.png").read_bytes()


def test_reader_reads_all_of_it(folder, train):
    assert len(train.image_ids) == TRAIN
    assert train.class_names == ["BG", "square", "circle", "triangle"]
    seen = set()
    for image_id in train.image_ids:
        image = train.load_image(image_id)
        assert image.shape == (128, 128, 3) and image.std() > 1
        masks, class_ids = train.load_mask(image_id)
        assert masks.shape == (128, 128, len(train.annotations(image_id)))
        seen |= set(np.abs(class_ids).tolist())
    assert seen == {1, 2, 3}
    assert set(train.left_out.values()) == {0}


def test_areas_and_boxes_are_those_of_the_masks(train):
    for image_id in train.image_ids:
        masks, _ = train.load_mask(image_id)
        for index, annotation in enumerate(train.annotations(image_id)):
            x, y, width, height = annotation["bbox"]
            box = extract_bboxes(masks)[index].tolist()
            assert box == [y, x, y + height, x + width]
            assert annotation["area"] == masks[..., index].sum()


def test_visible_masks_do_not_overlap(train):
    for image_id in train.image_ids:
        masks, _ = train.load_mask(image_id)
        assert masks.sum(axis=2).max(initial=0) <= 1


def test_every_form_of_annotation_occurs_in_a_small_data_set(train):
    forms, special = set(), {}
    for k in train.image_ids[:PERIOD]:
        annotations = train.annotations(k)
        forms |= {type(a["segmentation"]).__name__ for a in annotations}
        forms |= {
            type(a["segmentation"]["counts"]).__name__
            for a in annotations
            if isinstance(a["segmentation"], dict)
        }
        special[k] = (len(annotations), sum(a["iscrowd"] for a in annotations))
    assert forms == {"list", "dict", "str"}  # polygons, and both run lengths
    assert special.pop(EMPTY_IMAGE) == (0, 0)
    assert special.pop(CROWD_IMAGE)[1] == 1
    assert all(count >= 1 and crowds == 0 for count, crowds in special.values())


def test_shapes_are_small_and_large_and_touch(train):
    areas = [a["area"] for k in train.image_ids for a in train.annotations(k) if not a["iscrowd"]]
    assert min(areas) < 0.02 * 128**2 < 0.3 * 128**2 < max(areas)
    largest = max(a["area"] for a in train.annotations(LARGE_IMAGE))
    assert largest > 0.25 * 128**2
    touching = 0
    for image_id in train.image_ids:
        masks, _ = train.load_mask(image_id)
        grown = masks.copy()
        grown[1:] |= masks[:-1]
        grown[:, 1:] |= masks[:, :-1]
        touching += grown.sum(axis=2).max(initial=0) > 1
    assert touching >= 3


def test_most_of_a_covered_shape_remains():
    """No visible area falls under what the limits leave of the smallest shape."""
    smallest = np.pi * (SMALL_RADIUS[0] * 128) ** 2
    least = (1 - MAX_CUT_OFF) * (1 - MAX_COVERED) * smallest
    for k in range(4 * PERIOD):
        for annotation in draw_image((128, 128), 0, "val", k)[1]:
            assert annotation["iscrowd"] or annotation["area"] >= least, k


def test_shapes_stand_out_from_what_is_around_them(train):
    """The mean color inside differs from that of a ring around the shape, for nearly all."""
    differences = []
    for image_id in train.image_ids:
        image = train.load_image(image_id).astype(float)
        masks, class_ids = train.load_mask(image_id)
        background = ~masks.any(axis=2)
        for index in np.flatnonzero(class_ids > 0):
            inside = image[masks[..., index]].mean(axis=0)
            differences.append(np.linalg.norm(inside - image[background].mean(axis=0)))
    assert np.mean(np.array(differences) > 50) > 0.9


def test_color_does_not_tell_the_class(train):
    """Within a class, colors vary about as much as over all classes."""
    colors, classes = [], []
    for image_id in train.image_ids:
        image = train.load_image(image_id).astype(float)
        masks, class_ids = train.load_mask(image_id)
        for index in np.flatnonzero(class_ids > 0):
            colors.append(image[masks[..., index]].mean(axis=0))
            classes.append(class_ids[index])
    colors, classes = np.array(colors), np.array(classes)
    for class_id in (1, 2, 3):
        assert (colors[classes == class_id].std(axis=0) > 0.6 * colors.std(axis=0)).all()


@pytest.mark.parametrize("size", [(32, 32), (40, 90), (150, 64)])
def test_other_image_sizes(size):
    for k in range(PERIOD):
        image, annotations = draw_image(size, 0, "val", k)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        for annotation in annotations:
            if isinstance(annotation["segmentation"], dict):
                assert tuple(annotation["segmentation"]["size"]) == size
            else:
                rles = mask_api.frPyObjects(annotation["segmentation"], *size)
                assert mask_api.area(rles).sum() == annotation["area"]


def test_no_images_still_make_a_readable_split(tmp_path):
    write_shapes(tmp_path, 1, 0, (32, 32))
    dataset = CocoDataset()
    dataset.load_coco(tmp_path, "val")
    dataset.prepare()
    assert len(dataset.image_ids) == 0 and dataset.num_classes == 4


def test_refuses_tiny_images_and_negative_numbers(tmp_path):
    with pytest.raises(ValueError, match="at least 32"):
        write_shapes(tmp_path, 1, 0, (16, 128))
    with pytest.raises(ValueError, match="received -1"):
        write_shapes(tmp_path, -1, 0)
