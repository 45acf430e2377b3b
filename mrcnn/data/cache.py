"""Decoded and scaled images, kept in memory or in a folder (`LOADER_CACHE`).

What is random (the window of the mode "crop", augmentation) happens after the cache, so that
batches are the same with and without it. With scale jitter the scale is, so that images are kept as
they were decoded. In memory the objects of an image are kept too, cut
to their boxes. A folder holds pixels only: the annotations are read again each time, so that a
folder never keeps an annotation that has been corrected since.

A cache fills up to its bound and then stays as it is: in a stream that visits every image once
before it visits one again, an entry evicted for the next image would be evicted before its turn.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import Objects
from mrcnn.files.addresses import RemotePath
from mrcnn.logger import logger

# Part of every key: raise it when what is stored, or how images are scaled, changes.
FORMAT = 3
GIGABYTE = 10**9
# The settings on which a scaled image depends.
SCALE_SETTINGS = (
    *("IMAGE_RESIZE_MODE", "IMAGE_MIN_DIM", "IMAGE_MAX_DIM"),
    *("IMAGE_MIN_SCALE", "IMAGE_CHANNEL_COUNT", "EXIF_ORIENTATION"),
    *("GREY_BIT_DEPTH", "IMAGE_MIN_DIM_RANGE", "IMAGE_SCALE_RANGE"),
)


class ScaledImage(NamedTuple):
    """An image that was scaled, if its scale is not random, and neither padded nor cropped."""

    image: np.ndarray  # [h, w, C], in the data set's own dtype
    original_shape: tuple[int, ...]  # (H, W, C) before scaling


# What is kept of an image; None for the objects that a cache does not keep.
Entry = tuple[ScaledImage, Objects | None]


def make_cache(config: Config, processes: int = 1) -> MemoryCache | FolderCache | None:
    """Return the cache that `config.LOADER_CACHE` asks for, or None.

    Args:
        config: settings; LOADER_CACHE is None, "ram" or a folder, which is made when missing.
        processes: how many hold a copy of the cache and share the bound, LOADER_CACHE_GB.
    """
    if config.LOADER_CACHE is None:
        return None
    limit = int(config.LOADER_CACHE_GB * GIGABYTE)
    if config.LOADER_CACHE == "ram":
        return MemoryCache(limit // processes)
    settings = {name: _plain(getattr(config, name)) for name in SCALE_SETTINGS}
    return FolderCache(config.LOADER_CACHE, limit, settings, processes)


class _Bounded:
    """Counts bytes up to a bound, from several threads; warns once when it is reached."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._full = False
        self._lock = threading.Lock()

    def _take(self, nbytes: int) -> bool:
        with self._lock:
            if self._used + nbytes <= self._limit:
                self._used += nbytes
                return True
            said, self._full = self._full, True
        if not said:
            logger.warning(
                "The loader's cache is full: %.3g GB here (LOADER_CACHE_GB is shared by worker "
                "processes). The images that do not fit are read again in each pass.",
                self._limit / GIGABYTE,
            )
        return False


class MemoryCache(_Bounded):
    """Entries in this process's memory, for one data set and one set of settings.

    A copy in another process starts empty.

    Args:
        limit: bytes at most.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._entries: dict[int, Entry] = {}

    def __reduce__(self) -> tuple:
        return MemoryCache, (self._limit,)

    def get(self, dataset: Dataset, image_id: int) -> Entry | None:
        """Return what is kept of an image; its arrays are not to be written to."""
        return self._entries.get(image_id)

    def put(self, dataset: Dataset, image_id: int, scaled: ScaledImage, objects: Objects) -> None:
        """Keep an image and its objects, if there is room."""
        objects = Objects(objects.instances.copy(), objects.box_only.copy())
        nbytes = scaled.image.nbytes + objects.instances.nbytes + objects.box_only.nbytes
        if image_id not in self._entries and self._take(nbytes):
            self._entries[image_id] = scaled, objects


class FolderCache(_Bounded):
    """Scaled images in a folder, for any number of runs, data sets, settings and processes.

    A file is named by a digest of: the image's path, its size and time of change, the size that the
    data set states, the settings of scaling, and the code of the data set's `load_image`. What
    `load_image` calls, and the other images by which grey ones above 8 bits are scaled, are not
    part of it: empty the folder after changing that. Files appear whole
    or not at all. Images that are not files are not kept, nor those of a `load_image` that is not
    a method of the class.

    Args:
        folder: made when missing.
        limit: bytes in the folder at most, no matter which run wrote them. Loaders that fill one
            folder at the same time do not know of each other's part.
        settings: those of `SCALE_SETTINGS`.
        processes: how many share what room is left.
    """

    def __init__(
        self, folder: str | os.PathLike[str], limit: int, settings: dict[str, Any], processes: int
    ) -> None:
        super().__init__(limit)
        self._folder, self._settings, self._processes = Path(folder), settings, processes
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"LOADER_CACHE: expected 'ram' or a folder that can be made; received "
                f"{os.fspath(folder)!r} ({error})."
            ) from error
        self._total = limit
        self._measured = False
        self._broken = False

    def __reduce__(self) -> tuple:
        return FolderCache, (self._folder, self._total, self._settings, self._processes)

    def get(self, dataset: Dataset, image_id: int) -> Entry | None:
        """Read what is kept of an image, without its objects."""
        path = self._path(dataset, image_id)
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                image, shape = (np.load(file, allow_pickle=False) for _ in range(2))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s cannot be read (%s); the image is cached again.", path, error)
            return None
        return ScaledImage(image, tuple(shape.tolist())), None

    def put(self, dataset: Dataset, image_id: int, scaled: ScaledImage, objects: Objects) -> None:
        """Write an image, if it has a file and there is room; its objects are not kept."""
        path = self._path(dataset, image_id)
        if path is None or self._broken:
            return
        self._measure()
        if not self._take(scaled.image.nbytes):
            return
        part = path.with_name(f"{path.stem}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            with open(part, "wb") as file:
                np.save(file, scaled.image, allow_pickle=False)
                np.save(file, np.array(scaled.original_shape, np.int64), allow_pickle=False)
            os.replace(part, path)
        except OSError as error:
            self._broken = True
            part.unlink(missing_ok=True)
            logger.warning(
                "LOADER_CACHE: cannot write to %s (%s). This process caches no further image.",
                self._folder,
                error,
            )

    def _measure(self) -> None:
        """Learn this process's part of the bound, from what the folder holds already."""
        with self._lock:
            if self._measured:
                return
            held = 0
            for entry in os.scandir(self._folder):
                with contextlib.suppress(FileNotFoundError):  # renamed by another process
                    held += entry.stat().st_size
            self._limit = max(0, self._total - held) // self._processes
            self._measured = True

    def _path(self, dataset: Dataset, image_id: int) -> Path | None:
        info = dataset.image_info[image_id]
        image_path = info.get("path")
        if image_path is None:
            return None
        try:
            facts = _facts(image_path)
        except (OSError, TypeError, ValueError):  # no file: `load_image` knows what it is
            return None
        digest = hashlib.sha256()
        stated = [info.get(name) for name in ("width", "height", "upright")]  # decide how it lies
        content = json.dumps([facts, stated, self._settings], sort_keys=True, default=str)
        digest.update(content.encode())
        code = getattr(getattr(type(dataset), "load_image", None), "__code__", None)
        if code is None or "load_image" in vars(dataset):
            return None
        _update_with_code(digest, code)
        return self._folder / f"{digest.hexdigest()[:40]}.npy"


def _facts(path: str | os.PathLike[str]) -> list[Any]:
    """What tells a file from another one, and from what it was before."""
    if isinstance(path, RemotePath):
        version = path.version()
        if version is None:
            raise OSError(f"{path}: nobody knows whether it has changed.")
        return [FORMAT, str(path), version]
    status = os.stat(path)
    return [FORMAT, os.path.abspath(path), status.st_size, status.st_mtime_ns]


def _update_with_code(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _update_with_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
