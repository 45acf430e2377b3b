"""Label Studio's json export, the full one and the short one ("JSON-MIN").

    [{"id": 7, "data": {"image": "/data/upload/1/8ab12cd3-a.jpg"},
      "annotations": [{"was_cancelled": false, "result": [
        {"id": "x1", "type": "polygonlabels", "original_width": 640, "original_height": 480,
         "image_rotation": 0, "value": {"points": [[1.5, 20], ...], "polygonlabels": ["cat"]}}]}]}]

Coordinates are percents of the image's sides. A rectangle turns around its first corner, an ellipse
around its center. A brush has packed run lengths of the four channels of each pixel, of which the
last says whether it was painted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mrcnn.data.coco_fields import shorten
from mrcnn.datasets.formats import geometry
from mrcnn.datasets.formats.bitmaps import cut_to_box
from mrcnn.datasets.formats.listing import Listing, holds, read_json
from mrcnn.datasets.formats.packed_runs import unpack
from mrcnn.datasets.formats.source import (
    Item,
    LabelledObject,
    Names,
    Source,
    as_class,
    malformed,
    subsets_of_file,
)
from mrcnn.files.untrusted import is_size

KIND = "Label Studio's json export"
MARK = (b'"original_width"', b'"image')
SHAPES = ("polygon", "rectangle", "ellipse", "brush")
# Before the name of an uploaded file Label Studio writes eight characters of its own.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")


class LabelStudio(Source):
    """The json files of a folder."""

    NAME, TITLE = "labelstudio", "Label Studio"

    @classmethod
    def recognised_by(cls, listing: Listing) -> str | None:
        for name in listing.some(".json"):
            if holds(listing.path(name), MARK):
                return name
        return None

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        names = Names()
        described: dict[str, str] = {}
        for file in listing.ending(".json"):
            path = listing.path(file)
            if not holds(path, MARK):
                self.counts["json files that are not Label Studio's left out"] += 1
                continue
            tasks = read_json(path, KIND)
            if isinstance(tasks, dict):
                tasks = [tasks]
            if not isinstance(tasks, list):
                raise ValueError(f"{path}: expected {KIND}, a list; received {shorten(tasks)}.")
            for number, task in enumerate(tasks):
                item = self._item(file, task, number)
                if item is None:
                    continue
                if item.file_name in described:
                    raise ValueError(
                        f"{path}: expected each image once; {item.file_name} is that of "
                        f"{described[item.file_name]} and of task {_id(task, number)}."
                    )
                described[item.file_name] = f"task {_id(task, number)}"
                for region in item.labels[1]:
                    if _kind(region) in SHAPES:
                        names.add(region["class"])
                self.items.append(item)
        self.categories = names.sorted()

    def _item(self, file: str, task: Any, number: int) -> Item | None:
        path = self.listing.path(file)
        where = f"{path}, task {_id(task, number)}"
        if not isinstance(task, dict):
            raise ValueError(f"{where}: expected an object; received {shorten(task)}.")
        results = self._results(task, where)
        if results is None:
            self.counts["tasks without an annotation left out"] += 1
            return None
        data = task["data"] if isinstance(task.get("data"), dict) else task
        name = self._image(data, task, file, where)
        regions, size = _regions(results, where, f"{file}, task {_id(task, number)}", self.counts)
        fields = {
            key: value
            for key, value in data.items()
            if isinstance(value, (str, int, float)) and key not in ("id", "file_name")
        }
        return Item(name, (file, regions), subsets_of_file(file), size=size, fields=fields)

    def _results(self, task: dict[str, Any], where: str) -> list[Any] | None:
        """The regions of a task: of the annotation that was accepted, or else the first."""
        if "annotations" not in task and "completions" not in task:
            lists = [v for v in task.values() if isinstance(v, list) and v]
            regions = [r for v in lists for r in v if isinstance(r, dict) and "original_width" in r]
            return regions or None
        given = task.get("annotations", task.get("completions"))
        if not isinstance(given, list):
            raise ValueError(
                f"{where}, field 'annotations': expected a list; received {shorten(given)}."
            )
        done = [a for a in given if isinstance(a, dict) and not a.get("was_cancelled")]
        if not done:
            return None
        if len(done) > 1:
            self.counts["further annotations of a task left out"] += len(done) - 1
        chosen = next((a for a in done if a.get("ground_truth")), done[0])
        result = chosen.get("result")
        if not isinstance(result, list):
            raise ValueError(
                f"{where}, field 'result': expected a list; received {shorten(result)}."
            )
        return result

    def _image(self, data: Mapping[str, Any], task: dict[str, Any], file: str, where: str) -> str:
        """The image of a task, by whatever name of it leads to a file."""
        texts = [task.get("file_upload"), *data.values()]
        texts = [text for text in texts if isinstance(text, str)]
        names = [name for text in texts for name in _file_names(text)]
        for name in dict.fromkeys(names):
            try:
                found = self.listing.image_named(name, PurePosixPath(file).parent)
            except ValueError as error:
                raise ValueError(f"{where}: {error}.") from None
            if found is not None:
                return found
        raise FileNotFoundError(
            f"{where}: expected its image, {shorten(next(iter(texts), None))}, below "
            f"{self.listing.root}; there is no such file. Label Studio's json comes without the "
            f"images: copy them there."
        )

    def objects(self, item: Item, counts: Counter[str]) -> Iterator[LabelledObject]:
        for region in item.labels[1]:
            kind = _kind(region)
            if kind not in SHAPES:
                counts[f"{kind} regions left out, which have no area"] += 1
                continue
            found = LabelledObject(region["class"], region["where"])
            _draw(found, kind, region, counts)
            yield found


def _regions(
    results: list[Any], where: str, short: str, counts: Counter[str]
) -> tuple[list[dict[str, Any]], tuple[int, int] | None]:
    """The regions with a label, each with its "class" and "where"; and the image's size."""
    labels: dict[Any, Any] = {}  # a label that was given to a region by a control of its own
    for result in results:
        if isinstance(result, dict) and result.get("type") == "labels":
            labels[result.get("id")] = _value(result).get("labels")
    regions, size = [], None
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            raise ValueError(f"{where}, result {number}: expected an object; received {result!r}.")
        kind, value = _kind(result), _value(result)
        if kind not in (*SHAPES, "keypoint", "vector", "line") or result.get("type") == "labels":
            counts[f"{str(result.get('type'))[:30]} results left out"] += kind != "labels"
            continue
        given = value.get(f"{kind}labels", value.get("labels")) or labels.get(result.get("id"))
        given = given if isinstance(given, list) else [given]
        name = as_class(given[0]) if given else None
        if name is None:
            raise ValueError(
                f"{where}, result {number}: expected a label of the region; received "
                f"{shorten(given)}. Label it, or delete it, in Label Studio."
            )
        counts["regions with several labels, taken for the first"] += len(given) > 1
        stated = result.get("original_height"), result.get("original_width")
        if not is_size(*stated):
            raise ValueError(
                f"{where}, result {number}: expected 'original_width' and 'original_height' in "
                f"pixels; received {stated[1]!r} and {stated[0]!r}."
            )
        if size not in (None, stated):
            raise ValueError(
                f"{where}, result {number}: expected one size of the image; received "
                f"{stated} after {size} (height, width)."
            )
        size = (int(stated[0] or 0), int(stated[1] or 0))
        place = result.get("id", number)
        regions.append({**result, "class": name, "where": f"{short}, region {place}"})
    return regions, size


def _draw(found: LabelledObject, kind: str, region: dict[str, Any], counts: Counter[str]) -> None:
    """Fill in the parts of a region."""
    value = _value(region)
    width, height = region["original_width"], region["original_height"]
    if region.get("image_rotation"):
        found.malformed = malformed("an image that is not turned", region["image_rotation"])
        return
    if kind == "polygon":
        corners = geometry.points(value.get("points"), 1)
        if corners is None:
            found.malformed = malformed("points [x, y] in percent", value.get("points"))
            return
        found.polygons = [[[x * width / 100, y * height / 100] for x, y in corners]]
        return
    if kind == "brush":
        try:
            flags = unpack(value.get("rle"), height * width * 4)
        except ValueError as error:
            found.malformed = str(error)
            return
        pixels = flags.reshape(height, width, 4)[..., 3] > 0
        found.bitmaps = [cut_to_box(pixels)]
        return
    fields = (
        ("x", "y", "width", "height") if kind == "rectangle" else ("x", "y", "radiusX", "radiusY")
    )
    numbers = geometry.numbers([value.get(name) for name in fields], 4)
    turn = geometry.numbers([value.get("rotation") or 0], 1)
    if numbers is None or turn is None:
        found.malformed = malformed(f"numbers {', '.join(fields)}, rotation", value)
        return
    x, y, w, h = (v * s / 100 for v, s in zip(numbers, (width, height) * 2, strict=True))
    if kind == "ellipse":
        found.polygons = [geometry.ellipse(x, y, w, h, turn[0])]
        counts["ellipses taken as polygons"] += 1
        return
    corners = geometry.rectangle(x, y, x + w, y + h)
    found.polygons = [geometry.turned(corners, turn[0], (x, y)) if turn[0] else corners]
    counts["rectangles taken as masks"] += 1
    counts["turned rectangles taken as polygons"] += bool(turn[0])


def _kind(region: Mapping[str, Any]) -> str:
    """The shape of a region: its type without the word for labels."""
    kind = region.get("type")
    if not isinstance(kind, str):  # the short export has none
        keys = [k for k in region if k.endswith("labels") and k != "labels"]
        if keys:
            kind = keys[0]
        elif "points" in region:
            kind = "polygon"
        elif "rle" in region:
            kind = "brush"
        else:
            kind = "ellipse" if "radiusX" in region else "rectangle" if "width" in region else "?"
    return kind.lower().removesuffix("labels") or "labels"


def _value(region: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a region says of its shape; the short export has it in the region itself."""
    value = region.get("value", region)
    return value if isinstance(value, dict) else {}


def _file_names(text: str) -> list[str]:
    """The names of a file that a text of Label Studio may mean, the most exact first."""
    parts = urlsplit(text)
    query = parse_qs(parts.query).get("d", [])
    names = [*query, text, unquote(parts.path)]
    found = []
    for name in names:
        found.append(name)
        base = PurePosixPath(name.replace("\\", "/")).name
        uploaded = _UPLOADED.fullmatch(base)
        if uploaded:
            found += [base, uploaded["name"]]
    return [name for name in found if "." in name]


def _id(task: Any, number: int) -> Any:
    return task.get("id", f"number {number}") if isinstance(task, dict) else f"number {number}"
