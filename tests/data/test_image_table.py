"""Images in columns are those of a list of dicts, to all that reads and changes data sets."""

from __future__ import annotations

import copy
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mrcnn.checkpoints.fingerprints import fingerprint
from mrcnn.data.dataset import Dataset
from mrcnn.data.image_table import ImageInfos
from mrcnn.datasets.coco import CocoDataset
from mrcnn.files import json_items

IDS = [7, "b", 3, "007", -1, 12]


def write(folder: Path, ids: list[Any], name: str = "a") -> Path:
    """A json of these images, each with twice as many objects as its number."""
    (folder / name / "x").mkdir(parents=True)
    images, annotations = [], []
    for number, id in enumerate(ids):
        file_name = f"{'x/' if number % 3 == 1 else ''}{number}ä.png"
        Image.new("RGB", (9, 8)).save(folder / name / file_name)
        images.append({"id": id, "file_name": file_name, "width": 9, "height": 8})
        images[-1] |= {"upright": True} if number == 2 else {}
        corners = [1, 1, 6, 1, 6, 5, 1, 5]
        for k in range(2 * number):
            entry = {"image_id": id, "segmentation": [corners], "bbox": [1, 1, 5, 4]}
            annotations.append({**entry, "id": len(annotations), "category_id": 1 + k % 2})
    random.Random(0).shuffle(annotations)
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / f"{name}.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    return [write(folder, IDS), write(folder, [99, 3, 12], "b")]


def load(files: list[Path], in_columns: bool, dataset: CocoDataset | None = None) -> CocoDataset:
    """Two files with images of the same ids, and images of another source between them."""
    dataset = CocoDataset() if dataset is None else dataset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_items, "MIN_BYTES", 0 if in_columns else 1 << 20)
        dataset.load_coco_json(files[0], files[0].with_suffix(""))
        dataset.add_image("other", 3, "nowhere.png", note=[1])
        dataset.load_coco_json(files[1], files[1].with_suffix(""), class_ids=[2])
    dataset.prepare()
    return dataset


def as_dicts(infos: Any) -> list[Any]:
    """Plain dicts and lists."""
    return [{**info, "annotations": list(info.get("annotations", ()))} for info in infos]


def test_it_holds_what_a_list_holds(files: list[Path]):
    expected, found = load(files, False), load(files, True)
    assert isinstance(expected.image_info, list) and isinstance(found.image_info, ImageInfos)
    assert found.image_info == expected.image_info and expected.image_info == found.image_info
    assert as_dicts(found.image_info) == as_dicts(expected.image_info)
    assert [list(info) for info in found.image_info] == [list(i) for i in expected.image_info]
    assert {type(value) for info in found.image_info for value in info.values()} <= {
        *(type(value) for info in expected.image_info for value in info.values()),
        type(found.image_info[0]["annotations"]),
    }
    assert found.summary() == expected.summary() and found.left_out == expected.left_out
    assert fingerprint(found) == fingerprint(expected)
    assert found.image_info != expected.image_info[1:] and found.image_info != "abc"
    assert str(found.image_info) == str(expected.image_info)


def test_images_are_found_by_source_and_id(files: list[Path]):
    expected, found = load(files, False), load(files, True)
    right = expected.image_from_source_map
    assert right["coco.3"] == 7 and right["other.3"] == 6  # the last of two with one id
    assert dict(found.image_from_source_map) == right
    assert len(found.image_from_source_map) == len(right)
    assert sorted(found.image_from_source_map) == sorted(right)
    assert str(found.image_from_source_map) == str(dict(found.image_from_source_map))
    missing = ("coco.4", "coco.b.c", "coco", "", "x.3", "coco.03", "coco.9" * 900, "coco.+3", 3)
    for key in missing:
        assert key not in found.image_from_source_map
        assert found.image_from_source_map.get(key) is None
        with pytest.raises(KeyError):
            found.image_from_source_map[key]  # type: ignore[index]


def test_what_is_written_into_a_dict_stays(files: list[Path]):
    found = load(files, True)
    infos = found.image_info
    infos[0]["note"] = 5
    assert infos[0]["note"] == 5 and infos[0] is infos[0]
    held = infos[1]
    infos[1].update(width=1)
    assert held["width"] == infos[1]["width"] == 1
    del infos[2]["upright"]
    infos[3].pop("path")
    infos[4].setdefault("a", []).append(2)
    infos[5] |= {"height": 3}
    infos[5].clear()
    assert "upright" not in infos[2] and "path" not in infos[3] and infos[4]["a"] == [2]
    assert infos[5] == {}
    for info in infos:
        info["seen"] = True
    assert all(info["seen"] for info in infos)
    copied = pickle.loads(pickle.dumps(found)).image_info
    assert copied == infos and copied[0]["note"] == 5
    infos[0]["id"], infos[5]["id"], infos[5]["source"] = "new", 1, "coco"
    found.prepare()
    ids = found.image_from_source_map
    assert ids["coco.new"] == 0 and "coco.7" not in ids and ids["coco.1"] == 5


def test_a_dict_of_it_is_a_dict(files: list[Path]):
    info = load(files, True).image_info[0]
    assert isinstance(info, dict) and json.loads(json.dumps(info, default=list)) == {
        **info,
        "annotations": [],
    }
    for copied in (dict(info), info.copy(), copy.copy(info), copy.deepcopy(info), {**info}):
        assert type(copied) is dict and copied == info
    assert type(pickle.loads(pickle.dumps(info))) is dict
    copied["x"] = 1
    assert "x" not in info


@pytest.mark.parametrize("in_columns", [False, True])
def test_a_subclass_sees_each_image(files: list[Path], in_columns: bool):
    class Own(CocoDataset):
        def add_image(self, source, image_id, path, **kwargs):
            if image_id != "b":
                super().add_image(source, image_id, path, **kwargs, mine=True)

    found = load(files, in_columns, Own())
    assert len(found.image_info) == 8 and all(info["mine"] for info in found.image_info)


INDEX = st.integers(-12, 12)
SLICE = st.slices(10)
CHANGES = st.one_of(
    st.tuples(st.just("append")),
    st.tuples(st.just("insert"), INDEX),
    st.tuples(st.just("append own"), INDEX),
    st.tuples(st.just("set"), INDEX),
    st.tuples(st.just("set own"), INDEX, INDEX),
    st.tuples(st.just("set slice"), SLICE, st.integers(0, 4)),
    st.tuples(st.just("delete"), INDEX | SLICE),
    st.tuples(st.just("pop"), INDEX),
    st.tuples(st.just("write"), INDEX, st.integers()),
    st.tuples(st.just("keep slice"), SLICE),
    st.tuples(st.just("remove"), INDEX),
    st.tuples(st.sampled_from(["reverse", "sort", "shuffle", "add", "add before", "double"])),
)


def change(infos: Any, step: tuple[Any, ...], value: Any) -> tuple[Any, Any]:
    """The list after a change, and what the change raised or returned."""
    name, *args = step
    returned: Any = None
    try:
        match name:
            case "append":
                infos.append(value)
            case "insert":
                infos.insert(args[0], value)
            case "append own":
                infos.append(infos[args[0]])
            case "set":
                infos[args[0]] = value
            case "set own":
                infos[args[0]] = infos[args[1]]
            case "set slice":
                infos[args[0]] = [value] * args[1]
            case "delete":
                del infos[args[0]]
            case "pop":
                returned = infos.pop(args[0])["id"]
            case "write":
                infos[args[0]]["written"] = args[1]
            case "keep slice":
                infos = infos[args[0]]
            case "remove":
                infos.remove(infos[args[0]])
            case "reverse":
                infos.reverse()
            case "sort":
                infos.sort(key=lambda info: str(info["id"]), reverse=True)
            case "shuffle":
                random.Random(1).shuffle(infos)
            case "add":
                infos = infos + [value]  # noqa: RUF005 - the sum is what is tried
            case "add before":
                infos = [value] + infos  # noqa: RUF005
            case "double":
                infos = infos * 2 if len(infos) < 20 else infos.copy()
    except (IndexError, ValueError) as error:
        returned = type(error)
    return infos, returned


@given(st.lists(CHANGES, max_size=8))
def test_it_changes_as_a_list_does(files: list[Path], steps: list[tuple[Any, ...]]):
    expected = [dict(info) for info in load(files, False).image_info]
    found = load(files, True).image_info
    for number, step in enumerate(steps):
        expected, right = change(expected, step, {"id": number, "source": "own"})
        found, returned = change(found, step, {"id": number, "source": "own"})
        assert (returned, found) == (right, expected)
    held = [next(k for k, other in enumerate(found) if other is info) for info in found]
    of_list = [next(k for k, other in enumerate(expected) if other is i) for i in expected]
    assert held == of_list  # which places share a dict
    assert isinstance(found, ImageInfos)
    dataset = Dataset()
    dataset.image_info = pickle.loads(pickle.dumps(found))
    dataset.prepare()
    right = {f"{info['source']}.{info['id']}": k for k, info in enumerate(expected)}
    assert dict(dataset.image_from_source_map) == right


def test_a_copy_for_another_process_is_small(tmp_path: Path):
    dataset = load([write(tmp_path, list(range(100))), write(tmp_path, ["x", 1], "b")], True)
    objects = 2 * sum(range(100))
    assert len(pickle.dumps(dataset)) < 22 * objects + 70 * 100 + 5000


def test_faults_are_those_of_a_list(tmp_path: Path):
    def messages(change: Any) -> list[str]:
        file = tmp_path / "a.json"
        content = copy.deepcopy(right)
        change(content["images"])
        file.write_text(json.dumps(content))
        found = []
        for in_columns in (False, True):
            with pytest.raises((ValueError, FileNotFoundError)) as caught:
                load([file, file], in_columns)
            found.append(f"{type(caught.value)} {caught.value}")
        return found

    right = json.loads(write(tmp_path, IDS).read_text())

    def twice(images: list[Any]) -> None:
        images[3]["id"], images[5]["id"], images[4]["height"] = "b", "b", 0

    def of_bad_size(images: list[Any]) -> None:
        images[3]["id"], images[2]["height"] = "b", "high"

    def outside(images: list[Any]) -> None:
        images[4]["file_name"], images[1]["file_name"] = "x/../../1", "no.png"
        images[2]["file_name"] = "../" + images[2]["file_name"]

    def missing(images: list[Any]) -> None:
        images[4]["file_name"], images[2]["file_name"] = "x/no.png", "zz/no.png"

    def windows(images: list[Any]) -> None:
        images[1]["file_name"] = images[1]["file_name"].replace("/", "\\")

    for fault, words in (
        (twice, "each image id once; b is the id of x/1ä.png and of 3ä.png"),
        (of_bad_size, "image 3, field 'height'"),
        (outside, "image 3, field 'file_name': expected a path inside"),
        (missing, "image 3: expected the file 'zz/no.png'"),
        (windows, "separators of Windows"),
    ):
        in_list, in_columns = messages(fault)
        assert in_list == in_columns and words in in_list
