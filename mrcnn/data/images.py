"""Images on the host: reading a file, and bilinear resizing (`mrcnn.data.resize` says to what).

Shape letters: H height, W width, C channels; h, w the resized height and width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from mrcnn.data import bit_depth
from mrcnn.files.image_file import open_image, turned_upright

# Rows are resized in blocks of about this many values: 512 KiB of float32 stay in the cache.
_BLOCK_VALUES = 1 << 17

Padding = list[tuple[int, int]]
Box = tuple[int, int, int, int]


def read_image(
    path: str | os.PathLike[str] | BinaryIO,
    upright: bool | Callable[[Image.Image], bool] = False,
    depth: Callable[[Image.Image, int], int] | None = None,
) -> np.ndarray:
    """Read an image file as RGB.

    Grey becomes three equal channels and a palette its colors; an alpha channel is dropped,
    not blended. Of grey values above 8 bits the upper 8 are kept of those that they have
    (`mrcnn.data.bit_depth`); of colors with 16 bits a channel the upper 8.

    Args:
        path: the file; or what was read of one elsewhere, with its `name`.
        upright: turn the image as the orientation in its EXIF data says; or a function that
            decides it from the opened image. What is right depends on the pixels that the
            annotations are measured on: see `mrcnn.data.orientation`.
        depth: the bits that grey values above 8 bits have, of the opened image and its largest
            value; None: what the file says, else what its own largest value needs.

    Returns:
        uint8 [H, W, 3].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image that can be read; see
            `mrcnn.files.image_file.open_image`.
    """
    with open_image(path) as stored:
        turn = upright(stored) if callable(upright) else upright
        image = turned_upright(stored) if turn else stored
        if bit_depth.is_deep(image):
            grey = bit_depth.deep_values(image)
            bits = (depth or _own_depth)(stored, int(grey.max()))
            return np.repeat(bit_depth.to_eight_bits(grey, bits)[..., None], 3, axis=2)
        if image.mode == "F":
            raise ValueError("it holds floating-point values of no known range")
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _own_depth(image: Image.Image, maximum: int) -> int:
    return bit_depth.stated_depth(image) or bit_depth.depth_of(maximum)


def resize(
    image: np.ndarray,
    output_shape: Sequence[int],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool | None = False,
    anti_aliasing_sigma: float | Sequence[float] | None = None,
) -> np.ndarray:
    """Resize an image as `skimage.transform.resize` does.

    The default, bilinear with half-pixel centers, `cval` outside the image and no
    anti-aliasing, is computed here; anything else is left to scikit-image.

    Args:
        image: [H, W] or [H, W, C]. bool counts as 0 and 1.
        output_shape: (h, w), or (h, w, C).
        order: of the interpolating spline; 1 is bilinear.
        mode: what lies outside; "constant" is `cval`.
        cval: the value outside.
        clip: keep the result in the range of the input's values. It limits how far `cval`
            darkens the border.
        preserve_range: keep the scale of integer values, instead of mapping them to [0, 1].
        anti_aliasing: smooth before shrinking; None lets scikit-image decide.
        anti_aliasing_sigma: of that smoothing.

    Returns:
        [h, w] or [h, w, C]: float32, or float64 for inputs that float32 cannot hold.
    """
    image = np.asarray(image)
    target = tuple(int(side) for side in output_shape)
    if (
        order != 1
        or mode != "constant"
        or anti_aliasing is not False
        or image.ndim not in (2, 3)
        or target[2:] not in ((), image.shape[2:])
        or (image.dtype.kind == "i" and not preserve_range)
    ):
        from skimage.transform import resize as skimage_resize

        return skimage_resize(
            image,
            output_shape,
            order=order,
            mode=mode,
            cval=cval,
            clip=clip,
            preserve_range=preserve_range,
            anti_aliasing=anti_aliasing,
            anti_aliasing_sigma=anti_aliasing_sigma,
        )
    dtype = np.result_type(image.dtype, np.float32)  # float64 for 32-bit integers and more
    if image.dtype.kind == "u" and not preserve_range:
        image = image.astype(dtype) / dtype.type(np.iinfo(image.dtype).max)
    out = np.empty(target[:2] + image.shape[2:], dtype)
    resize_bilinear(image, out, cval, clip)
    return out


def resize_bilinear(image: np.ndarray, out: np.ndarray, cval: float = 0, clip: bool = True) -> None:
    """Resize `image` into `out`: bilinear, half-pixel centers, `cval` outside the image.

    Columns, then rows, in blocks of rows: no temporary is as large as the image.

    Args:
        image: [H, W] or [H, W, C].
        out: [h, w] or [h, w, C], which may be a view; integers are truncated.
        cval: the value outside the image.
        clip: keep the result in the range of the input's values.
    """
    if image.size == 0 or out.size == 0:
        raise ValueError(
            f"Cannot resize an image of shape {image.shape} to {out.shape}: "
            f"expected every side to be at least 1."
        )
    if image.shape == out.shape and image.dtype == out.dtype:
        np.copyto(out, image)
        return
    dtype = np.result_type(image.dtype, out.dtype, np.float32)
    rows = linear_taps(image.shape[0], out.shape[0], dtype)
    columns = linear_taps(image.shape[1], out.shape[1], dtype)
    # Only `cval` can lead out of the image's range, and only where it reaches in.
    limits = None
    if clip and (rows.coverage.min() < 1 or columns.coverage.min() < 1):
        limits = np.nanmin(image), np.nanmax(image)
        if limits[0] <= cval <= limits[1]:
            limits = None

    # From here on a line of pixels is a line of values, channel after channel.
    columns = _of_channels(columns, image[0, 0].size)
    lines = image.reshape(image.shape[0], -1)
    step = max(1, _BLOCK_VALUES // len(columns.low))
    for start in range(0, len(out), step):
        part = Taps(*(values[start : start + step] for values in rows))
        first, past_last = part.low[0], part.high[-1] + 1
        if past_last - first <= 2 * len(part.low):
            needed = lines[first:past_last]
            part = part._replace(low=part.low - first, high=part.high - first)
        else:  # lines that no output line reads are not interpolated
            needed, place = np.unique([part.low, part.high], return_inverse=True)
            needed = lines[needed]
            low, high = place.reshape(2, -1)
            part = part._replace(low=low, high=high)
        values = _interpolate(needed.astype(dtype), columns, cval, axis=1)
        values = _interpolate(values, part, cval, axis=0)
        if limits is not None:
            np.clip(values, *limits, out=values)
        out[start : start + step] = values.reshape(-1, *out.shape[1:])


class Taps(NamedTuple):
    """How each output position reads its axis: value = low + weight * (high - low).

    `coverage` is the part of that reading that lies inside the image; the rest is `cval`.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    coverage: np.ndarray


def linear_taps(size_in: int | np.ndarray, size_out: int, dtype: DTypeLike) -> Taps:
    """How `size_out` positions read an axis of `size_in`, or of several: arrays [..., size_out].

    Args:
        size_in: one length, or lengths [..., 1].
        size_out: length of the resized axis.
        dtype: of weight and coverage.
    """
    position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    low = np.floor(position)
    coverage = np.minimum(1, np.minimum(position + 1, size_in - position))
    return Taps(
        low=np.maximum(low, 0).astype(np.intp),
        high=np.minimum(low + 1, size_in - 1).astype(np.intp),
        weight=(position - low).astype(dtype),
        coverage=coverage.astype(dtype),
    )


def _of_channels(taps: Taps, channels: int) -> Taps:
    """The same taps for a line whose pixels hold `channels` values each."""
    channel = np.arange(channels)
    return Taps(
        low=(taps.low[:, None] * channels + channel).ravel(),
        high=(taps.high[:, None] * channels + channel).ravel(),
        weight=np.repeat(taps.weight, channels),
        coverage=np.repeat(taps.coverage, channels),
    )


def _interpolate(values: np.ndarray, taps: Taps, cval: float, axis: int) -> np.ndarray:
    low, high = values.take(taps.low, axis), values.take(taps.high, axis)
    # In place, and exact where both taps are equal: flat areas stay flat when truncated.
    high -= low
    high *= taps.weight[:, None] if axis == 0 else taps.weight
    high += low
    border = np.flatnonzero(taps.coverage < 1)
    if border.size:
        along = high if axis == 0 else high.T  # a view with the interpolated axis first
        along[border] = (along[border] - cval) * taps.coverage[border, None] + cval
    return high


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Return the (height, width) of an image or mask after scaling; at least one pixel each."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
