"""Data sets go to another format and back with their masks, and what is lost is counted."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn.commands import cli
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.formats.convert import convert
from mrcnn.datasets.formats.to_yolo import joined
from mrcnn.datasets.layouts import find_subsets
from tests.datasets.formats.support import HEIGHT, WIDTH, iou, load, picture, write_json

EXACT = ("coco", "webdataset")  # they hold what COCO's format holds


def rle(mask: np.ndarray) -> dict:
    found = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": found["size"], "counts": found["counts"].decode()}


def polygon(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def write_coco(folder: Path, objects: list[dict], subset="train", **image) -> None:
    """A picture whose objects are segmentations or boxes, of the classes cat and dog in turn."""
    path = picture(folder / subset / "deep" / "a.jpg")
    entry = {"id": 5, "file_name": "deep/a.jpg", "height": HEIGHT, "width": WIDTH, **image}
    annotations = [
        {"id": 10 + i, "image_id": 5, "category_id": 3 + 4 * (i % 2), "iscrowd": 0, **o}
        for i, o in enumerate(objects)
    ]
    content = {
        "images": [entry],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog: #1"}],
    }
    write_json(folder / "annotations" / f"instances_{subset}.json", content)
    assert path.exists()


def objects_of(dataset: CocoDataset) -> list[tuple[str, np.ndarray]]:
    masks, class_ids = dataset.load_mask(0)
    return [(dataset.class_names[c], masks[..., i]) for i, c in enumerate(class_ids)]


def there_and_back(source: Path, folder: Path, to: str) -> CocoDataset:
    convert(find_subsets(source), folder / to, to)
    convert(find_subsets(folder / to), folder / "back", "coco")
    return load(folder / "back")


@st.composite
def blobs(draw) -> np.ndarray:
    """A mask of some ellipses, large enough to be seen."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(draw(st.integers(1, 3))):
        cy, cx = draw(st.integers(6, HEIGHT - 6)), draw(st.integers(6, WIDTH - 6))
        ry, rx = draw(st.integers(4, 12)), draw(st.integers(4, 12))
        mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    return mask


@pytest.mark.parametrize("to", ["coco", "labelme", "yolo", "webdataset"])
@given(masks=st.lists(blobs(), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_masks_come_back(to, masks):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_coco(folder / "data", [{"segmentation": rle(mask)} for mask in masks])
        found = objects_of(there_and_back(folder / "data", folder, to))
        assert [name for name, _ in found] == [("cat", "dog: #1")[i % 2] for i in range(len(masks))]
        for (_, mask), before in zip(found, masks, strict=True):
            # Holes between ellipses are filled where there are only polygons.
            assert iou(mask, before) == 1 if to in EXACT else iou(mask, filled(before)) > 0.97


def filled(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(mask)


@st.composite
def corners(draw) -> list[float]:
    """A star around a point: a polygon that does not cross itself."""
    count = draw(st.integers(3, 12))
    cx, cy = draw(st.floats(12, WIDTH - 12)), draw(st.floats(12, HEIGHT - 12))
    radii = draw(st.lists(st.floats(4, 11), min_size=count, max_size=count))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = [(cx + r * np.cos(a), cy + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    return [float(value) for point in points for value in point]


@pytest.mark.parametrize("to", ["coco", "labelme", "yolo", "webdataset"])
@given(polygons=st.lists(corners(), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_polygons_come_back_as_they_were(to, polygons):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_coco(folder / "data", [{"segmentation": [p]} for p in polygons])
        before = objects_of(load(folder / "data"))
        after = objects_of(there_and_back(folder / "data", folder, to))
        for (name, mask), (other, found) in zip(before, after, strict=True):
            assert name == other and iou(mask, found) > (0.999 if to in EXACT else 0.97)


def test_several_parts_stay_one_object(tmp_path):
    parts = [polygon(2, 3, 12, 9), polygon(30, 20, 50, 35), polygon(4, 30, 9, 38)]
    write_coco(tmp_path / "data", [{"segmentation": parts}])
    for to in ("labelme", "yolo"):
        ((_, mask),) = objects_of(there_and_back(tmp_path / "data", tmp_path / to, to))
        ((_, before),) = objects_of(load(tmp_path / "data"))
        assert iou(mask, before) > 0.97, to


@given(st.lists(corners(), min_size=2, max_size=4))
@settings(max_examples=25, deadline=None)
def test_joined_parts_keep_their_area_and_corners(polygons):
    parts = [np.array(p).reshape(-1, 2) for p in polygons]
    ring = joined(parts)

    def signed(points):
        x, y = points.T
        return 0.5 * (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))

    assert signed(ring) == pytest.approx(sum(map(signed, parts)))
    assert {tuple(p) for p in ring} == {tuple(p) for part in parts for p in part}


def test_losses_are_counted_and_said(tmp_path, capsys):
    ring = np.zeros((HEIGHT, WIDTH), bool)
    ring[5:25, 5:25], ring[10:20, 10:20] = True, False
    ring[35, 50] = True
    write_coco(
        tmp_path / "data",
        [
            {"segmentation": rle(ring)},
            {"segmentation": [polygon(1, 1, 5, 5), polygon(30, 30, 40, 38)]},
            {"segmentation": rle(ring), "iscrowd": 1},
            {"segmentation": [], "bbox": [1, 2, 10, 8]},
        ],
    )
    data = str(tmp_path / "data")
    assert cli.main(["convert-data", data, str(tmp_path / "yolo"), "--to", "yolo"]) == 0
    said = capsys.readouterr().out
    for text in (
        "train: 1 images with 4 objects",
        "1 holes in masks filled",
        "1 specks of masks left out",
        "1 masks traced by polygons",
        "1 objects of several parts joined by lines",
        "1 crowds left out",
        "1 boxes without masks written as boxes",
        f"Next: mrcnn check {tmp_path / 'yolo'}",
    ):
        assert text in said
    lines = (tmp_path / "yolo" / "labels" / "train" / "a.txt").read_text().splitlines()
    assert len(lines) == 3 and lines[2] == "1 0.1 0.15 0.166667 0.2"
    assert cli.main(["convert-data", data, str(tmp_path / "labelme"), "--to", "labelme"]) == 0
    said = capsys.readouterr().out
    assert "boxes without masks written as rectangles" in said and "joined by lines" not in said
    shapes = json.loads((tmp_path / "labelme" / "train" / "a.json").read_text())["shapes"]
    assert [s["group_id"] for s in shapes] == [None, 2, 2, None]
    assert cli.main(["convert-data", data, str(tmp_path / "coco"), "--to", "coco"]) == 0
    assert "nothing is lost" in capsys.readouterr().out
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_train.json").read_text())
    assert content["images"][0]["file_name"] == "a.jpg" and content["images"][0]["id"] == 5
    areas = [a["area"] for a in content["annotations"]]
    assert areas[0] == ring.sum() and areas[3] == 80 and content["annotations"][2]["iscrowd"] == 1


def test_what_the_copy_is_read_as(tmp_path):
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}])
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}] * 2, "val")
    for to in ("coco", "labelme", "yolo", "webdataset"):
        convert(find_subsets(tmp_path / "data"), tmp_path / to, to)
        train, val = load(tmp_path / to), load(tmp_path / to, "val")
        assert (len(train.annotations(0)), len(val.annotations(0))) == (1, 2), to
        assert train.class_names == val.class_names
    assert train.class_names == ["BG", "cat", "dog: #1"]  # in YOLO's yaml


def test_pictures_of_stored_pixels_are_written_without_exif(tmp_path, capsys):
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}])
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = picture(tmp_path / "data" / "train" / "deep" / "a.jpg", exif=exif)
    (part,) = convert(find_subsets(tmp_path / "data"), tmp_path / "labelme", "labelme")
    assert sum(part.counts.values()) == 1
    written = tmp_path / "labelme" / "train" / "a.png"
    assert np.array_equal(np.array(Image.open(written)), np.array(Image.open(stored)))
    assert not Image.open(written).getexif()


def test_a_json_alone_is_the_subset_that_it_names(tmp_path):
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}])
    file = tmp_path / "data" / "train" / "deep" / "valid.json"
    (tmp_path / "data" / "annotations" / "instances_train.json").rename(file)
    file.write_text(file.read_text().replace("deep/", ""))
    convert(find_subsets(file), tmp_path / "coco", "coco")
    assert len(load(tmp_path / "coco", "val").annotations(0)) == 1


def test_labelme_goes_to_coco_with_where_it_was(tmp_path):
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}])
    convert(find_subsets(tmp_path / "data"), tmp_path / "labelme", "labelme")
    convert(find_subsets(tmp_path / "labelme"), tmp_path / "coco", "coco")
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_train.json").read_text())
    (annotation,) = content["annotations"]
    assert annotation["id"] == 1 and annotation["source"] == "train/a.json, shape 0"
    assert annotation["bbox"] == [1, 1, 8, 8] and annotation["area"] == 64


def test_what_cannot_be_converted_is_said(tmp_path, capsys):
    bad = {"segmentation": [[1, 2, 3]]}
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}, bad])
    command = ["convert-data", str(tmp_path / "data"), str(tmp_path / "out"), "--to", "yolo"]
    assert cli.main(command) == 2
    assert "annotation 11" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert cli.main([*command, "--skip-invalid"]) == 0
    assert "1 annotations with a malformed mask" in capsys.readouterr().out
    assert cli.main([*command, "--skip-invalid"]) == 2
    assert "it is in use" in capsys.readouterr().err
    assert cli.main(["convert-data", str(tmp_path / "none"), "x", "--to", "yolo"]) == 2
    assert "there is nothing there" in capsys.readouterr().err


def test_names_that_differ_in_their_suffix_alone_are_refused(tmp_path):
    write_coco(tmp_path / "data", [{"segmentation": [polygon(1, 1, 9, 9)]}])
    file = tmp_path / "data" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["images"].append({**content["images"][0], "id": 6, "file_name": "deep/a.png"})
    write_json(file, content)
    picture(tmp_path / "data" / "train" / "deep" / "a.png")
    for to in ("labelme", "yolo"):
        with pytest.raises(ValueError, match="differ in their suffix alone"):
            convert(find_subsets(tmp_path / "data"), tmp_path / to, to)


def test_the_bowls_own_files(tmp_path, shared):
    folder = shared / "data" / "nucleus_dsb2018" / "native"
    nuclei = load(folder)
    assert nuclei.class_names == ["BG", "object"]
    info = nuclei.image_info[0]
    masks = Path(info["path"]).parent.parent / "masks"
    assert len(nuclei.annotations(0)) == len(list(masks.glob("*.png")))


def test_the_shared_photographs(tmp_path, shared):
    source = shared / "data" / "fruits_nuts"
    convert(find_subsets(source), tmp_path / "labelme", "labelme")
    before, after = load(source), load(tmp_path / "labelme")
    assert len(before.image_ids) == len(after.image_ids)
    assert sorted(before.class_names) == sorted(after.class_names)
    names = {Path(info["path"]).name: i for i, info in enumerate(before.image_info)}
    for i, info in enumerate(after.image_info[:3]):
        (a, _), (b, _) = before.load_mask(names[Path(info["path"]).name]), after.load_mask(i)
        assert a.shape == b.shape and iou(a.any(axis=-1), b.any(axis=-1)) > 0.99
