"""What the fields of a COCO json are, in whatever form they are written."""

from __future__ import annotations

import math

import pytest

from mrcnn.data import coco_fields
from mrcnn.data.coco_fields import (
    EMPTY_PARTS,
    FLAT,
    NULL,
    NUMBER_NAME,
    PAIRS,
    PLACEHOLDER,
    TEXT_NUMBER,
    WHOLE_FLOAT,
    read_annotation,
    read_category,
    read_image,
)

TRIANGLE = [2, 2, 9, 2, 9, 9]
ANNOTATION = {"id": 1, "image_id": 2, "category_id": 3, "iscrowd": 0, "area": 24.5}
ANNOTATION |= {"bbox": [2, 2, 7, 7], "segmentation": [TRIANGLE]}
IMAGE = {"id": 2, "file_name": "a.png", "height": 20, "width": 30}
NONE = object()  # the field is left out


@pytest.mark.parametrize(
    ("read", "entry"),
    [
        (read_annotation, ANNOTATION),
        (read_annotation, {**ANNOTATION, "id": "a1", "image_id": "007", "note": "kept"}),
        (read_image, IMAGE),
        (read_category, {"id": 3, "name": "nut", "supercategory": None}),
    ],
)
def test_what_is_in_cocos_form_is_returned_as_it_is(read, entry):
    reading = read(entry)
    assert reading.entry is entry and not reading.forms and not reading.problems


@pytest.mark.parametrize(
    ("field", "value", "expected", "form"),
    [
        ("id", 7.0, 7, WHOLE_FLOAT),
        ("image_id", "0", 0, TEXT_NUMBER),
        ("image_id", "-3.0", -3, TEXT_NUMBER),
        ("category_id", 1.0, 1, WHOLE_FLOAT),
        ("iscrowd", "0", 0, TEXT_NUMBER),
        ("iscrowd", "1", 1, TEXT_NUMBER),
        ("iscrowd", 1.0, 1, WHOLE_FLOAT),
        ("iscrowd", False, 0, None),
        ("iscrowd", True, 1, None),
        ("iscrowd", None, NONE, NULL),
        ("area", "224", 224, TEXT_NUMBER),
        ("area", "1.5e2", 150, TEXT_NUMBER),
        ("area", None, NONE, NULL),
        ("bbox", ["1", 2, 3.5, "4.5"], [1, 2, 3.5, 4.5], TEXT_NUMBER),
        ("bbox", None, NONE, NULL),
        ("bbox", [], NONE, None),
        ("segmentation", TRIANGLE, [TRIANGLE], FLAT),
        ("segmentation", [str(value) for value in TRIANGLE], [TRIANGLE], FLAT),
        ("segmentation", [[str(value) for value in TRIANGLE]], [TRIANGLE], TEXT_NUMBER),
        ("segmentation", [[[2, 2], [9, 2], [9, 9]]], [TRIANGLE], PAIRS),
        ("segmentation", [[2, 2], [9, 2], [9, 9]], [TRIANGLE], PAIRS),
        ("segmentation", [[], TRIANGLE], [TRIANGLE], EMPTY_PARTS),
        ("segmentation", [[]], NONE, PLACEHOLDER),
        ("segmentation", [[0.0]], NONE, PLACEHOLDER),
        ("segmentation", [0], NONE, PLACEHOLDER),
        ("segmentation", [], NONE, None),
        ("segmentation", None, NONE, None),
        (
            "segmentation",
            {"size": ["2", 2.0], "counts": [1.0, "3"]},
            {"size": [2, 2], "counts": [1, 3]},
            TEXT_NUMBER,
        ),
    ],
)
def test_other_forms_are_read_without_loss_and_named(field, value, expected, form):
    entry = {**ANNOTATION, field: value}
    reading = read_annotation(entry)
    assert not reading.problems
    assert reading.forms == (() if form is None else ((field, form),))
    rest = {name: kept for name, kept in ANNOTATION.items() if name != field}
    assert reading.entry == (rest if expected is NONE else {**rest, field: expected})
    assert entry[field] is value  # the file's entry is left as it was
    if expected is not NONE:
        assert type(reading.entry[field]) is type(expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("id", value) for value in (None, "", True, 1.5, math.nan, [1], 2**63, 1e300)),
        *(("iscrowd", value) for value in ("x", "", 2, -1, 0.5, [0], math.nan, "true")),
        *(("area", value) for value in ("", "x", True, -1, [3], math.nan, math.inf, 10**11)),
        *(("bbox", value) for value in ("", {}, 3, [1, 2, 3], [[5, 11, 14, 17]], [1, 2, -3, 4])),
        *(("bbox", [1, 2, 3, value]) for value in (None, True, "x", math.nan, 10**30)),
        *(("segmentation", value) for value in ("", "circle", 3, True, [TRIANGLE, 3], ["x"] * 6)),
        *(("segmentation", value) for value in ([[TRIANGLE]], [{}], {"size": [2]}, {"counts": []})),
        ("segmentation", {"size": [10**6, 10**6], "counts": [10**12]}),
        ("segmentation", {"size": [2, 2], "counts": 4}),
    ],
)
def test_what_is_none_of_these_is_a_problem_that_says_what_was_expected(field, value):
    reading = read_annotation({**ANNOTATION, field: value})
    (problem,) = reading.problems
    assert problem.field == field and field not in reading.entry
    sentence = problem.sentence("x.json: annotation 1")
    assert sentence.startswith(f"x.json: annotation 1, field {field!r}: expected ")
    assert repr(value)[:40] in sentence


@pytest.mark.parametrize("field", ["id", "image_id", "category_id"])
def test_a_field_that_is_missing_is_said_to_be(field):
    entry = {name: value for name, value in ANNOTATION.items() if name != field}
    (problem,) = read_annotation(entry).problems
    assert problem.sentence("here") == f"here: expected the field {field!r}; it is missing."


def test_an_entry_that_is_no_object_is_a_problem():
    (problem,) = read_annotation([1]).problems
    assert problem.sentence("here") == "here: expected an object; received [1]."


def test_images_have_whole_sides_of_a_size_that_can_be_read():
    reading = read_image({**IMAGE, "height": 96.0, "width": "64", "file_name": 12})
    assert reading.entry == {**IMAGE, "height": 96, "width": 64, "file_name": "12"}
    forms = (("file_name", NUMBER_NAME), ("height", WHOLE_FLOAT), ("width", TEXT_NUMBER))
    assert reading.forms == forms
    for value in (None, "", 0, -4, 9.5, True, math.nan, [3]):
        assert read_image({**IMAGE, "width": value}).problem("width")
    assert read_image({**IMAGE, "width": 10**9}).problem("height, width")
    assert read_image({"id": 1, "height": 2, "width": 3}).problem("file_name")
    assert not read_image({"id": 1, "height": 2, "width": 3}, with_file=False).problems


def test_a_category_has_an_id_and_a_printable_name():
    assert read_category({"id": "3", "name": ""}).entry == {"id": 3, "name": ""}
    for name in (None, 3, "\x1b[2J"):
        assert read_category({"id": 3, "name": name}).problem("name")


def test_read_id_refuses_what_is_none():
    with pytest.raises(coco_fields.FieldError, match="an id"):
        coco_fields.read_id(1.5)
