"""The same picture twice: within a subset, and in training and validation."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.coco_fields import Entry
from mrcnn.doctor.findings import Finding, Kind, note, report, warning
from mrcnn.doctor.image_files import THUMBNAIL, ImageFiles
from mrcnn.doctor.subset import Subset
from mrcnn.files.addresses import RemotePath

LEAK = warning(
    *("split-leak", "image", "", "a picture that is not in {other}"),
    "the pixels of its image {other_id}",
    "validates on what it has memorized: the scores are too good",
)
NEAR_LEAK = warning(
    *("split-near-leak", "image", "", "a picture unlike those of {other}"),
    "one that resembles its image {other_id} (correlation {correlation:.3f})",
    "may validate on what it has memorized",
)
TWICE = note(
    *("picture-twice", "image", "", "each picture once", "the pixels of image {other_id}"),
    "draws it twice as often as the others",
)

KINDS: tuple[Kind, ...] = (LEAK, NEAR_LEAK, TWICE)

# Correlation of two small grey pictures. Of 20 photographs and 20 microscope pictures, those saved
# again at half the size, JPEG quality 30 or another brightness stay above it; the most alike of
# different ones have 0.76. A crop is as a rule below.
NEAR = 0.97
# Below this deviation of its grey values a picture is as good as flat, and like any other.
FLAT = 4.0
BLOCK = 4096


def check_duplicates(subset: Subset, files: ImageFiles) -> Iterator[Finding]:
    """The same pixels in two files of a subset."""
    first: dict[bytes, Entry] = {}
    for image, file in files:
        if file.digest is None:
            continue
        other = first.setdefault(file.digest, image)
        # One file in two entries is another finding.
        if other is not image and subset.path(other) != subset.path(image):
            path = subset.path(image)
            yield report(TWICE, subset.name, path, image["id"], other_id=other["id"])


def check_leakage(
    train: Subset, train_files: ImageFiles, val: Subset, val_files: ImageFiles
) -> Iterator[Finding]:
    """Pictures of the validation that are, or resemble, pictures of the training."""
    learned = {file.digest: image for image, file in train_files if file.digest is not None}
    rest: ImageFiles = []
    for image, file in val_files:
        if file.digest is not None and file.digest in learned:
            yield _report_leak(LEAK, val, image, train, learned[file.digest])
        else:
            rest.append((image, file))
    yield from _check_near_duplicates(train, train_files, val, rest)


def check_file_leakage(train: Subset, val: Subset, images: Sequence[Entry]) -> Iterator[Finding]:
    """Which of some validation images have the bytes of a training file; reads few files."""
    by_size: dict[int, list[Entry]] = defaultdict(list)
    for image in train.images:
        by_size[train.size(image)].append(image)
    digests: dict[Path | str, bytes] = {}
    for image in images:
        candidates = by_size.get(val.size(image), ())
        if not candidates:
            continue
        digest = _file_digest(val.path(image))
        for other in candidates:
            path = train.path(other)
            if path not in digests:
                digests[path] = _file_digest(path)
            if digests[path] == digest:
                yield _report_leak(LEAK, val, image, train, other)
                break


def _report_leak(
    kind: Kind, val: Subset, image: Entry, train: Subset, other: Entry, **values: Any
) -> Finding:
    path = val.path(image)
    return report(
        kind, val.name, path, image["id"], other=train.name, other_id=other["id"], **values
    )


def _check_near_duplicates(
    train: Subset, train_files: ImageFiles, val: Subset, val_files: ImageFiles
) -> Iterator[Finding]:
    train_images, known = _normalize_thumbnails(train_files)
    val_images, compared = _normalize_thumbnails(val_files)
    for first in range(0, len(compared), BLOCK):
        part = compared[first : first + BLOCK]
        best, index = np.full(len(part), -1.0), np.zeros(len(part), int)
        for start in range(0, len(known), BLOCK):
            alike = part @ known[start : start + BLOCK].T
            better = alike.max(axis=1) > best
            index[better] = start + alike.argmax(axis=1)[better]
            best = np.maximum(best, alike.max(axis=1))
        for k in np.flatnonzero(best >= NEAR):
            yield _report_leak(
                NEAR_LEAK,
                *(val, val_images[first + k], train, train_images[index[k]]),
                correlation=float(best[k]),
            )


def _normalize_thumbnails(files: ImageFiles) -> tuple[list[Entry], np.ndarray]:
    """The entries of the N pictures that are not flat, and float32 [N, 32 * 32], their small grey
    pictures with mean 0 and length 1."""
    images, rows = [], []
    for image, file in files:
        if file.thumbnail is None:
            continue
        values = file.thumbnail.astype(np.float32).ravel()
        if values.std() >= FLAT:
            images.append(image)
            values -= values.mean()
            rows.append(values / np.linalg.norm(values))
    return images, np.array(rows, np.float32).reshape(len(images), THUMBNAIL**2)


def _file_digest(path: str | os.PathLike[str]) -> bytes:
    if isinstance(path, RemotePath):
        return hashlib.blake2b(path.read()).digest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
