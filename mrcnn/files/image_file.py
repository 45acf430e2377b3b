"""Opening untrusted image files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO, cast

from PIL import Image

from mrcnn.files.untrusted import MAX_IMAGE_PIXELS

# Pillow reads more than these. It hands EPS to Ghostscript, which is an interpreter of programs,
# and it reads others with code that nobody has looked at for long.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# Whoever raises our limit means Pillow's too. It applies to the whole process.
if Image.MAX_IMAGE_PIXELS is not None and MAX_IMAGE_PIXELS > Image.MAX_IMAGE_PIXELS:
    Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS


ORIENTATION_TAG = 0x0112  # of the EXIF data
# What turns an image upright, by the orientation that a camera wrote.
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange height and width


@contextmanager
def open_image(path: str | os.PathLike[str] | BinaryIO) -> Iterator[Image.Image]:
    """Open an image by its header; its pixels are read by what is done in the context.

    Args:
        path: the file; or what was read of one elsewhere, with its `name`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image of one of `FORMATS`, or has more pixels than
            MAX_IMAGE_PIXELS; and whatever goes wrong in the context, because decoders raise errors
            of any kind.
    """
    given = None if hasattr(path, "read") else os.fspath(path)
    name = cast(BinaryIO, path).name if given is None else given
    try:
        if given is not None and not stat.S_ISREG(os.stat(given).st_mode):
            raise ValueError("it is not a plain file")
        with Image.open(path, formats=_formats()) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise ValueError(
                    f"its {height} x {width} pixels are more than {MAX_IMAGE_PIXELS}; make it "
                    f"smaller, or set the environment variable MRCNN_MAX_IMAGE_PIXELS"
                )
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no such image file.") from None
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{name}: cannot be read as an image ({reason}). Expected a complete file "
            f"of one of the formats {', '.join(FORMATS)}, of 8 or 16 bits a channel."
        ) from error


def width_and_height(
    path: str | os.PathLike[str] | BinaryIO, upright: bool = False
) -> tuple[int, int]:
    """(width, height) of an image file, from its header alone; errors as in `open_image`.

    Args:
        path: as of `open_image`.
        upright: of the image turned as its EXIF data say, else of the stored pixels.
    """
    with open_image(path) as image:
        width, height = image.size
        turned = upright and orientation_of(image) in SIDEWAYS
        return (height, width) if turned else (width, height)


def orientation_of(image: Image.Image) -> int:
    """The orientation in the EXIF data of an image's header, 2 to 8; 1 where it is upright.

    A TIFF file's is 1: Pillow turns its pixels itself.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # of a PNG `getexif` would read all, for metadata after the pixels
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF data, which reading the pixels does not need
        return 1
    return orientation if orientation in _TRANSPOSES else 1


def turned_upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF data say that it is to be seen."""
    orientation = orientation_of(image)
    return image if orientation == 1 else image.transpose(_TRANSPOSES[orientation])


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
