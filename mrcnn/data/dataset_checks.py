"""What a data set gives of an image, checked before it is used: the image and its objects.

Data sets are written by users: what does not fit together is named here, not where it would
fail later.

Shape letters: H W image, C channels, N instances.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.data import image_values
from mrcnn.data.dataset import Dataset
from mrcnn.data.instances import Instances


class SampleError(ValueError):
    """An image that cannot become a training sample; the message names it."""


class Objects(NamedTuple):
    """The objects of an image in pixels of the original, and bool [N], which have no mask."""

    instances: Instances
    box_only: np.ndarray


def read_objects(
    dataset: Dataset, image_id: int, image_shape: tuple[int, ...], config: Config, name: str
) -> Objects:
    """Read the objects of an image, by `load_instances` where the data set has it.

    Args:
        dataset: a prepared data set.
        image_id: its own number of the image.
        image_shape: (H, W, C) of the image.
        config: for NUM_CLASSES.
        name: of the image, for errors.

    Raises:
        SampleError: they do not fit the image, each other or the settings.
    """
    if gives_instances(dataset):
        instances = dataset.load_instances(image_id)
        if isinstance(instances, Instances) and not len(instances.class_ids):
            # Without an object there is nothing to check the size against.
            instances = replace(instances, size=(image_shape[0], image_shape[1]))
        _check_instances(instances, image_shape, name)
        instances = replace(
            instances,
            boxes=np.asarray(instances.boxes, np.int32),
            class_ids=np.asarray(instances.class_ids, np.int32),
        )
        _check_class_ids(instances.class_ids, config, name, "load_instances")
    else:
        masks, class_ids = load_mask(dataset, image_id)
        masks = _checked_masks(masks, class_ids, image_shape, name)
        _check_class_ids(class_ids, config, name, "load_mask")
        instances = Instances.from_masks(masks, class_ids)
    box_only = dataset.load_box_only(image_id)
    return Objects(instances, _checked_box_only(box_only, instances.class_ids, name))


def load_mask(dataset: Dataset, image_id: int) -> tuple[np.ndarray, np.ndarray]:
    """`dataset.load_mask(image_id)` as arrays: data sets return lists of class ids too.

    Returns:
        (masks [H, W, N] of any dtype, class_ids int32 [N])
    """
    masks, class_ids = dataset.load_mask(image_id)
    return np.asarray(masks), np.asarray(class_ids, dtype=np.int32)


def gives_instances(dataset: Any) -> bool:
    """Whether to read with `load_instances`: not where a subclass overrides `load_mask` alone."""
    if "load_mask" in getattr(dataset, "__dict__", {}):
        return False
    for kind in type(dataset).__mro__:
        if "load_instances" in vars(kind):
            return True
        if "load_mask" in vars(kind):
            return False
    return False


def _check_instances(instances: Any, image_shape: tuple[int, ...], name: str) -> None:
    """Raise a `SampleError` unless these are instances of an image of that shape."""
    if not isinstance(instances, Instances):
        raise SampleError(
            f"{name}: expected mrcnn.data.instances.Instances from load_instances; received a "
            f"{type(instances).__name__}."
        )
    if tuple(instances.size) != tuple(image_shape[:2]):
        raise SampleError(
            f"{name}: expected instances of the image's size {tuple(image_shape[:2])}; received "
            f"{tuple(instances.size)}. Correct the annotations, or load_instances."
        )
    count = len(instances.class_ids)
    boxes = np.asarray(instances.boxes)
    if boxes.shape != (count, 4) or len(instances.crops) != count:
        raise SampleError(
            f"{name}: expected a box [4] and a crop for each of {count} class ids; received boxes "
            f"of shape {boxes.shape} and {len(instances.crops)} crops. Correct load_instances."
        )
    for box, crop in zip(boxes.tolist(), instances.crops, strict=True):
        y1, x1, y2, x2 = box
        inside = 0 <= y1 <= y2 <= image_shape[0] and 0 <= x1 <= x2 <= image_shape[1]
        if not inside or crop.shape != (y2 - y1, x2 - x1) or crop.dtype != bool:
            raise SampleError(
                f"{name}: expected a box (y1, x1, y2, x2) within the image and a bool crop of its "
                f"size; received {box} and {crop.dtype} {crop.shape}. Correct load_instances."
            )


def checked_image(image: Any, config: Config, name: str) -> np.ndarray:
    """Return an array [H, W, C] of finite numbers, or raise a `SampleError`.

    Values and dtype are the data set's own, whatever their range (`mrcnn.data.image_values`);
    True and False count as 1 and 0.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or 0 in image.shape or image.shape[2] != config.IMAGE_CHANNEL_COUNT:
        raise SampleError(
            f"{name}: expected an image [H, W, {config.IMAGE_CHANNEL_COUNT}] "
            f"(IMAGE_CHANNEL_COUNT); received the shape {image.shape}. Convert it in the data "
            "set's load_image, or set IMAGE_CHANNEL_COUNT."
        )
    if image.dtype == bool:
        image = image.astype(np.uint8)
    wrong = image_values.why_not_numbers(image)
    if wrong:
        raise SampleError(f"{name}: {wrong} Correct the data set's load_image.")
    return image


def _checked_masks(
    masks: np.ndarray, class_ids: np.ndarray, image_shape: tuple[int, ...], name: str
) -> np.ndarray:
    """Return masks, bool [H, W, N], or raise a `SampleError`."""
    height, width = image_shape[:2]
    if len(class_ids) == 0:  # a data set may say "no object" with masks of any size
        return np.zeros((height, width, 0), dtype=bool)
    if masks.shape != (height, width, len(class_ids)):
        raise SampleError(
            f"{name}: expected masks {(height, width, len(class_ids))} (the image's height and "
            f"width, one mask for each class id); received {masks.shape}. Correct load_mask."
        )
    return masks.astype(bool, copy=False)


def _check_class_ids(class_ids: np.ndarray, config: Config, name: str, method: str) -> None:
    """Raise a `SampleError` unless all are below NUM_CLASSES."""
    if len(class_ids) == 0:
        return
    worst = class_ids[np.abs(class_ids).argmax()]
    if abs(worst) >= config.NUM_CLASSES:
        raise SampleError(
            f"{name}: expected class ids below NUM_CLASSES = {config.NUM_CLASSES}; received "
            f"{worst}. Correct NUM_CLASSES or {method}."
        )


def _checked_box_only(box_only: Any, class_ids: np.ndarray, name: str) -> np.ndarray:
    """Return bool [N], or raise a `SampleError`."""
    if box_only is None:
        return np.zeros(len(class_ids), bool)
    box_only = np.asarray(box_only, bool)
    if box_only.shape != class_ids.shape:
        raise SampleError(
            f"{name}: expected load_box_only to return a flag for each of the {len(class_ids)} "
            f"instances; received the shape {box_only.shape}."
        )
    return box_only


def describe_image(dataset: Dataset, image_id: int) -> str:
    """Return "image 3 (source 'coco', id 42, path 'a.jpg')" for messages."""
    info = dataset.image_info[image_id]
    return (
        f"image {image_id} (source {info.get('source')!r}, id {info.get('id')!r}, "
        f"path {str(info.get('path'))!r})"
    )


def classes_problem(dataset: Dataset, config: Config) -> str | None:
    """What is wrong with the number of a data set's classes for a network; None: nothing."""
    if dataset.num_classes == config.NUM_CLASSES:
        return None
    return (
        f"its data set has {dataset.num_classes} classes with the background "
        f"({', '.join(map(str, dataset.class_names))}), but NUM_CLASSES is {config.NUM_CLASSES}. "
        f"Set NUM_CLASSES to {dataset.num_classes}, or give all data sets the same classes."
    )
