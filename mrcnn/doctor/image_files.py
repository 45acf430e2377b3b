"""Image files: whether they can be read, are what the json says, and what reading does to them.

The header of a file tells most of it. The pixels tell whether the file is complete, what 16 bits
and an alpha channel hold, and whether two files are the same picture.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from mrcnn.data.coco_fields import Entry
from mrcnn.data.images import read_image
from mrcnn.data.orientation import exif_orientation, is_upright
from mrcnn.doctor.findings import (
    Fault,
    Finding,
    Kind,
    fault,
    note,
    report,
    stops_at_step,
    warning,
)
from mrcnn.doctor.subset import Subset
from mrcnn.files.addresses import name_of, suffix_of
from mrcnn.files.image_file import SIDEWAYS, open_image, orientation_of
from mrcnn.files.remote_image import local_image

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
    *("size-wrong", "image", "width, height", "{json_size}, as the annotations say", "{file_size}"),
    "masks and image would not match",
    fix="takes the size of the file where the annotations fit it and it is no scaled copy; "
    "otherwise leaves the image out",
)
SIZE_UNUSED = warning(
    *(
        "size-unused",
        "image",
        "width, height",
        "{json_size}, as the annotations say",
        "{file_size}",
    ),
    "takes the file's, because the image has no objects",
    fix="takes the size of the file",
)
SIZE_ROTATED = note(
    *("size-rotated", "image", "width, height", "{json_size}, as the annotations say"),
    "{file_size}, and the EXIF orientation {orientation}: the annotations are of the picture "
    "turned upright",
    "turns it, as the annotations are",
)
EXIF = warning(
    *("exif-orientation", "image", "", "pixels stored upright"),
    "the EXIF orientation {orientation} ({meaning})",
    "takes the stored pixels: check that the objects lie where the picture shows them; "
    'EXIF_ORIENTATION = "apply" turns it, "ignore" leaves out this warning',
)
FORMAT = note(
    *("file-format", "image", "file_name", "a file of the format {expected_format}"),
    "{received_format}",
    "goes by the content, not by the name",
)
DEEP = warning(
    *("bits-16", "image", "", "8 bits a channel", "16 bits, {values}"),
    "of grey values keeps the upper 8 of the 8, 10, 12, 14 or 16 bits that the file says or the "
    "largest value of the training set needs (GREY_BIT_DEPTH), and says which; of colors the upper "
    "8 of 16: values below 256 become 0, and 12-bit data 0 to 15",
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
ORIENTATIONS = {
    2: "mirrored",
    3: "upside down",
    4: "upside down and mirrored",
    5: "on its side and mirrored",
    6: "on its side",
    7: "on its side and mirrored",
    8: "on its side",
}
# Pillow's name of the layout of such a file's pixels; BGR;16 would be 16 bits for all three.
_RAW_DEEP = re.compile(r"(L|LA|RGB|RGBA|RGBX|CMYK);16[BLN]?$")
THUMBNAIL = 32  # side of the small grey picture that near duplicates are found by


@dataclass
class ImageFile:
    """An image file as it was found.

    Attributes:
        findings: of the file.
        size: (height, width) as training sees it, by the EXIF data or not; None when the file
            cannot be read.
        is_readable: whether training can read it, as far as was checked.
        digest: of the pixels; None when they were not read.
        thumbnail: uint8 [32, 32]; None when they were not read.
    """

    findings: list[Finding] = field(default_factory=list)
    size: tuple[int, int] | None = None
    is_readable: bool = False
    digest: bytes | None = None
    thumbnail: np.ndarray | None = None


_Source = str | os.PathLike[str] | BinaryIO
ImageFiles = list[tuple[Entry, ImageFile]]  # with the entries of a subset's images


def check_image_file(subset: Subset, image: Entry, pixels: bool = True) -> ImageFile:
    """Check the file of an image.

    Args:
        subset, image: an entry of `subset.images`.
        pixels: read them too; False: the header only.
    """
    path = subset.path(image)
    checked = ImageFile()
    for kind, values in _faults(checked, path, image, subset, pixels):
        checked.findings.append(report(kind, subset.name, path, image["id"], **values))
    return checked


def _faults(
    checked: ImageFile, path: Path | str, image: Entry, subset: Subset, pixels: bool
) -> Iterator[Fault]:
    """The faults of a file; fills in all but the findings of `checked`."""
    try:
        source = local_image(path)
        with open_image(source) as file:
            checked.size = file.height, file.width
            yield from _check_size(checked, file, image, subset)
            yield from _check_header(file, suffix_of(name_of(path)))
            mode, deep = file.mode, _is_deep(file)
            has_alpha = mode in ("RGBA", "LA", "PA") or "transparency" in file.info
    except Exception as error:  # on broken files Pillow's readers raise anything
        yield fault(UNREADABLE, problem=_problem(error, path))
        return
    if mode == "F":
        yield fault(FLOATS)
        return
    checked.is_readable = True
    if not pixels:
        if deep:
            yield fault(DEEP, values="not read")
        return
    try:
        yield from _check_pixels(checked, source)
        if deep:
            yield _describe_depth(source, mode)
        if has_alpha:
            yield _check_alpha(source)
    except Exception as error:
        checked.is_readable = False
        yield fault(TRUNCATED, problem=_problem(error.__cause__ or error, path))


def _check_size(
    checked: ImageFile, file: Image.Image, image: Entry, subset: Subset
) -> Iterator[Fault]:
    """The size, and which way up training takes the picture; fills in the size."""
    orientation = orientation_of(file)
    stored, json_size = (file.height, file.width), (image["height"], image["width"])
    by_reader = image["id"] in subset.upright
    with exif_orientation(subset.exif_orientation):
        info = {"upright": by_reader, "height": json_size[0], "width": json_size[1]}
        upright = is_upright(info, file)
    checked.size = stored[::-1] if upright and orientation in SIDEWAYS else stored
    is_auto = subset.exif_orientation == "auto" and not by_reader
    if json_size != checked.size:
        kind = SIZE if image["id"] in subset.annotations else SIZE_UNUSED
        values = {"json_size": _format_size(json_size), "file_size": _format_size(checked.size)}
        yield fault(kind, **values)
    elif is_auto and checked.size != stored:
        values = {"json_size": _format_size(json_size), "file_size": _format_size(stored)}
        yield fault(SIZE_ROTATED, **values, orientation=orientation)
    if is_auto and not upright and orientation in ORIENTATIONS:
        yield fault(EXIF, orientation=orientation, meaning=ORIENTATIONS[orientation])


def _frames(file: Image.Image) -> int:
    try:
        return getattr(file, "n_frames", 1)
    except Exception:  # what follows the first picture is broken; the pixels will tell
        return 1


def _is_deep(file: Image.Image) -> bool:
    """Whether the file holds 16 bits a channel."""
    # Images that come from a file, and only those, say how their pixels are laid out.
    arguments = [tile[3] for tile in getattr(file, "tile", ())]
    raw_modes = [a[0] if isinstance(a, tuple) and a else a for a in arguments]
    return file.mode.startswith("I") or any(map(_RAW_DEEP.match, map(str, raw_modes)))


def _check_header(file: Image.Image, suffix: str) -> Iterator[Fault]:
    named = [name for name, suffixes in SUFFIXES.items() if suffix in suffixes]
    if named and file.format not in named:
        expected = " or ".join(named)
        yield fault(FORMAT, expected_format=expected, received_format=file.format)
    if file.mode in ("P", "PA"):
        yield fault(PALETTE)
    elif file.mode in ("L", "LA", "1", "La") or file.mode.startswith("I"):
        yield fault(GREY)
    elif file.mode not in ("RGB", "RGBA", "RGBX", "RGBa", "F"):
        yield fault(COLOR_SPACE, mode=file.mode)
    frames = _frames(file)
    if frames > 1:
        yield fault(FRAMES, count=frames)


def _check_pixels(checked: ImageFile, source: _Source) -> Iterator[Fault]:
    """Read the pixels, and fill in what later checks compare."""
    pixels = read_image(source)  # what training sees
    if (pixels == pixels[0, 0]).all():
        yield fault(BLANK, color=tuple(pixels[0, 0].tolist()))
    shape = np.array(pixels.shape, np.int64).tobytes()
    checked.digest = hashlib.blake2b(shape + pixels.tobytes(), digest_size=16).digest()
    checked.thumbnail = thumbnail_of(pixels)


def thumbnail_of(pixels: np.ndarray) -> np.ndarray:
    """A small grey picture: uint8 [32, 32].

    Args:
        pixels: uint8 [H, W, 3].
    """
    small = Image.fromarray(pixels).resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2
    )
    return np.asarray(small.convert("L"))


def _describe_depth(source: _Source, mode: str) -> Fault:
    """What is in the 16 bits."""
    if not mode.startswith("I"):
        return fault(DEEP, values="of a color image")
    with open_image(source) as file:
        grey = np.array(file)
    return fault(DEEP, values=f"values from {grey.min()} to {grey.max()}")


def _check_alpha(source: _Source) -> Fault:
    with open_image(source) as file:
        alpha = np.array(file.convert("RGBA").getchannel("A"))
    share = float(np.mean(alpha < 255))
    return fault(TRANSPARENT, share=share) if share else fault(ALPHA)


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels (height x width)"


def _problem(error: BaseException, path: Path | str) -> str:
    """What Pillow says, without the path that the finding names anyway."""
    return str(error).replace(f" {str(path)!r}", "").rstrip(".") or type(error).__name__
