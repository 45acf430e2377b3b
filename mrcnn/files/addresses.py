"""Files that lie elsewhere: in object stores, on web servers, in archives, and within tar files.

An address is whatever fsspec opens (https://filesystem-spec.readthedocs.io): "s3://bucket/photos",
"gs://…", "hdfs://…", "zip://photos::https://host/all.zip". Members of .tar files, which are what
WebDataset calls shards, are read from their place without the rest, at addresses and on this
machine. Nothing here is kept open: a copy in another process reads for itself.
"""

from __future__ import annotations

import glob
import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

TAR = ".tar"
MAGIC = "*?["
_MEMBER = re.compile(r"(?P<tar>.+?)#(?P<first>\d+)\+(?P<size>\d+)/(?P<name>.*)", re.DOTALL)


def is_address(text: str) -> bool:
    """Whether a text is an address of fsspec."""
    return "://" in text or "::" in text


def is_tar(text: str) -> bool:
    """Whether a text is the path or the address of a tar file, or a pattern of such."""
    return text.partition("::")[0].lower().endswith(TAR)


class RemotePath(str):
    """The path of an image that is no file of this machine: its address, or its place in a tar.

    The latter is written "shards/train-0.tar#1536+20480/a.jpg": the first byte and how many there
    are. A plain text that looks so is none: only an image folder that a person named leads here,
    and no name in a json.
    """

    __slots__ = ()

    @classmethod
    def of_member(cls, tar: str, member: Member) -> RemotePath:
        """The path of a member of a tar file."""
        return cls(f"{tar}#{member.first}+{member.size}/{member.name}")

    def read(self) -> bytes:
        """The whole file.

        Raises:
            OSError: it cannot be read; names it.
            ImportError: fsspec, or what it needs for such an address, is not installed.
        """
        member = _MEMBER.fullmatch(self)
        if member is None:
            return read(self)
        return read(member["tar"], (int(member["first"]), int(member["size"])), member["name"])

    def open(self) -> BinaryIO:
        """The same, with a `name` for messages."""
        file = io.BytesIO(self.read())
        file.name = str(self)
        return file

    def version(self) -> str | None:
        """What changes when the file does; None where the store does not tell."""
        member = _MEMBER.fullmatch(self)
        address = self if member is None else member["tar"]
        try:
            if not is_address(address):
                status = os.stat(address)
                return f"{status.st_size} {status.st_mtime_ns}"
            system, path = system_of(address)
            return str(system.ukey(path))
        except Exception:  # each store has errors of its own; reading says what is wrong
            return None


class Member(NamedTuple):
    """A file in a tar file: its name, its first byte, and how many there are."""

    name: str
    first: int
    size: int


def read(address: str, place: tuple[int, int] | None = None, name: str = "") -> bytes:
    """A file, or a part of it.

    Args:
        address: of fsspec, or a path.
        place: (first byte, bytes); None: all.
        name: of the part, for messages.

    Raises:
        OSError: it cannot be read; names it.
        ImportError: fsspec, or what it needs for such an address, is not installed.
    """
    try:
        system, path = system_of(address) if is_address(address) else (None, address)
        if place is None:
            assert system is not None
            return system.cat_file(path)
        first, size = place
        if system is None:
            with open(path, "rb") as file:
                file.seek(first)
                content = file.read(size)
        else:
            content = system.cat_file(path, start=first, end=first + size)
        if len(content) != size:
            raise ValueError(f"it ends early, at {len(content)} of {size} bytes")
    except ImportError:
        raise
    except Exception as error:  # each store has errors of its own
        where = f"{address}, {name}" if name else address
        raise OSError(f"{where}: cannot be read ({text_of(error)}).") from error
    return content


def find_tars(pattern: str) -> list[str]:
    """The tar files of a path, an address or a pattern, sorted; none where there are none.

    Raises:
        OSError: it cannot be listed.
        ImportError: fsspec, or what it needs for such an address, is not installed.
    """
    if not is_address(pattern):
        found = glob.glob(pattern) if any(mark in pattern for mark in MAGIC) else [pattern]
        return sorted(filter(os.path.isfile, found))
    system, path = system_of(pattern)
    try:
        if any(mark in path for mark in MAGIC):
            return [address_of(system, file, pattern) for file in sorted(system.glob(path))]
        return [pattern] if system.isfile(path) else []
    except Exception as error:
        raise OSError(f"{pattern}: cannot be listed ({text_of(error)}).") from error


def members(address: str) -> Iterator[Member]:
    """The plain files in a tar file, in turn; of the rest the headers alone are read.

    Raises:
        OSError, ValueError: it cannot be read, or is no tar file without compression; names it.
    """
    try:
        with _opened(address) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined] # it keeps all, which typeshed hides
                if member.isfile() and not member.issparse():
                    yield Member(member.name, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ValueError(
            f"{address}: expected a tar file without compression, as WebDataset's shards; {error}."
        ) from error


@contextmanager
def _opened(address: str) -> Iterator[BinaryIO]:
    if not is_address(address):
        with open(address, "rb") as file:
            yield file
        return
    system, path = system_of(address)
    with system.open(path, "rb") as file:  # it seeks over what lies between the headers
        yield cast(BinaryIO, file)


def system_of(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it.

    Raises:
        ImportError: fsspec, or what it needs for this kind of address, is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            f"Pictures at addresses such as {address} are read by fsspec ({error}). Install it: "
            "pip install 'mrcnn[remote]'."
        ) from error
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:  # s3fs, gcsfs and others; fsspec says which
        raise ImportError(f"{address}: {error} (pip install it).") from error


def address_of(system: Any, file: str, listed: str) -> str:
    """The address of a file that was found at another address."""
    chained = listed.partition("::")
    if chained[1]:
        protocol = chained[0].partition("://")[0]
        return f"{protocol}://{file}::{chained[2]}"
    return system.unstrip_protocol(file)


def location_of(path: str | os.PathLike[str]) -> str:
    """The path of an image's file; one in an archive or a tar file without the archive's own.

    >>> location_of(RemotePath("zip://photos/a.png::file:///all.zip"))
    'zip://photos/a.png'
    >>> location_of(RemotePath("shards/train-0.tar#1536+20480/a.png"))
    'shards/train-0/a.png'
    """
    text = os.fspath(path)
    if not isinstance(path, RemotePath):
        return text
    member = _MEMBER.fullmatch(text)
    if member is None:
        return text.partition("::")[0]
    return f"{member['tar'].partition('::')[0][: -len(TAR)]}/{member['name']}"


def name_of(path: str | os.PathLike[str]) -> str:
    """The name of an image's file, without its folder."""
    return location_of(path).replace("\\", "/").rstrip("/").rpartition("/")[2]


def suffix_of(name: str) -> str:
    """The suffix of a file's name, in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


def text_of(error: BaseException) -> str:
    """What an error says, or at least its kind."""
    return str(error) or type(error).__name__
