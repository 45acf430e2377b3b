"""Images on the host: reading a file, resizing, and resizing to the network's input.

Shape letters: H height, W width, C channels; h, w the resized height and width.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mrcnn.config import IMAGE_SIDE_MULTIPLE, RESIZE_MODES

# Rows are resized in blocks of about this many values: 256 KiB of float32 stay in the cache.
_BLOCK_VALUES = 1 << 16

Padding = list[tuple[int, int]]
Box = tuple[int, int, int, int]


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as RGB.

    Grey becomes three equal channels and a palette its colors; an alpha channel is dropped,
    not blended; of 16 bits a channel the upper 8 are kept.

    An orientation in the EXIF data is ignored on purpose: boxes and masks of COCO, and of most
    annotation tools, are measured on the stored pixels, and a rotation would part them.

    Returns:
        uint8 [H, W, 3].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image that can be read.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits, or 32 that hold 16
                return _deep_grey_to_rgb(np.array(image))
            if image.mode == "F":
                raise ValueError("it holds floating-point values of no known range")
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{os.fspath(path)}: there is no such image file.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{os.fspath(path)}: cannot be read as an image ({error}). Expected a complete file "
            f"in a format that Pillow reads, such as JPEG or PNG, of 8 or 16 bits a channel."
        ) from error


def _deep_grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    grey = grey.astype(np.int64)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError(
            f"its values from {grey.min()} to {grey.max()} do not fit 16 bits without a sign"
        )
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)


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
    dtype = np.result_type(image.dtype, out.dtype, np.float32)
    rows = _linear_taps(image.shape[0], out.shape[0], dtype)
    columns = _linear_taps(image.shape[1], out.shape[1], dtype)
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
        part = _Taps(*(values[start : start + step] for values in rows))
        needed, position = np.unique(np.concatenate([part.low, part.high]), return_inverse=True)
        part = part._replace(low=position[: len(part.low)], high=position[len(part.low) :])
        values = _interpolate(lines[needed].astype(dtype), columns, cval, axis=1)
        values = _interpolate(values, part, cval, axis=0)
        if limits is not None:
            np.clip(values, *limits, out=values)
        out[start : start + step] = values.reshape(-1, *out.shape[1:])


class _Taps(NamedTuple):
    """How each output position reads its axis: value = low + weight * (high - low).

    `coverage` is the part of that reading that lies inside the image; the rest is `cval`.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    coverage: np.ndarray


def _linear_taps(size_in: int, size_out: int, dtype: np.dtype) -> _Taps:
    position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    low = np.floor(position)
    coverage = np.minimum(1, np.minimum(position + 1, size_in - position))
    return _Taps(
        low=np.maximum(low, 0).astype(np.intp),
        high=np.minimum(low + 1, size_in - 1).astype(np.intp),
        weight=(position - low).astype(dtype),
        coverage=coverage.astype(dtype),
    )


def _of_channels(taps: _Taps, channels: int) -> _Taps:
    """The same taps for a line whose pixels hold `channels` values each."""
    channel = np.arange(channels)
    return _Taps(
        low=(taps.low[:, None] * channels + channel).ravel(),
        high=(taps.high[:, None] * channels + channel).ravel(),
        weight=np.repeat(taps.weight, channels),
        coverage=np.repeat(taps.coverage, channels),
    )


def _interpolate(values: np.ndarray, taps: _Taps, cval: float, axis: int) -> np.ndarray:
    low, high = values.take(taps.low, axis), values.take(taps.high, axis)
    along = high if axis == 0 else high.T  # a view with the interpolated axis first
    # In place, and exact where both taps are equal: flat areas stay flat when truncated.
    high -= low
    along *= taps.weight[:, None]
    high += low
    border = np.flatnonzero(taps.coverage < 1)
    if border.size:
        along[border] = (along[border] - cval) * taps.coverage[border, None] + cval
    return high


class Resized(NamedTuple):
    """The result of `resize_image`, in Matterport's order."""

    image: np.ndarray  # [h, w, C], dtype of the input
    window: Box  # (y1, x1, y2, x2): where the image lies in the padded result
    scale: float  # of the sides
    padding: Padding  # [(top, bottom), (left, right), (0, 0)] in pixels
    crop: Box | None  # (y, x, height, width) in the scaled image, in the mode "crop"


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
    rng: np.random.Generator | None = None,
) -> Resized:
    """Scale an image without changing its proportions, then pad or crop it.

    The image is enlarged, never shrunk, until its shorter side is `min_dim`, and at least
    by `min_scale`; then, by mode:

    - "none": neither scale nor pad.
    - "square": scale less where the longer side would exceed `max_dim`; pad with zeros to
      `max_dim` x `max_dim`, the image in the middle.
    - "pad64": pad each side with zeros to a multiple of 64. `max_dim` is not used.
    - "crop": take a random window of `min_dim` x `min_dim`. `max_dim` is not used.

    Outside the image there is zero, so that its border darkens a little when it is enlarged,
    as in Matterport's package.

    Args:
        image: [H, W, C].
        min_dim: length of the shorter side at least; None: as it is.
        max_dim: length of the longer side at most, in the mode "square".
        min_scale: scale at least; None or 0: no such bound.
        mode: one of the above.
        rng: places the window of the mode "crop"; None: Python's `random`.

    Returns:
        The image, its window, scale, padding and crop; give the last three to `resize_mask`.
    """
    _check_resize(image, min_dim, max_dim, mode)
    height, width = image.shape[:2]
    if mode == "none":
        return Resized(image, (0, 0, height, width), 1, [(0, 0), (0, 0), (0, 0)], None)

    scale = 1
    if min_dim:
        scale = max(1, min_dim / min(height, width))
    if min_scale:
        scale = max(scale, min_scale)
    if mode == "square" and round(max(height, width) * scale) > max_dim:
        scale = max_dim / max(height, width)
    height, width = scaled_size((height, width), scale)

    if mode == "crop":
        return _resize_and_crop(image, (height, width), scale, min_dim, rng)
    if mode == "square":
        padded = max_dim, max_dim
    else:
        padded = tuple(-side % IMAGE_SIDE_MULTIPLE + side for side in (height, width))
    top, left = (padded[0] - height) // 2, (padded[1] - width) // 2
    window = (top, left, top + height, left + width)
    padding = [(top, padded[0] - window[2]), (left, padded[1] - window[3]), (0, 0)]
    result = np.zeros(padded + image.shape[2:], image.dtype)
    resize_bilinear(image, result[top : window[2], left : window[3]])
    return Resized(result, window, scale, padding, None)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the (height, width) of an image or mask after scaling; at least one pixel each."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resize_and_crop(
    image: np.ndarray,
    size: tuple[int, int],
    scale: float,
    side: int,
    rng: np.random.Generator | None,
) -> Resized:
    scaled = np.empty(size + image.shape[2:], image.dtype)
    resize_bilinear(image, scaled)
    y, x = (
        random.randint(0, rest) if rng is None else int(rng.integers(rest, endpoint=True))
        for rest in (size[0] - side, size[1] - side)
    )
    return Resized(
        scaled[y : y + side, x : x + side],
        (0, 0, side, side),
        scale,
        [(0, 0), (0, 0), (0, 0)],
        (y, x, side, side),
    )


def _check_resize(image: np.ndarray, min_dim: int | None, max_dim: int | None, mode: str) -> None:
    if image.ndim != 3:
        raise ValueError(
            f"image: expected an array [height, width, channels]; received the shape "
            f"{image.shape}. Give a grey image a last axis: image[..., None]."
        )
    if mode not in RESIZE_MODES:
        raise ValueError(f"mode: expected one of {list(RESIZE_MODES)}; received {mode!r}.")
    if mode == "square" and not max_dim:
        raise ValueError(
            f'max_dim: the mode "square" pads to it and needs a side in pixels; '
            f"received {max_dim!r}."
        )
    if mode == "crop" and not min_dim:
        raise ValueError(
            f'min_dim: the mode "crop" cuts out a window of that side; received {min_dim!r}.'
        )
    if mode == "pad64" and min_dim and min_dim % IMAGE_SIDE_MULTIPLE:
        raise ValueError(
            f'min_dim: the mode "pad64" needs a multiple of {IMAGE_SIDE_MULTIPLE}; '
            f"received {min_dim}."
        )
