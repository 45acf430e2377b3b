"""Predictions as annotations: the polygons hold the masks, and what they cannot hold is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.ndimage import binary_fill_holes, label
from skimage.draw import polygon2mask

from mrcnn.data.outlines import area, outline
from mrcnn.datasets.coco import CocoDataset
from mrcnn.prediction.annotations import Losses, coco_dataset, write_labelme
from mrcnn.prediction.records import Records
from mrcnn.prediction.sources import Picture
from mrcnn.prediction.stream import Predictor
from tests.prediction.disc_detector import DiscDetector, discs

NAMES = ["background", "disc", "green"]


def drawn(polygons, shape) -> np.ndarray:
    """The pixels whose centers lie within any of the polygons."""
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        mask |= polygon2mask(shape, polygon[:, ::-1] - 0.5)
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=150)
def test_an_exact_outline_holds_every_pixel(mask: np.ndarray):
    found = outline(mask, (0, 0), tolerance=0)
    filled = binary_fill_holes(mask)
    assert found.holes == label(filled & ~mask)[1]
    covered = sum(area(polygon) for polygon in found.polygons)
    # A corner is cut by half a pixel, so that thin parts lose half of themselves at most.
    assert covered <= filled.sum()
    if not found.specks:
        large = drawn(found.polygons, (mask.shape[0] + 2, mask.shape[1] + 2))
        assert not (large[: mask.shape[0], : mask.shape[1]] & ~filled).any()


def test_a_disc_with_a_hole_and_a_speck():
    mask = discs(60, 60, [(30, 30)], radius=20)[..., 0] > 0
    ring = mask.copy()
    ring[26:34, 26:34] = False
    ring[2, 2] = True
    found = outline(ring, (100, 200))
    assert (found.holes, found.specks, len(found.polygons)) == (1, 1, 1)
    (polygon,) = found.polygons
    assert len(polygon) < 40
    assert iou(drawn([polygon - [200, 100]], mask.shape), mask) > 0.95
    assert outline(np.zeros((4, 4), bool), (0, 0)).polygons == []


def test_coordinates_are_edges_of_pixels():
    (polygon,) = outline(np.ones((4, 6), bool), (10, 20), tolerance=0).polygons
    assert polygon.min(axis=0).tolist() == [20, 10] and polygon.max(axis=0).tolist() == [26, 14]


@pytest.fixture
def predicted(tmp_path):
    """A picture's file, and what is found in it."""
    file = tmp_path / "photos/sub/a.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(discs(80, 90, [(20, 20), (50, 60)], green=1)).save(file)
    (found,) = Predictor(DiscDetector(), NAMES)([Picture("sub/a.png", file)])
    return file, found


def test_labelme_files_open_their_picture(tmp_path, predicted):
    file, found = predicted
    losses, path = Losses(), tmp_path / "out/labelme/sub/a.json"
    write_labelme(path, found, file, losses)
    content = json.loads(path.read_text())
    assert content["imagePath"] == "a.png"
    assert (path.parent / "a.png").read_bytes() == file.read_bytes()
    write_labelme(path, found, file, losses)  # again: it takes the place of the first
    assert (content["imageHeight"], content["imageWidth"]) == (80, 90)
    assert sorted(shape["label"] for shape in content["shapes"]) == ["disc", "green"]
    for shape, k in zip(content["shapes"], range(2), strict=True):
        assert shape["shape_type"] == "polygon" and shape["group_id"] is None
        mask = drawn([np.asarray(shape["points"])], (80, 90))
        assert iou(mask, found.masks[..., k]) > 0.93
    assert not str(losses)


def test_labelme_files_train(tmp_path, predicted):
    file, found = predicted
    write_labelme(tmp_path / "out/sub/a.json", found, file, Losses())
    dataset = CocoDataset.of(tmp_path / "out", "train")
    masks, class_ids = dataset.load_mask(0)
    assert [dataset.class_names[k] for k in class_ids] == found.names
    for k in range(2):
        assert iou(masks[..., k].astype(bool), found.masks[..., k]) > 0.93


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(version="5.5.0"),
        lambda content: content["shapes"].append({**content["shapes"][0], "description": ""}),
    ],
)
def test_what_a_person_has_corrected_stays(tmp_path, predicted, change):
    file, found = predicted
    path = tmp_path / "out/a.json"
    write_labelme(path, found, file, Losses())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(FileExistsError, match=r"a.json: has been corrected .* another --output"):
        write_labelme(path, found, file, Losses())
    assert json.loads(path.read_text()) == content


def test_two_pictures_of_one_labelme_file_are_told_of(tmp_path, predicted):
    file, found = predicted
    path = tmp_path / "out/a.json"
    write_labelme(path, found, file, Losses())
    other = file.with_suffix(".jpg")
    Image.open(file).save(other)
    with pytest.raises(FileExistsError, match=r"a.json: is of the picture a.png already.*a.jpg"):
        write_labelme(path, found, other, Losses())
    beside = file.with_suffix(".json")  # in the picture's own folder nothing is copied
    write_labelme(beside, found, file, Losses())
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.jpg", "a.json", "a.png"]


def test_a_data_set_of_polygons_trains(tmp_path, predicted):
    file, found = predicted
    records = Records(tmp_path / "out", {}, NAMES)
    records.add(found)
    content = coco_dataset(records.predictions(), records.categories, Losses())
    (tmp_path / "data.json").write_text(json.dumps(content))
    folder = tmp_path / "data/annotations"
    folder.mkdir(parents=True)
    (folder / "instances_train.json").write_text(json.dumps(content))
    (tmp_path / "data/train").symlink_to(file.parent.parent)
    dataset = CocoDataset.of(tmp_path / "data", "train")
    masks, class_ids = dataset.load_mask(0)
    assert [dataset.class_names[k] for k in class_ids] == found.names
    for k in range(2):
        assert iou(masks[..., k].astype(bool), found.masks[..., k]) > 0.93
