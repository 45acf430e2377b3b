"""Grey images of more than 8 bits: which bits hold the values, of which the upper 8 are kept.

A camera of 12 bits writes files of 16, and some programs write 32 for values up to 255. Taken as
16 bits, 12 become 16 grey levels, and 8 become black. The depth is what the file says of it, else
`Config.GREY_BIT_DEPTH`, else what the largest value needs: of all the images of a source, because
each by its own would be brightened by another factor. Training finds it in its own images and keeps
it in the configuration, so that validation, evaluation and detection do not find another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import numpy as np
from PIL import Image

from mrcnn.files.image_file import open_image
from mrcnn.files.remote_image import local_image

DEPTHS = (8, 10, 12, 14, 16)  # of cameras and file formats
# Images of a data set whose largest value is looked at, spread over all of them.
SAMPLED = 64
_TIFF_BITS_PER_SAMPLE, _TIFF_MAX_SAMPLE_VALUE = 258, 281
# The bits of all images, or by the source; None, or a source that is missing: to be found.
GreyBitDepth: TypeAlias = int | Mapping[str, int] | None

# A value for each thread, as for the orientation of images (`mrcnn.data.orientation`).
_setting: ContextVar[GreyBitDepth] = ContextVar("GREY_BIT_DEPTH", default=None)


@contextmanager
def grey_bit_depth(setting: GreyBitDepth) -> Iterator[None]:
    """In this context, data sets read images by a value of `Config.GREY_BIT_DEPTH`."""
    token = _setting.set(setting)
    try:
        yield
    finally:
        _setting.reset(token)


def chosen_depth(source: str) -> int | None:
    """The bits that the setting gives the images of a source; None: they are to be found."""
    setting = _setting.get()
    return setting.get(source) if isinstance(setting, Mapping) else setting


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image is grey with more than 8 bits, as Pillow reads it."""
    return image.mode.startswith("I")


def deep_values(image: Image.Image) -> np.ndarray:
    """The values of such an image, int64 [H, W].

    Raises:
        ValueError: they do not fit 16 bits without a sign.
    """
    grey = np.array(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError(
            f"its values from {grey.min()} to {grey.max()} do not fit 16 bits without a sign"
        )
    return grey


def depth_of(maximum: int) -> int:
    """The bits that values up to a maximum have: the fewest of `DEPTHS` that hold it."""
    return next(depth for depth in DEPTHS if maximum < 1 << depth)


def stated_depth(image: Image.Image) -> int | None:
    """The bits that a file says its values have; None where it does not tell."""
    tags = getattr(image, "tag_v2", {})
    for tag, largest in ((_TIFF_MAX_SAMPLE_VALUE, None), (_TIFF_BITS_PER_SAMPLE, 12)):
        value = tags.get(tag)
        value = value[0] if isinstance(value, tuple) and value else value
        if not isinstance(value, int):
            continue
        if largest is None and 0 < value <= 0xFFFF:
            return depth_of(value)
        if value == largest:  # packed, 12 bits each; 16 and 32 are merely the room there is
            return largest
    return None


def spread(count: int, limit: int | None = None) -> np.ndarray:
    """Which of `count` images to look at, spread over all of them: int64, ascending.

    Args:
        count: how many there are.
        limit: of those to look at; None: `SAMPLED`.
    """
    limit = SAMPLED if limit is None else limit
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))


def largest_value(paths: Iterable[str | None]) -> tuple[int, int]:
    """The largest value of the deep images among files, and how many of them were read."""
    largest, count = 0, 0
    for path in paths:
        try:
            if path is None:
                continue
            with open_image(local_image(path)) as image:
                if is_deep(image):
                    largest = max(largest, int(deep_values(image).max()))
                    count += 1
        except (OSError, ValueError):  # reading that image says what is wrong with it
            continue
    return largest, count


def to_eight_bits(grey: np.ndarray, depth: int) -> np.ndarray:
    """The upper 8 bits of values of a depth, uint8; values above it become 255."""
    return np.minimum(grey >> (depth - 8), 255).astype(np.uint8)
