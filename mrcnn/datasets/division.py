"""A data set without a validation set, divided: which images are held out.

A division is by image, or by groups of images that must not be torn apart. It is the same for the
same images, share, groups and seed, whatever the file system's order is, and comes near to the
share in every class.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np

from mrcnn.data import coco_fields
from mrcnn.files.atomic import write_json
from mrcnn.files.json_items import where
from mrcnn.files.untrusted import load_json

DIVISION_FILE = "split.json"
TRAIN, VAL = "train", "val"
NEAR_DUPLICATES = "near-duplicates"
FOLDER = "folder"  # of the file name, in the place of a field
_PASSES = 4  # in which single groups change sides, where that brings the classes nearer
_STREAM = 3  # of the seed's random numbers


@dataclass(frozen=True)
class Division:
    """Which images train, and which are held out.

    Attributes:
        subset: that was divided.
        share: of the images that train.
        by: what kept images together: a field of their entries, `FOLDER` or `NEAR_DUPLICATES`;
            None: nothing.
        seed: that decided.
        train, val: file names, sorted.
    """

    subset: str
    share: float
    by: str | None
    seed: int
    train: tuple[str, ...]
    val: tuple[str, ...]

    def part(self, subset: str) -> str | None:
        """Which of the two a name means, TRAIN or VAL; None: another subset of the data set."""
        if subset in (TRAIN, self.subset):
            return TRAIN
        return VAL if subset == VAL else None

    def of(self, content: Mapping[str, Any], part: str) -> tuple[dict[str, Any], int]:
        """The content of a COCO json without the images of the other part.

        What has no file name or belongs to no image stays in TRAIN, where a check finds it.

        Args:
            content: of the whole subset.
            part: TRAIN or VAL.

        Returns:
            The content, and how many images are in neither part, which were left out.
        """
        names = frozenset(self.train if part == TRAIN else self.val)
        known = frozenset(self.train) | frozenset(self.val)
        gone: set[Any] = set()
        kept: set[Any] = set()
        new = 0

        def is_kept(image: Any) -> bool:
            nonlocal new
            name = _file_name(image)
            is_kept = name in names or (name is None and part == TRAIN)
            new += not is_kept and name is not None and name not in known
            if isinstance(image, dict):
                (kept if is_kept else gone).add(_id(image.get("id")))
            return is_kept

        images = where(content["images"], is_kept)

        def is_of_part(annotation: Any) -> bool:
            id = _image_id(annotation)
            return id not in gone and (part == TRAIN or id in kept)

        annotations = where(content["annotations"], is_of_part)
        return {**content, "images": images, "annotations": annotations}, new

    def missing(self, content: Mapping[str, Any]) -> list[str]:
        """The file names of both parts that a content does not have."""
        there = {_file_name(image) for image in content["images"]}
        return [name for name in (*self.train, *self.val) if name not in there]

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write `split.json` into a folder."""
        path = Path(folder, DIVISION_FILE)
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self | None:
        """The division that was written into a folder; None: there is none.

        Raises:
            ValueError: the file holds something else; names it.
        """
        path = Path(folder, DIVISION_FILE)
        if not path.is_file():
            return None
        try:
            content = load_json(path)
            division = cls(**content)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: expected the division of a run; {error}.") from None
        lists = (division.train, division.val)
        if not all(isinstance(x, list) and all(isinstance(n, str) for n in x) for x in lists):
            raise ValueError(f"{path}: expected lists of file names as 'train' and 'val'.")
        return replace(division, train=tuple(division.train), val=tuple(division.val))

    def describe(self) -> str:
        """What was done, in words."""
        by = f", kept together by {self.by}" if self.by else ""
        return (
            f"{len(self.train)} images to train on and {len(self.val)} to validate on, of the "
            f"subset {self.subset!r} divided with the seed {self.seed}{by}"
        )


def expect_share(share: float) -> None:
    """Refuse a share that leaves one side nothing.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"--split: expected the share of the images that train, between 0 and 1, such as 0.8; "
            f"received {share}."
        )


def groups_by_field(content: Mapping[str, Any], by: str | None, file: str) -> dict[str, Hashable]:
    """What each file belongs to, by a field of the entries of 'images'.

    Args:
        content: of a COCO json.
        by: the field; `FOLDER`, where there is none of that name: the folder of the file; None:
            each file by itself.
        file: named in errors.

    Raises:
        ValueError: an image lacks the field.
    """
    named = {_file_name(image): image for image in content["images"]}
    entries = {name: image for name, image in named.items() if name is not None}
    if by is None:
        return {name: name for name in entries}
    fields = Counter(key for image in entries.values() for key in image)
    if by == FOLDER and not fields[FOLDER]:
        return {name: str(PurePosixPath(name.replace("\\", "/")).parent) for name in entries}
    found: dict[str, Hashable] = {}
    for name, image in entries.items():
        value = image.get(by)
        if value is None or isinstance(value, (list, dict)):
            known = ", ".join(sorted(fields)) or "none"
            raise ValueError(
                f"{file}: image {image.get('id')!r}, field {by!r}: expected a value to keep images "
                f"together by (--split-by); received {coco_fields.shorten(value)}. Fields of "
                f"images: {known}; or {FOLDER}, or {NEAR_DUPLICATES}."
            )
        found[name] = value
    return found


def divide(
    content: Mapping[str, Any], groups: Mapping[str, Hashable], share: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide the images of a COCO json.

    Args:
        content: of the json.
        groups: what each file belongs to; files of one group stay together.
        share: of the images that train.
        seed: decides among images that are alike in their classes.

    Returns:
        The names of the files that train, and of those that are held out, both sorted.

    Raises:
        ValueError: there are fewer than two groups.
    """
    members: dict[Hashable, list[str]] = defaultdict(list)
    for name in sorted(groups):
        members[groups[name]].append(name)
    if len(members) < 2:
        raise ValueError(
            f"--split: expected at least two images, or groups of them, to divide; there is "
            f"{len(members)}, with {len(groups)} images."
        )
    units = list(members.values())
    counts = _class_counts(content, units)
    rng = np.random.default_rng(np.random.SeedSequence([seed, _STREAM]))
    held_out = _choose(counts, 1 - share, rng)
    parts = [
        tuple(
            sorted(
                name
                for unit, out in zip(units, held_out, strict=True)
                if out == side
                for name in unit
            )
        )
        for side in (False, True)
    ]
    return parts[0], parts[1]


def _class_counts(content: Mapping[str, Any], units: Sequence[Sequence[str]]) -> np.ndarray:
    """How much of what each unit has: float [units, 1 + classes]; images, then objects by class.

    Images without an object count as a class.
    """
    unit_of = {name: number for number, unit in enumerate(units) for name in unit}
    unit_of_id = {
        _id(image["id"]): unit_of[image["file_name"]]
        for image in content["images"]
        if _file_name(image) in unit_of and "id" in image
    }
    found: Counter[tuple[int, Any]] = Counter()
    annotated = set()
    for annotation in content["annotations"]:
        id = _image_id(annotation)
        if id in unit_of_id:
            found[unit_of_id[id], _id(annotation.get("category_id"))] += 1
            annotated.add(id)
    for id, unit in unit_of_id.items():
        if id not in annotated:
            found[unit, None] += 1
    classes = sorted({category for _, category in found}, key=repr)
    columns = {category: i for i, category in enumerate(classes, start=1)}
    counts = np.zeros((len(units), 1 + len(classes)))
    counts[:, 0] = [len(unit) for unit in units]
    for (unit, category), number in found.items():
        counts[unit, columns[category]] += number
    return counts


def _choose(counts: np.ndarray, share: float, rng: np.random.Generator) -> list[bool]:
    """Which units are held out, so that a share of each column is.

    Greedily, those with the rarest classes first; then units change sides while that helps.
    """
    parts = counts / np.maximum(counts.sum(axis=0), 1e-9)
    weights = np.ones(counts.shape[1])
    weights[0] = max(1, counts.shape[1] - 1)  # as many images as were asked for
    rarest = np.where(counts[:, 1:] > 0, counts[:, 1:].sum(axis=0), np.inf).min(axis=1)
    order = rng.permutation(len(counts))
    order = order[np.lexsort((-counts[order, 0], rarest[order]))]
    held_out = np.zeros(len(counts), bool)
    missing = np.full(counts.shape[1], share)  # of each column, that is still to be held out
    for number in range(1 + _PASSES):
        changed = False
        for unit in order if number == 0 else rng.permutation(len(counts)):
            sign = -1 if held_out[unit] else 1
            after = missing - sign * parts[unit]
            if (weights * after**2).sum() < (weights * missing**2).sum() - 1e-12:
                missing, changed = after, True
                held_out[unit] = not held_out[unit]
        if not changed:
            break
    if not held_out.any() or held_out.all():  # a side needs one
        held_out[int(counts[:, 0].argmin())] = not held_out.any()
    return held_out.tolist()


def _file_name(image: Any) -> str | None:
    name = image.get("file_name") if isinstance(image, dict) else None
    return name if isinstance(name, str) else None


def _image_id(annotation: Any) -> Any:
    return _id(annotation.get("image_id")) if isinstance(annotation, dict) else None


def _id(value: Any) -> Any:
    """An id as the readers read it; what is none is its text."""
    try:
        return coco_fields.read_id(value)
    except coco_fields.FieldError:
        return repr(value)
