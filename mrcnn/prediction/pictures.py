"""A picture to predict on, and how it is read.

Shape letters: H, W height and width of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mrcnn.config import Config
from mrcnn.data.images import read_image

PICTURES = (
    *(".avif", ".bmp", ".jpeg", ".jpg", ".jp2", ".mpo", ".pgm", ".png", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to predict on.

    Attributes:
        name: what is written about it is called so: a path with "/", unique among the sources.
        path: its file; of a frame that of the video; None for an array and at an address.
        pixels: of a frame or an array, uint8 [H, W, 3]; None: they are in the file.
    """

    name: str
    path: Path | None = None
    pixels: np.ndarray | None = None

    def load(self, config: Config) -> np.ndarray:
        """Read it as the network is to see it, uint8 [H, W, 3].

        A file is turned upright as its EXIF data say, as people see it, unless EXIF_ORIENTATION is
        "ignore". Grey values above 8 bits have the bits that training found in its own images.

        Raises:
            OSError, ValueError: the file cannot be read; the message names it.
        """
        if self.pixels is not None:
            return self.pixels
        assert self.path is not None
        upright = config.EXIF_ORIENTATION != "ignore"
        return read_image(self.path, upright=upright, depth=depth_of_training(config))


def depth_of_training(config: Config) -> Callable[[Image.Image, int], int] | None:
    """What `mrcnn.data.images.read_image` takes as `depth`, so that it sees what training saw."""
    bits = _trained_depth(config.GREY_BIT_DEPTH)
    return None if bits is None else lambda image, maximum: _depth(image, bits)


def _trained_depth(setting: int | Mapping[str, int] | None) -> int | None:
    """The bits of grey pictures that training found, where it found the same in all sources."""
    if isinstance(setting, Mapping):
        return next(iter(setting.values())) if len(set(setting.values())) == 1 else None
    return setting


def _depth(image: Image.Image, bits: int) -> int:
    from mrcnn.data.bit_depth import stated_depth

    return stated_depth(image) or bits
