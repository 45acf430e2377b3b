"""Transforms that move an image, its masks and its boxes together.

A transform is called with a random generator and draws everything from it, so that the same
generator gives the same result::

    augmentation = Sequential([HorizontalFlip(), OneOf([VerticalFlip(1), RandomRotate90()])])
    image, masks, boxes = augmentation(image, masks, boxes, np.random.default_rng(0))

The ones below move pixels without interpolating. For another, subclass `Transform`. Augmenters
of imgaug and of Albumentations are accepted wherever a transform is; see
`mrcnn.data.augment_adapters`.

Shape letters: H height, W width, C channels, N instances; h, w are (H, W), or the shape of
mini masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.data import augment_adapters
from mrcnn.data.boxes import extract_bboxes

Moved = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def augment(
    augmentation: Any, image: np.ndarray, masks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Apply what a user gave as `augmentation`.

    Args:
        augmentation: None, or what `as_transform` takes.
        image: uint8 or float32 [H, W, C].
        masks: bool [H, W, N].
        rng: decides everything random.

    Returns:
        (image, masks); the masks may be a view, because copying many of them takes longer than
        reading them in any order.

    Raises:
        TypeError: `augmentation` is of an unknown kind.
        ValueError: the transform lost an instance, or moved masks and image apart.
    """
    if augmentation is None:
        return image, masks
    transform = as_transform(augmentation)
    count = masks.shape[2]
    image, masks, _ = transform(image, masks, None, rng)
    if masks.shape != (*image.shape[:2], count):
        raise ValueError(
            f"{type(transform).__name__} returned masks of shape {masks.shape}; expected "
            f"{(*image.shape[:2], count)}: the returned image's size, and one mask for each "
            f"instance that it was given. Leave a mask empty where its instance is gone."
        )
    return _contiguous(image), masks


def augment_boxwise(
    transform: Transform,
    image: np.ndarray,
    mini_masks: np.ndarray,
    boxes: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply a transform that is `boxwise` to an image, its boxes and the mini masks in them.

    Args:
        image: uint8 or float32 [H, W, C].
        mini_masks: bool [h, w, N].
        boxes: int [N, 4].
        rng: decides everything random; draws what `augment` would.

    Returns:
        (image, mini masks, boxes); the masks may be a view.

    Raises:
        ValueError: the transform lost an instance.
    """
    count = len(boxes)
    image, mini_masks, moved = transform(image, mini_masks, boxes, rng)
    if moved is None or len(moved) != count or mini_masks.shape[2] != count:
        raise ValueError(
            f"{type(transform).__name__}, which is boxwise, returned "
            f"{'no' if moved is None else len(moved)} boxes and {mini_masks.shape[2]} mini masks "
            f"of {count} instances; expected one for each."
        )
    return _contiguous(image), mini_masks, moved


def is_boxwise(transform: Any) -> bool:
    """Whether a transform may be given mini masks: it is of a kind that says `boxwise`.

    A subclass that overrides `__call__` and does not say so itself may not.
    """
    for kind in type(transform).__mro__:
        if "boxwise" in vars(kind):
            return bool(transform.boxwise)
        if "__call__" in vars(kind):
            return False
    return False


def _contiguous(image: np.ndarray) -> np.ndarray:
    """A contiguous copy of [H, W, C] where it is none: channel by channel, four times as fast."""
    if image.flags.c_contiguous:
        return image
    copied = np.empty(image.shape, image.dtype)
    for channel in range(image.shape[2]):
        copied[..., channel] = image[..., channel]
    return copied


def as_transform(augmentation: Any) -> Transform:
    """Return what a user gave as a `Transform`. The only place that distinguishes the kinds.

    Args:
        augmentation: a `Transform`, or an augmenter of imgaug or Albumentations.

    Raises:
        TypeError: it is of no known kind.
        ValueError: an augmenter that would move masks and image apart.
    """
    if isinstance(augmentation, Transform):
        return augmentation
    if not isinstance(augmentation, type) and augment_adapters.library_of(augmentation):
        return ForeignTransform(augmentation)
    raise TypeError(
        f"augmentation: expected None, a mrcnn.data.augment.Transform, such as "
        f"HorizontalFlip() or Sequential([...]), or an augmenter of imgaug or Albumentations; "
        f"received {_type_name(augmentation)}. "
        f"To use a function of your own, subclass Transform and override __call__."
    )


def _type_name(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself, not an object of it"
    return f"{type(value).__module__}.{type(value).__qualname__}"


class Transform(ABC):
    """Moves an image, its masks and its boxes together.

    Attributes:
        boxwise: it moves mini masks and their boxes as it moves masks of the image's size, and
            leaves no instance out. True only for whole mirrorings and quarter turns; the loader
            then never makes masks of the image's size.
    """

    @property
    def boxwise(self) -> bool:
        return False

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
            image: uint8 or float32 [H, W, C].
            masks: bool [h, w, N], as large as the image, or mini masks of the boxes.
            boxes: int [N, 4] pixel boxes (y1, x1, y2, x2), or None where the caller takes
                them from the moved masks.
            rng: the only source of randomness.
        """


class HorizontalFlip(Transform):
    """Mirror left and right."""

    boxwise = True

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = _checked_probability(probability)

    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        if rng.random() >= self.probability:
            return image, masks, boxes
        return _mirror(image, masks, boxes, axis=1)


class VerticalFlip(Transform):
    """Mirror top and bottom."""

    boxwise = True

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = _checked_probability(probability)

    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        if rng.random() >= self.probability:
            return image, masks, boxes
        return _mirror(image, masks, boxes, axis=0)


class RandomRotate90(Transform):
    """Turn by 0, 90, 180 or 270 degrees, each as likely.

    A quarter turn swaps the height and width of the image, and of mini masks: training, which
    has one static shape, needs both square.
    """

    boxwise = True

    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        for _ in range(rng.integers(4)):
            # A quarter turn counterclockwise: transpose, then mirror top and bottom.
            image, masks = image.swapaxes(0, 1), masks.swapaxes(0, 1)
            boxes = None if boxes is None else boxes[:, [1, 0, 3, 2]]
            image, masks, boxes = _mirror(image, masks, boxes, axis=0)
        return image, masks, boxes


class Sequential(Transform):
    """One transform after another."""

    @property
    def boxwise(self) -> bool:
        return all(map(is_boxwise, self.transforms))

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = _checked_transforms(transforms)

    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        for transform in self.transforms:
            image, masks, boxes = transform(image, masks, boxes, rng)
        return image, masks, boxes


class OneOf(Transform):
    """One transform of several, each as likely."""

    @property
    def boxwise(self) -> bool:
        return all(map(is_boxwise, self.transforms))

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = _checked_transforms(transforms)
        if not self.transforms:
            raise ValueError("OneOf: expected at least one transform; received none.")

    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        transform = self.transforms[rng.integers(len(self.transforms))]
        return transform(image, masks, boxes, rng)


class ForeignTransform(Transform):
    """An augmenter of imgaug or of Albumentations.

    The image keeps its shape. Masks must be as large as the image, not mini masks.
    """

    def __init__(self, augmenter: Any) -> None:
        augment_adapters.check(augmenter)
        self.augmenter = augmenter

    def __call__(
        self,
        image: np.ndarray,
        masks: np.ndarray,
        boxes: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Moved:
        if masks.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"{_type_name(self.augmenter)}: expected masks of the image's size "
                f"{image.shape[:2]}; received {masks.shape[:2]}. Augment before making mini masks."
            )
        image, masks = augment_adapters.apply(self.augmenter, image, masks, rng)
        return image, masks, None if boxes is None else extract_bboxes(masks)


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


def _checked_transforms(transforms: Sequence[Any]) -> tuple[Transform, ...]:
    checked = []
    for index, transform in enumerate(transforms):
        try:
            checked.append(as_transform(transform))
        except TypeError as error:
            raise TypeError(f"transforms[{index}]: {error}") from None
    return tuple(checked)


_BY_NAME: dict[str, type[Transform]] = {
    "flip": HorizontalFlip,
    "updown": VerticalFlip,
    "rotate": RandomRotate90,
}
AUGMENTATIONS = tuple(_BY_NAME)


def by_name(names: Sequence[str]) -> Sequential:
    """The transforms of names of `AUGMENTATIONS`, one after the other."""
    return Sequential([_BY_NAME[name]() for name in names])
