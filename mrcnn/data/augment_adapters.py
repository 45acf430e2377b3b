"""Augmenters of imgaug and of Albumentations, applied to an image and its masks.

Both libraries are optional, and neither is imported here: an augmenter is known by the module
of its class. The library itself moves the masks, by nearest neighbor: imgaug as segmentation
maps, Albumentations as `masks`. Each call works on a copy that is seeded from the caller's
generator, because both libraries keep random state in their augmenters, which threads would
otherwise share.

imgaug 0.4 is older than NumPy 2 and reads two names that NumPy has dropped.
`mrcnn.process` puts them back, when this package is imported or, where it is installed, imgaug.

Shape letters: H height, W width, C channels, N instances.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

LIBRARIES = ("imgaug", "albumentations")

# imgaug's modules (below `imgaug.augmenters`) by what their augmenters do.
_MOVE_PIXELS = ("flip", "geometric", "size")
_CHANGE_COLORS = (
    *("arithmetic", "artistic", "blend", "blur", "color", "contrast", "convolutional", "edges"),
    *("pillike", "pooling", "segmentation", "weather"),
)
# Of `imgaug.augmenters.meta`, and of other modules where they take augmenters as arguments.
_CONTAINERS = ("Sequential", "SomeOf", "OneOf", "Sometimes", "KeepSizeByResize", "WithPolarWarping")
_META_COLORS = (
    *("Identity", "Noop", "ChannelShuffle", "WithChannels"),
    *("RemoveCBAsByOutOfImageFraction", "ClipCBAsToImagePlanes"),
)
# Albumentations: what puts objects in or takes them out, of which the class ids know nothing.
_CHANGE_OBJECTS = {"MaskDropout", "Mosaic", "OverlayElements"}
_NEED_BOXES = {"AtLeastOneBBoxRandomCrop", "BBoxSafeRandomCrop"}
_READABLE_TARGETS = {"image", "images", "mask", "masks"}

# Masks that share an int32 channel of a segmentation map, one bit each. Float32, in which
# some augmenters compute, holds them exactly.
_MASKS_A_CHANNEL = 16


def library_of(augmentation: Any) -> str | None:
    """Return which of `LIBRARIES` an augmenter comes from, or None."""
    packages = {base.__module__.split(".")[0] for base in type(augmentation).__mro__}
    return next((name for name in LIBRARIES if name in packages), None)


def check(augmentation: Any) -> None:
    """Refuse an augmenter that would move masks and image apart.

    Raises:
        ValueError: with the name of what is refused, and what is accepted.
    """
    if library_of(augmentation) == "imgaug":
        _check_imgaug(augmentation, may_move=True)
    else:
        _check_albumentations(augmentation)


def apply(
    augmentation: Any, image: np.ndarray, masks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Apply an augmenter of either library.

    Args:
        augmentation: it stays as it is.
        image: uint8 or float32 [H, W, C].
        masks: bool [H, W, N].
        rng: the only source of randomness.

    Returns:
        (image, masks), moved together, of the same shapes.

    Raises:
        ValueError: the image's shape or type has changed, or Albumentations would cut its values.
    """
    own = copy.deepcopy(augmentation)
    if library_of(own) == "albumentations" and image.dtype != np.uint8:
        _check_range(own, image)
    seed = int(rng.integers(2**31))
    run = _run_imgaug if library_of(own) == "imgaug" else _run_albumentations
    moved, moved_masks = run(own, seed, np.ascontiguousarray(image), masks)
    for name, before, after in (("image", image, moved), ("masks", masks, moved_masks)):
        shape, dtype = getattr(after, "shape", None), getattr(after, "dtype", type(after))
        if shape != before.shape or dtype != before.dtype:
            raise ValueError(
                f"augmentation: {_name(augmentation)} changed the {name}; expected "
                f"{before.dtype} {before.shape}, received {dtype} {shape}. Training has one "
                "static shape: leave out what resizes (or let it keep the size), and what "
                "normalizes or converts, which the network does itself."
            )
    return moved, moved_masks


# --- imgaug ------------------------------------------------------------------------------


def _run_imgaug(
    augmenter: Any, seed: int, image: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from imgaug.augmentables.segmaps import SegmentationMapsOnImage

    augmenter.seed_(seed)
    count = masks.shape[2]
    if count == 0:
        moved = augmenter(image=image)
        return moved, np.zeros((*moved.shape[:2], 0), bool)
    maps = SegmentationMapsOnImage(_pack(masks), shape=image.shape)
    moved, maps = augmenter(image=image, segmentation_maps=maps)
    return moved, _unpack(maps.arr, count)


def _pack(masks: np.ndarray) -> np.ndarray:
    """Masks [H, W, N] as bits of int32 [H, W, ceil(N / 16)]: nearest neighbor keeps values."""
    channels = -(-masks.shape[2] // _MASKS_A_CHANNEL)
    packed = np.zeros((*masks.shape[:2], channels), np.int32)
    for i in range(masks.shape[2]):
        channel, bit = divmod(i, _MASKS_A_CHANNEL)
        packed[..., channel] |= masks[..., i].astype(np.int32) << bit
    return packed


def _unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The inverse of `_pack`: bool [H, W, N], each mask contiguous in memory."""
    masks = np.empty((count, *packed.shape[:2]), bool)
    for i in range(count):
        channel, bit = divmod(i, _MASKS_A_CHANNEL)
        masks[i] = packed[..., channel] >> bit & 1
    return masks.transpose(1, 2, 0)


def _check_imgaug(augmenter: Any, may_move: bool) -> None:
    """Check an augmenter and those inside it.

    Args:
        augmenter: of imgaug.
        may_move: false inside what blends its parts or applies them to some channels: there,
            the moved and the unmoved image show through each other.
    """
    module, name = _imgaug_class(augmenter)
    generator = type(getattr(augmenter, "mask_generator", None)).__name__
    if (
        (module, name) == ("pillike", "Affine")  # imgaug itself refuses it for masks
        or generator in ("SegMapClassIdsMaskGen", "BoundingBoxesMaskGen")  # they read annotations
        or not (
            module in (*_MOVE_PIXELS, *_CHANGE_COLORS)
            or (module == "meta" and name in (*_CONTAINERS, *_META_COLORS))
        )
    ):
        raise ValueError(
            f"augmentation: {_name(augmenter)} is refused, because imgaug would not move the "
            f"masks with the image, or nothing says that it does. {_accepted_imgaug()}"
        )
    if not may_move and module in _MOVE_PIXELS:
        raise ValueError(
            f"augmentation: {_name(augmenter)} is refused inside an augmenter that blends, or "
            "works on some channels: part of the image would move away from the masks. Put it "
            "beside that augmenter, in a Sequential."
        )
    may_move = may_move and name in _CONTAINERS
    for children in augmenter.get_children_lists():
        for child in children:
            _check_imgaug(child, may_move)


def _imgaug_class(augmenter: Any) -> tuple[str, str]:
    """(module below imgaug.augmenters, name) of the nearest class that is imgaug's own."""
    own = next(base for base in type(augmenter).__mro__ if base.__module__.startswith("imgaug."))
    return own.__module__.removeprefix("imgaug.augmenters."), own.__name__


def _accepted_imgaug() -> str:
    return (
        f"Accepted are the augmenters of imgaug.augmenters.{{{', '.join(_MOVE_PIXELS)}}}, which "
        f"move image and masks, those of {{{', '.join(_CHANGE_COLORS)}}}, which change the image "
        f"only, but for pillike.Affine and blends by annotations, and {', '.join(_CONTAINERS)}. "
        "For another, subclass mrcnn.data.augment.Transform."
    )


# --- Albumentations -------------------------------------------------------------------------


def _run_albumentations(
    transform: Any, seed: int, image: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    transform.set_random_seed(seed)
    if masks.shape[2] == 0:
        moved = transform(image=image)["image"]
        return moved, np.zeros((*moved.shape[:2], 0), bool)
    stack = np.ascontiguousarray(masks.transpose(2, 0, 1)).view(np.uint8)
    result = transform(image=image, masks=stack)
    return result["image"], np.asarray(result["masks"]).astype(bool).transpose(1, 2, 0)


def _check_albumentations(augmentation: Any) -> None:
    if not hasattr(augmentation, "set_random_seed"):
        raise ValueError(
            f"augmentation: {_name(augmentation)} cannot be seeded; expected Albumentations 2 or "
            "newer. Run: pip install 'albumentations>=2'."
        )
    for transform in _albumentations_leaves(augmentation):
        names = {base.__name__ for base in type(transform).__mro__}
        unreadable = set(getattr(transform, "targets_as_params", ())) - _READABLE_TARGETS
        if names & _NEED_BOXES:
            unreadable.add("bboxes")
        if names & _CHANGE_OBJECTS:
            reason = "it puts objects in or takes them out"
        elif unreadable:
            reason = f"it needs {', '.join(sorted(map(repr, unreadable)))}"
        else:
            continue
        raise ValueError(
            f"augmentation: {_name(transform)} is refused, because {reason}. Accepted are "
            "transforms that need the image and its masks only and keep the image's shape and "
            "its type, uint8."
        )


def _check_range(augmentation: Any, image: np.ndarray) -> None:
    """Refuse what would cut values to 0…1, where Albumentations takes all float images to lie."""
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return
    for transform in _albumentations_leaves(augmentation):
        if "ImageOnlyTransform" in {base.__name__ for base in type(transform).__mro__}:
            raise ValueError(
                f"augmentation: {_name(transform)} would cut this image, whose values are from "
                f"{low:g} to {high:g}, to 0…1, where Albumentations takes all float images to lie. "
                "Expected transforms that move pixels only, values from 0 to 1, or uint8."
            )


def _albumentations_leaves(augmentation: Any) -> Iterator[Any]:
    parts = getattr(augmentation, "transforms", None)
    if parts is None:
        yield augmentation
    else:
        for part in parts:
            yield from _albumentations_leaves(part)


def _name(augmentation: Any) -> str:
    return f"{type(augmentation).__module__}.{type(augmentation).__qualname__}"
