"""How an image gets the size that the network takes: scale it, then pad or crop it.

Shape letters: H height, W width, C channels; h, w the scaled height and width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mrcnn.config import IMAGE_SIDE_MULTIPLE, PAD32_MULTIPLE, RESIZE_MODES, Config
from mrcnn.data.antialiased_resize import resize_averaging, size_within
from mrcnn.data.fractional_resize import resize_between_pixels
from mrcnn.data.images import Box, Padding, resize_bilinear, scaled_size
from mrcnn.data.scale_jitter import ScaleJitter
from mrcnn.setting_rules.architecture import resolve


class Resized(NamedTuple):
    """The result of a `Resize`, in the order of Matterport's `resize_image`."""

    image: np.ndarray  # [H, W, C], dtype of the input
    window: Box  # (y1, x1, y2, x2): where the image lies in the padded result
    scale: float  # of the sides
    padding: Padding  # [(top, bottom), (left, right), (0, 0)] in pixels
    crop: Box | None  # (y, x, height, width) in the scaled image, where a window of it is shown


@dataclass(frozen=True)
class Resize:
    """How images are resized without changing their proportions.

    An image is enlarged, never shrunk, until its shorter side is `min_dim`, and at least by
    `min_scale`; then, by mode:

    - "none": neither scale nor pad.
    - "square": scale less where the longer side would exceed `max_dim`; pad with zeros to
      `max_dim` x `max_dim`, or to the smallest of `shapes` that holds it, the image in the
      middle.
    - "pad64": pad each side with zeros to a multiple of 64. `max_dim` is not used.
    - "crop": take a random window of `min_dim` x `min_dim`. `max_dim` is not used.

    In the mode "pad32" the image is enlarged or shrunk until its shorter side is `min_dim`, or less
    where the longer side would exceed `max_dim`, as torchvision does it
    (`models/detection/transform.py`): sides are rounded down, values stay fractions (float32), the
    border does not darken, and `padding_value` fills up below and to the right to multiples of 32,
    or to the smallest of `shapes` that holds the image. Where it is `antialiased`, it is done as in
    Detectron2 (`mrcnn.data.antialiased_resize`): bytes are averaged where the image shrinks and
    stay whole, and sides are rounded to the nearest.

    With a `jitter`, the scale is drawn in place of this; the modes pad and crop as ever. Where
    factors are drawn, a larger image is cut to the canvas at a random place, and a smaller one
    padded to it, in every mode.

    Outside the image there is zero, so that its border darkens a little when it is enlarged,
    as in Matterport's package.

    Attributes:
        mode: one of the above.
        min_dim: length of the shorter side at least; 0: as it is.
        max_dim: length of the longer side at most, in the mode "square".
        min_scale: scale at least; 0: no such bound.
        shapes: (height, width) to pad to in the modes "square" and "pad32", the smallest first;
            empty: `max_dim` x `max_dim`, and multiples of 32. With a jitter, the smallest that
            holds the image at its largest.
        jitter: draws the scale; None: it is not random.
        padding_value: one a channel, or one number; of the mode "pad32".
        antialiased: of the mode "pad32".

    Raises:
        ValueError: an unknown mode, or one that lacks the side it needs.

    >>> resized = Resize("square", min_dim=64, max_dim=128)(np.zeros((40, 100, 3), np.uint8))
    >>> resized.image.shape, resized.window, resized.scale
    ((128, 128, 3), (38, 0, 89, 128), 1.28)
    """

    mode: str
    min_dim: int = 0
    max_dim: int = 0
    min_scale: float = 0
    shapes: tuple[tuple[int, int], ...] = ()
    jitter: ScaleJitter | None = None
    padding_value: tuple[float, ...] = (0.0,)
    antialiased: bool = False

    def __post_init__(self) -> None:
        if self.mode not in RESIZE_MODES:
            raise ValueError(f"mode: expected one of {list(RESIZE_MODES)}; received {self.mode!r}.")
        if self.mode in ("square", "pad32") and not self.max_dim:
            raise ValueError(
                f'max_dim: the mode "{self.mode}" pads to it and needs a side in pixels; '
                f"received {self.max_dim!r}."
            )
        if self.mode == "pad32" and (not self.min_dim or self.jitter is not None):
            raise ValueError(
                'min_dim, jitter: the mode "pad32" scales to a side in pixels and draws nothing; '
                f"received {self.min_dim!r} and {self.jitter!r}."
            )
        if self.mode == "crop" and not self.min_dim:
            raise ValueError(
                f'min_dim: the mode "crop" cuts out a window of that side; received '
                f"{self.min_dim!r}."
            )
        if self.mode == "pad64" and self.min_dim % IMAGE_SIDE_MULTIPLE:
            raise ValueError(
                f'min_dim: the mode "pad64" needs a multiple of {IMAGE_SIDE_MULTIPLE}; '
                f"received {self.min_dim}."
            )

    @classmethod
    def of(cls, config: Config) -> Resize:
        """The resizing that a configuration asks for in training; `for_detection` may differ."""
        shapes = tuple(config.INPUT_SHAPES or ())
        if config.IMAGE_RESIZE_MODE == "pad32" and not shapes:
            height, width = (int(side) for side in config.IMAGE_SHAPE[:2])
            shapes = ((height, width),)
        return cls(
            mode=config.IMAGE_RESIZE_MODE,
            min_dim=config.IMAGE_MIN_DIM or 0,
            max_dim=config.IMAGE_MAX_DIM or 0,
            min_scale=config.IMAGE_MIN_SCALE or 0,
            shapes=shapes,
            jitter=ScaleJitter.of(config),
            padding_value=_padding_value(config),
            antialiased=resolve(config.ARCHITECTURE).antialiased_resizing,
        )

    @classmethod
    def without_shape(cls, config: Config) -> Resize:
        """As `of`, but in the mode "pad32" images are padded no further than they must be."""
        resize = cls.of(config)
        return replace(resize, shapes=()) if resize.mode == "pad32" else resize

    @classmethod
    def for_detection(cls, config: Config) -> Resize:
        """The resizing of images to detect in: nothing is random (`detection_mode`)."""
        mode = detection_mode(config.IMAGE_RESIZE_MODE)
        return replace(cls.without_shape(config), mode=mode, jitter=None)

    def __call__(self, image: np.ndarray, rng: np.random.Generator | None = None) -> Resized:
        """Resize an image [H, W, C].

        Args:
            image: of any dtype.
            rng: draws the scale and places the window, where these are random; None: Python's
                `random`.

        Returns:
            The image, its window, scale, padding and crop.

        Raises:
            ValueError: it is not an array [H, W, C].
        """
        _check_axes(image)
        if self.mode == "none":  # as it is: not even copied
            return Resized(image, (0, 0, *image.shape[:2]), 1, [(0, 0)] * 3, None)
        return self.pad_or_crop(image, image.shape[:2], rng)

    def scale_of(self, size: Sequence[int]) -> float:
        """The factor by which an image of size (height, width) is scaled, without a jitter."""
        if self.mode == "none":
            return 1
        if self.mode == "pad32":
            return min(self.min_dim / min(size), self.max_dim / max(size))
        scale = max(1, self.min_scale, self.min_dim / min(size) if self.min_dim else 0)
        if self.mode == "square" and round(max(size) * scale) > self.max_dim:
            scale = self.max_dim / max(size)
        return scale

    def scaled(self, image: np.ndarray) -> np.ndarray:
        """Do what is not random of an image [H, W, C]: scale it, without padding or cropping.

        With a jitter nothing is: it stays as it is. Returns a new array.
        """
        _check_axes(image)
        if self.jitter is not None:
            return image.copy()
        if self.mode == "pad32":
            return self._between_pixels(image)
        size = scaled_size(image.shape[:2], self.scale_of(image.shape[:2]))
        scaled = np.empty((*size, image.shape[2]), image.dtype)
        resize_bilinear(image, scaled)
        return scaled

    def pad_or_crop(
        self,
        image: np.ndarray,
        original_size: Sequence[int],
        rng: np.random.Generator | None = None,
    ) -> Resized:
        """Pad or crop an image whose scaling is done, or is done on the way.

        Args:
            image: [·, ·, C]. It is written into the padded array with the size that it is to
                have there, so that scaling makes no array in between; what `scaled` returned is
                copied. The result shares no memory with it.
            original_size: (height, width) before scaling.
            rng: as for a call.
        """
        if self.mode == "pad32":
            return self._padded_between(image, original_size)
        if self.jitter is None:
            scale = self.scale_of(original_size)
        else:
            scale = self.jitter.draw(original_size, rng)
            if self.jitter.cuts:
                return _on_canvas(image, original_size, scale, self.jitter.canvas, rng)
        height, width = scaled_size(original_size, scale)
        if self.mode in ("none", "crop"):
            result = np.empty((height, width, image.shape[2]), image.dtype)
            resize_bilinear(image, result)
            if self.mode == "none":
                return Resized(result, (0, 0, height, width), scale, [(0, 0)] * 3, None)
            side = self.min_dim
            y, x = (_random_offset(rest, rng) for rest in (height - side, width - side))
            window, crop = (0, 0, side, side), (y, x, side, side)
            return Resized(result[y : y + side, x : x + side], window, scale, [(0, 0)] * 3, crop)

        if self.jitter is None:
            padded_height, padded_width = self._padded_size(height, width)
        else:
            padded_height, padded_width = self.padded_size(original_size)
        top, left = (padded_height - height) // 2, (padded_width - width) // 2
        bottom, right = top + height, left + width
        result = np.zeros((padded_height, padded_width, image.shape[2]), image.dtype)
        resize_bilinear(image, result[top:bottom, left:right])
        padding = [(top, padded_height - bottom), (left, padded_width - right), (0, 0)]
        return Resized(result, (top, left, bottom, right), scale, padding, None)

    def padded_size(self, size: Sequence[int]) -> tuple[int, int]:
        """The (height, width) that an image of a size has in the end, in the padding modes.

        It depends on nothing random: with a jitter, it is that of the largest image.
        """
        if self.mode == "pad32":
            height, width = self.size_of(size)
            if self.shapes:
                return self._padded_size(height, width)
            return height + -height % PAD32_MULTIPLE, width + -width % PAD32_MULTIPLE
        scale = self.scale_of(size) if self.jitter is None else self.jitter.largest(size)
        return self._padded_size(*scaled_size(size, scale))

    def size_of(self, size: Sequence[int], scale: float | None = None) -> tuple[int, int]:
        """The (height, width) to which an image of a size is scaled.

        In the mode "pad32" sides are rounded down, unless it is `antialiased`, and are at least a
        pixel; else to the nearest.

        Args:
            size: (height, width).
            scale: where it was drawn; None: `scale_of` the size.
        """
        if self.mode == "pad32" and self.antialiased:  # nothing is drawn in this mode
            return size_within(size, self.min_dim, self.max_dim)
        scale = self.scale_of(size) if scale is None else scale
        if self.mode == "pad32":
            return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))
        return scaled_size(size, scale)

    def _padded_between(self, image: np.ndarray, original_size: Sequence[int]) -> Resized:
        """The mode "pad32" of an image whose scaling is done, or is done here."""
        height, width = self.size_of(original_size)
        padded = self.padded_size(original_size)
        result = np.empty((*padded, image.shape[2]), np.float32)
        result[...] = np.asarray(self.padding_value, np.float32)
        result[:height, :width] = self._between_pixels(image, (height, width))
        padding = [(0, padded[0] - height), (0, padded[1] - width), (0, 0)]
        scale = self.scale_of(original_size)
        return Resized(result, (0, 0, height, width), scale, padding, None)

    def _between_pixels(self, image: np.ndarray, size: Sequence[int] | None = None) -> np.ndarray:
        """An image in the mode "pad32", without padding."""
        size = self.size_of(image.shape[:2]) if size is None else size
        return (resize_averaging if self.antialiased else resize_between_pixels)(image, size)

    def _padded_size(self, height: int, width: int) -> tuple[int, int]:
        if self.mode == "pad64":
            return height + -height % IMAGE_SIDE_MULTIPLE, width + -width % IMAGE_SIDE_MULTIPLE
        shapes = self.shapes or ((self.max_dim, self.max_dim),)
        for shape in shapes:
            if height <= shape[0] and width <= shape[1]:
                return shape
        raise ValueError(
            f"shapes: expected one of at least {height} x {width} pixels, for an image that has "
            f"that size after scaling; received {list(shapes)}."
        )


def _padding_value(config: Config) -> tuple[float, ...]:
    """What the molded image is 0 of, in the mode "pad32"; 0 itself in the others."""
    if config.IMAGE_RESIZE_MODE != "pad32":
        return (0.0,)
    return tuple(float(value) for value in np.ravel(config.MEAN_PIXEL))


def _on_canvas(
    image: np.ndarray,
    original_size: Sequence[int],
    scale: float,
    canvas: tuple[int, int],
    rng: np.random.Generator | None,
) -> Resized:
    """Scale an image; cut it at a random place where it is larger than the canvas, else pad it."""
    size = scaled_size(original_size, scale)
    height, width = (min(sides) for sides in zip(size, canvas, strict=True))
    y, x = _random_offset(size[0] - height, rng), _random_offset(size[1] - width, rng)
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    bottom, right = top + height, left + width
    result = np.zeros((*canvas, image.shape[2]), image.dtype)
    crop: Box | None = None
    if (height, width) == size:
        resize_bilinear(image, result[top:bottom, left:right])
    else:
        crop = (y, x, height, width)
        scaled = np.empty((*size, image.shape[2]), image.dtype)
        resize_bilinear(image, scaled)
        result[top:bottom, left:right] = scaled[y : y + height, x : x + width]
    padding = [(top, canvas[0] - bottom), (left, canvas[1] - right), (0, 0)]
    return Resized(result, (top, left, bottom, right), scale, padding, crop)


def detection_mode(mode: str) -> str:
    """The mode in which images are resized to detect in them, of that in which training does.

    A random window would show another part of the image at each call, so that in place of "crop"
    the whole image is taken, at the same scale: "pad64".
    """
    return "pad64" if mode == "crop" else mode


def whole_images(mode: str) -> dict[str, Any]:
    """The settings with which detection and evaluation see whole images of one scale.

    Args:
        mode: IMAGE_RESIZE_MODE of the training.
    """
    return {
        "IMAGE_RESIZE_MODE": detection_mode(mode),
        "IMAGE_MIN_DIM_RANGE": None,
        "IMAGE_SCALE_RANGE": None,
    }


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
    rng: np.random.Generator | None = None,
) -> Resized:
    """Matterport's name and arguments of `Resize`, where None stands for 0.

    Args:
        image: [H, W, C].
        min_dim, max_dim, min_scale, mode: as in `Resize`.
        rng: places the window of the mode "crop"; None: Python's `random`.

    Returns:
        The image, its window, scale, padding and crop; give the last three to `resize_mask`.
    """
    return Resize(mode, min_dim or 0, max_dim or 0, min_scale or 0)(image, rng)


def _random_offset(rest: int, rng: np.random.Generator | None) -> int:
    """A whole number from 0 to `rest`."""
    return random.randint(0, rest) if rng is None else int(rng.integers(rest, endpoint=True))


def _check_axes(image: np.ndarray) -> None:
    if image.ndim != 3:
        raise ValueError(
            f"image: expected an array [height, width, channels]; received the shape "
            f"{image.shape}. Give a grey image a last axis: image[..., None]."
        )
