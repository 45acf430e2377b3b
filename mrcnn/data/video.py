"""Frames of a video, one at a time: folders of pictures, GIFs, and video files.

Folders and animated pictures need nothing but Pillow; video files (mp4, avi, mov, …) need
imageio with ffmpeg, the extra "video" of this package.

    frames = read_frames("walk.mp4")
    write_frames("grey.gif", (to_grey(frame) for frame in frames), frames.rate)

Shape letters: H, W height and width of a frame.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.images import read_image
from mrcnn.files.image_file import open_image

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
ANIMATIONS = (".gif", ".webp", ".apng")
DEFAULT_RATE = 10.0  # frames a second, where the source has none
FRAME_NAME = "frame_{:05d}.png"


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a source; each iteration reads them again.

    Attributes:
        count: how many there are; None where there is no end, as of a camera.
        rate: frames a second, the mean where they vary.
        read: makes an iterator over the frames, uint8 [H, W, 3].
    """

    count: int | None
    rate: float
    read: Callable[[], Iterator[np.ndarray]]

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("a camera has no number of frames")
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.read()


def read_frames(path: str | os.PathLike[str]) -> VideoFrames:
    """Open a folder of pictures (in the order of the numbers in their names), or a video.

    Raises:
        FileNotFoundError: there is nothing of this name, or the folder has no picture.
        ValueError: it cannot be read as a video.
        ImportError: reading it needs the extra "video".
    """
    path = Path(path)
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in PICTURES]
        if not files:
            raise FileNotFoundError(
                f"{path}: expected a folder of frames, files of {', '.join(PICTURES)}; found none."
            )
        files.sort(key=lambda file: natural_order(file.name))
        return VideoFrames(len(files), DEFAULT_RATE, lambda: map(_read_upright, files))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a video or a folder of frames; there is none.")
    if path.suffix.lower() in ANIMATIONS:
        return _read_animation(path)
    return _read_video(path)


def read_camera(number: int) -> VideoFrames:
    """Open a camera of this machine; its frames end when nobody asks for more.

    Args:
        number: as the system counts its cameras, the first is 0.

    Raises:
        ValueError: there is no such camera, or it cannot be read.
        ImportError: reading it needs the extra "video".
    """
    name = f"<video{number}>"  # as imageio calls it
    imageio = _imageio(Path(f"camera {number}"))
    try:
        with imageio.get_reader(name, format="FFMPEG") as reader:
            rate = float(reader.get_meta_data()["fps"])
    except Exception as error:  # imageio, ffmpeg and drivers raise errors of any kind
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(f"camera {number}: cannot be read ({reason[0]}).") from error

    def read() -> Iterator[np.ndarray]:
        with imageio.get_reader(name, format="FFMPEG") as reader:
            for frame in reader:
                yield np.asarray(frame)

    return VideoFrames(None, rate, read)


def write_frames(
    path: str | os.PathLike[str], frames: Iterable[np.ndarray], rate: float = DEFAULT_RATE
) -> int:
    """Write frames as a video, by the suffix of the path: none for a folder of PNG files.

    In animated pictures, equal frames in a row become one that is shown for longer.

    Args:
        path: of the video; missing folders are made.
        frames: at least one, uint8 [H, W, 3], all of one size.
        rate: frames a second.

    Returns:
        How many there were.

    Raises:
        ValueError: there was no frame, or frames had different sizes.
        ImportError: writing this format needs the extra "video".
    """
    path = Path(path)
    if path.suffix.lower() in ANIMATIONS:
        write = _write_animation
    elif path.suffix:
        write = _write_video
    else:
        write = _write_folder
    path.parent.mkdir(parents=True, exist_ok=True)
    counter = _Checked(frames, path)
    write(path, counter, rate)
    if not counter.count:
        raise ValueError(f"{path}: expected at least one frame to write; received none.")
    return counter.count


class _Checked:
    """Passes frames on, counts them, and refuses one of another size."""

    def __init__(self, frames: Iterable[np.ndarray], path: Path) -> None:
        self.frames, self.path, self.count = frames, path, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        first = None
        for frame in self.frames:
            first = frame.shape if first is None else first
            if frame.shape != first:
                raise ValueError(
                    f"{self.path}: expected frames of one size, {first} as the first one; received "
                    f"{frame.shape} as frame {self.count}."
                )
            self.count += 1
            yield frame


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which numbers count as numbers: 2.png before 10.png."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _read_upright(file: Path) -> np.ndarray:
    return read_image(file, upright=True)


# --- Pillow ------------------------------------------------------------------------------


def _read_animation(path: Path) -> VideoFrames:
    with open_image(path) as image:
        count, duration = getattr(image, "n_frames", 1), 0.0
        for k in range(count):
            image.seek(k)
            image.load()  # WebP knows the duration only now
            duration += image.info.get("duration", 0)  # milliseconds

    def read() -> Iterator[np.ndarray]:
        with open_image(path) as image:
            for k in range(count):
                image.seek(k)
                yield np.array(image.convert("RGB"))

    return VideoFrames(count, 1000 * count / duration if duration else DEFAULT_RATE, read)


def _write_animation(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    if pictures:
        duration = round(1000 / rate)  # milliseconds
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0)


def _write_folder(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    path.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / FRAME_NAME.format(number))


# --- ffmpeg ------------------------------------------------------------------------------


def _imageio(path: Path) -> Any:
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path}: videos of this format need imageio with ffmpeg; {error}. Install it by "
            f"'pip install imageio[ffmpeg]', or use a GIF or a folder of frames."
        ) from error
    return imageio


def _read_video(path: Path) -> VideoFrames:
    imageio = _imageio(path)
    try:
        with imageio.get_reader(path, format="FFMPEG") as reader:
            rate, count = reader.get_meta_data()["fps"], reader.count_frames()
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]  # after the whole log of ffmpeg
        raise ValueError(f"{path}: cannot be read as a video ({reason}).") from error

    def read() -> Iterator[np.ndarray]:
        with imageio.get_reader(path, format="FFMPEG") as reader:
            for frame in reader:
                yield np.asarray(frame)

    return VideoFrames(count, rate, read)


def _write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    imageio = _imageio(path)
    # imageio would scale frames to a multiple of 16 pixels; the usual encoder needs even sides.
    with imageio.get_writer(path, format="FFMPEG", fps=rate, macro_block_size=1) as writer:
        for frame in frames:
            height, width = frame.shape[:2]
            writer.append_data(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge"))
