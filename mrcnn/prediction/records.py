"""The files of predictions: COCO's results, a table, and what lets a run resume.

A picture's line is written to `predictions.jsonl` as soon as it is done, so that nothing is held in
memory and nothing is lost when a run is killed. At the end, the other files are made of the lines:

- `predictions.json`: COCO's results (https://cocodataset.org/#format-results), a list of
  detections with image_id, category_id, bbox, score and segmentation (run lengths);
- `images.json`: the pictures and classes that the ids mean, as a COCO data set without objects, so
  that `COCO("images.json").loadRes("predictions.json")` works;
- `predictions.csv`: a row for each detection.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_api

from mrcnn.evaluation.results import coco_results
from mrcnn.files.atomic import atomic_path, write_json
from mrcnn.files.untrusted import load_json
from mrcnn.logger import logger
from mrcnn.prediction.prediction import Prediction

LINES_FILE = "predictions.jsonl"
RESULTS_FILE = "predictions.json"
IMAGES_FILE = "images.json"
TABLE_FILE = "predictions.csv"
COLUMNS = (
    *("image_id", "file_name", "class", "score", "x", "y", "width", "height", "area"),
    *("image_width", "image_height"),
)
_HEADER, _READ, _UNREADABLE = "settings", "image", "unreadable"


@dataclass(frozen=True)
class Ids:
    """The ids of pictures and classes.

    Attributes:
        images: by the picture's name; those without get the next free number.
        categories: of each class that has one, by its name; None: the class ids.
    """

    images: Mapping[str, Any]
    categories: Mapping[str, Any] | None = None

    @classmethod
    def of_dataset(cls, path: str | os.PathLike[str]) -> Ids:
        """Those of a COCO json file, whose pictures are known by `file_name`.

        Raises:
            OSError, ValueError: it cannot be read, or is not of that form.
        """
        try:
            content = load_json(path)
        except ValueError as error:
            raise ValueError(f"{path}: expected a COCO json file; {error}.") from error
        try:
            return cls(
                {str(entry["file_name"]): entry["id"] for entry in content["images"]},
                {str(entry["name"]): entry["id"] for entry in content["categories"]},
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: expected a COCO json file, with 'images' and 'categories' that have ids "
                f"and names; {error!r}."
            ) from error


OWN_IDS = Ids({})


class Records:
    """The lines of a run of predictions, and the files that are made of them.

    Args:
        folder: where they are.
        settings: what the predictions depend on; a resumed run must have the same.
        class_names: of all classes, the background's first.
        ids: of pictures and classes.
        resume: continue with the lines that are there; without, there must be none.

    Attributes:
        done: names of the pictures that have a line already.

    Raises:
        FileExistsError: there are lines, and `resume` is not set.
        ValueError: the lines are of other settings, or damaged.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        settings: Mapping[str, Any],
        class_names: Sequence[str],
        ids: Ids = OWN_IDS,
        *,
        resume: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.done: set[str] = set()
        self._lines = self.folder / LINES_FILE
        self._names, self._ids = list(class_names), ids
        self._next = 1 + max((n for n in ids.images.values() if isinstance(n, int)), default=0)
        settings = json.loads(json.dumps(dict(settings)))  # as it will be read again
        if self._lines.exists() and not resume:
            raise FileExistsError(
                f"{self.folder}: expected a folder without predictions; it has some "
                f"({LINES_FILE}). Choose another --output, or add --resume to leave out the "
                "pictures that are done."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._lines.exists():
            self._take_up(settings)
        else:
            self._append({_HEADER: settings})

    def _take_up(self, settings: Mapping[str, Any]) -> None:
        """Read which pictures are done; a last line that was not written whole is removed."""
        content = self._lines.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._lines, whole)
        before = next(self._read(), {}).get(_HEADER)
        if before is None:
            self._append({_HEADER: settings})
            return
        changed = sorted(
            name for name in {*before, *settings} if before.get(name) != settings.get(name)
        )
        if changed:
            differences = "; ".join(
                f"{name}: {before.get(name)!r} before, {settings.get(name)!r} now"
                for name in changed
            )
            raise ValueError(
                f"{self._lines}: expected predictions of the same weights and options; "
                f"{differences}. Choose another --output."
            )
        for line in self._read():
            if _READ in line:
                self.done.add(line[_READ]["file_name"])
                self._next = max(self._next, _following(line[_READ]["id"]))

    def add(self, prediction: Prediction) -> None:
        """Write the line of a picture."""
        height, width = prediction.size
        identity = self._id(prediction.name)
        entry = {"id": identity, "file_name": prediction.name, "width": width, "height": height}
        self._append({_READ: entry, "results": self._results(identity, prediction)})
        self.done.add(prediction.name)

    def add_unreadable(self, name: str, reason: str) -> None:
        """Write that a picture cannot be read; a resumed run tries it again."""
        self._append({_UNREADABLE: name, "reason": reason})

    def finish(self) -> None:
        """Make the other files of the lines. Of them, one picture's is in memory at a time."""
        images: list[dict[str, Any]] = []
        count = 0
        names = {category: name for name, category in self.categories.items()}
        with (
            atomic_path(self.folder / RESULTS_FILE) as results_path,
            atomic_path(self.folder / TABLE_FILE) as table_path,
            open(results_path, "w", encoding="utf-8") as results,
            open(table_path, "w", newline="", encoding="utf-8") as table,
        ):
            writer = csv.writer(table)
            writer.writerow(COLUMNS)
            results.write("[")
            for entry, found in self.predictions():
                images.append(entry)
                for result in found:
                    results.write((",\n" if count else "\n") + json.dumps(result))
                    count += 1
                    writer.writerow(_row(entry, result, names))
            results.write("\n]\n")
        categories = [{"id": category, "name": name} for name, category in self.categories.items()]
        write_json(
            self.folder / IMAGES_FILE,
            {"images": images, "annotations": [], "categories": categories},
        )
        logger.info(
            f"{count} objects in {len(images)} pictures: {self.folder / RESULTS_FILE} (COCO's "
            f"results; {IMAGES_FILE} says which picture is which), {TABLE_FILE}"
        )

    def predictions(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """The entry in COCO's form and the results of each picture, in the order of the lines."""
        for line in self._read():
            if _READ in line:
                yield line[_READ], line["results"]

    def _results(self, identity: Any, prediction: Prediction) -> list[dict[str, Any]]:
        categories = self.categories
        return coco_results(
            identity,
            prediction.exact_boxes,
            prediction.class_ids,
            prediction.scores,
            category_ids={
                number: categories[name]
                for number, name in enumerate(self._names)
                if name in categories
            },
            rles=prediction.rles,
        )

    @property
    def categories(self) -> dict[str, Any]:
        """The id of each class, the background aside."""
        if self._ids.categories is not None:
            return dict(self._ids.categories)
        return {name: number for number, name in enumerate(self._names) if number}

    @property
    def image_ids_are_text(self) -> bool:
        """Whether some ids of pictures are no numbers."""
        return any(isinstance(id, str) for id in self._ids.images.values())

    def _id(self, name: str) -> Any:
        known = self._ids.images
        if name in known:
            return known[name]
        if known:
            raise ValueError(
                f"{name}: expected a picture that the file of --image-ids lists by this "
                f"'file_name'; it lists {len(known)} others."
            )
        self._next += 1
        return self._next - 1

    def _append(self, line: Mapping[str, Any]) -> None:
        with open(self._lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self._lines.exists():
            return
        with open(self._lines, encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                yield self._parsed(text, number)

    def _parsed(self, text: str, number: int) -> dict[str, Any]:
        try:
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError("it is no object")
            return line
        except ValueError as error:
            raise ValueError(
                f"{self._lines}, line {number}: expected a line that mrcnn predict wrote; {error}."
            ) from error


def _row(
    entry: Mapping[str, Any], result: Mapping[str, Any], names: Mapping[Any, str]
) -> list[Any]:
    """A line of the table: see COLUMNS."""
    return [
        *(entry["id"], entry["file_name"], names[result["category_id"]]),
        *(f"{result['score']:.6f}", *(f"{value:.2f}" for value in result["bbox"])),
        *(int(mask_api.area(result["segmentation"])), entry["width"], entry["height"]),
    ]


def _following(identity: Any) -> int:
    return identity + 1 if isinstance(identity, int) else 0
