"""Where the images of a json lie: in a folder, at an address of fsspec, or in tar files.

All of them find a file by the name that the json gives it, and none lets a name lead elsewhere.
"""

from __future__ import annotations

import os
import posixpath
from array import array
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from mrcnn.data.columns import Ids
from mrcnn.files.addresses import (
    Member,
    RemotePath,
    find_tars,
    is_address,
    is_tar,
    members,
    suffix_of,
    system_of,
    text_of,
)
from mrcnn.files.untrusted import MAX_NAME_BYTES, Folder, is_outside

Place = Path | str  # a folder of this machine; a text: an address, or tar files
TARS_AT_A_TIME = 8  # of which the headers are read, where each read waits for a network


class ImageStore(Protocol):
    """Files that are found by name.

    Attributes:
        place: where they are.
        start, end: with which each path begins and ends.
    """

    place: Place
    start: str
    end: str

    def find(self, name: Any) -> str | None:
        """The path of a file; None: there is none.

        Raises:
            ValueError: the name leads elsewhere, or is not one; says "expected …; received …".
            OSError: the place cannot be listed; names it.
        """

    def forget(self) -> None:
        """Forget what takes much memory; the next name looks again."""

    def size(self, name: str) -> int:
        """How many bytes a file has that was found."""

    def at_the_top(self) -> Iterable[str]:
        """The names of the files that lie in no folder of the place."""


def place_of(image_dir: str | os.PathLike[str]) -> Place:
    """What is meant by where images lie, as a folder or as the text that it is."""
    text = os.fspath(image_dir).removeprefix("file://")
    is_elsewhere = is_address(text) or (is_tar(text) and not os.path.isdir(text))
    return text if is_elsewhere else Path(text)


def is_elsewhere(place: Place) -> bool:
    """Whether a place is no folder of this machine."""
    return isinstance(place, str)


def open_store(place: Place, file: Path | str) -> ImageStore:
    """The files at a place.

    Args:
        place: see `place_of`.
        file: the json, for messages.

    Raises:
        FileNotFoundError: there is no such place.
        OSError, ValueError: it cannot be listed, or is not one that can be.
        ImportError: fsspec, or what it needs for such an address, is not installed.
    """
    if isinstance(place, str):
        return Tars(place, file) if is_tar(place) else AddressFolder(place, file)
    if not place.is_dir():
        raise _no_place(place, file)
    return LocalFolder(place)


def _no_place(place: Place, file: Path | str, what: str = "the folder with the images") -> OSError:
    return FileNotFoundError(f"{place}: expected {what} of {file}; there is none.")


class LocalFolder(Folder):
    """A folder of this machine."""

    end = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.place: Place = path
        self.start = os.path.join(path, "")

    def size(self, name: str) -> int:
        """How many bytes a file has."""
        return os.stat(self.start + os.path.normpath(name)).st_size

    def at_the_top(self) -> Iterable[str]:
        """The names of the files in the folder itself."""
        with os.scandir(self.place) as entries:
            return [entry.name for entry in entries if entry.is_file()]


class AddressFolder:
    """A folder at an address of fsspec, listed folder by folder as names ask for them."""

    def __init__(self, address: str, file: Path | str) -> None:
        first, chained, rest = address.partition("::")
        if address.lower().startswith(("http://", "https://")):
            raise ValueError(
                f"{address}: expected a place whose files can be listed, which a web server's "
                f"cannot; give tar files (https://…/train-000.tar), or an archive "
                f"(zip://::https://…/train.zip)."
            )
        self.place: Place = address
        self._address = address
        self.start = first if first.endswith("://") else first.rstrip("/") + "/"
        self.end = chained + rest
        self._sizes: dict[str, dict[str, int]] = {}
        self._system, self._root = system_of(address)
        try:
            is_there = self._system.isdir(self._root)
        except Exception as error:  # each store has errors of its own
            raise self._unlisted(error) from error
        if not is_there:
            raise _no_place(address, file)

    def find(self, name: Any) -> RemotePath | None:
        """The address of a file; None: there is none."""
        inner = _inner(name, self._address)
        parent, base = posixpath.split(inner)
        if base not in self._of(parent):
            return None
        return RemotePath(f"{self.start}{inner}{self.end}")

    def forget(self) -> None:
        """Forget the listings."""
        self._sizes.clear()
        self._system.invalidate_cache()

    def size(self, name: str) -> int:
        """How many bytes a file has."""
        parent, base = posixpath.split(_inner(name, self._address))
        return self._of(parent)[base]

    def at_the_top(self) -> Iterable[str]:
        """The names of the files in the folder itself."""
        return list(self._of(""))

    def _of(self, parent: str) -> dict[str, int]:
        """The files of a folder, and their bytes."""
        if parent not in self._sizes:
            try:
                folder = posixpath.join(self._root, parent) if parent else self._root
                found = self._system.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                found = []
            except Exception as error:
                raise self._unlisted(error) from error
            self._sizes[parent] = {
                posixpath.basename(entry["name"]): int(entry.get("size") or 0)
                for entry in found
                if entry["type"] == "file"
            }
        return self._sizes[parent]

    def _unlisted(self, error: Exception) -> OSError:
        return OSError(f"{self._address}: cannot be listed ({text_of(error)}).")


class Tars:
    """The members of tar files, as WebDataset's shards; the place of each is known.

    Of one tar file the names are its members'. Of several they may also begin with that of the tar
    file, "train-000/a.jpg", and have to where two hold the same name.
    """

    end = ""

    def __init__(self, pattern: str, file: Path | str) -> None:
        self.place: Place = pattern
        self._pattern = pattern
        self._tars = find_tars(pattern)
        if not self._tars:
            raise _no_place(pattern, file, "the tar files with the images")
        self.start = os.path.commonprefix(self._tars)
        self._names, self._of_tar = Ids(), array("i")
        self._firsts, self._sizes = array("q"), array("q")
        with ThreadPoolExecutor(TARS_AT_A_TIME, "mrcnn-tars") as pool:
            for first in range(0, len(self._tars), TARS_AT_A_TIME):
                some = self._tars[first : first + TARS_AT_A_TIME]
                for number, found in enumerate(pool.map(_pictures, some), first):
                    self._add(number, found)
        stems = [posixpath.basename(tar)[: -len(".tar")] for tar in self._tars]
        self._numbers: dict[str, list[int]] = {}
        for number, stem in enumerate(stems):
            self._numbers.setdefault(stem, []).append(number)

    def _add(self, number: int, found: Iterable[Member]) -> None:
        for member in found:
            self._names.append(posixpath.normpath(member.name))
            self._of_tar.append(number)
            self._firsts.append(member.first)
            self._sizes.append(member.size)

    def find(self, name: Any) -> RemotePath | None:
        """The tar file, the place and the name of a member; None: there is none."""
        row = self._row(name)
        if row is None:
            return None
        member = Member(str(self._names[row]), self._firsts[row], self._sizes[row])
        return RemotePath.of_member(self._tars[self._of_tar[row]], member)

    def forget(self) -> None:
        """Nothing: the places are all that is kept."""

    def size(self, name: str) -> int:
        """How many bytes a member has."""
        row = self._row(name)
        assert row is not None
        return self._sizes[row]

    def at_the_top(self) -> Iterable[str]:
        """The names of the members that lie in no folder."""
        return [str(name) for name in self._names if "/" not in str(name)]

    def _row(self, name: Any) -> int | None:
        inner = _inner(name, self._pattern)
        rows = self._names.rows(inner)
        stem, _, rest = inner.partition("/")
        if not rows and rest:
            numbers = self._numbers.get(stem, ())
            rows = [row for row in self._names.rows(rest) if self._of_tar[row] in numbers]
        if len(rows) > 1:
            tars = [self._tars[self._of_tar[row]] for row in rows]
            raise ValueError(
                f"expected the name of one member of the tar files {self._pattern}, such as "
                f"{posixpath.basename(tars[0])[:-4] + '/' + inner!r}; received {name!r}, which "
                f"{len(rows)} are called, in {tars[0]} and in {tars[1]}"
            )
        return rows[0] if rows else None


def _pictures(tar: str) -> Sequence[Member]:
    return [member for member in members(tar) if suffix_of(member.name) not in _NO_PICTURES]


# What WebDataset has beside pictures: by far most of the rest.
_NO_PICTURES = (".json", ".txt", ".cls")


def _inner(name: Any, place: str) -> str:
    """A name, relative to its place and without "." and ".."."""
    text = str(name) if isinstance(name, (str, int)) else ""
    inner = posixpath.normpath(text)
    if (
        not text
        or len(text) > MAX_NAME_BYTES
        or any(part in text for part in ("\0", "::", "://"))
        or is_outside(text)
        or inner.startswith("../")
    ):
        raise ValueError(
            f"expected a path inside the image folder {place}; received {repr(name)[:200]}"
        )
    return inner
