"""Cityscapes: both readers agree with each other and with the official tool; the drawn scenes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mrcnn.datasets.cityscapes import (
    CLASSES,
    LABEL_IDS,
    LABELS,
    CityscapesDataset,
    paint_polygons,
    parse_label,
    read_instance_ids,
    split_instance_id,
)
from mrcnn.datasets.street_scenes import (
    CITIES,
    EMPTY_IMAGE,
    GROUP_IMAGE,
    HIDDEN_IMAGE,
    PERIOD,
    draw_scene,
    write_lookalike,
)

TRAIN, VAL = PERIOD + 1, 2
SIZE = (64, 128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    write_lookalike(folder, TRAIN, VAL, SIZE, seed=2)
    return folder


def load(folder, subset="train", *arguments, **options) -> CityscapesDataset:
    dataset = CityscapesDataset()
    dataset.load_cityscapes(folder, subset, *arguments, **options)
    dataset.prepare()
    return dataset


def image_number(dataset, k: int) -> int:
    """The internal id of image k of the training scenes, which lie in turn in the cities."""
    cities = CITIES["train"]
    name = f"{cities[k % len(cities)]}_{k // len(cities):06d}_000019"
    return dataset.image_from_source_map[f"cityscapes.{name}"]


def square(x: int, y: int, side: int) -> list[list[int]]:
    """A polygon that covers the pixels from (x, y) to (x + side - 1, y + side - 1)."""
    far = side - 1
    return [[x, y], [x + far, y], [x + far, y + far], [x, y + far]]


def write_polygons(folder, objects, size=(20, 30), **fields):
    """An image of a city "x" with these objects; returns the json file."""
    images, truths = folder / "leftImg8bit" / "train" / "x", folder / "gtFine" / "train" / "x"
    for place in (images, truths):
        place.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1]).save(images / "x_000000_000019_leftImg8bit.png")
    file = truths / "x_000000_000019_gtFine_polygons.json"
    content = {"imgHeight": size[0], "imgWidth": size[1], "objects": objects, **fields}
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("classes", ["instance", "all"])
def test_both_readers_give_the_same_masks(folder, classes):
    painted, read = (load(folder, "train", kind, classes) for kind in ("polygons", "instances"))
    assert len(painted.image_ids) == len(read.image_ids) == TRAIN
    count = 0
    for image_id in painted.image_ids:
        masks, class_ids = painted.load_mask(image_id)
        others, other_ids = read.load_mask(image_id)
        np.testing.assert_array_equal(class_ids, other_ids)
        np.testing.assert_array_equal(masks, others)
        assert masks.shape == (*SIZE, len(class_ids)) and masks.dtype == bool
        assert class_ids.dtype == np.int32
        assert masks.any(axis=(0, 1)).all() and masks.sum(axis=2).max(initial=0) <= 1
        count += len(class_ids)
        if classes == "all":  # each pixel has a label
            assert (masks.sum(axis=2) == 1).all()
    assert count > 2 * TRAIN


def test_painting_is_that_of_the_official_tool(folder):
    official = pytest.importorskip("cityscapesscripts.preparation.json2instanceImg")
    for file in folder.glob("gtFine/*/*/*_polygons.json"):
        annotation = official.Annotation()
        annotation.fromJsonFile(str(file))
        expected = np.asarray(official.createInstanceImage(annotation, "ids"))
        np.testing.assert_array_equal(paint_polygons(file), expected)


def test_labels_are_the_official_ones():
    official = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    assert LABEL_IDS == {label.name: label.id for label in official}
    evaluated = [label.id for label in official if label.hasInstances and not label.ignoreInEval]
    assert list(CLASSES["instance"]) == evaluated


def test_later_objects_cover_earlier_ones(tmp_path):
    objects = [
        {"label": "road", "polygon": square(0, 0, 16)},
        {"label": "car", "polygon": square(2, 2, 6)},
        {"label": "car", "polygon": square(5, 2, 6)},
        {"label": "person", "polygon": square(2, 10, 3), "deleted": 1},
        {"label": "license plate", "polygon": square(6, 3, 2)},
        {"label": "cargroup", "polygon": square(0, 14, 4)},
        {"label": "polegroup", "polygon": square(10, 14, 2)},
    ]
    expected = np.zeros((20, 30), int)
    expected[:16, :16] = 7
    expected[2:8, 2:8] = 26000
    expected[2:8, 5:11] = 26001
    expected[14:18, :4] = 26
    expected[14:16, 10:12] = 18
    file = write_polygons(tmp_path, objects)
    np.testing.assert_array_equal(paint_polygons(file), expected)

    dataset = load(tmp_path)
    masks, class_ids = dataset.load_mask(0)
    car = dataset.map_source_class_id("cityscapes.26")
    assert class_ids.tolist() == [-car, car, car]  # the group is a crowd
    for index, value in enumerate((26, 26000, 26001)):
        np.testing.assert_array_equal(masks[..., index], expected == value)

    everything = load(tmp_path, classes="all")
    _, class_ids = everything.load_mask(0)
    names = [everything.class_names[abs(class_id)] for class_id in class_ids]
    assert names == ["unlabeled", "road", "polegroup", "car", "car", "car"]
    assert (class_ids < 0).tolist() == [False] * 3 + [True, False, False]


def test_classes(folder):
    dataset = load(folder)
    names = ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
    assert dataset.class_names == ["BG", *names]
    assert [dataset.get_source_class_id(k, "cityscapes") for k in dataset.class_ids[1:]] == [
        *(24, 25, 26, 27, 28, 31, 32, 33)
    ]
    everything = load(folder, classes="all")
    assert everything.class_names == ["BG", *LABELS] and everything.num_classes == 35


def test_cities_and_limit(folder):
    dataset = load(folder, cities=["bestadt"])
    assert {info["city"] for info in dataset.image_info} == {"bestadt"}
    assert dataset.image_reference(0) == "bestadt_000000_000019"
    assert len(load(folder, limit=2).image_ids) == 2
    assert len(load(folder, limit=0).image_ids) == TRAIN
    assert dataset.load_image(0).shape == (*SIZE, 3)
    assert "3 images of 1 cities, 8 classes" in dataset.summary()


def test_a_16_bit_and_a_32_bit_image_of_ids(tmp_path):
    ids = np.array([[0, 7, 26], [26000, 26001, 33011]])
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(ids.astype(np.int32)).save(tmp_path / "deeper.tiff")
    for name, mode in (("deep.png", "I;16"), ("deeper.tiff", "I")):
        assert Image.open(tmp_path / name).mode == mode
        np.testing.assert_array_equal(read_instance_ids(tmp_path / name), ids)


@pytest.mark.parametrize("value", [34, 999, 7000, 23001, 34000, 60000])
def test_what_is_no_instance_id_is_refused(tmp_path, value):
    Image.fromarray(np.full((2, 3), value, np.uint16)).save(tmp_path / "ids.png")
    with pytest.raises(ValueError, match=rf"ids\.png.*received {value}"):
        read_instance_ids(tmp_path / "ids.png")


def test_files_that_hold_no_instance_ids(tmp_path):
    Image.new("L", (3, 2)).save(tmp_path / "labels.png")
    with pytest.raises(ValueError, match="labels.png.*mode 'L'"):
        read_instance_ids(tmp_path / "labels.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="broken.png"):
        read_instance_ids(tmp_path / "broken.png")
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_instance_ids(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"label": "zebra", "polygon": square(0, 0, 4)}, "object 1, field 'label'.*'zebra'"),
        ({"label": "group", "polygon": square(0, 0, 4)}, "field 'label'"),
        ({"polygon": square(0, 0, 4)}, "field 'label'.*None"),
        ({"label": "car"}, "object 1, field 'polygon'.*None"),
        ({"label": "car", "polygon": [[0, 0], [3, 3]]}, "at least 3 points"),
        ({"label": "car", "polygon": [0, 0, 3, 3]}, r"points \[x, y\]"),
        ({"label": "car", "polygon": [[0, 0], [3, 3], [1e6, 2]]}, "20 x 30.*1000000"),
        ({"label": "car", "polygon": [[0, 0], [3, 3], ["1", 2]]}, r"\['1', 2\]"),
        ("car", "object 1: expected label and polygon"),
    ],
)
def test_odd_objects_are_refused(tmp_path, entry, message):
    file = write_polygons(tmp_path, [{"label": "sky", "polygon": square(0, 0, 4)}, entry])
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path).load_mask(0)
    assert str(file) in str(caught.value)


def test_odd_files_are_refused(tmp_path):
    file = write_polygons(tmp_path, [], imgHeight=21)
    with pytest.raises(ValueError, match="20 x 30; received 21 x 30"):
        load(tmp_path).load_mask(0)
    write_polygons(tmp_path, [], imgWidth="30")
    with pytest.raises(ValueError, match="'imgWidth': expected .* received 20 and '30'"):
        paint_polygons(file)
    write_polygons(tmp_path, {})
    with pytest.raises(ValueError, match="field 'objects'"):
        paint_polygons(file)
    file.write_text("{")
    with pytest.raises(ValueError, match="not json"):
        paint_polygons(file)
    (tmp_path / "leftImg8bit/train/x/x_000000_000019_leftImg8bit.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="leftImg8bit.png: cannot be read as an image"):
        load(tmp_path)


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="test.*there is train, val"):
        load(folder, "test")
    with pytest.raises(ValueError, match="cities.*'adorf'.*'nowhere'"):
        load(folder, cities=["adorf", "nowhere"])
    with pytest.raises(ValueError, match="annotations: .*'polygons', 'instances'.*'boxes'"):
        load(folder, annotations="boxes")
    with pytest.raises(ValueError, match="classes: .*'instance', 'all'"):
        load(folder, classes="8")
    with pytest.raises(ValueError, match="limit: .*-1"):
        load(folder, limit=-1)
    file = write_polygons(tmp_path, [])
    with pytest.raises(FileNotFoundError, match="instanceIds.png.*1 such files"):
        load(tmp_path, annotations="instances")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="polygons.json"):
        load(tmp_path)


def test_labels_and_instance_ids():
    assert parse_label("cargroup") == (26, True) and parse_label("car") == (26, False)
    assert parse_label("polegroup") == (18, False) and parse_label("license plate") == (-1, False)
    assert parse_label("group") is None and parse_label("zebragroup") is None
    assert split_instance_id(26) == (26, True) and split_instance_id(26003) == (26, False)
    assert split_instance_id(7) == (7, False)


class TestDrawnScenes:
    def test_the_same_seed_gives_the_same_bytes(self, tmp_path):
        def files(name):
            return {
                path.relative_to(tmp_path / name): path.read_bytes()
                for path in (tmp_path / name).rglob("*.*")
            }

        for name, count, seed in (("a", 3, 1), ("b", 4, 1), ("c", 3, 2)):
            write_lookalike(tmp_path / name, count, 1, SIZE, seed=seed)
        assert len(files("a")) == 4 * 4  # image, polygons, instance and label ids
        for path, data in files("a").items():
            assert files("b")[path] == data
            assert files("c")[path] != data or "Ids" in path.name

    def test_special_images(self, folder):
        dataset = load(folder)
        kinds = {}
        for k in range(PERIOD):
            _, class_ids = dataset.load_mask(image_number(dataset, k))
            kinds[k] = (len(class_ids), int((class_ids < 0).sum()))
        assert kinds.pop(EMPTY_IMAGE) == (0, 0)
        assert kinds.pop(GROUP_IMAGE)[1] == 1
        assert all(crowds == 0 for _, crowds in kinds.values())

    def test_hidden_deleted_and_plates(self):
        _, polygons, ids = draw_scene(SIZE, 0, "train", HIDDEN_IMAGE)
        people = [o for o in polygons["objects"] if o["label"] == "person" and "deleted" not in o]
        visible = {value for value in np.unique(ids).tolist() if value // 1000 == 24}
        assert len(visible) < len(people)
        labels = {
            o["label"] for k in range(PERIOD) for o in draw_scene(SIZE, 0, "val", k)[1]["objects"]
        }
        assert {"license plate", "car", "rider", "bicycle", "ego vehicle"} <= labels

    def test_instances_cover_each_other(self):
        covered = 0
        for k in range(PERIOD):
            _, polygons, ids = draw_scene(SIZE, 0, "train", k)
            for label in ("car", "bus", "person"):
                for n, entry in enumerate(
                    o for o in polygons["objects"] if o["label"] == label and "deleted" not in o
                ):
                    alone = {**polygons, "objects": [entry]}
                    whole = _area(alone)
                    covered += 0 < (ids == 1000 * LABEL_IDS[label] + n).sum() < 0.9 * whole
        assert covered >= 3

    def test_wrong_sizes_and_other_cities(self, tmp_path):
        with pytest.raises(ValueError, match=r"image_size.*\(32, 64\)"):
            draw_scene((32, 64), 0, "train", 0)
        with pytest.raises(ValueError, match="train: .*-1"):
            write_lookalike(tmp_path, -1, 0)
        (tmp_path / "leftImg8bit/train/aachen").mkdir(parents=True)
        with pytest.raises(ValueError, match="aachen"):
            write_lookalike(tmp_path, 1, 0)


def _area(polygons: dict) -> int:
    image = Image.new("1", (polygons["imgWidth"], polygons["imgHeight"]))
    from PIL import ImageDraw

    points = [tuple(point) for point in polygons["objects"][0]["polygon"]]
    ImageDraw.Draw(image).polygon(points, fill=1)
    return int(np.asarray(image).sum())
