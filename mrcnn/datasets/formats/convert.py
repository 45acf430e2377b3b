"""From any format that is read to those that are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mrcnn.datasets.formats.parts import Part
from mrcnn.datasets.formats.to_coco import write_coco
from mrcnn.datasets.formats.to_labelme import write_labelme
from mrcnn.datasets.formats.to_webdataset import write_webdataset
from mrcnn.datasets.formats.to_yolo import write_yolo
from mrcnn.datasets.layouts import SplitFiles

WRITERS: dict[str, Callable[[Sequence[Part], Path], None]] = {
    "coco": write_coco,
    "labelme": write_labelme,
    "yolo": write_yolo,
    "webdataset": write_webdataset,
}


def convert(
    subsets: Sequence[SplitFiles], out: str | os.PathLike[str], to: str, skip_invalid: bool = False
) -> list[Part]:
    """Write a copy of a data set in another format.

    Images become hard links where that is possible, and copies otherwise.

    Args:
        subsets: what to convert, see `mrcnn.datasets.layouts.find_subsets`.
        out: a new or empty folder.
        to: one of `WRITERS`.
        skip_invalid: leave out annotations that cannot be used; False: they are errors.

    Returns:
        The subsets, with what was left out or took another form.

    Raises:
        OSError, ValueError: `out` is in use, or something cannot be read; names it.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: expected a new or an empty folder for the converted data set; it is in "
            f"use. Name another one."
        )
    if to not in WRITERS:
        raise ValueError(f"--to: expected one of {', '.join(WRITERS)}; received {to!r}.")
    parts = [Part.of(files, skip_invalid) for files in subsets]
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[to](parts, folder)
    return parts
