"""Predicting on many pictures by many processes: in parts, each of which is written once.

The pictures, in their order, are divided into parts of equal size. Whoever predicts on a part
writes into a folder of its own, which gets the part's name when all is in it. So a part is there
whole or not at all: of a process that is killed nothing remains, and of two that do the same part
one counts.

    manifest.json                     what is predicted on, and with what
    part-000000/pictures.parquet      a row for each picture (`mrcnn.prediction.parquet`)
    part-000000/objects.parquet       a row for each object, with its mask as run lengths
    part-000000/unreadable.jsonl      the pictures that could not be read, and why
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcnn.files.atomic import write_json
from mrcnn.logger import logger
from mrcnn.prediction.parquet import OBJECTS_FILE, PICTURES_FILE, import_pyarrow, write_tables
from mrcnn.prediction.pictures import Picture
from mrcnn.prediction.records import Ids, Records
from mrcnn.prediction.stream import Predictor, Unreadable

MANIFEST_FILE = "manifest.json"
UNREADABLE_FILE = "unreadable.jsonl"
_NAME = "part-{:06d}"
_UNDER_WAY = ".part"


@dataclass(frozen=True)
class Part:
    """Some of the pictures.

    Attributes:
        number: of the part, from 0.
        first: number of its first picture, from 0, in the order of all.
        pictures: to predict on.
    """

    number: int
    first: int
    pictures: Sequence[Picture]

    @property
    def name(self) -> str:
        """Of its folder."""
        return _NAME.format(self.number)


@dataclass(frozen=True)
class Totals:
    """What parts hold.

    Attributes:
        pictures: that were predicted on.
        objects: that were found.
        unreadable: pictures that could not be read.
    """

    pictures: int
    objects: int
    unreadable: int


def divide(pictures: Sequence[Picture], size: int) -> list[Part]:
    """The parts of pictures.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"part size: expected at least 1 picture; received {size}.")
    return [
        Part(number, first, pictures[first : first + size])
        for number, first in enumerate(range(0, len(pictures), size))
    ]


def take_up(
    folder: str | os.PathLike[str],
    parts: Sequence[Part],
    settings: Mapping[str, Any],
    resume: bool = False,
) -> list[Part]:
    """Begin a folder of parts, or continue with it.

    Args:
        folder: of the parts.
        parts: all of them.
        settings: what the predictions depend on.
        resume: continue; without, there must be no parts.

    Returns:
        The parts that are not there yet.

    Raises:
        FileExistsError: there are parts, and `resume` is not set.
        ValueError: they are of other pictures or settings.
    """
    folder = Path(folder)
    manifest = json.loads(json.dumps({**_identity(parts), "settings": dict(settings)}))
    path = folder / MANIFEST_FILE
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise FileExistsError(
                f"{folder}: expected a folder without predictions; it has some ({MANIFEST_FILE}). "
                "Choose another --output, or add --resume to leave out the parts that are done."
            )
        different = [name for name in manifest if before.get(name) != manifest[name]]
        if different:
            text = "; ".join(
                f"{name}: {before.get(name)!r} before, {manifest[name]!r} now" for name in different
            )
            raise ValueError(
                f"{path}: expected the same pictures, weights and options; {text}. Choose another "
                "--output."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, manifest)
    return [part for part in parts if not (folder / part.name).is_dir()]


def _identity(parts: Sequence[Part]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for part in parts:
        for picture in part.pictures:
            digest.update(f"{picture.name}\n".encode())
    return {
        "pictures": sum(len(part.pictures) for part in parts),
        "names": digest.hexdigest(),
        "parts": len(parts),
    }


def predict_part(folder: str | os.PathLike[str], part: Part, predictor: Predictor) -> Totals:
    """Predict on a part and write it; where it is written already, nothing changes.

    Args:
        folder: of the parts.
        part: to predict on.
        predictor: that does it.

    Raises:
        ImportError: pyarrow is not installed.
    """
    import_pyarrow()
    target = Path(folder, part.name)
    own = f"{part.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{_UNDER_WAY}"
    work = Path(folder, own)
    try:
        ids = {picture.name: part.first + k for k, picture in enumerate(part.pictures, start=1)}
        records = Records(work / "lines", {}, predictor.class_names, Ids(ids))
        unreadable: list[dict[str, Any]] = []
        for found in predictor(part.pictures):
            if isinstance(found, Unreadable):
                unreadable.append({"file_name": found.picture.name, "reason": found.reason})
            else:
                records.add(found)
        pictures, objects = write_tables(work, records.predictions(), records.categories)
        with open(work / UNREADABLE_FILE, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in unreadable)
        if pictures + len(unreadable) != len(part.pictures):
            raise RuntimeError(
                f"{part.name}: expected {len(part.pictures)} pictures; {pictures} were predicted "
                f"on and {len(unreadable)} could not be read."
            )
        shutil.rmtree(work / "lines")
        with contextlib.suppress(OSError):  # another process was first
            os.rename(work, target)
        if not target.is_dir():
            raise OSError(f"{target}: {work} cannot get this name.")
        return Totals(pictures, objects, len(unreadable))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def finish(folder: str | os.PathLike[str], parts: Sequence[Part]) -> Totals:
    """Check that every part is there, and remove what killed processes have left.

    Returns:
        What all hold.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: a part has fewer or more pictures than it was given.
    """
    pyarrow = import_pyarrow()
    folder = Path(folder)
    for left in folder.glob(f"{_NAME[:5]}*{_UNDER_WAY}"):
        shutil.rmtree(left, ignore_errors=True)
    pictures = objects = unreadable = 0
    for part in parts:
        path = folder / part.name
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: expected a part; it is not there. Add --resume.")
        rows = [
            pyarrow.parquet.read_metadata(path / file).num_rows
            for file in (PICTURES_FILE, OBJECTS_FILE)
        ]
        lines = (path / UNREADABLE_FILE).read_text(encoding="utf-8").splitlines()
        if rows[0] + len(lines) != len(part.pictures):
            raise ValueError(
                f"{path}: expected {len(part.pictures)} pictures; it has {rows[0]} and "
                f"{len(lines)} that could not be read. Remove it, and add --resume."
            )
        pictures, objects, unreadable = (
            pictures + rows[0],
            objects + rows[1],
            unreadable + len(lines),
        )
    return Totals(pictures, objects, unreadable)


def unreadable_in(folder: str | os.PathLike[str]) -> Iterable[tuple[str, str]]:
    """The names of the pictures that could not be read, and why."""
    for path in sorted(Path(folder).glob(f"*/{UNREADABLE_FILE}")):
        if re.fullmatch(r"part-\d+", path.parent.name):
            for line in path.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                yield found["file_name"], found["reason"]


def say_what_is_left(parts: Sequence[Part], todo: Sequence[Part]) -> None:
    """Say how many parts are done already."""
    if len(todo) < len(parts):
        logger.info(f"{len(parts) - len(todo)} of {len(parts)} parts are done and left out.")
