"""The files below a folder of images and annotations, as names relative to it."""

from __future__ import annotations

import json
import mmap
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mrcnn.files.untrusted import FOLLOW_LINKS, MAX_JSON_BYTES, is_outside, load_json

# What Pillow is let read; see `mrcnn.files.image_file.FORMATS`.
IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jfif", ".jpg", ".mpo", ".png"),
        *(".pgm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)
MAX_DEPTH = 6  # below the folder
MAX_FILES = 5_000_000
SEARCHED_A_FOLDER = 5  # files of a kind, in which a format is looked for
MAX_TEXT_BYTES = 64 << 20  # of a file of lines, or a small table of settings


class Listing:
    """The files below a folder; hidden ones, and links that lead out of it, are left out.

    Attributes:
        root: the folder.
        chosen: the one file that was named, relative to the folder; "": the whole folder.
        files: names relative to the folder, with "/", sorted.
        links: names of links that were not followed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """List a folder, or the folder of a file.

        Raises:
            ValueError: there are more files than `MAX_FILES`.
        """
        given = Path(path)
        self.chosen = "" if given.is_dir() else given.name
        self.root = given if given.is_dir() else given.parent
        self.links: list[str] = []
        self.files = sorted(self._walk())

    def _walk(self) -> Iterator[str]:
        root = os.path.realpath(self.root)
        level, count = [""], 0
        for _ in range(MAX_DEPTH + 1):
            below: list[str] = []
            for folder in level:
                for entry in _scan(self.root / folder):
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_symlink() and not _leads_into(self.root / name, root):
                        self.links.append(name)
                    elif entry.is_dir(follow_symlinks=FOLLOW_LINKS):
                        below.append(name)
                    elif entry.is_file():
                        count += 1
                        if count > MAX_FILES:
                            raise ValueError(
                                f"{self.root}: expected at most {MAX_FILES} files in a data set; "
                                f"there are more. Give the folder of the data set alone."
                            )
                        yield name
            level = below

    def ending(self, *suffixes: str) -> list[str]:
        """The files with one of some suffixes; of a named file, that one alone."""
        files = [self.chosen] if self.chosen else self.files
        return [name for name in files if PurePosixPath(name).suffix.lower() in suffixes]

    def some(self, *suffixes: str) -> list[str]:
        """Of each folder the first few files with one of some suffixes."""
        counts: dict[PurePosixPath, int] = defaultdict(int)
        found = []
        for name in self.ending(*suffixes):
            folder = PurePosixPath(name).parent
            counts[folder] += 1
            if counts[folder] <= SEARCHED_A_FOLDER:
                found.append(name)
        return found

    @cached_property
    def images(self) -> list[str]:
        """The image files."""
        return [name for name in self.files if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _by_base(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self.images:
            found[PurePosixPath(name).name].append(name)
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def path(self, name: str) -> Path:
        """The path of a file."""
        return self.root / name

    def join(self, folder: PurePosixPath | str, name: str) -> str:
        """A name relative to a folder in here as one relative to the root.

        >>> Listing(".").join("ann", "../images/a.png")
        'images/a.png'
        """
        slashed = name.replace("\\", "/")
        if is_outside(slashed) and not slashed.startswith(".."):
            return slashed  # an absolute path: nothing in here
        return os.path.normpath(f"{folder}/{slashed}").replace(os.sep, "/")

    def image_named(self, name: str, near: PurePosixPath | str = "") -> str | None:
        """The image that annotations mean by a name, which may be one of another machine.

        Args:
            name: as it is written.
            near: the folder of the annotations.

        Returns:
            The name as it is relative to `near` or the root; else the only image with the longest
            end of it; None: there is none.

        Raises:
            ValueError: several images could be meant; says "expected …; found …".
        """
        slashed = name.replace("\\", "/")
        for folder in dict.fromkeys([str(near), ""]):
            inner = self.join(folder or ".", slashed)
            if inner in self._known and not is_outside(inner):
                return inner
        parts = [part for part in slashed.split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        candidates = self._by_base.get(parts[-1], [])
        for count in range(len(parts), 0, -1):
            end = parts[-count:]
            fitting = [found for found in candidates if found.split("/")[-count:] == end]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                close = [found for found in fitting if PurePosixPath(found).parent == near]
                if len(close) == 1:
                    return close[0]
                raise ValueError(f"expected one image for {name!r}; found {', '.join(fitting[:4])}")
        return None


def read_json(path: Path, kind: str) -> Any:
    """Read a json file of annotations.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not json, or too large; names the file and the kind.
    """
    try:
        return load_json(path)
    except (ValueError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected {kind}; it cannot be read as json: {error}.") from None


def read_lines(path: Path, kind: str) -> list[str]:
    """Read a small text file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no text, or too large; names the file.
    """
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise ValueError(
            f"{path}: expected {kind} of at most {MAX_TEXT_BYTES} bytes; it has {size}."
        )
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected {kind} in UTF-8; {error}.") from None


def holds(path: Path, texts: Sequence[bytes]) -> bool:
    """Whether a file holds all of some texts; it is not parsed for that."""
    try:
        if not 0 < path.stat().st_size <= MAX_JSON_BYTES:
            return False
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return all(content.find(text) >= 0 for text in texts)
    except (OSError, ValueError):
        return False


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _leads_into(path: Path, root: str) -> bool:
    target = os.path.realpath(path)
    return FOLLOW_LINKS or target == root or target.startswith(os.path.join(root, ""))
