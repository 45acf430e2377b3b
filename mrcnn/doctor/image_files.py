"""Image files: whether they can be read, are what the json says, and what reading does to them.

The header of a file tells most of it. The pixels tell whether the file is complete, what 16 bits
and an alpha channel hold, and whether two files are the same picture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.images import read_image
from mrcnn.doctor.annotations import Subset
from mrcnn.doctor.findings import Finding, Kind, note, report, stops_at_step, warning
from mrcnn.files.image_file import open_image

_LEFT_OUT = "leaves the image and its annotations out"

UNREADABLE = stops_at_step(
    *("file-unreadable", "image", "", "an image file that Pillow can read", "{problem}"),
    fix=_LEFT_OUT,
)
TRUNCATED = stops_at_step(
    *("file-broken", "image", "", "a complete file", "{problem}"), fix=_LEFT_OUT
)
FLOATS = stops_at_step(
    *("file-floats", "image", "", "8 or 16 bits a channel", "floating-point values"),
    fix=_LEFT_OUT,
)
SIZE = stops_at_step(
    *("size-wrong", "image", "width, height", "{json_size}, as the json says", "{file_size}"),
    "masks and image would part",
    fix="takes the size of the file where the annotations fit it and it is no scaled copy; leaves "
    "the image out else",
)
SIZE_UNUSED = warning(
    *("size-unused", "image", "width, height", "{json_size}, as the json says", "{file_size}"),
    "takes the file's, because the image has no objects",
    fix="takes the size of the file",
)
SIZE_ROTATED = stops_at_step(
    *("size-rotated", "image", "width, height", "{json_size}, as the json says"),
    "{file_size}, and the EXIF orientation {orientation}: the annotations are of the picture "
    "turned upright",
    "it does not turn pictures; store them upright (`PIL.ImageOps.exif_transpose`)",
    fix=_LEFT_OUT,
)
EXIF = warning(
    *("exif-orientation", "image", "", "pixels stored upright"),
    "the EXIF orientation {orientation} ({meaning})",
    "ignores it, as most annotation tools do: check that the objects lie where the picture shows "
    "them",
)
FORMAT = note(
    *("file-format", "image", "file_name", "a file of the format {expected_format}"),
    "{received_format}",
    "goes by the content, not by the name",
)
DEEP = warning(
    *("bits-16", "image", "", "8 bits a channel", "16 bits, {values}"),
    "keeps the upper 8 bits of each: values below 256 become 0, and 12-bit data 0 to 15",
)
PALETTE = note(*("palette", "image", "", "colors", "a palette"), "takes the colors of the palette")
GREY = note(*("grey", "image", "", "three channels", "one"), "repeats it three times")
ALPHA = note(*("alpha", "image", "", "no alpha channel", "an opaque one"), "drops it")
TRANSPARENT = warning(
    *("transparent", "image", "", "opaque pixels", "{share:.1%} transparent ones"),
    "drops the alpha channel, and sees the colors below",
)
COLOR_SPACE = note(
    *("color-space", "image", "", "RGB", "{mode}"), "converts it as Pillow does, without profiles"
)
FRAMES = note(*("frames", "image", "", "one picture", "{count}"), "takes the first")
BLANK = warning(
    *("blank", "image", "", "a picture", "one color, {color}"),
    "learns from it as from any other",
)

KINDS: tuple[Kind, ...] = (
    *(UNREADABLE, TRUNCATED, FLOATS, SIZE, SIZE_UNUSED, SIZE_ROTATED, EXIF, FORMAT),
    *(DEEP, PALETTE, GREY, ALPHA, TRANSPARENT, COLOR_SPACE, FRAMES, BLANK),
)

# Of each header: which file names may hold it.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"),
}
ORIENTATION_TAG = 0x0112
ORIENTATIONS = {
    2: "mirrored",
    3: "upside down",
    4: "upside down and mirrored",
    5: "on its side and mirrored",
    6: "on its side",
    7: "on its side and mirrored",
    8: "on its side",
}
SIDEWAYS = (5, 6, 7, 8)
# Pillow's name of the layout of such a file's pixels; BGR;16 would be 16 bits for all three.
_RAW_DEEP = re.compile(r"(L|LA|RGB|RGBA|RGBX|CMYK);16[BLN]?$")
THUMBNAIL = 32  # side of the small grey picture that near duplicates are found by


@dataclass
class Picture:
    """What an image file is.

    Attributes:
        findings: of the file.
        size: (height, width) as stored; None when the file cannot be read.
        readable: whether training can read it, as far as was looked.
        digest: of the pixels; None when they were not read.
        thumbnail: uint8 [32, 32]; None when they were not read.
    """

    findings: list[Finding] = field(default_factory=list)
    size: tuple[int, int] | None = None
    readable: bool = False
    digest: bytes | None = None
    thumbnail: np.ndarray | None = None


def look_at(subset: Subset, image: dict[str, Any], pixels: bool = True) -> Picture:
    """Look at the file of an image.

    Args:
        subset, image: an entry of `subset.images`.
        pixels: read them too; False: the header only.
    """
    path = subset.path(image)
    picture = Picture()

    def found(kind: Kind, **values: Any) -> None:
        picture.findings.append(report(kind, subset.name, path, image["id"], **values))

    try:
        with open_image(path) as file:
            picture.size = file.height, file.width
            _check_size(file, image, image["id"] in subset.annotations, found)
            _check_header(file, path, found)
            mode, deep = file.mode, _is_deep(file)
            has_alpha = mode in ("RGBA", "LA", "PA") or "transparency" in file.info
    except Exception as error:  # on broken files Pillow's readers raise anything
        found(UNREADABLE, problem=_problem(error, path))
        return picture
    if mode == "F":
        found(FLOATS)
        return picture
    picture.readable = True
    if not pixels:
        if deep:
            found(DEEP, values="not looked at")
        return picture
    try:
        _look_at_pixels(picture, path, found)
        if deep:
            _check_depth(path, mode, found)
        if has_alpha:
            _check_alpha(path, found)
    except Exception as error:
        picture.readable = False
        found(TRUNCATED, problem=_problem(error.__cause__ or error, path))
    return picture


def _check_size(
    file: Image.Image, image: dict[str, Any], used: bool, found: Callable[..., None]
) -> None:
    orientation = _orientation(file)
    json_size = image["height"], image["width"]
    values = {
        "json_size": _of_size(json_size),
        "file_size": _of_size((file.height, file.width)),
    }
    if json_size != (file.height, file.width):
        rotated = orientation in SIDEWAYS and json_size == (file.width, file.height)
        if not used:
            found(SIZE_UNUSED, **values)
        elif rotated:
            found(SIZE_ROTATED, **values, orientation=orientation)
            return
        else:
            found(SIZE, **values)
    if orientation in ORIENTATIONS:
        found(EXIF, orientation=orientation, meaning=ORIENTATIONS[orientation])


def _orientation(file: Image.Image) -> int:
    """Of the EXIF data in the header; 1 where there is none."""
    if file.format == "PNG" and "exif" not in file.info:
        return 1  # `getexif` would read all of the file, to look behind the pixels
    try:
        return file.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF data, which reading the pixels does not need
        return 1


def _frames(file: Image.Image) -> int:
    try:
        return getattr(file, "n_frames", 1)
    except Exception:  # what follows the first picture is broken; the pixels will tell
        return 1


def _is_deep(file: Image.Image) -> bool:
    """Whether the file holds 16 bits a channel."""
    arguments = [tile[3] for tile in file.tile]
    raw_modes = [a[0] if isinstance(a, tuple) and a else a for a in arguments]
    return file.mode.startswith("I") or any(map(_RAW_DEEP.match, map(str, raw_modes)))


def _check_header(file: Image.Image, path: Path, found: Callable[..., None]) -> None:
    named = [name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes]
    if named and file.format not in named:
        found(FORMAT, expected_format=" or ".join(named), received_format=file.format)
    if file.mode in ("P", "PA"):
        found(PALETTE)
    elif file.mode in ("L", "LA", "1", "La") or file.mode.startswith("I"):
        found(GREY)
    elif file.mode not in ("RGB", "RGBA", "RGBX", "RGBa", "F"):
        found(COLOR_SPACE, mode=file.mode)
    frames = _frames(file)
    if frames > 1:
        found(FRAMES, count=frames)


def _look_at_pixels(picture: Picture, path: Path, found: Callable[..., None]) -> None:
    pixels = read_image(path)  # what training sees
    if (pixels == pixels[0, 0]).all():
        found(BLANK, color=tuple(pixels[0, 0].tolist()))
    shape = np.array(pixels.shape, np.int64).tobytes()
    picture.digest = hashlib.blake2b(shape + pixels.tobytes(), digest_size=16).digest()
    small = Image.fromarray(pixels).resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2
    )
    picture.thumbnail = np.asarray(small.convert("L"))


def _check_depth(path: Path, mode: str, found: Callable[..., None]) -> None:
    values = "of a color image"
    if mode.startswith("I"):
        with open_image(path) as file:
            grey = np.array(file)
        values = f"values from {grey.min()} to {grey.max()}"
    found(DEEP, values=values)


def _check_alpha(path: Path, found: Callable[..., None]) -> None:
    with open_image(path) as file:
        alpha = np.array(file.convert("RGBA").getchannel("A"))
    share = float(np.mean(alpha < 255))
    if share:
        found(TRANSPARENT, share=share)
    else:
        found(ALPHA)


def _of_size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels (height x width)"


def _problem(error: BaseException, path: Path) -> str:
    """What Pillow says, without the path that the finding names anyway."""
    return str(error).replace(f" {str(path)!r}", "").rstrip(".") or type(error).__name__
