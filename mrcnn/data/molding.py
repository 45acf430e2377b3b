"""Images to the network's input: resized to its shape, the mean pixel subtracted.

`mrcnn.data.unmolding` moves detections from the molded image back to the original one.

Shape letters: B images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.batch import META_COLUMNS
from mrcnn.config import IMAGE_SIDE_MULTIPLE, PYRAMID_STRIDES, Config
from mrcnn.data.image_values import why_not_numbers
from mrcnn.data.images import Box
from mrcnn.data.resize import Resize


def mold_image(images: np.ndarray, config: Config) -> np.ndarray:
    """Subtract `MEAN_PIXEL`, and divide by `STD_PIXEL` if there is one.

    Args:
        images: [..., C], of any values; MEAN_PIXEL is in their units.
        config: for `MEAN_PIXEL` and `STD_PIXEL`, one value a channel.

    Returns:
        float32 [..., C].
    """
    molded = np.subtract(images, np.asarray(config.MEAN_PIXEL, np.float32), dtype=np.float32)
    if config.STD_PIXEL is not None:
        molded /= np.asarray(config.STD_PIXEL, np.float32)
    return molded


def unmold_image(normalized_images: np.ndarray, config: Config) -> np.ndarray:
    """Add `MEAN_PIXEL` and round to grey levels: the inverse of `mold_image`.

    Args:
        normalized_images: float [..., C].
        config: for `MEAN_PIXEL`, and `STD_PIXEL` if there is one.

    Returns:
        uint8 [..., C].
    """
    if config.STD_PIXEL is not None:
        normalized_images = normalized_images * np.asarray(config.STD_PIXEL, np.float32)
    images = np.rint(normalized_images + np.asarray(config.MEAN_PIXEL, np.float32))
    return np.clip(images, 0, 255).astype(np.uint8)


def add_mean(
    molded_images: np.ndarray, mean_pixel: float | Sequence[float] | np.ndarray
) -> np.ndarray:
    """Add `MEAN_PIXEL`: the inverse of `mold_image` for images of any values.

    Images that were whole numbers are so again; in float32 their sum would be a little beside.

    Args:
        molded_images: float [..., C].
        mean_pixel: `Config.MEAN_PIXEL`.

    Returns:
        float32 [..., C].
    """
    images = np.add(molded_images, np.asarray(mean_pixel, np.float32), dtype=np.float32)
    whole = np.rint(images)
    return whole if np.allclose(images, whole, rtol=1e-6, atol=1e-4) else images


def compose_image_meta(
    image_id: int,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[int],
    scale: float,
    active_class_ids: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """Put what the network must know of an image into one row of numbers.

    Args:
        image_id: internal id, for debugging.
        original_image_shape: (H, W, C) before resizing.
        image_shape: (H, W, C) after resizing and padding.
        window: (y1, x1, y2, x2) of the image in the padded one, in pixels.
        scale: of the sides.
        active_class_ids: one flag for each class: 1 where the image's data set knows it.

    Returns:
        float64 [12 + NUM_CLASSES].
    """
    fields = (image_id, original_image_shape, image_shape, window, scale, active_class_ids)
    return np.concatenate([np.atleast_1d(field).astype(np.float64) for field in fields])


def parse_image_meta(meta: np.ndarray) -> dict[str, np.ndarray]:
    """Take the fields out of meta rows: the inverse of `compose_image_meta`.

    Args:
        meta: [B, 12 + NUM_CLASSES].

    Returns:
        A dict of image_id [B], original_image_shape [B, 3], image_shape [B, 3], window [B, 4],
        scale [B] (float32), active_class_ids [B, NUM_CLASSES]; int32 but for the scale.
    """
    fields = {name: meta[:, at].astype(np.int32) for name, at in META_COLUMNS.items()}
    return fields | {"scale": meta[:, META_COLUMNS["scale"]].astype(np.float32)}


def mold_inputs(
    images: Sequence[np.ndarray], config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a batch of the network's inputs from images of any size.

    Args:
        images: list of B arrays [H, W, IMAGE_CHANNEL_COUNT], of any finite values.
        config: for the resizing and `MEAN_PIXEL`.

    Returns:
        (molded float32 [B, H, W, C], image_metas float64 [B, IMAGE_META_SIZE],
        windows int64 [B, 4]: each image's place in its molded image, in pixels).

    Raises:
        TypeError, ValueError: an image has the wrong type or shape, or the molded images
            differ in shape, as they can in the modes "pad64" and "none", or with
            IMAGE_SHAPE_GROUPS.
    """
    check_images(images, config.IMAGE_CHANNEL_COUNT)
    molded: list[np.ndarray] = []
    metas, windows = [], []
    for index, image in enumerate(images):
        resized, meta, window = resize_to_input(image, config)
        if molded and resized.shape != molded[0].shape:
            raise ValueError(
                f"images[{index}] becomes {resized.shape} after resizing, images[0] became "
                f"{molded[0].shape}. Images of a batch must have one shape: detect them one by "
                f'one, or set IMAGE_RESIZE_MODE = "square" and IMAGE_SHAPE_GROUPS = None.'
            )
        molded.append(mold_image(resized, config))
        metas.append(meta)
        windows.append(np.array(window, np.int64))
    return np.stack(molded), np.stack(metas), np.stack(windows)


class ResizedInput(NamedTuple):
    """An image at the size at which the network takes it."""

    image: np.ndarray  # [H, W, C], of the original's dtype
    meta: np.ndarray  # its row of image_meta, float64 [IMAGE_META_SIZE]
    window: Box  # in pixels, what is not padding


def resize_to_input(image: np.ndarray, config: Config) -> ResizedInput:
    """Resize an image to detect in, as the configuration asks; whole, where training crops."""
    resized = Resize.for_detection(config)(image)
    meta = compose_image_meta(
        image_id=0,
        original_image_shape=image.shape,
        image_shape=resized.image.shape,
        window=resized.window,
        scale=resized.scale,
        active_class_ids=np.zeros(config.NUM_CLASSES),
    )
    return ResizedInput(resized.image, meta, resized.window)


def check_input_shape(shape: Sequence[int], config: Config, name: str) -> None:
    """Check that the feature pyramid can halve and double the sides of an input.

    Args:
        shape: (H, W, ...) of the network's input.
        config: settings. The strides of a callable BACKBONE with shapes of its own are not known.
        name: of the image, for the message.

    Raises:
        ValueError: a side is no multiple of the stride of the pyramid's top.
    """
    multiple = PYRAMID_STRIDES[-2]  # the last level is taken from the one before
    height, width = shape[:2]
    if config.COMPUTE_BACKBONE_SHAPE is not None or (height % multiple == width % multiple == 0):
        return
    advice = "Resize it with `mold_inputs`."
    if config.IMAGE_RESIZE_MODE == "none":
        advice = (
            'IMAGE_RESIZE_MODE = "none" leaves images as they are: set it to "pad64", which pads '
            f"them to multiples of {IMAGE_SIDE_MULTIPLE}, or pad the image yourself."
        )
    raise ValueError(
        f"{name}: expected sides that are multiples of {multiple}; received {height} x {width} "
        f"pixels. {advice}"
    )


def check_images(images: Sequence[np.ndarray], channels: int) -> None:
    """Check that a list of images can be molded.

    Raises:
        TypeError, ValueError: there is none, or one is not right (`check_image`).
    """
    if len(images) == 0:
        raise ValueError("images: expected a list of at least one image; received an empty one.")
    for index, image in enumerate(images):
        check_image(image, channels, index)


def check_image(image: np.ndarray, channels: int, index: int) -> None:
    """Check that an image of a list can be molded.

    Args:
        image: what the caller gave.
        channels: the number of channels that the network expects.
        index: place in the caller's list, for the message.

    Raises:
        TypeError: it is not an array of numbers.
        ValueError: its shape is not [H, W, channels], it is empty, or a value is not finite.
    """
    name = f"images[{index}]"
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"{name}: expected a NumPy array [height, width, {channels}]; received "
            f"{type(image).__name__}. Convert it with np.asarray(image), or read files with "
            f"mrcnn.data.images.read_image(path)."
        )
    if image.dtype.kind not in "uif":
        raise TypeError(
            f"{name}: expected an image of numbers, such as uint8 or float32; received the dtype "
            f"{image.dtype}."
        )
    if image.ndim != 3 or image.shape[2] != channels:
        raise ValueError(
            f"{name}: expected the shape [height, width, {channels}]; received {image.shape}."
            + _advice_on_channels(image.shape, channels)
        )
    if image.size == 0:
        raise ValueError(f"{name}: expected at least one pixel; received the shape {image.shape}.")
    wrong = why_not_numbers(image)
    if wrong:
        raise ValueError(f"{name}: {wrong}")


def _advice_on_channels(shape: tuple[int, ...], channels: int) -> str:
    if len(shape) == 4:
        return " Pass a list of images, not a list of batches."
    if channels == 3 and len(shape) == 2:
        return " Make a grey image RGB with np.stack([image] * 3, axis=-1)."
    if channels == 3 and shape[2:] == (1,):
        return " Make a grey image RGB with np.repeat(image, 3, axis=-1)."
    if channels == 3 and shape[2:] == (4,):
        return " Drop the alpha channel with image[..., :3]."
    if channels == 1 and len(shape) == 2:
        return " Give it a last axis with image[..., None]."
    return " Or set IMAGE_CHANNEL_COUNT in the config, and MEAN_PIXEL to match."
