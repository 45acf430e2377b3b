"""What an untrusted file may ask for: sizes, and where its names may lead.

Data sets and weights often come from others. These limits lie far above what real ones need.
An environment variable, which worker processes inherit, raises each of them.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path, PureWindowsPath
from typing import Any


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f"environment variable {name}: expected a number; received {text!r}.")
    return int(text)


# As RGB 400 MB. Below the limit at which Pillow refuses an image.
MAX_IMAGE_PIXELS = _from_environment("MRCNN_MAX_IMAGE_PIXELS", 1 << 27)
# Of the masks of one image, a byte for each pixel of each instance.
MAX_MASK_BYTES = _from_environment("MRCNN_MAX_MASK_BYTES", 4 << 30)
# The largest annotations of COCO have 0.5 GB; as Python objects they take some ten times that.
MAX_JSON_BYTES = _from_environment("MRCNN_MAX_JSON_BYTES", 2 << 30)
# Of a file's name. No system opens longer ones; to resolve them takes a call for each folder.
MAX_NAME_BYTES = 4096
# 1: links inside a data set may lead out of it.
FOLLOW_LINKS = bool(_from_environment("MRCNN_FOLLOW_LINKS", 0))


def expect_json_size(file: str | os.PathLike[str]) -> int:
    """The size of a json file.

    Raises:
        OSError: it cannot be opened; `FileNotFoundError` if there is none.
        ValueError: it is no plain file, or too large; says why, not which file.
    """
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a plain file")
    if status.st_size > MAX_JSON_BYTES:
        raise ValueError(
            f"it has {status.st_size} bytes, more than MRCNN_MAX_JSON_BYTES = {MAX_JSON_BYTES}"
        )
    return status.st_size


def load_json(file: str | os.PathLike[str]) -> Any:
    """Read a json file.

    Raises:
        OSError: it cannot be opened; `FileNotFoundError` if there is none.
        ValueError: it is not json, or too large; says why, not which file.
    """
    expect_json_size(file)
    try:
        return json.loads(Path(file).read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_finite(value: Any) -> bool:
    """Whether a value of a json file is a finite number that fits a float."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -sys.float_info.max <= value <= sys.float_info.max


def is_size(height: Any, width: Any) -> bool:
    """Whether these are integers, the sides of an image of at most MAX_IMAGE_PIXELS."""
    sides = (height, width)
    are_integers = all(isinstance(n, int) and not isinstance(n, bool) for n in sides)
    return are_integers and min(sides) > 0 and height * width <= MAX_IMAGE_PIXELS


def check_mask_bytes(height: int, width: int, count: int, where: str) -> None:
    """Refuse masks that would not fit MAX_MASK_BYTES; `where` begins the message.

    Raises:
        ValueError: they would not.
    """
    if height * width * count > MAX_MASK_BYTES:
        raise ValueError(
            f"{where}: expected masks of at most {MAX_MASK_BYTES} bytes in all; {count} of "
            f"{height} x {width} pixels are more. Make the image smaller or split it, or set the "
            f"environment variable MRCNN_MAX_MASK_BYTES."
        )


def is_outside(name: str) -> bool:
    """Whether a file name leads out of the folder it is relative to.

    >>> is_outside("day1/a.png"), is_outside("../a.png"), is_outside("C:/a.png")
    (False, True, True)
    """
    inner = os.path.normpath(name)
    is_absolute = os.path.isabs(inner) or bool(PureWindowsPath(inner).anchor)
    return is_absolute or inner.split(os.sep)[0] == os.pardir


class Folder:
    """A folder whose files are named by untrusted annotations.

    The folder itself may be a link. Names may lead into folders inside it, not out of it: not by
    an absolute path, not by "..", and unless FOLLOW_LINKS is set not by a link.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._root = os.path.realpath(path)
        self._files: dict[str, frozenset[str]] = {}

    def find(self, name: Any) -> str | None:
        """Return the path of a file in here, or None when there is no such file.

        Raises:
            ValueError: the name leads out of the folder, or is not one; says "expected …;
                received …", for the caller to put the file and the field before it.
        """
        text = str(name) if isinstance(name, (str, int)) else ""
        if len(text) > MAX_NAME_BYTES:
            raise ValueError(
                f"expected a path of at most {MAX_NAME_BYTES} bytes inside the image folder "
                f"{self._path}; received {len(text)} characters, {text[:60]!r}..."
            )
        inner = os.path.normpath(text)
        if not text or not _can_be_a_name(text) or is_outside(text):
            raise ValueError(
                f"expected a path inside the image folder {self._path}; received {repr(name)[:200]}"
            )
        path = os.path.join(self._path, inner)
        parent, base = os.path.split(inner)
        # One call a folder, where a million `stat` would take minutes.
        if parent not in self._files:
            self._files[parent] = self._plain_files(parent)
        if base in self._files[parent]:
            return path
        self._check_links(path, name)
        if os.path.isfile(path):
            return path
        if is_outside(text.replace("\\", "/")):  # a name written on Windows
            raise ValueError(
                f"expected a path inside the image folder {self._path}; received {repr(name)[:200]}"
            )
        return None

    def forget(self) -> None:
        """Forget what was seen of the folders; the next name looks again."""
        self._files.clear()

    def _plain_files(self, parent: str) -> frozenset[str]:
        """The files, but not the links, of a folder in here; none of a folder that leads out."""
        folder = os.path.join(self._path, parent)
        if not self._holds(folder):
            return frozenset()
        try:
            with os.scandir(folder) as entries:
                return frozenset(e.name for e in entries if e.is_file(follow_symlinks=False))
        except OSError:  # no such folder: then `isfile` says so
            return frozenset()

    def _holds(self, path: str) -> bool:
        return FOLLOW_LINKS or _is_within(os.path.realpath(path), self._root)

    def _check_links(self, path: str, name: Any) -> None:
        if not self._holds(path):
            raise ValueError(
                f"expected a path inside the image folder {self._path}; received {name!r}, which "
                f"leads by a link to {os.path.realpath(path)}. If you made that link, set the "
                f"environment variable MRCNN_FOLLOW_LINKS=1"
            )


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(os.path.join(root, ""))


def _can_be_a_name(text: str) -> bool:
    """Whether a text can name a file: no NUL, and no half of a surrogate pair, as json allows."""
    try:
        return "\0" not in text and bool(os.fsencode(text.encode().decode()))
    except UnicodeError:
        return False
