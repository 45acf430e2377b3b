"""The files that `mrcnn edges` leaves in a folder, and how those of a former run are told apart.

A folder that is used twice holds what the last run drew. Only files with a name of this command's
are touched, and of these only the ones that say who made them: the pictures in their metadata,
the table in its first line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mrcnn.files.image_file import open_image
from mrcnn.logger import logger

LOSSES_FILE, KERNELS_FILE = "losses.csv", "kernels.png"
MAKER = "mrcnn edges"  # in the pictures' metadata
# The table's first columns; a loss for each filter set follows.
COLUMNS = ("pair", "image", "class", "score", "iou", "smoothing")
_NAMES = re.compile(r"losses\.csv|kernels\.png|instances_[a-z]+\.png|pair_[0-9]{4,}\.png")
_NAMES_SHOWN = 3


def instances_file(smoothing: str) -> str:
    """The page of all pairs of a kind of smoothing."""
    return f"instances_{smoothing}.png"


def pair_file(number: int) -> str:
    """The page of a pair, by its number from 0; the name counts from 1."""
    return f"pair_{number + 1:04d}.png"


def former_files(folder: Path) -> list[Path]:
    """The files that a former run of the command left in a folder, which need not exist.

    Raises:
        ValueError: a file of such a name is not the command's own.
    """
    named = sorted(path for path in folder.glob("*") if _NAMES.fullmatch(path.name))
    strangers = [path for path in named if not _is_own(path)]
    if strangers:
        raise ValueError(
            f"{folder}: expected no files with names of this command's, or files that it made; "
            f"received {_listed(strangers)}, which do not say so. Choose another folder with "
            f"--output, or move them."
        )
    return named


def remove_former_files(folder: Path) -> None:
    """Remove what `former_files` finds, and say so."""
    files = former_files(folder)
    for file in files:
        file.unlink()
    if files:
        logger.info(f"{folder}: removed the files of a former run: {_listed(files)}")


def _is_own(path: Path) -> bool:
    """Whether a file says that it is of this command."""
    if not path.is_file():
        return False
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(",".join(COLUMNS))
    try:
        with open_image(path) as picture:
            return picture.info.get("Software") == MAKER
    except (OSError, ValueError):  # no picture
        return False


def _listed(files: Sequence[Path]) -> str:
    more = len(files) - _NAMES_SHOWN
    return ", ".join(file.name for file in files[:_NAMES_SHOWN]) + (
        f" and {more} more" if more > 0 else ""
    )
