"""WebDataset's shards (https://github.com/webdataset/webdataset): tar files with their annotations.

    photos/categories.json      [{"id": 1, "name": "cat"}, ...], as in COCO's format
    photos/train-000000.tar     a.jpg, a.json, b.jpg, b.json, ...

The json of an image is its entry in COCO's format, with the list of its annotations:
{"width": 640, "height": 480, "annotations": [{"category_id": 1, "segmentation": ...}, ...]}. What
belongs together has one name up to the first dot. The json files are read once; images are read
from their places in the tar files when their turn comes.
"""

from __future__ import annotations

import glob
import json
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from mrcnn.data.coco_fields import Entry, shorten
from mrcnn.datasets.formats.listing import IMAGE_SUFFIXES, read_json
from mrcnn.datasets.subset_names import SYNONYMS, names_any_subset, names_subset
from mrcnn.files.addresses import TAR, Member, members, read, suffix_of
from mrcnn.files.untrusted import MAX_JSON_BYTES

TITLE = "WebDataset's shards"
CATEGORIES = "categories.json"
_LOOKED_AT = 20  # members of the first tar file, among which a json says what it is
WITHOUT_JSON = "images without a json left out"
WITHOUT_IMAGE = "json files without an image left out"


def is_sharded(root: str | os.PathLike[str]) -> bool:
    """Whether a folder holds tar files with json files inside."""
    first = next(iter(_tars(root)), None)
    if first is None:
        return False
    try:
        return any(suffix_of(found.name) == ".json" for found in islice(members(first), _LOOKED_AT))
    except (OSError, ValueError):
        return False


def subsets_of_shards(root: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The tar files of each subset; those whose names tell none are of "train"."""
    found = {subset: _shards_of(root, subset) for subset in SYNONYMS}
    return {subset: tars for subset, tars in found.items() if tars}


def place_of_shards(root: str | os.PathLike[str]) -> str:
    """Where the images are, as `mrcnn.datasets.image_stores` takes it."""
    return os.path.join(glob.escape(os.fspath(root)), f"*{TAR}")


def read_shards(root: str | os.PathLike[str], subset: str) -> tuple[dict[str, list[Entry]], str]:
    """The content of a COCO json for a subset, which may be empty, and what to say about it.

    Raises:
        OSError: a file cannot be read.
        ValueError: one is not what was expected; names it.
    """
    tars = tuple(_shards_of(root, subset))
    files = [*tars, os.path.join(root, CATEGORIES)]
    state = tuple((os.path.getmtime(f), os.path.getsize(f)) for f in files if os.path.exists(f))
    return _read(os.fspath(root), tars, state)


def _tars(root: str | os.PathLike[str]) -> list[str]:
    return sorted(filter(os.path.isfile, glob.glob(place_of_shards(root))))


def _shards_of(root: str | os.PathLike[str], subset: str) -> list[str]:
    tars = _tars(root)
    chosen = [tar for tar in tars if names_subset(os.path.basename(tar), subset)]
    if not chosen and subset == "train":
        chosen = [tar for tar in tars if not names_any_subset(os.path.basename(tar))]
    return chosen


@lru_cache(maxsize=2)  # a command reads a data set several times
def _read(root: str, tars: Sequence[str], state: object) -> tuple[dict[str, list[Entry]], str]:
    images: list[Entry] = []
    annotations: list[Entry] = []
    counts: Counter[str] = Counter()
    for tar in tars:
        for name, image, objects in _pictures(tar, counts):
            image = {"id": len(images) + 1, **image, "file_name": name}
            images.append(image)
            annotations += [{**entry, "image_id": image["id"]} for entry in objects]
    text = f"{TITLE}, {len(images)} images with {len(annotations)} objects"
    told = [f"{count} {words}" for words, count in sorted(counts.items())]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": _categories(Path(root, CATEGORIES)),
    }
    return content, "; ".join([text, *([", ".join(told)] if told else [])])


def _pictures(tar: str, counts: Counter[str]) -> Iterator[tuple[str, Entry, list[Entry]]]:
    """The name, the entry and the annotations of each image of a tar file."""
    pictures: dict[str, Member] = {}
    described: dict[str, Member] = {}
    for member in members(tar):
        suffix = suffix_of(member.name)
        if suffix not in IMAGE_SUFFIXES and suffix != ".json":
            continue
        of_kind = described if suffix == ".json" else pictures
        first = of_kind.setdefault(_key(member.name), member)
        if first is not member:
            raise ValueError(
                f"{tar}: expected one image and one json of each name up to the first dot; "
                f"received {first.name} and {member.name}."
            )
    counts[WITHOUT_JSON] += len(pictures.keys() - described.keys())
    counts[WITHOUT_IMAGE] += len(described.keys() - pictures.keys())
    stem = os.path.basename(tar)[: -len(TAR)]
    for key, picture in pictures.items():
        if key in described:
            image, objects = _described(tar, described[key])
            yield f"{stem}/{posixpath.normpath(picture.name)}", image, objects


def _described(tar: str, member: Member) -> tuple[Entry, list[Entry]]:
    """The entry of an image and its annotations, each with an id that says where it is."""
    where = f"{tar}, {member.name}"
    content = _parsed(tar, member)
    objects = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(objects, list):
        raise ValueError(
            f"{where}: expected the entry of an image in COCO's format with the list of its "
            f"'annotations' (docs/formats.md); received {shorten(content, 60)}."
        )
    for number, entry in enumerate(objects):
        if not isinstance(entry, dict):
            raise ValueError(
                f"{where}, annotation {number}: expected an object; received {shorten(entry, 60)}."
            )
    place = f"{os.path.basename(tar)}/{member.name}"
    named = [{**entry, "id": f"{place}, {number}"} for number, entry in enumerate(objects)]
    return {name: value for name, value in content.items() if name != "annotations"}, named


def _parsed(tar: str, member: Member) -> Any:
    where = f"{tar}, {member.name}"
    if member.size > MAX_JSON_BYTES:
        raise ValueError(
            f"{where}: expected a json of at most {MAX_JSON_BYTES} bytes; it has {member.size}."
        )
    try:
        return json.loads(read(tar, (member.first, member.size), member.name))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{where}: expected a json; it cannot be read as one: {reason}.") from None


def _categories(file: Path) -> list[Entry]:
    what = 'the classes, as the list of COCO\'s \'categories\': [{"id": 1, "name": "cat"}]'
    if not file.is_file():
        raise FileNotFoundError(f"{file}: expected {what}; there is no such file.")
    content = read_json(file, what)
    if isinstance(content, dict):
        content = content.get("categories")
    if not isinstance(content, list):
        raise ValueError(f"{file}: expected {what}; received {shorten(content, 60)}.")
    return content


def _key(name: str) -> str:
    """What the parts of a sample have in common.

    >>> _key("a.b/c.seg.png")
    'a.b/c'
    """
    path = PurePosixPath(name)
    return str(path.parent / path.name.split(".")[0])
