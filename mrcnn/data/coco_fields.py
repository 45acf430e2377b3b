"""What a field of a COCO json is: a flag, an id, a size, an area, a box, a segmentation.

Tools write the same thing in several forms: `"0"` or `0.0` or `false` for 0, a flat list for one
polygon, `[[]]` for no mask. The functions here decide what a value means, for everything that
reads annotations: training, the doctor, its fixes, and the evaluations. What can be read without
loss is read, and its form is named, so that it can be counted. All else is a `Problem`.

An entry that is in COCO's own form is returned as it is, not as a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mrcnn.files.untrusted import MAX_IMAGE_PIXELS, is_finite

Entry = dict[str, Any]  # of 'images', 'annotations' or 'categories'

# pycocotools leaves objects of a larger area out; no coordinate in an image comes near.
MAX_AREA = 1e10
# pycocotools sorts ids in arrays of 64 bits.
MAX_ID = 2**63
POLYGON_MIN_POINTS = 3

# The forms that are read as what they mean. Fields that are null are read as not given.
TEXT_NUMBER = "a number written as text"
WHOLE_FLOAT = "a whole number written as a float"
NUMBER_NAME = "a name written as a number"
NULL = "null for a value that is not given"
FLAT = "a flat list for one polygon"
PAIRS = "pairs [x, y] for a polygon's list"
PLACEHOLDER = "a placeholder for no mask"
EMPTY_PARTS = "polygons without a point beside others"

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?\d{1,19}(\.0*)?\s*", re.ASCII)
# Not "007": that may be a name.
_ID_NUMBER = re.compile(r"-?(0|[1-9]\d{0,18})(\.0*)?", re.ASCII)


class FieldError(ValueError):
    """A value is not what its field needs; the text says what was expected."""


@dataclass(frozen=True)
class Problem:
    """A field that cannot be read.

    Attributes:
        field: of the entry; "" for the entry itself.
        expected, received: for a message "expected …; received …".
        is_missing: the entry does not have the field.
    """

    field: str
    expected: str
    received: str
    is_missing: bool = False

    def sentence(self, where: str) -> str:
        """For an error; `where` names the file and the entry."""
        if self.is_missing:
            return f"{where}: expected the field {self.field!r}; it is missing."
        field = f", field {self.field!r}" if self.field else ""
        return f"{where}{field}: expected {self.expected}; received {self.received}."


@dataclass(frozen=True)
class Reading:
    """An entry as it was read.

    Attributes:
        entry: with the fields that could be read in COCO's own form; the others are left out.
        forms: (field, form) of each value that was written in another form.
        problems: of the fields that could not be read.
    """

    entry: Entry
    forms: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()

    def problem(self, *fields: str) -> Problem | None:
        """The first problem of some fields."""
        return next((problem for problem in self.problems if problem.field in fields), None)


_PLAIN_NUMBERS = frozenset((int, float))

# A reader of a field returns the value, None where it is not given, and the form it was read from.
_Read = tuple[Any, str | None]


def read_category(entry: Any) -> Reading:
    """Read an entry of 'categories': an id and a printable name."""
    return _read(entry, {"id": _read_id, "name": _read_category_name})


def read_image(entry: Any, with_file: bool = True) -> Reading:
    """Read an entry of 'images': an id, a file name and a size in pixels.

    Args:
        entry: of the json.
        with_file: whether a file name is needed.
    """
    names = {"file_name": _read_file_name} if with_file else {}
    reading = _read(entry, {"id": _read_id, **names, "height": _read_side, "width": _read_side})
    if reading.problem("", "height", "width"):
        return reading
    height, width = reading.entry["height"], reading.entry["width"]
    if height * width <= MAX_IMAGE_PIXELS:
        return reading
    problem = Problem(
        "height, width",
        f"at most {MAX_IMAGE_PIXELS} pixels (the environment variable MRCNN_MAX_IMAGE_PIXELS)",
        f"{height} x {width}",
    )
    return Reading(reading.entry, reading.forms, (*reading.problems, problem))


def read_annotation(entry: Any) -> Reading:
    """Read an entry of 'annotations'.

    'iscrowd', 'area', 'bbox' and 'segmentation' may be missing or null; they are then missing in
    what is returned. A segmentation is a list of polygons, each a list of x, y in turn, or run
    lengths. How long its lists are, and which values they hold, is checked where it is rasterized.
    """
    return _read(
        entry,
        {"id": _read_id, "image_id": _read_id, "category_id": _read_id},
        {
            "iscrowd": _read_flag,
            "area": _read_area,
            "bbox": _read_box,
            "segmentation": _read_segmentation,
        },
    )


def read_id(value: Any) -> int | str:
    """Read an id: a whole number, or a text that is not one.

    >>> read_id(3.0), read_id("3"), read_id("a3"), read_id("003")
    (3, 3, 'a3', '003')

    Raises:
        FieldError: it is neither.
    """
    return _read_id(value)[0]


def shorten(value: Any, length: int = 80) -> str:
    """The `repr` of a value, cut to a length.

    >>> shorten("abcdefgh", 6)
    "'abcd…"
    """
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _read(
    entry: Any,
    required: Mapping[str, Callable[[Any], _Read]],
    optional: Mapping[str, Callable[[Any], _Read]] | None = None,
) -> Reading:
    if not isinstance(entry, dict):
        return Reading({}, (), (Problem("", "an object", shorten(entry)),))
    changed: Entry = {}
    forms: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for field, read in (*required.items(), *(optional or {}).items()):
        if field not in entry:
            if field in required:
                problems.append(Problem(field, "a value", "none", is_missing=True))
            continue
        given = entry[field]
        try:
            value, form = read(given)
        except FieldError as error:
            problems.append(Problem(field, str(error), shorten(given)))
            changed[field] = None
            continue
        if form is not None:
            forms.append((field, form))
        if value is None or value is not given:
            changed[field] = value
    if changed:
        entry = {
            field: changed.get(field, value)
            for field, value in entry.items()
            if field not in changed or changed[field] is not None
        }
    return Reading(entry, tuple(forms), tuple(problems))


def _read_id(value: Any) -> _Read:
    if type(value) is int and abs(value) < MAX_ID:
        return value, None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value), WHOLE_FLOAT
    if isinstance(value, str) and value:
        if _ID_NUMBER.fullmatch(value):
            number = int(value.split(".")[0])
            return (number, TEXT_NUMBER) if abs(number) < MAX_ID else (value, None)
        return value, None
    raise FieldError("an id, a whole number or text")


def _read_category_name(value: Any) -> _Read:
    if isinstance(value, str) and value.isprintable():
        return value, None
    raise FieldError("a printable text")


def _read_file_name(value: Any) -> _Read:
    if isinstance(value, str) and value:
        return value, None
    if type(value) is int:
        return str(value), NUMBER_NAME
    raise FieldError("the name of a file")


def _read_side(value: Any) -> _Read:
    side, form = _read_whole(value)
    if side is None or side < 1:
        raise FieldError("a whole number of pixels above 0")
    return side, form


def _read_flag(value: Any) -> _Read:
    if value is None:
        return None, NULL
    if isinstance(value, bool):  # JSON has a type for flags
        return int(value), None
    flag, form = _read_whole(value)
    if flag not in (0, 1):
        raise FieldError("0 or 1")
    return flag, form


def _read_area(value: Any) -> _Read:
    if value is None:
        return None, NULL
    area, form = _read_number(value)
    if area is None or not 0 <= area <= MAX_AREA:
        raise FieldError(f"a number of pixels from 0 to {MAX_AREA:.0e}")
    return area, form


def _read_box(value: Any) -> _Read:
    if value is None:
        return None, NULL
    if value == []:
        return None, None
    expected = "[x, y, width, height] in pixels, width and height not below 0"
    if not isinstance(value, list) or len(value) != 4:
        raise FieldError(expected)
    if _PLAIN_NUMBERS.issuperset(map(type, value)) and value[2] >= 0 and value[3] >= 0:
        if all(-MAX_AREA <= number <= MAX_AREA for number in value):  # false for NaN
            return value, None
    numbers, forms = zip(*map(_read_number, value), strict=True)
    if any(number is None or abs(number) > MAX_AREA for number in numbers) or min(numbers[2:]) < 0:
        raise FieldError(expected)
    form = next(filter(None, forms), None)
    return (value, None) if form is None else (list(numbers), form)


def _read_number(value: Any) -> tuple[int | float | None, str | None]:
    """A finite number, or None where the value is none."""
    if isinstance(value, str) and len(value) < 400 and _NUMBER.fullmatch(value):
        number = float(value)
        return (int(number) if number.is_integer() else number), TEXT_NUMBER
    return (value if is_finite(value) else None), None


def _read_whole(value: Any) -> tuple[int | None, str | None]:
    """A whole number, or None where the value is none."""
    if type(value) is int:
        return value, None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value), WHOLE_FLOAT
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.strip().split(".")[0]), TEXT_NUMBER
    return None, None


def _read_segmentation(value: Any) -> _Read:
    if value is None or value == [] or value == {}:
        return None, None
    if isinstance(value, dict):
        return _read_run_lengths(value)
    if not isinstance(value, list):
        raise FieldError("a list of polygons, or run lengths")
    return _read_polygons(value)


def _read_polygons(value: list[Any]) -> _Read:
    if not any(isinstance(part, list) for part in value):
        parts, form = [value], FLAT
    elif len(value) >= POLYGON_MIN_POINTS and all(map(_is_pair, value)):
        parts, form = [value], PAIRS
    else:
        parts, form = value, None
    polygons = []
    for part in parts:
        if not isinstance(part, list):
            raise FieldError("polygons as lists [x1, y1, x2, y2, ...]")
        if part in ([], [0], ["0"]):
            form = form or EMPTY_PARTS
            continue
        if all(map(_is_pair, part)):
            part, form = [number for pair in part for number in pair], PAIRS
        types = set(map(type, part))
        if not types <= {int, float}:
            if types & {list, dict, str} and not types <= {int, float, str}:
                raise FieldError("polygons as lists [x1, y1, x2, y2, ...]")
            if str in types:
                part, form = [_text_number(number) for number in part], form or TEXT_NUMBER
        polygons.append(part)
    if not polygons:
        return None, PLACEHOLDER
    return (value, None) if form is None else (polygons, form)


def _text_number(value: Any) -> int | float:
    number, _ = _read_number(value)
    if number is None:
        raise FieldError("polygons of numbers")
    return number


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(map(_is_container, value))


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, dict))


def _read_run_lengths(value: Entry) -> _Read:
    size, counts = value.get("size"), value.get("counts")
    sides = list(map(_read_whole, size)) if isinstance(size, list) else []
    height, width = [side or 0 for side, _ in sides] if len(sides) == 2 else (0, 0)
    if min(height, width) < 1 or height * width > MAX_IMAGE_PIXELS:
        raise FieldError("run lengths with a size [height, width]")
    if not isinstance(counts, (str, bytes, list)):
        raise FieldError("run lengths with counts, as a list or a text")
    form = next((form for _, form in sides if form), None)
    if isinstance(counts, list) and set(map(type, counts)) & {float, str}:
        runs = list(map(_read_whole, counts))
        if all(run is not None for run, _ in runs):  # else refused where they are rasterized
            form = form or next((form for _, form in runs if form), None)
            counts = [run for run, _ in runs]
    if form is None:
        return value, None
    return {**value, "size": [height, width], "counts": counts}, form
