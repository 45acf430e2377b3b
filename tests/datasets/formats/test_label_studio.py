"""Label Studio's exports, brushes included."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.datasets.formats.packed_runs import unpack
from tests.datasets.formats.support import (
    HEIGHT,
    WIDTH,
    box_mask,
    ellipse_mask,
    iou,
    load,
    masks_of,
    picture,
    write_json,
)

SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]  # percents
MASK = box_mask(6, 4, 30, 20)


def pack(values, word=8, sizes=(3, 4, 8, 16)) -> list[int]:
    """Packed run lengths, written bit by bit: runs as such, single values as literals."""
    bits = f"{len(values):032b}{word - 1:05b}" + "".join(f"{s - 1:04b}" for s in sizes)
    i = 0
    while i < len(values):
        j = i
        while j < len(values) and values[j] == values[i] and j - i < 1 << 16:
            j += 1
        if j - i > 1:
            choice = next(k for k, s in enumerate(sizes) if j - i - 1 < 1 << s)
            bits += f"1{choice:02b}{j - i - 1:0{sizes[choice]}b}{values[i]:0{word}b}"
        else:
            while (
                j < len(values)
                and j - i < 8
                and (j + 1 == len(values) or values[j] != values[j + 1])
            ):
                j += 1
            bits += f"000{j - i - 1:03b}" + "".join(f"{v:0{word}b}" for v in values[i:j])
        i = j
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def brush(mask: np.ndarray) -> list[int]:
    return pack(np.repeat(np.where(mask, 255, 0).ravel(), 4).tolist())


def result(kind, value, label="cat", **more):
    return {
        "id": more.pop("id", "r1"),
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, kind: [label]} if label else value,
        **more,
    }


def task(*results, image="/data/upload/1/8ab12cd3-a.jpg", **more):
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": list(results)}
    return {
        "id": 7,
        "data": {"image": image},
        "annotations": [annotation],
        "predictions": [],
        **more,
    }


def write(folder, *tasks, pictures=("a.jpg",)):
    for name in pictures:
        picture(folder / name)
    return write_json(folder / "project-1.json", list(tasks))


def test_every_region_is_read_as_it_is_drawn(tmp_path, capsys):
    write(
        tmp_path,
        task(
            result("polygonlabels", {"points": SQUARE, "closed": True}),
            result(
                "rectanglelabels",
                {"x": 50, "y": 50, "width": 25, "height": 20, "rotation": 0},
                "box",
            ),
            result(
                "rectanglelabels",
                {"x": 50, "y": 25, "width": 30, "height": 10, "rotation": 90},
                "turned",
            ),
            result(
                "ellipselabels",
                {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30},
                "round",
            ),
            result("brushlabels", {"format": "rle", "rle": brush(MASK)}, "brush"),
            result("keypointlabels", {"x": 5, "y": 5}, "point"),
            {"type": "choices", "value": {"choices": ["good"]}, "id": "c"},
        ),
    )
    dataset = load(tmp_path)
    assert dataset.class_names == ["BG", "box", "brush", "cat", "round", "turned"]
    found = masks_of(dataset, "a.jpg")
    assert np.array_equal(found["cat"][0], MASK) and np.array_equal(found["brush"][0], MASK)
    assert np.array_equal(found["box"][0], box_mask(30, 20, 45, 28))
    # Around its first corner, clockwise: it lies to the left of and below it.
    assert np.array_equal(found["turned"][0], box_mask(26, 10, 30, 28))
    assert iou(found["round"][0], ellipse_mask(30, 20, 12, 4, 30)) > 0.93
    said = capsys.readouterr().out
    assert "1 keypoint regions left out" in said and "1 choices results left out" in said


def test_a_label_of_its_own_control_and_the_short_export(tmp_path):
    region = result("polygon", {"points": SQUARE}, label=None, id="r9")
    named = {"id": "r9", "type": "labels", "value": {"points": SQUARE, "labels": ["dog"]}}
    write(tmp_path / "two", task(region, named))
    assert np.array_equal(masks_of(load(tmp_path / "two"), "a.jpg")["dog"][0], MASK)
    short = {
        "points": SQUARE,
        "polygonlabels": ["dog"],
        "original_width": WIDTH,
        "original_height": HEIGHT,
    }
    write(tmp_path / "short", {"id": 3, "image": "/data/upload/8ab12cd3-a.jpg", "label": [short]})
    assert np.array_equal(masks_of(load(tmp_path / "short"), "a.jpg")["dog"][0], MASK)


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("/data/upload/1/8ab12cd3-a.jpg", "images/8ab12cd3-a.jpg"),
        ("/data/upload/1/8ab12cd3-a.jpg", "a.jpg"),
        ("/data/local-files/?d=photos%5Cday1/a.jpg", "day1/a.jpg"),
        ("s3://bucket/x/a%20b.jpg", "a b.jpg"),
        ("https://host/x/a.jpg?token=1", "a.jpg"),
    ],
)
def test_the_picture_is_found_by_its_name(tmp_path, image, file):
    write(
        tmp_path, task(result("polygonlabels", {"points": SQUARE}), image=image), pictures=(file,)
    )
    assert load(tmp_path).image_info[0]["path"] == str(tmp_path / file)


def test_one_annotation_of_a_task_counts(tmp_path, capsys):
    given = task(result("polygonlabels", {"points": SQUARE}))
    bad = {"was_cancelled": True, "result": []}
    better = {
        "ground_truth": True,
        "was_cancelled": False,
        "result": given["annotations"][0]["result"] * 2,
    }
    given["annotations"] = [bad, *given["annotations"], better]
    open_task = {"id": 8, "data": {"image": "b.jpg"}, "annotations": []}
    write(tmp_path, given, open_task, pictures=("a.jpg", "b.jpg"))
    dataset = load(tmp_path)
    assert len(dataset.image_ids) == 1 and len(dataset.annotations(0)) == 2
    said = capsys.readouterr().out
    assert "1 further annotations of a task left out" in said
    assert "1 tasks without an annotation left out" in said


@pytest.mark.parametrize(
    "bad",
    [
        result("polygonlabels", {"points": [[1, 2], ["x", 3]]}),
        result("rectanglelabels", {"x": 1, "y": 2, "width": None, "height": 3}),
        result("ellipselabels", {"x": 1, "y": 2}),
        result("brushlabels", {"rle": [1, 2, 3]}),
        result("brushlabels", {"rle": "abc"}),
        result("brushlabels", {"rle": pack([0] * 100)}),
        result("brushlabels", {"rle": brush(MASK)[:-2]}),
        result("polygonlabels", {"points": SQUARE}, image_rotation=90),
    ],
)
def test_bad_regions_are_named_and_can_be_skipped(tmp_path, bad):
    write(tmp_path, task(result("polygonlabels", {"points": SQUARE}), {**bad, "id": "bad1"}))
    with pytest.raises(ValueError, match=r"project-1\.json, task 7, region bad1"):
        load(tmp_path)
    assert len(load(tmp_path, skip_invalid=True).annotations(0)) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (task(result("polygonlabels", {"points": SQUARE}, label=None)), "expected a label"),
        (task(result("polygonlabels", {"points": SQUARE}, original_width=0)), "'original_width'"),
        (
            task(result("polygonlabels", {"points": SQUARE}), image="/x/none.jpg"),
            "expected its image",
        ),
        (
            task(result("polygonlabels", {"points": SQUARE}), image="../../etc/passwd"),
            "expected its image",
        ),
        (
            task(
                *[result("polygonlabels", {"points": SQUARE}, original_width=w) for w in (60, 61)]
            ),
            "one size",
        ),
        (task(annotations={"original_width": 1}), "field 'annotations'"),
        ("original_width", "task number 0: expected an object"),
    ],
)
def test_bad_tasks_are_named(tmp_path, bad, message):
    good = task(result("polygonlabels", {"points": SQUARE}), image="b.jpg")
    write(tmp_path, bad, good, pictures=("a.jpg", "b.jpg"))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        load(tmp_path)
    assert "project-1.json" in str(error.value)


@pytest.mark.parametrize("word", [1, 5, 8])
def test_packed_runs_come_back(word):
    rng = np.random.default_rng(word)
    values = np.repeat(rng.integers(0, 1 << word, 40), rng.integers(1, 30, 40)).tolist()
    assert unpack(pack(values, word), len(values)).tolist() == values


def test_packed_runs_without_end_are_refused():
    with pytest.raises(ValueError, match="4294967295 values"):
        unpack([255] * 20, 100)
