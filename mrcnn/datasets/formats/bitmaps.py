"""Masks inside annotation files, and images whose values are the numbers of objects."""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.datasets.formats.source import Bitmap
from mrcnn.files.image_file import open_image
from mrcnn.files.untrusted import MAX_IMAGE_PIXELS

# Of a PNG inside a file: a byte a pixel, and what the format adds. PNG can shrink, not grow much.
MAX_PNG_BYTES = MAX_IMAGE_PIXELS + (1 << 20)


def bitmap_of_png(text: Any, compressed: bool = False) -> np.ndarray:
    """The pixels of a mask from a PNG in base64.

    Args:
        text: of the annotation file.
        compressed: whether the PNG may be packed by zlib once more, as Supervisely does.

    Returns:
        bool [h, w]: those that are neither 0 nor transparent.

    Raises:
        ValueError: it is none, or too large; says what was received.
    """
    if not isinstance(text, str):
        raise ValueError(f"{repr(text)[:40]}, where a PNG in base64 was expected")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{text[:40]!r}, where base64 was expected") from None
    if compressed and not data.startswith(b"\x89PNG"):
        data = _unpacked(data)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.height} x {image.width} pixels")
            return _is_inside(image)
    except Exception as error:  # decoders raise errors of any kind
        raise ValueError(f"bytes that are no PNG ({error})") from None


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, MAX_PNG_BYTES)
    except zlib.error as error:
        raise ValueError(f"bytes that zlib cannot unpack ({error})") from None
    if unpacker.unconsumed_tail:
        raise ValueError(f"bytes that unpack to more than {MAX_PNG_BYTES}")
    return unpacked


def _is_inside(image: Image.Image) -> np.ndarray:
    if image.mode == "P" and "transparency" not in image.info:
        return np.asarray(image) != 0  # the palette's number 0, whatever its color
    if image.mode in ("1", "L", "I", "I;16"):
        return np.asarray(image) != 0
    colors = np.asarray(image.convert("RGBA"))
    inside = colors[..., 3] != 0
    has_alpha = image.mode in ("RGBA", "LA", "PA", "P")
    return inside if has_alpha else (colors[..., :3] != 0).any(axis=-1)


def read_mask(path: Path) -> np.ndarray:
    """A mask from an image file: bool [H, W], the pixels that are not 0.

    Raises:
        OSError, ValueError: it cannot be read; names the file.
    """
    with open_image(path) as image:
        if image.mode in ("RGBA", "LA", "PA"):
            image = image.convert("RGB")  # its color says it, as in the Data Science Bowl's masks
        return _is_inside(image)


def read_ids(path: Path) -> np.ndarray:
    """An image whose values are numbers of objects or classes: int64 [H, W].

    Of a palette the number in it is the value; of colors, R + 256 G + 65536 B.

    Raises:
        OSError, ValueError: it cannot be read, or holds other values; names the file.
    """
    with open_image(path) as image:
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.int64)
        if image.mode == "F":
            values = np.asarray(image)
            if not (np.isfinite(values).all() and (values == np.round(values)).all()):
                raise ValueError("its values are not whole numbers")
            return values.astype(np.int64)
        if image.mode == "RGBA" and (np.asarray(image)[..., 3] == 255).all() or image.mode == "RGB":
            colors = np.asarray(image.convert("RGB")).astype(np.int64)
            return colors @ np.array([1, 256, 65536])
        raise ValueError(f"it has the color mode {image.mode}, and not numbers")


def parts_of_ids(
    ids: np.ndarray, without: frozenset[int] = frozenset((0,))
) -> Iterator[tuple[int, Bitmap]]:
    """Each value of an image of numbers, with its pixels within their box.

    Args:
        ids: int [H, W].
        without: values that are no object.
    """
    values, inverse = np.unique(ids, return_inverse=True)
    inverse = inverse.reshape(ids.shape)
    # Rows and columns of each value, by sorting once instead of comparing once a value.
    order = np.argsort(inverse, axis=None, kind="stable")
    starts = np.searchsorted(inverse.ravel()[order], np.arange(len(values) + 1))
    for number, value in enumerate(values.tolist()):
        if value in without:
            continue
        places = order[starts[number] : starts[number + 1]]
        rows, columns = np.divmod(places, ids.shape[1])
        y1, x1 = int(rows[0]), int(columns.min())
        y2, x2 = int(rows[-1]) + 1, int(columns.max()) + 1
        pixels = np.zeros((y2 - y1, x2 - x1), bool)
        pixels[rows - y1, columns - x1] = True
        yield value, Bitmap(pixels, (y1, x1))


def cut_to_box(pixels: np.ndarray) -> Bitmap:
    """A mask [H, W] cut to its box; of one without a pixel, a pixel that is outside."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return Bitmap(np.zeros((1, 1), bool))
    y, x = int(rows[0]), int(columns[0])
    return Bitmap(pixels[y : rows[-1] + 1, x : columns[-1] + 1], (y, x))
