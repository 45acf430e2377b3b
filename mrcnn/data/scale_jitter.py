"""The random scale of training images: drawn for each, within what the network's image can hold.

Two settings ask for it. `IMAGE_MIN_DIM_RANGE` draws the length of the shorter side, as Mask R-CNN
trains on Cityscapes (He et al. 2017, appendix A: 800 to 1024 pixels). `IMAGE_SCALE_RANGE` draws how
large the image is beside the network's, from small in the middle of padding to twice as large and
cut (Ghiasi et al. 2021, "large-scale jitter", 0.1 to 2). Both are uniform.

The network's image, the canvas, has one shape whatever is drawn. The numbers come from the random
generator of the image's position in the stream, before those of the window and the augmentation.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mrcnn.config import Config
from mrcnn.setting_rules.relations import side_setting
from mrcnn.setting_rules.values import is_sequence

SomeConfig = TypeVar("SomeConfig", bound=Config)


@dataclass(frozen=True)
class ScaleJitter:
    """How the scale of a training image is drawn, uniformly.

    Attributes:
        canvas: (height, width) of the network's image.
        least, most: what is drawn, both included: the length of the shorter side in pixels, or the
            size in parts of the largest that fits the canvas.
        in_pixels: which of the two it is.
        fits: whether an image whose shorter side is drawn becomes smaller where it would not fit
            the canvas; not so in the mode "crop", whose window is cut from a larger image.
    """

    canvas: tuple[int, int]
    least: float
    most: float
    in_pixels: bool
    fits: bool = True

    @classmethod
    def of(cls, config: Config) -> ScaleJitter | None:
        """What a configuration asks for; None: nothing is drawn."""
        in_pixels = config.IMAGE_MIN_DIM_RANGE is not None
        drawn = config.IMAGE_MIN_DIM_RANGE if in_pixels else config.IMAGE_SCALE_RANGE
        if drawn is None:
            return None
        shape = getattr(config, side_setting(config))
        height, width = shape if is_sequence(shape) else (shape, shape)
        least, most = drawn
        canvas, fits = (int(height), int(width)), config.IMAGE_RESIZE_MODE != "crop"
        return cls(canvas, least, most, in_pixels, fits)

    @property
    def cuts(self) -> bool:
        """Whether images are cut where they do not fit the canvas."""
        return not self.in_pixels

    def draw(self, size: Sequence[int], rng: np.random.Generator | None) -> float:
        """The scale of an image of size (height, width).

        Args:
            size: before scaling.
            rng: decides it; None: Python's `random`.
        """
        return self._scale(size, self._number(rng))

    def largest(self, size: Sequence[int]) -> float:
        """The largest scale that can be drawn for an image."""
        return self._scale(size, self.most)

    def _number(self, rng: np.random.Generator | None) -> float:
        if self.in_pixels:
            least, most = int(self.least), int(self.most)
            return (
                random.randint(least, most) if rng is None else int(rng.integers(least, most + 1))
            )
        draw = random.uniform if rng is None else rng.uniform
        return float(draw(self.least, self.most))

    def _scale(self, size: Sequence[int], number: float) -> float:
        filling = min(new / old for old, new in zip(size, self.canvas, strict=True))
        if not self.in_pixels:
            return number * filling
        scale = number / min(size)
        return min(scale, filling) if self.fits else scale


def without_jitter(config: SomeConfig) -> SomeConfig:
    """A copy of a configuration that draws no scale: of validation, and to look at ground truth."""
    still = copy.copy(config)
    still.IMAGE_MIN_DIM_RANGE = still.IMAGE_SCALE_RANGE = None
    return still
