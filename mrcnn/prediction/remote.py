"""Pictures that lie elsewhere: in object stores, on web servers, in archives.

Whatever fsspec opens (https://filesystem-spec.readthedocs.io): "s3://bucket/photos",
"gs://…", "hdfs://…", "zip://photos/*.jpg::https://host/all.zip"; and the pictures in .tar files,
which are what WebDataset calls shards, each read from its place without the rest.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import read_image
from mrcnn.data.video import natural_order
from mrcnn.files import addresses
from mrcnn.files.addresses import MAGIC, TAR, address_of, suffix_of, system_of, text_of
from mrcnn.prediction.pictures import PICTURES, Picture, depth_of_training


def is_remote(text: str) -> bool:
    """Whether a text is an address of fsspec, or that of a tar file."""
    return addresses.is_address(text) or text.lower().endswith(TAR)


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
        name = "" if self.place is None else self.name
        content = addresses.read(self.address, self.place, name)
        file = io.BytesIO(content)
        file.name = f"{self.address}, {name}" if name else self.address  # for messages
        upright = config.EXIF_ORIENTATION != "ignore"
        return read_image(file, upright=upright, depth=depth_of_training(config))


def find_remote(address: str, prefix: str = "") -> list[Picture]:
    """The pictures at an address: of a file, a folder with all in it, a pattern or a tar file.

    Args:
        address: of fsspec; or the path of a tar file, or a pattern of such.
        prefix: of the pictures' names.

    Raises:
        FileNotFoundError: there is no picture.
        ImportError: fsspec, or what it needs for this kind of address, is not installed.
    """
    system, path = system_of(address)
    try:
        if any(mark in path for mark in MAGIC):
            files = [name for name in system.glob(path) if not name.endswith("/")]
            root = _common_folder(files)
        elif system.isfile(path):
            files, root = [path], str(PurePosixPath(path).parent)
        else:
            files, root = system.find(path), path
    except FileNotFoundError:
        files, root = [], path
    except Exception as error:
        raise OSError(f"{address}: cannot be listed ({text_of(error)}).") from error
    files = sorted(files, key=natural_order)
    found: list[Picture] = []
    for file in files:
        name = prefix + _relative(file, root)
        suffix = suffix_of(file)
        if suffix == TAR:
            # Of several, each name begins with its tar file's.
            of_tar = f"{name.removesuffix(TAR)}/" if len(files) > 1 else prefix
            found += _in_tar(address_of(system, file, address), of_tar)
        elif suffix in PICTURES:
            found.append(RemotePicture(name, address=address_of(system, file, address)))
    if not found:
        raise FileNotFoundError(
            f"{address}: expected pictures ({', '.join(PICTURES)}) or tar files with pictures; "
            f"found none among {len(files)} files."
        )
    return found


def _in_tar(address: str, prefix: str) -> Iterator[Picture]:
    for member in addresses.members(address):
        if suffix_of(member.name) in PICTURES:
            place = (member.first, member.size)
            yield RemotePicture(prefix + member.name, address=address, place=place)


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
