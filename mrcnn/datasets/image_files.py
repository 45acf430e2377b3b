"""The files that a json names: each is found at their place before anything is read."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.columns import Paths, Texts
from mrcnn.datasets.image_stores import ImageStore, is_elsewhere
from mrcnn.files.addresses import RemotePath
from mrcnn.files.elsewhere import file_meant


def image_paths(ids: Sequence[Any], names: Sequence[str], files: ImageStore, file: Path) -> Paths:
    """The path of each image, all checked to be files at their place.

    Args:
        ids, names: [N], of the images.
        files: where they are.
        file: the json, for messages.

    Raises:
        FileNotFoundError: files are missing.
        ValueError: a name leads elsewhere.
        OSError: the place cannot be listed.
    """
    found = Texts()
    refused: dict[int, ValueError] = {}
    missing = []
    order, parent = _by_folder(names), ""
    for row in order:
        name = names[row]
        if os.path.dirname(name) != parent:  # all names of a million files would take much memory
            parent = os.path.dirname(name)
            files.forget()
        try:
            path = files.find(name)
        except ValueError as error:
            refused[row], path = error, None
        else:
            if path is None:
                missing.append(row)
        found.append("" if path is None else _middle(path, files))
    if refused:
        row = min(refused)
        raise ValueError(
            f"{file}: image {ids[row]}, field 'file_name': {refused[row]}."
            f"{_file_meant(files, names[row])}"
        ) from None
    if missing:
        row = min(missing)
        name = names[row]
        slashed = name.replace("\\", "/")
        if slashed != name and files.find(slashed) is not None:
            raise FileNotFoundError(
                f"{file}: image {ids[row]}, field 'file_name': expected {slashed!r}, which "
                f"exists in {files.place}; received {name!r}, with the separators of Windows. "
                f"`mrcnn check DATASET --fix OUT` writes {len(missing)} names with '/'."
            )
        raise FileNotFoundError(
            f"{file}: image {ids[row]}: expected the file {name!r} in {files.place}; it is "
            f"missing, as are {len(missing) - 1} of the other {len(names) - 1}. "
            f"Complete the folder, or take the images out of the json.{_file_meant(files, name)}"
        )
    if not isinstance(order, range):
        found = found.take(np.argsort(order))
    kind = RemotePath if is_elsewhere(files.place) else str
    return Paths(files.start, found, files.end, kind)


def _middle(path: str, files: ImageStore) -> str:
    return path[len(files.start) : len(path) - len(files.end)]


def _by_folder(names: Sequence[str]) -> Sequence[int]:
    """The numbers of the names, folder after folder; a range where they are so already."""
    numbers: dict[str, int] = {}
    folders = array("i")
    for name in names:
        folders.append(numbers.setdefault(os.path.dirname(name), len(numbers)))
    of_each = np.array(folders, np.intc)
    if (of_each[1:] >= of_each[:-1]).all():
        return range(len(names))
    return np.argsort(of_each, kind="stable").tolist()


def _file_meant(files: ImageStore, name: str) -> str:
    """A sentence on the file that a name from another machine may mean; "" where there is none."""

    def is_file(end: str) -> bool:
        try:
            return files.find(end) is not None
        except ValueError:
            return False

    end = file_meant(name, is_file)
    if end is None:
        return ""
    return (
        f" {end!r} is a file there: `mrcnn check DATASET --fix OUT` writes that name, if the size "
        f"agrees and no other image has it."
    )
