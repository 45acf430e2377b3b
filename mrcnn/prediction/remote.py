"""Pictures that lie elsewhere: in object stores, on web servers, in archives.

Whatever fsspec opens (https://filesystem-spec.readthedocs.io): "s3://bucket/photos",
"gs://…", "hdfs://…", "zip://photos/*.jpg::https://host/all.zip"; and the pictures in .tar files,
which are what WebDataset calls shards, each read from its place without the rest.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import read_image
from mrcnn.data.video import natural_order
from mrcnn.prediction.pictures import PICTURES, Picture, depth_of_training

_TAR = ".tar"
_MAGIC = "*?["


def is_remote(text: str) -> bool:
    """Whether a text is an address of fsspec, or that of a tar file."""
    return "://" in text or "::" in text or text.lower().endswith(_TAR)


@dataclass(frozen=True, eq=False)
class RemotePicture(Picture):
    """A picture of an address.

    Attributes:
        address: of its file, or of the tar file that holds it.
        place: (first byte, bytes) in that file; None: it is the whole file.
    """

    address: str = ""
    place: tuple[int, int] | None = None

    def load(self, config: Config) -> np.ndarray:
        """As `Picture.load`; an `OSError` where the address cannot be read."""
        try:
            content = self._read()
        except Exception as error:  # each store has errors of its own
            raise OSError(f"{self._where}: cannot be read ({_text(error)}).") from error
        file = io.BytesIO(content)
        file.name = self._where  # for messages
        upright = config.EXIF_ORIENTATION != "ignore"
        return read_image(file, upright=upright, depth=depth_of_training(config))

    def _read(self) -> bytes:
        if self.place is None:
            system, path = _system_of(self.address)
            return system.cat_file(path)
        first, size = self.place
        system, path = _system_of(self.address)
        content = system.cat_file(path, start=first, end=first + size)
        if len(content) != size:
            raise ValueError(f"it ends early, at {len(content)} of {size} bytes")
        return content

    @property
    def _where(self) -> str:
        return self.address if self.place is None else f"{self.address}, {self.name}"


def find_remote(address: str, prefix: str = "") -> list[Picture]:
    """The pictures at an address: of a file, a folder with all in it, a pattern or a tar file.

    Args:
        address: of fsspec; or the path of a tar file, or a pattern of such.
        prefix: of the pictures' names.

    Raises:
        FileNotFoundError: there is no picture.
        ImportError: fsspec, or what it needs for this kind of address, is not installed.
    """
    system, path = _system_of(address)
    try:
        if any(mark in path for mark in _MAGIC):
            files = [name for name in system.glob(path) if not name.endswith("/")]
            root = _common_folder(files)
        elif system.isfile(path):
            files, root = [path], str(PurePosixPath(path).parent)
        else:
            files, root = system.find(path), path
    except FileNotFoundError:
        files, root = [], path
    except Exception as error:
        raise OSError(f"{address}: cannot be listed ({_text(error)}).") from error
    files = sorted(files, key=natural_order)
    found: list[Picture] = []
    for file in files:
        name = prefix + _relative(file, root)
        suffix = PurePosixPath(file).suffix.lower()
        if suffix == _TAR:
            # Of several, each name begins with its tar file's.
            of_tar = f"{name.removesuffix(_TAR)}/" if len(files) > 1 else prefix
            found += _in_tar(system, file, _address_of(system, file, address), of_tar)
        elif suffix in PICTURES:
            found.append(RemotePicture(name, address=_address_of(system, file, address)))
    if not found:
        raise FileNotFoundError(
            f"{address}: expected pictures ({', '.join(PICTURES)}) or tar files with pictures; "
            f"found none among {len(files)} files."
        )
    return found


def _in_tar(system: Any, path: str, address: str, prefix: str) -> Iterator[Picture]:
    try:
        # Its headers alone are read; fsspec seeks over what lies between them.
        with system.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                suffix = PurePosixPath(member.name).suffix.lower()
                if member.isfile() and not member.issparse() and suffix in PICTURES:
                    place = (member.offset_data, member.size)
                    yield RemotePicture(prefix + member.name, address=address, place=place)
    except tarfile.TarError as error:
        raise ValueError(
            f"{address}: expected a tar file without compression, as WebDataset's shards; {error}."
        ) from error


def _system_of(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it."""
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


def _address_of(system: Any, file: str, listed: str) -> str:
    """The address of a file that was found at another address."""
    chained = listed.partition("::")
    if chained[1]:
        protocol = chained[0].partition("://")[0]
        return f"{protocol}://{file}::{chained[2]}"
    return system.unstrip_protocol(file)


def _common_folder(files: list[str]) -> str:
    parents = [PurePosixPath(file).parent.parts for file in files]
    shared = []
    for parts in zip(*parents, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return str(PurePosixPath(*shared)) if shared else ""


def _relative(file: str, root: str) -> str:
    try:
        return str(PurePosixPath(file).relative_to(root))
    except ValueError:
        return file.lstrip("/")


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
