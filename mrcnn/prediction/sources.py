"""What a person points at to predict on: pictures, folders, patterns, videos and cameras.

Shape letters: H, W height and width of a picture.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mrcnn.data.video import VideoFrames, natural_order, read_frames
from mrcnn.files.image_file import open_image
from mrcnn.logger import logger
from mrcnn.prediction.pictures import PICTURES, Picture
from mrcnn.prediction.remote import find_remote, is_remote

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
# May hold one picture or several, which are the frames of a video.
MAYBE_ANIMATED = (".apng", ".gif", ".webp")
_FRAME = "{}#{:06d}"


@dataclass(frozen=True, eq=False)
class Video:
    """A video, or a camera, of which every frame is predicted on.

    Attributes:
        name: as of `Picture`.
        path: its file; None for a camera.
        frames: the frames, read when they are asked for.
    """

    name: str
    path: Path | None
    frames: VideoFrames

    def pictures(self) -> Iterator[Picture]:
        """Its frames, one at a time."""
        for number, pixels in enumerate(self.frames):
            yield Picture(_FRAME.format(self.name, number), self.path, pixels)


Source = Picture | Video


def find_sources(given: Any) -> list[Source]:
    """The pictures and videos that are meant, in the order in which they were given.

    Args:
        given: one, or several of: the path of a picture or a video; a folder, of which all pictures
            and videos are taken, those of its subfolders too, in the order of the numbers in their
            names; a pattern such as "photos/*.jpg" ("**" for subfolders); an address such as
            "s3://bucket/photos", or a tar file of pictures (`mrcnn.prediction.remote`); the
            number of a camera, as text; an array, uint8 [H, W, 3].

    Raises:
        FileNotFoundError: a path leads to nothing, or a folder has no picture.
        ValueError: two pictures would get the same name, or something else was given.
    """
    items = [given] if _is_single(given) else list(given)
    found: list[Source] = []
    for number, item in enumerate(items):
        if isinstance(item, np.ndarray):
            found.append(Picture(f"image_{number}", None, item))
        elif isinstance(item, str | os.PathLike):
            found += _of_path(os.fspath(item), prefix=len(items) > 1)
        else:
            raise ValueError(
                f"source {number}: expected a path, a pattern or an array [H, W, 3]; received "
                f"{type(item).__name__}."
            )
    _expect_unique(found)
    return found


def _is_single(given: Any) -> bool:
    if isinstance(given, np.ndarray):
        return given.ndim == 3  # of four axes it is a batch
    return isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)


def _of_path(text: str, prefix: bool) -> list[Source]:
    path = Path(text)
    if is_remote(text) and not path.is_dir():
        return [*find_remote(text, f"{PurePosixPath(text).stem}/" if prefix else "")]
    if path.is_dir():
        return _of_folder(path, f"{path.resolve().name}/" if prefix else "")
    if path.exists():
        return [_of_file(path, path.name)]
    if text.isdecimal():
        return [Video(f"camera_{text}", None, _camera(text))]
    if glob.has_magic(text):
        files = sorted(filter(os.path.isfile, glob.glob(text, recursive=True)), key=natural_order)
        if not files:
            raise FileNotFoundError(f"{text}: no file fits the pattern.")
        folder = Path(os.path.commonpath([os.path.dirname(file) or "." for file in files]))
        return [_of_file(Path(file), _relative(Path(file), folder)) for file in files]
    raise FileNotFoundError(
        f"{text}: expected a picture, a video, a folder, a pattern such as 'photos/*.jpg' or the "
        "number of a camera; there is nothing of this name."
    )


def _of_folder(folder: Path, prefix: str) -> list[Source]:
    known = {*PICTURES, *VIDEOS, *MAYBE_ANIMATED}
    files, others = [], Counter[str]()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            (name for name in folders if not name.startswith(".")), key=natural_order
        )
        for name in sorted(names, key=natural_order):
            suffix = Path(name).suffix.lower()
            if name.startswith(".") or suffix not in known:
                others[suffix or "no suffix"] += 1
            else:
                files.append(Path(parent, name))
    if not files:
        raise FileNotFoundError(
            f"{folder}: expected a folder of pictures or videos ({', '.join(sorted(known))}); it "
            "has none."
        )
    if others:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(others.items()))
        logger.info(f"{folder}: {sum(others.values())} other files are not read ({kinds}).")
    return [_of_file(file, prefix + _relative(file, folder)) for file in files]


def _of_file(path: Path, name: str) -> Source:
    suffix = path.suffix.lower()
    if suffix in VIDEOS or (suffix in MAYBE_ANIMATED and _is_animated(path)):
        return Video(name, path, read_frames(path))
    return Picture(name, path)


def _is_animated(path: Path) -> bool:
    try:
        with open_image(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, ValueError):
        return False  # reading it says what is wrong


def _camera(number: str) -> VideoFrames:
    from mrcnn.data.video import read_camera

    return read_camera(int(number))


def _relative(file: Path, folder: Path) -> str:
    return str(PurePosixPath(*file.relative_to(folder).parts))


def _expect_unique(sources: Sequence[Source]) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.name, source)
        if other is not source:
            raise ValueError(
                f"{other.path} and {source.path}: expected pictures of different names, by which "
                f"what is predicted is told apart; both would be called {source.name!r}. Give the "
                "folder that holds both, or predict on them in two runs."
            )
