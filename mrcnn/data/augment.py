"""Transforms that move an image, its masks and its boxes together.

A transform is called with a random generator and draws everything from it, so that the same
generator gives the same result::

    augmentation = Sequential([HorizontalFlip(), OneOf([VerticalFlip(1), RandomRotate90()])])
    image, masks, boxes = augmentation(image, masks, boxes, np.random.default_rng(0))

The ones below move pixels without interpolating. For another, subclass `Transform`.

Shape letters: H height, W width, C channels, N instances; h, w are (H, W), or the shape of
mini masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

Moved = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def augment(
    augmentation: Any, image: np.ndarray, masks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Apply what a user gave as `augmentation`. The one place that tells its kinds apart.

    Args:
        augmentation: None, or a `Transform`.
        image: uint8 [H, W, C].
        masks: bool [H, W, N].
        rng: decides everything random.

    Returns:
        (image, masks); the masks may be a view, because copying many of them takes longer than
        reading them in any order.

    Raises:
        TypeError: `augmentation` is of no kind that is known here.
        ValueError: the transform lost an instance, or parted masks and image.
    """
    if augmentation is None:
        return image, masks
    if not isinstance(augmentation, Transform):
        raise TypeError(
            f"augmentation: expected None or a mrcnn.data.augment.Transform, such as "
            f"HorizontalFlip() or Sequential([...]); received {_type_name(augmentation)}. "
            f"To use a function of your own, subclass Transform and override __call__."
        )
    count = masks.shape[2]
    image, masks, _ = augmentation(image, masks, None, rng)
    if masks.shape != (*image.shape[:2], count):
        raise ValueError(
            f"{type(augmentation).__name__} returned masks of shape {masks.shape}; expected "
            f"{(*image.shape[:2], count)}: the returned image's size, and one mask for each "
            f"instance that it was given. Leave a mask empty where its instance is gone."
        )
    return np.ascontiguousarray(image), masks


def _type_name(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself, not an object of it"
    return f"{type(value).__module__}.{type(value).__qualname__}"


class Transform(ABC):
    """Moves an image, its masks and its boxes together."""

    @abstractmethod
    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        """Return the image, masks and boxes, moved; the arguments stay as they are.

        Args:
            image: uint8 [H, W, C].
            masks: bool [h, w, N], as large as the image, or mini masks of the boxes.
            boxes: int [N, 4] pixel boxes (y1, x1, y2, x2), or None where the caller takes
                them from the moved masks.
            rng: the only source of randomness.
        """


class HorizontalFlip(Transform):
    """Mirror left and right."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = _checked_probability(probability)

    def __call__(self, image, masks, boxes, rng) -> Moved:
        if rng.random() >= self.probability:
            return image, masks, boxes
        return _mirror(image, masks, boxes, axis=1)


class VerticalFlip(Transform):
    """Mirror top and bottom."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = _checked_probability(probability)

    def __call__(self, image, masks, boxes, rng) -> Moved:
        if rng.random() >= self.probability:
            return image, masks, boxes
        return _mirror(image, masks, boxes, axis=0)


class RandomRotate90(Transform):
    """Turn by 0, 90, 180 or 270 degrees, each as likely.

    A quarter turn swaps the height and width of the image, and of mini masks: training, which
    has one static shape, needs both square.
    """

    def __call__(self, image, masks, boxes, rng) -> Moved:
        for _ in range(rng.integers(4)):
            # A quarter turn counterclockwise: transpose, then mirror top and bottom.
            image, masks = image.swapaxes(0, 1), masks.swapaxes(0, 1)
            boxes = None if boxes is None else boxes[:, [1, 0, 3, 2]]
            image, masks, boxes = _mirror(image, masks, boxes, axis=0)
        return image, masks, boxes


class Sequential(Transform):
    """One transform after another."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = _checked_transforms(transforms)

    def __call__(self, image, masks, boxes, rng) -> Moved:
        for transform in self.transforms:
            image, masks, boxes = transform(image, masks, boxes, rng)
        return image, masks, boxes


class OneOf(Transform):
    """One transform of several, each as likely."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = _checked_transforms(transforms)
        if not self.transforms:
            raise ValueError("OneOf: expected at least one transform; received none.")

    def __call__(self, image, masks, boxes, rng) -> Moved:
        transform = self.transforms[rng.integers(len(self.transforms))]
        return transform(image, masks, boxes, rng)


def _mirror(image: np.ndarray, masks: np.ndarray, boxes: np.ndarray | None, axis: int) -> Moved:
    """Mirror along an axis: 0 top and bottom, 1 left and right. Image and masks are views."""
    if boxes is not None:
        near, far = axis, axis + 2
        mirrored = boxes.copy()
        mirrored[:, near] = image.shape[axis] - boxes[:, far]
        mirrored[:, far] = image.shape[axis] - boxes[:, near]
        boxes = mirrored
    return np.flip(image, axis), np.flip(masks, axis), boxes


def _checked_probability(probability: float) -> float:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: expected a number from 0 to 1; received {probability!r}.")
    return probability


def _checked_transforms(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    transforms = tuple(transforms)
    for index, transform in enumerate(transforms):
        if not isinstance(transform, Transform):
            raise TypeError(
                f"transforms[{index}]: expected a Transform; received {_type_name(transform)}."
            )
    return transforms
