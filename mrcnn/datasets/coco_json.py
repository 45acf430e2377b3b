"""The json files of COCO's format, read and checked: images, annotations, categories.

Errors name the file, the entry and the field. What a segmentation holds is checked by
`mrcnn.datasets.segmentation`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from mrcnn.datasets.segmentation import Annotation, check_box, check_structure
from mrcnn.files.untrusted import MAX_IMAGE_PIXELS, Folder, is_size, load_json


def read_coco_json(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a COCO json file and check that it has images, annotations and categories."""
    try:
        content = load_json(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: expected a COCO json file; there is none.") from None
    except ValueError as error:
        raise ValueError(f"{file}: expected a COCO json file; it is not json: {error}.") from None
    for field in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise ValueError(
                f"{file}: expected an object with the list {field!r}, as in COCO's "
                f"instances_*.json; found none."
            )
    return content


def coco_api(content: dict[str, Any], file: str = "annotations") -> COCO:
    """Index the content of a COCO json file with pycocotools, without its printing.

    Raises:
        ValueError: an annotation has no id; names the file.
    """
    for annotation in content["annotations"]:
        if not _is_scalar(annotation.get("id")):
            raise ValueError(
                f"{file}: expected an 'id' of each annotation; received {repr(annotation)[:60]}."
            )
    api = COCO()
    api.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def is_box_only(annotation: Annotation) -> bool:
    """Whether an annotation has no segmentation: the field is missing, null or empty."""
    return not annotation.get("segmentation")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float, str))


def _is_id(value: Any) -> bool:
    """Whether a value can be the id of a category: True and 1.0 would pass for 1."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def is_category(number: Any, name: Any) -> bool:
    """Whether a category can have this id and this name."""
    return _is_id(number) and isinstance(name, str) and name.isprintable()


def by_type(value: Any) -> tuple[bool, Any]:
    """Sorts numbers before texts."""
    return isinstance(value, str), value


def _check_entries(entries: list[Any], what: str, file: Path) -> None:
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(
                f"{file}: {what} number {number}: expected an object; received {repr(entry)[:60]}."
            )


def category_names(categories: list[Any], file: Path) -> dict[Any, str]:
    """{category id: name}.

    Raises:
        ValueError: a category has no id or no name.
    """
    _check_entries(categories, "category", file)
    names = {}
    for category in categories:
        number, name = category.get("id"), category.get("name")
        if not is_category(number, name):
            raise ValueError(
                f"{file}: expected categories with an 'id', a number or text, and a 'name', a "
                f"printable text; received {repr(category)[:100]}."
            )
        names[number] = name
    return names


def check_category(category: Any, names: Mapping[int, str], where: str) -> None:
    """Raise a `ValueError`, which begins with `where`, unless this is a category of the file."""
    if category not in names:
        known = sorted(names, key=by_type)
        raise ValueError(
            f"{where}: expected a category id of the file's 'categories' "
            f"({', '.join(map(str, known))}); received {category!r}."
        )


def index_images(images: list[dict[str, Any]], file: Path) -> dict[Any, dict[str, Any]]:
    """The images by id, in the file's order.

    Raises:
        ValueError: an image lacks a field or has an impossible size, or two have one id.
    """
    index: dict[Any, dict[str, Any]] = {}
    _check_entries(images, "image", file)
    for image in images:
        for field in ("id", "file_name", "height", "width"):
            if field not in image:
                raise ValueError(
                    f"{file}: image {image.get('id')}: expected the field {field!r}; it is missing."
                )
        if not _is_scalar(image["id"]):
            raise ValueError(
                f"{file}: expected the 'id' of an image to be a number or a text; received "
                f"{repr(image['id'])[:60]}."
            )
        if not is_size(image["height"], image["width"]):
            raise ValueError(
                f"{file}: image {image['id']}: expected a positive 'height' and 'width', of at "
                f"most {MAX_IMAGE_PIXELS} pixels (the environment variable "
                f"MRCNN_MAX_IMAGE_PIXELS); received {repr(image['height'])[:60]} and "
                f"{repr(image['width'])[:60]}."
            )
        if image["id"] in index:
            raise ValueError(
                f"{file}: expected each image id once; {image['id']} is the id of "
                f"{index[image['id']]['file_name']} and of {image['file_name']}."
            )
        index[image["id"]] = image
    return index


def group_annotations(
    annotations: list[Annotation],
    images: Mapping[Any, Any],
    names: Mapping[int, str],
    selected: set[int],
    class_map: Mapping[int, int],
    file: Path,
    box_only: bool,
) -> tuple[dict[Any, list[Annotation]], int]:
    """Group the annotations of selected categories by image id; count the others.

    Args:
        annotations: of the file.
        images: by id.
        names: of the categories, by id.
        selected: ids of categories.
        class_map: {category id: category id to take it for}.
        file: named in errors.
        box_only: accept annotations with a `bbox` and no `segmentation`.

    Raises:
        ValueError: an annotation lacks a field, or belongs to no image or category.
    """
    chosen: dict[Any, list[Annotation]] = defaultdict(list)
    skipped = 0
    _check_entries(annotations, "annotation", file)
    for annotation in annotations:
        where = f"{file}: annotation {repr(annotation.get('id'))[:60]}"
        shape = "bbox" if box_only and is_box_only(annotation) else "segmentation"
        for field in ("image_id", "category_id", shape):
            if field not in annotation:
                hint = ""
                if field == "segmentation" and "bbox" in annotation:
                    hint = " There is a 'bbox': box_only=True trains on boxes without masks."
                raise ValueError(f"{where}: expected the field {field!r}; it is missing.{hint}")
        for field, valid in (("image_id", _is_scalar), ("category_id", _is_id)):
            if not valid(annotation[field]):
                raise ValueError(
                    f"{where}, field {field!r}: expected an id; received "
                    f"{repr(annotation[field])[:60]}."
                )
        if annotation["image_id"] not in images:
            raise ValueError(
                f"{where}, field 'image_id': expected the id of an entry of 'images'; received "
                f"{annotation['image_id']!r}, which has none."
            )
        category = annotation["category_id"]
        check_category(category, names, f"{where}, field 'category_id'")
        if category not in selected:
            skipped += 1
            continue
        if shape == "segmentation":
            check_structure(annotation, str(file))
        else:
            check_box(annotation, str(file))
        target = class_map.get(category, category)
        if target != category:
            annotation = {**annotation, "category_id": target}
        chosen[annotation["image_id"]].append(annotation)
    return dict(chosen), skipped


def image_paths(images: list[dict[str, Any]], folder: Path, file: Path) -> list[str]:
    """The path of each image, all checked to be files inside the folder.

    Raises:
        FileNotFoundError: files are missing.
        ValueError: a name leads out of the folder.
    """
    files = Folder(folder)
    paths, missing = [], []
    for image in images:
        try:
            path = files.find(image["file_name"])
        except ValueError as error:
            raise ValueError(f"{file}: image {image['id']}, field 'file_name': {error}.") from None
        if path is None:
            missing.append(image)
        else:
            paths.append(path)
    if missing:
        raise FileNotFoundError(
            f"{file}: image {missing[0]['id']}: expected the file {missing[0]['file_name']!r} in "
            f"{folder}; it is missing, as are {len(missing) - 1} of the other {len(images) - 1}. "
            f"Complete the folder, or take the images out of the json."
        )
    return paths
