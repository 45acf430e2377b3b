"""The json files of COCO's format, read and checked: images, annotations, categories.

Errors name the file, the entry and the field. What a segmentation holds is checked by
`mrcnn.datasets.segmentation`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO

from mrcnn.data import coco_fields
from mrcnn.data.annotation_table import Collector
from mrcnn.data.coco_fields import Entry
from mrcnn.datasets.image_entries import ImageEntries, size_of
from mrcnn.datasets.segmentation import (
    REMEDY,
    Annotation,
    check_box,
    check_structure,
    check_values,
)
from mrcnn.files.json_items import JsonItems, load_json_items


def read_coco_json(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a COCO json file and check that it has images, annotations and categories.

    Images and annotations of a large file are `mrcnn.files.json_items.JsonItems`, and stay in the
    file.
    """
    try:
        content = load_json_items(file, ("images", "annotations"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: expected a COCO json file; there is none.") from None
    except ValueError as error:
        raise ValueError(f"{file}: expected a COCO json file; it is not json: {error}.") from None
    for field in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not _is_list(content.get(field)):
            raise ValueError(
                f"{file}: expected an object with the list {field!r}, as in COCO's "
                f"instances_*.json; found none."
            )
    return content


def _is_list(value: Any) -> bool:
    return isinstance(value, list | JsonItems)


def normalized(content: Mapping[str, Any], file: str = "annotations") -> dict[str, Any]:
    """The content of a COCO json with each field in COCO's own form, as training reads it.

    Entries that are in that form already are not copied. Annotations may have a box alone.

    Raises:
        ValueError: an entry cannot be read, as training would refuse it; names file, id and field.
    """
    reader = EntryReader(file, box_only=True)
    categories = reader.categories(content["categories"])
    names = {category["id"]: category["name"] for category in categories}
    images = reader.images(content["images"], with_files=False)
    annotations = list(reader.annotations(content["annotations"], images, names))
    lists = {"images": list(images.values()), "annotations": annotations, "categories": categories}
    return {**content, **lists}


def coco_api(content: Mapping[str, Any], file: str = "annotations") -> COCO:
    """Index the content of a COCO json file with pycocotools, without its printing.

    Args:
        content: in COCO's own form, see `normalized`.
        file: named in errors.

    Raises:
        ValueError: an annotation has no id; names the file.
    """
    for annotation in content["annotations"]:
        if not isinstance(annotation.get("id"), (int, str)):
            raise ValueError(
                f"{file}: expected an 'id' of each annotation; received {repr(annotation)[:60]}."
            )
    api = COCO()
    api.dataset = dict(content)
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def is_box_only(annotation: Annotation) -> bool:
    """Whether an annotation in COCO's own form has no segmentation."""
    return not annotation.get("segmentation")


def by_type(value: Any) -> tuple[bool, Any]:
    """Sorts numbers before texts."""
    return isinstance(value, str), value


MALFORMED = "annotations with a malformed mask or box"


class AnnotationError(ValueError):
    """An annotation that training cannot use.

    Attributes:
        kind: names all annotations with that fault, for counts.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EntryReader:
    """Reads the entries of one json file into COCO's own form, strictly or leaving out bad ones.

    Attributes:
        forms: how many fields of which name were written in which other form.
        left_out: how many annotations were left out, by kind; none unless `skip_invalid`.
        not_selected: how many annotations were of categories that are not selected.
    """

    def __init__(
        self, file: str | os.PathLike[str], box_only: bool = False, skip_invalid: bool = False
    ) -> None:
        """Read nothing yet.

        Args:
            file: named in errors.
            box_only: accept annotations with a `bbox` and no `segmentation`.
            skip_invalid: leave out annotations that cannot be used; else they are errors.
        """
        self._file = file
        self._box_only = box_only
        self._skip_invalid = skip_invalid
        self.forms: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.not_selected = 0

    def categories(self, entries: list[Any]) -> list[Entry]:
        """The categories, each id once; of an id that comes again, the last entry.

        Raises:
            ValueError: one has no id or no name.
        """
        categories: dict[Any, Entry] = {}
        for number, entry in enumerate(entries):
            reading = coco_fields.read_category(entry)
            self._count(reading)
            for problem in reading.problems:
                raise ValueError(
                    problem.sentence(f"{self._file}: category {_name(entry, number)}")
                    + f" The entry is {coco_fields.shorten(entry)}."
                )
            categories[reading.entry["id"]] = reading.entry
        return list(categories.values())

    def images(
        self, entries: Sequence[Any], with_files: bool = True
    ) -> dict[Any, Entry] | ImageEntries:
        """The images by id, in the file's order; those that stay in their file in columns.

        Args:
            entries: of the file.
            with_files: whether they need file names.

        Raises:
            ValueError: an image lacks a field or has an impossible size, or two have one id.
        """
        if isinstance(entries, JsonItems):
            table = ImageEntries(entries, with_files)
            try:
                for image in self._read_images(entries, with_files):
                    table.add(image)
            except ValueError:  # of two faults the first one is told
                self._expect_each_once(table.repeated())
                raise
            self._expect_each_once(table.repeated())
            return table
        index: dict[Any, Entry] = {}
        for image in self._read_images(entries, with_files):
            if image["id"] in index:
                self._expect_each_once((index[image["id"]], image))
            index[image["id"]] = image
        return index

    def _read_images(self, entries: Sequence[Any], with_files: bool) -> Iterator[Entry]:
        for number, entry in enumerate(entries):
            reading = coco_fields.read_image(entry, with_files)
            self._count(reading)
            for problem in reading.problems:
                raise ValueError(
                    problem.sentence(f"{self._file}: image {_name(entry, number)}")
                    + " `mrcnn check DATASET --fix OUT` takes sizes from the files."
                )
            yield reading.entry

    def _expect_each_once(self, repeated: tuple[Entry, Entry] | None) -> None:
        """Refuse two images of one id."""
        if repeated is not None:
            names = [image.get("file_name") for image in repeated]
            raise ValueError(
                f"{self._file}: expected each image id once; {repeated[1]['id']} is the id of "
                f"{names[0]} and of {names[1]}."
            ) from None

    def annotations(
        self,
        entries: Sequence[Any],
        images: Mapping[Any, Any],
        names: Mapping[Any, str],
        selected: Collection[Any] | None = None,
    ) -> Sequence[Annotation]:
        """The annotations: a list, or a table where the entries stay in their file.

        Args:
            entries: of the file.
            images: by id.
            names: of the categories, by id.
            selected: ids of categories; None: all. Those of others need no mask or box, and are
                left out without a word where they are malformed.

        Raises:
            AnnotationError: an annotation lacks a field, or belongs to no image or category.
        """
        ids = images.ids if isinstance(images, ImageEntries) else images
        kept = Collector(entries, ids, names)
        for number, entry in enumerate(entries):
            reading = coco_fields.read_annotation(entry)
            self._count(reading)
            where = f"{self._file}: annotation {_name(entry, number)}"
            try:
                self._check_owner(reading, images, names, where)
                if selected is None or reading.entry["category_id"] in selected:
                    self._check_object(reading, entry, where)
                    if self._skip_invalid:
                        self._check_mask(reading.entry, images)
                else:
                    self.not_selected += 1
                    if reading.problems:
                        continue
            except AnnotationError as error:
                if not self._skip_invalid:
                    raise
                self.left_out[error.kind] += 1
                continue
            kept.add(number, reading.entry, reading.entry is entry)
        return kept.collected()

    def _count(self, reading: coco_fields.Reading) -> None:
        for field, form in reading.forms:
            self.forms[f"{field!r}: {form}"] += 1

    def _check_owner(
        self,
        reading: coco_fields.Reading,
        images: Mapping[Any, Any],
        names: Mapping[Any, str],
        where: str,
    ) -> None:
        """Which image and category an annotation belongs to."""
        if reading.problems:
            for field in ("", "id", "image_id", "category_id"):
                _raise(reading.problem(field), where)
        annotation = reading.entry
        if annotation["image_id"] not in images:
            raise AnnotationError(
                "annotations of unknown images",
                f"{where}, field 'image_id': expected the id of an entry of 'images'; received "
                f"{annotation['image_id']!r}, which has none. {REMEDY}",
            )
        if annotation["category_id"] in names:
            return
        try:
            check_category(annotation["category_id"], names, f"{where}, field 'category_id'")
        except ValueError as error:
            raise AnnotationError(
                "annotations of unknown categories", f"{error} {REMEDY}"
            ) from None

    def _check_object(self, reading: coco_fields.Reading, entry: Any, where: str) -> None:
        """What an annotation says of its object."""
        for problem in reading.problems:
            _raise(problem, where)
        annotation = reading.entry
        if not is_box_only(annotation):
            check: Callable[[Annotation, str], None] = check_structure
        elif self._box_only:
            check = check_box
            if "bbox" not in annotation:
                raise AnnotationError(
                    "annotations without a mask and a box",
                    f"{where}: expected the field 'bbox', because there is no 'segmentation'; it "
                    f"is missing. {REMEDY}",
                )
        else:
            raise AnnotationError("annotations without a mask", _no_mask(annotation, entry, where))
        try:
            check(annotation, str(self._file))
        except ValueError as error:
            raise AnnotationError(MALFORMED, str(error)) from None

    def _check_mask(self, annotation: Annotation, images: Mapping[Any, Any]) -> None:
        """What is checked as a rule when the image's turn comes."""
        if not is_box_only(annotation):
            try:
                height, width = size_of(images, annotation["image_id"])
                check_values(annotation, height, width, str(self._file))
            except ValueError as error:
                raise AnnotationError(MALFORMED, str(error)) from None


def _raise(problem: coco_fields.Problem | None, where: str) -> None:
    if problem is not None:
        field = f"field {problem.field!r}" if problem.field else "entry"
        kind = f"annotations whose {field} is missing or cannot be read"
        raise AnnotationError(kind, f"{problem.sentence(where)} {REMEDY}")


def _no_mask(annotation: Annotation, entry: Entry, where: str) -> str:
    if "segmentation" in entry:
        received = coco_fields.shorten(entry["segmentation"])
        text = f"{where}, field 'segmentation': expected polygons or run lengths; received "
        text += f"{received}."
    else:
        text = f"{where}: expected the field 'segmentation'; it is missing."
    if "bbox" in annotation:
        text += " There is a 'bbox': --box-only (box_only=True) trains on boxes without masks."
    return f"{text} {REMEDY}"


def _name(entry: Any, number: int) -> str:
    """The id of an entry, or its number in the list."""
    has_id = isinstance(entry, dict) and "id" in entry
    return coco_fields.shorten(entry["id"], 60) if has_id else f"number {number}"


def check_category(category: Any, names: Mapping[Any, str], where: str) -> None:
    """Raise a `ValueError`, which begins with `where`, unless this is a category of the file."""
    if category not in names:
        known = sorted(names, key=by_type)
        raise ValueError(
            f"{where}: expected a category id of the file's 'categories' "
            f"({', '.join(map(str, known))}); received {category!r}."
        )
