"""Opening untrusted image files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from PIL import Image

from mrcnn.files.untrusted import MAX_IMAGE_PIXELS

# Pillow reads more than these. It hands EPS to Ghostscript, which is an interpreter of programs,
# and it reads others with code that nobody has looked at for long.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# Whoever raises our limit means Pillow's too. It applies to the whole process.
if Image.MAX_IMAGE_PIXELS is not None and MAX_IMAGE_PIXELS > Image.MAX_IMAGE_PIXELS:
    Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS


@contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open an image by its header; its pixels are read by what is done in the context.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image of one of `FORMATS`, or has more pixels than
            MAX_IMAGE_PIXELS; and whatever goes wrong in the context, because decoders raise errors
            of any kind.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
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
        raise FileNotFoundError(f"{os.fspath(path)}: there is no such image file.") from None
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{os.fspath(path)}: cannot be read as an image ({reason}). Expected a complete file "
            f"of one of the formats {', '.join(FORMATS)}, of 8 or 16 bits a channel."
        ) from error


def width_and_height(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) of an image file, from its header alone; errors as in `open_image`."""
    with open_image(path) as image:
        return image.size


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
