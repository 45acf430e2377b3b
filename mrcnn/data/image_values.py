"""The values of images: bytes from 0 to 255 as a rule, or any finite numbers.

Reflectance, computed tomography and images scaled to 0…1 have other values than photographs. The
network takes them as they are: it subtracts `Config.MEAN_PIXEL`, in training and in detection.
Images of bytes travel as uint8, all others as float32, and the images of one training all as the
same of the two, which the data set's first image decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data import orientation
from mrcnn.data.dataset import Dataset

BYTES, NUMBERS = "uint8", "float32"
# Images that are tried where the first ones cannot be read.
TRIED = 8


def why_not_numbers(image: np.ndarray) -> str | None:
    """What is wrong with the values of an image, or None if all are finite numbers."""
    if image.dtype.kind not in "uif":
        return f"expected an image of numbers, such as uint8 or float32; received {image.dtype}."
    if image.dtype.kind != "f":
        return None
    finite = np.isfinite(image)
    if finite.all():
        return None
    count = int(np.sum(~finite))
    return (
        f"expected finite values; received {image.dtype} with {count} of {image.size} values NaN "
        "or infinite."
    )


def as_bytes_or_numbers(image: np.ndarray) -> np.ndarray:
    """The image as uint8 if it is, else as float32."""
    return image if image.dtype == np.uint8 else image.astype(np.float32, copy=False)


def kind_of(dataset: Dataset, config: Config) -> tuple[str, str | None]:
    """As what the images of a data set travel, and what is unusual about their values.

    Args:
        dataset: a prepared data set. Its first image that can be read decides; none is read where
            `load_image` is this package's own, which gives bytes, or scaling makes fractions.
        config: for IMAGE_RESIZE_MODE, EXIF_ORIENTATION and MEAN_PIXEL.

    Returns:
        (`BYTES` or `NUMBERS`; a sentence, or None)
    """
    if config.IMAGE_RESIZE_MODE == "pad32":  # scaled images are fractions
        return NUMBERS, None
    own = "load_image" in getattr(dataset, "__dict__", {})
    given = getattr(type(dataset), "load_image", Dataset.load_image)
    if not own and given is Dataset.load_image:
        return BYTES, None
    for image_id in list(dataset.image_ids)[:TRIED]:
        try:
            image = np.asarray(orientation.load_image(dataset, image_id, config))
        except Exception:  # of any kind: loading it in its turn says what is wrong with it
            continue
        if image.dtype in (np.uint8, bool) or why_not_numbers(image) or not image.size:
            return BYTES, None
        return NUMBERS, unusual_range(image, config.MEAN_PIXEL)
    return BYTES, None


def unusual_range(image: np.ndarray, mean_pixel: Any) -> str | None:
    """A sentence on values that are not those of a photograph, or None.

    Args:
        image: not of bytes.
        mean_pixel: `Config.MEAN_PIXEL`.
    """
    low, high = float(image.min()), float(image.max())
    mean = np.asarray(mean_pixel, float)
    seen = f"values from {low:g} to {high:g}; MEAN_PIXEL {mean.tolist()} is subtracted from them"
    # No byte image is so dark: fractions of 1, from which the mean of bytes is subtracted.
    if 0 <= low and 0 < high <= 1 and mean.max() > 1:
        return (
            f"{seen}, so that the network can hardly see a difference between them. Multiply the "
            "images by 255, or set MEAN_PIXEL to the mean of their channels, here and in detection."
        )
    if low < 0 or high > 255:
        return f"{seen}, and nothing else is done to them."
    return None


def in_kind(image: np.ndarray, kind: str) -> np.ndarray:
    """An image of a sample as its stream's images travel.

    Args:
        image: uint8 or float32.
        kind: `BYTES` or `NUMBERS`.

    Raises:
        ValueError: its values do not fit bytes.
    """
    if image.dtype == kind:
        return image
    if kind == NUMBERS:
        return image.astype(np.float32)
    low, high = image.min(), image.max()
    whole = np.rint(image)
    if low < 0 or high > 255 or (high <= 1 and not np.array_equal(whole, image)):
        raise ValueError(
            f"expected values from 0 to 255, as the data set's first image has them as uint8; "
            f"received values from {low:g} to {high:g}. Images of other values can be trained on "
            "too, if load_image returns all of them as float32."
        )
    return whole.astype(np.uint8)
