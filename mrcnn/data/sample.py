"""One image of a data set as a training sample.

Shape letters: H W image, h w masks, C channels, N instances, M length of the image meta.
Boxes are (y1, x1, y2, x2) in pixels of the sample's image, y2 and x2 exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mrcnn.config import IMAGE_SIDE_MULTIPLE
from mrcnn.data.augment import augment
from mrcnn.data.boxes import extract_bboxes
from mrcnn.data.images import Box, Padding, resize_image, scaled_size
from mrcnn.data.masks import minimize_mask
from mrcnn.data.molding import compose_image_meta


class SampleError(ValueError):
    """An image that cannot become a training sample; the message names it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What training sees of one image.

    Attributes:
        image: uint8 [H, W, C], the shape is `config.IMAGE_SHAPE`.
        image_meta: float32 [M], see `mrcnn.data.molding.compose_image_meta`.
        class_ids: int32 [N]; negative: a crowd. Never 0.
        boxes: int32 [N, 4], of the masks.
        masks: uint8 {0, 1} [N, h, w]: crops of the boxes at `config.MINI_MASK_SHAPE`
            when `config.USE_MINI_MASK`, else of the image's size.
        ignored: how many instances were left out, by reason.
    """

    image: np.ndarray
    image_meta: np.ndarray
    class_ids: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    ignored: dict[str, int] = field(default_factory=dict)


def load_sample(
    dataset: Any,
    image_id: int,
    config: Any,
    rng: np.random.Generator,
    augmentation: Any = None,
) -> Sample:
    """Read an image and its instances, resize, augment, and describe them.

    The image is resized as `config.IMAGE_RESIZE_MODE` says. Training has one static shape:
    in the modes "pad64" and "none" the image is then centered in `config.IMAGE_SHAPE`.
    Instances without a pixel left (cropped away, too small) and of class 0 are left out.

    Args:
        dataset: a prepared `mrcnn.data.dataset.Dataset`.
        image_id: the data set's own, running number of the image.
        config: settings, see `mrcnn.config.Config`.
        rng: decides the random crop and the augmentation, and nothing else does.
        augmentation: None, or what `mrcnn.data.augment.augment` takes.

    Returns:
        The sample, with all instances that are left (`limit_instances` bounds them).

    Raises:
        SampleError: the image or its masks do not fit together, or do not fit the settings.
    """
    name = describe_image(dataset, image_id)
    image = _checked_image(dataset.load_image(image_id), config, name)
    masks, class_ids = _checked_masks(*dataset.load_mask(image_id), image.shape, config, name)
    original_shape = image.shape

    image, window, scale, padding, crop = resize_image(
        image,
        min_dim=config.IMAGE_MIN_DIM,
        max_dim=config.IMAGE_MAX_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        mode=config.IMAGE_RESIZE_MODE,
        rng=rng,
    )
    if config.IMAGE_RESIZE_MODE in ("pad64", "none"):
        image, window, padding = _center(image, window, padding, config, name)
    masks = place_masks(masks, scale, padding, crop)

    if augmentation is not None:
        image, masks = augment(augmentation, image, masks, rng)
    static_shape = tuple(map(int, config.IMAGE_SHAPE))
    if image.shape != static_shape:
        raise SampleError(
            f"{name}: expected the shape {static_shape} (IMAGE_SHAPE) after resizing and "
            f"augmentation; received {image.shape}. The augmentation must keep the shape."
        )

    # One mask after the other in memory, whatever the augmentation returned: on the other
    # order, NumPy's reductions are some fifty times slower.
    masks = np.ascontiguousarray(masks.transpose(2, 0, 1)).transpose(1, 2, 0)
    boxes = extract_bboxes(masks)
    visible = boxes[:, 2] > boxes[:, 0]
    foreground = class_ids != 0
    keep = visible & foreground
    if not keep.all():
        masks, boxes, class_ids = masks[..., keep], boxes[keep], class_ids[keep]
    if config.USE_MINI_MASK:
        masks = minimize_mask(boxes, masks, tuple(config.MINI_MASK_SHAPE))

    return Sample(
        image=np.ascontiguousarray(image),
        image_meta=compose_image_meta(
            image_id,
            original_shape,
            image.shape,
            window,
            scale,
            active_class_ids(dataset, image_id, config),
        ).astype(np.float32),
        class_ids=class_ids,
        boxes=boxes,
        masks=np.ascontiguousarray(masks.transpose(2, 0, 1), dtype=np.uint8),
        ignored={
            "vanished": int(np.sum(foreground & ~visible)),
            "background": int(np.sum(~foreground)),
        },
    )


def limit_instances(sample: Sample, limit: int, rng: np.random.Generator) -> Sample:
    """Keep a random subset of at most `limit` instances, in their order; count the others."""
    count = len(sample.class_ids)
    if count <= limit:
        return sample
    kept = np.sort(rng.choice(count, limit, replace=False))
    return replace(
        sample,
        class_ids=sample.class_ids[kept],
        boxes=sample.boxes[kept],
        masks=sample.masks[kept],
        ignored={**sample.ignored, "overflow": count - limit},
    )


def place_masks(
    masks: np.ndarray, scale: float, padding: Padding, crop: Box | None = None
) -> np.ndarray:
    """Move masks as `resize_image` moved their image.

    Nearest neighbor with half-pixel centers: an output pixel takes the value of the input
    pixel in which its center lies, which is the image's own geometry. The ancestor's
    `resize_mask` aligns the corners instead, so that its masks are off by up to half an
    input pixel towards the borders.

    Args:
        masks: bool [H, W, N].
        scale, padding, crop: as `resize_image` returns them.

    Returns:
        bool [H', W', N], the size of the resized image; each mask `[:, :, i]` is contiguous
        in memory.
    """
    rows, columns = map(_source_pixels, masks.shape[:2], scaled_size(masks.shape[:2], scale))
    if crop is not None:
        y, x, height, width = crop
        rows, columns = rows[y : y + height], columns[x : x + width]
    (top, bottom), (left, right) = padding[:2]
    height, width = len(rows), len(columns)
    placed = np.zeros((masks.shape[2], top + height + bottom, left + width + right), dtype=bool)
    inner = placed[:, top : top + height, left : left + width]
    # Outside its box a mask is zero, and most boxes are small.
    for i, (y1, x1, y2, x2) in enumerate(extract_bboxes(masks)):
        inside_y = slice(*np.searchsorted(rows, (y1, y2)))
        inside_x = slice(*np.searchsorted(columns, (x1, x2)))
        part = masks[..., i].take(rows[inside_y], axis=0).take(columns[inside_x], axis=1)
        inner[i, inside_y, inside_x] = part
    return placed.transpose(1, 2, 0)


def active_class_ids(dataset: Any, image_id: int, config: Any) -> np.ndarray:
    """Return int32 [NUM_CLASSES], 1 for each class that the image's source annotates."""
    if dataset.num_classes != config.NUM_CLASSES:
        raise SampleError(
            f"{describe_image(dataset, image_id)}: its data set has {dataset.num_classes} classes "
            f"with the background, but NUM_CLASSES is {config.NUM_CLASSES}. Set NUM_CLASSES to "
            f"{dataset.num_classes}, or give all data sets the same classes."
        )
    active = np.zeros(dataset.num_classes, dtype=np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    return active


def describe_image(dataset: Any, image_id: int) -> str:
    """Return "image 3 (source 'coco', id 42, path 'a.jpg')" for messages."""
    info = dataset.image_info[image_id]
    return (
        f"image {image_id} (source {info.get('source')!r}, id {info.get('id')!r}, "
        f"path {str(info.get('path'))!r})"
    )


def _checked_image(image: Any, config: Any, name: str) -> np.ndarray:
    """Return uint8 [H, W, C], or raise a `SampleError`."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or 0 in image.shape or image.shape[2] != config.IMAGE_CHANNEL_COUNT:
        raise SampleError(
            f"{name}: expected an image [H, W, {config.IMAGE_CHANNEL_COUNT}] "
            f"(IMAGE_CHANNEL_COUNT); received the shape {image.shape}. Convert it in the data "
            "set's load_image, or set IMAGE_CHANNEL_COUNT."
        )
    if image.dtype != np.uint8:
        low, high = image.min(), image.max()
        if not (low >= 0 and high <= 255 and np.array_equal(image, image.astype(np.uint8))):
            raise SampleError(
                f"{name}: expected whole values from 0 to 255 (uint8); received {image.dtype} "
                f"from {low} to {high}. Convert the image in the data set's load_image."
            )
        image = image.astype(np.uint8)
    return image


def _checked_masks(
    masks: Any, class_ids: Any, image_shape: tuple[int, ...], config: Any, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return masks, bool [H, W, N], and class ids, int32 [N], or raise a `SampleError`."""
    masks, class_ids = np.asarray(masks), np.asarray(class_ids, dtype=np.int32)
    height, width = image_shape[:2]
    if len(class_ids) == 0:  # a data set may say "no object" with masks of any size
        return np.zeros((height, width, 0), dtype=bool), class_ids
    if masks.shape != (height, width, len(class_ids)):
        raise SampleError(
            f"{name}: expected masks {(height, width, len(class_ids))} (the image's height and "
            f"width, one mask for each class id); received {masks.shape}. Correct load_mask."
        )
    worst = class_ids[np.abs(class_ids).argmax()]
    if abs(worst) >= config.NUM_CLASSES:
        raise SampleError(
            f"{name}: expected class ids below NUM_CLASSES = {config.NUM_CLASSES}; received "
            f"{worst}. Correct NUM_CLASSES or load_mask."
        )
    return masks.astype(bool, copy=False), class_ids


def _source_pixels(side: int, resized: int) -> np.ndarray:
    """For each of `resized` pixels, which of `side` holds its center: floor((i + 1/2) * ratio)."""
    return (2 * np.arange(resized) + 1) * side // (2 * resized)


def _center(
    image: np.ndarray, window: Box, padding: Padding, config: Any, name: str
) -> tuple[np.ndarray, Box, Padding]:
    """Pad the image to the static training shape; shift the window, extend the padding."""
    height, width = image.shape[:2]
    full_height, full_width = (int(side) for side in config.IMAGE_SHAPE[:2])
    if height > full_height or width > full_width:
        needed = tuple(
            max(full, side + -side % IMAGE_SIDE_MULTIPLE)
            for side, full in ((height, full_height), (width, full_width))
        )
        raise SampleError(
            f"{name}: {height} x {width} pixels after resizing (mode "
            f"{config.IMAGE_RESIZE_MODE!r}) do not fit the training shape "
            f"{full_height} x {full_width}. Set IMAGE_PAD_SHAPE to at least {needed}."
        )
    top, left = (full_height - height) // 2, (full_width - width) // 2
    extra = [
        (top, full_height - height - top),
        (left, full_width - width - left),
        (0, 0),
    ]
    y1, x1, y2, x2 = window
    return (
        np.pad(image, extra),
        (y1 + top, x1 + left, y2 + top, x2 + left),
        [(old[0] + new[0], old[1] + new[1]) for old, new in zip(padding, extra, strict=True)],
    )
