"""One image of a data set as a training sample.

Shape letters: H W image, h w masks, C channels, N instances, M length of the image meta.
Boxes are (y1, x1, y2, x2) in pixels of the sample's image, y2 and x2 exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from mrcnn.batch import BOX_ONLY_MASK
from mrcnn.config import IMAGE_SIDE_MULTIPLE, Config
from mrcnn.data.augment import Transform, as_transform, augment, augment_boxwise, is_boxwise
from mrcnn.data.cache import FolderCache, MemoryCache, ScaledImage
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import (
    Objects,
    SampleError,
    checked_image,
    classes_problem,
    describe_image,
    read_objects,
)
from mrcnn.data.few_masks import without_mask
from mrcnn.data.image_values import as_bytes_or_numbers
from mrcnn.data.images import Box, Padding, scaled_size
from mrcnn.data.instances import Instances, PlacedMask, minimize, paste, place
from mrcnn.data.molding import compose_image_meta
from mrcnn.data.orientation import load_image
from mrcnn.data.resize import Resize, Resized
from mrcnn.setting_rules.architecture import resolve


@dataclass(frozen=True, eq=False)
class Sample:
    """What training sees of one image.

    Attributes:
        image: uint8 [H, W, C], or float32 of any values (`mrcnn.data.image_values`); the shape is
            `config.IMAGE_SHAPE`, or one of `config.INPUT_SHAPES`.
        image_meta: float32 [M], see `mrcnn.data.molding.compose_image_meta`.
        class_ids: int32 [N]; negative: a crowd. Never 0.
        boxes: int32 [N, 4], of the masks.
        masks: uint8 {0, 1} [N, h, w]: crops of the boxes at `config.MINI_MASK_SHAPE`
            when `config.USE_MINI_MASK`, else of the image's size. An instance that has a box but
            no mask holds `BOX_ONLY_MASK` in place of 1.
        ignored: how many instances were left out, by reason.
        rois: int32 [K, 4] pixels, the proposals to train on when `config.USE_RPN_ROIS` is off;
            the loader draws them. None: they are the RPN's.
    """

    image: np.ndarray
    image_meta: np.ndarray
    class_ids: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    ignored: dict[str, int] = field(default_factory=dict)
    rois: np.ndarray | None = None


def load_sample(
    dataset: Dataset,
    image_id: int,
    config: Config,
    rng: np.random.Generator,
    augmentation: Any = None,
    static_shape: bool = True,
    cache: MemoryCache | FolderCache | None = None,
) -> Sample:
    """Read an image and its instances, resize, augment, and describe them.

    The image is resized as `config.IMAGE_RESIZE_MODE` says. Training has one static shape:
    in the modes "pad64" and "none" the image is then centered in `config.IMAGE_SHAPE`, unless
    `static_shape` is off.
    Instances without a pixel left (cropped away, too small) and of class 0 are left out.

    Args:
        dataset: a prepared `mrcnn.data.dataset.Dataset`.
        image_id: the data set's own, running number of the image.
        config: settings, see `mrcnn.config.Config`.
        rng: decides scale jitter, random crop and augmentation, and nothing else does.
        augmentation: None, or what `mrcnn.data.augment.augment` takes.
        static_shape: False leaves the image as large as detection would make it.
        cache: of scaled images, `mrcnn.data.cache.make_cache`.

    Returns:
        The sample, with all instances that are left (`limit_instances` bounds them).

    Raises:
        SampleError: the image or its masks do not fit together, or do not fit the settings.
    """
    name = describe_image(dataset, image_id)
    resize = Resize.of(config) if static_shape else Resize.without_shape(config)
    resized, original_shape, (instances, box_only) = _read(
        dataset, image_id, config, rng, cache, name, resize
    )
    if config.MASK_SHARE < 1:
        info = dataset.image_info[image_id]
        box_only = box_only | without_mask(
            f"{info['source']} {info['id']}", len(box_only), config.MASK_SHARE, config.SEED
        )
    if static_shape and config.IMAGE_RESIZE_MODE in ("pad64", "none"):
        resized = _center(resized, config, name)
    size = resize.size_of(instances.size, resized.scale)
    boxes, masks = place(instances, size, resized.padding, resized.crop)
    objects = _PlacedObjects(boxes, masks, instances.class_ids, box_only)
    mini_shape = _mini_shape(config)
    transform = None if augmentation is None else as_transform(augmentation)

    # Quarter turns swap the sides of mini masks: only square ones keep their shape.
    boxwise = mini_shape is not None and mini_shape[0] == mini_shape[1] and is_boxwise(transform)

    image, window = as_bytes_or_numbers(resized.image), resized.window
    # Only these ask where the image lies in its padding once it was turned.
    asked = config.RPN_BORDER_ANCHORS == "ignore" or resolve(config.ARCHITECTURE).pixel_boxes
    follow = transform is not None and asked
    if transform is not None and not boxwise:  # on masks of the image's size
        objects = objects.with_window(window) if follow else objects
        image, objects = objects.augmented(transform, image, rng)
        window, objects = objects.without_window() if follow else (window, objects)
    shown, ignored = objects.shown()
    boxes, pixels = shown.boxes, shown.pixels(image.shape, mini_shape)
    if transform is not None and boxwise:  # on mini masks, which are much smaller
        if follow:
            boxes = np.concatenate([boxes, [window]]).astype(boxes.dtype)
            pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 1)))
        image, pixels, boxes = augment_boxwise(transform, image, pixels, boxes, rng)
        if follow:
            window, boxes, pixels = _as_box(boxes[-1]), boxes[:-1], pixels[..., :-1]
    if image.shape != resized.image.shape:
        raise SampleError(
            f"{name}: expected the shape {resized.image.shape} after the augmentation; "
            f"received {image.shape}. The augmentation must keep the shape."
        )
    return Sample(
        image=np.ascontiguousarray(image),
        image_meta=compose_image_meta(
            image_id,
            original_shape,
            image.shape,
            window,
            resized.scale,
            active_class_ids(dataset, image_id, config),
        ).astype(np.float32),
        class_ids=shown.class_ids,
        boxes=boxes,
        masks=_stored(pixels, shown.box_only),
        ignored=ignored,
    )


class _PlacedObjects(NamedTuple):
    """The objects of an image in pixels of the network's input.

    `boxes` int32 [N, 4], (0, 0, 0, 0) where no pixel is left; `masks` N masks within their boxes;
    `class_ids` int32 [N]; `box_only` bool [N].
    """

    boxes: np.ndarray
    masks: Sequence[PlacedMask]
    class_ids: np.ndarray
    box_only: np.ndarray

    def augmented(
        self, transform: Transform, image: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, _PlacedObjects]:
        """Move the image and its objects together, as masks of the image's size."""
        image, whole = augment(transform, image, paste(self.boxes, self.masks, _size(image)), rng)
        moved = Instances.from_masks(whole, self.class_ids)
        masks = [PlacedMask.whole(crop) for crop in moved.crops]
        return image, self._replace(boxes=moved.boxes, masks=masks)

    def with_window(self, window: Box) -> _PlacedObjects:
        """With one more, the part of the image that is not padding, so that it moves too."""
        height, width = window[2] - window[0], window[3] - window[1]
        return _PlacedObjects(
            np.concatenate([self.boxes, [window]]).astype(self.boxes.dtype),
            [*self.masks, PlacedMask.whole(np.ones((height, width), bool))],
            np.append(self.class_ids, 0).astype(self.class_ids.dtype),
            np.append(self.box_only, False),
        )

    def without_window(self) -> tuple[Box, _PlacedObjects]:
        """The window that was added, as the box around what became of it, and the objects."""
        objects = _PlacedObjects(
            self.boxes[:-1], self.masks[:-1], self.class_ids[:-1], self.box_only[:-1]
        )
        return _as_box(self.boxes[-1]), objects

    def shown(self) -> tuple[_PlacedObjects, dict[str, int]]:
        """The objects that have a pixel and a class, and how many others there are, by reason."""
        visible = self.boxes[:, 2] > self.boxes[:, 0]
        foreground = self.class_ids != 0
        kept = np.flatnonzero(visible & foreground)
        masks = [self.masks[i] for i in kept.tolist()]
        shown = _PlacedObjects(self.boxes[kept], masks, self.class_ids[kept], self.box_only[kept])
        ignored = {
            "vanished": int(np.sum(foreground & ~visible)),
            "background": int(np.sum(~foreground)),
        }
        return shown, ignored

    def pixels(
        self, image_shape: tuple[int, ...], mini_shape: tuple[int, int] | None
    ) -> np.ndarray:
        """Masks as the network takes them, bool [h, w, N]: mini masks, or the image's size."""
        if mini_shape is None:
            return paste(self.boxes, self.masks, (image_shape[0], image_shape[1]))
        return minimize(self.masks, mini_shape).transpose(1, 2, 0)


def _mini_shape(config: Config) -> tuple[int, int] | None:
    if not config.USE_MINI_MASK:
        return None
    height, width = config.MINI_MASK_SHAPE[:2]
    return height, width


def _stored(masks: np.ndarray, box_only: np.ndarray) -> np.ndarray:
    """Masks [h, w, N] as a sample holds them: uint8 [N, h, w]."""
    stored = np.ascontiguousarray(masks.transpose(2, 0, 1)).view(np.uint8)
    if box_only.any():
        stored[box_only] *= BOX_ONLY_MASK
    return stored


def _as_box(box: np.ndarray) -> Box:
    y1, x1, y2, x2 = (int(side) for side in box)
    return y1, x1, y2, x2


def _size(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


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
    """Move masks of the image's size as `resize_image` moved their image.

    Args:
        masks: bool [H, W, N].
        scale, padding, crop: as `resize_image` returns them; see `mrcnn.data.instances.place`.

    Returns:
        bool [H', W', N], the size of the resized image; each mask `[:, :, i]` is contiguous
        in memory.
    """
    instances = Instances.from_masks(masks, np.ones(masks.shape[2], np.int32))
    size = scaled_size(masks.shape[:2], scale)
    boxes, placed = place(instances, size, padding, crop)
    height, width = size if crop is None else crop[2:]
    (top, bottom), (left, right) = padding[:2]
    return paste(boxes, placed, (top + height + bottom, left + width + right))


def active_class_ids(dataset: Dataset, image_id: int, config: Config) -> np.ndarray:
    """Return int32 [NUM_CLASSES], 1 for each class that the image's source annotates."""
    problem = classes_problem(dataset, config)
    if problem:
        raise SampleError(f"{describe_image(dataset, image_id)}: {problem}")
    active = np.zeros(dataset.num_classes, dtype=np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    return active


def _read(
    dataset: Dataset,
    image_id: int,
    config: Config,
    rng: np.random.Generator,
    cache: MemoryCache | FolderCache | None,
    name: str,
    resize: Resize,
) -> tuple[Resized, tuple[int, ...], Objects]:
    """Read an image and resize it; return its original shape and its objects as well."""
    entry = None if cache is None else cache.get(dataset, image_id)
    if entry is not None:
        (scaled, shape), objects = entry
        if objects is None:  # a folder holds pixels only
            objects = read_objects(dataset, image_id, shape, config, name)
        return resize.pad_or_crop(scaled, shape[:2], rng), shape, objects

    image = checked_image(load_image(dataset, image_id, config), config, name)
    objects = read_objects(dataset, image_id, image.shape, config, name)
    if cache is None:
        return resize(image, rng), image.shape, objects
    scaled = resize.scaled(image)
    cache.put(dataset, image_id, ScaledImage(scaled, image.shape), objects)
    return resize.pad_or_crop(scaled, image.shape[:2], rng), image.shape, objects


def _center(resized: Resized, config: Config, name: str) -> Resized:
    """Pad the image to the static training shape; shift the window, extend the padding."""
    height, width = resized.image.shape[:2]
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
    y1, x1, y2, x2 = resized.window
    return resized._replace(
        image=np.pad(resized.image, extra),
        window=(y1 + top, x1 + left, y2 + top, x2 + left),
        padding=[
            (old[0] + new[0], old[1] + new[1])
            for old, new in zip(resized.padding, extra, strict=True)
        ],
    )
