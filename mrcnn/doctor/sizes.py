"""Object sizes as the network sees them: what does not fit its input, and what vanishes in it.

Boxes are (y1, x1, y2, x2) in pixels of the network's input. Shape letter: N objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.config import Config
from mrcnn.data.coco_fields import Entry
from mrcnn.data.images import scaled_size
from mrcnn.data.resize import Resize
from mrcnn.data.rle import Rle
from mrcnn.data.sample import place_masks
from mrcnn.doctor.findings import Finding, Kind, report, stops_at_step, warning
from mrcnn.doctor.segmentations import CheckedSegmentations
from mrcnn.doctor.subset import Subset

OVERFLOW = warning(
    *("too-many-objects", "image", "annotations", "at most MAX_GT_INSTANCES = {limit}"),
    "{count} objects",
    "takes a random {limit} of them each time, and counts the others; the others' pixels count as "
    "background",
)
VANISHES = warning(
    *("object-vanishes", "annotation", "segmentation"),
    "a pixel at the network's scale, {scale:.3g} of the image's",
    "none: the object is {height:g} x {width:g} pixels large",
    "leaves it out, and counts it",
)
TOO_LARGE = stops_at_step(
    *("image-too-large", "image", "width, height", "at most {shape} after the resize"),
    "{size}",
    "IMAGE_PAD_SHAPE sets the shape",
)
KINDS: tuple[Kind, ...] = (OVERFLOW, VANISHES, TOO_LARGE)


@dataclass(frozen=True)
class Placement:
    """How an image lies in the network's input.

    Attributes:
        size: (height, width) of the image.
        scaled: the same after scaling.
        scale: the factor.
        offset: (top, left) of the scaled image.
        input_size: (height, width) of the network's input, which the anchors cover.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    scale: float
    offset: tuple[int, int]
    input_size: tuple[int, int]

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """The json's boxes [N, 4] as training measures them on the resized masks: float [N, 4].

        A row of the network takes the image's row in which its center lies.
        """
        x, y, width, height = boxes.T
        edges = np.stack([y, x, y + height, x + width], axis=1)
        factors = np.tile(np.divide(self.scaled, self.size), 2)
        return np.ceil(edges * factors - 0.5) + np.tile(self.offset, 2)


def place_image(size: tuple[int, int], config: Config) -> Placement:
    """How training resizes an image of (height, width).

    In the mode "crop" the window is random; the whole scaled image is taken in its place.
    """
    mode = config.IMAGE_RESIZE_MODE
    scale = Resize.of(config).scale_of(size)
    scaled = scaled_size(size, scale)
    height, width = config.IMAGE_SHAPE[:2]
    input_size = scaled if mode == "crop" else (int(height), int(width))
    padded = scaled
    if mode == "pad64":
        padded = (scaled[0] + -scaled[0] % 64, scaled[1] + -scaled[1] % 64)
    # Twice halved and rounded down in "pad64": once by the resize, once by the static shape.
    top, left = (
        (p - s) // 2 + (i - p) // 2 for s, p, i in zip(scaled, padded, input_size, strict=True)
    )
    return Placement(size, scaled, scale, (top, left), input_size)


@dataclass
class ObjectSizes:
    """The objects of images at the network's scale, crowds left out.

    Attributes:
        boxes: float [N, 4], in the network's pixels.
        input_sizes: int [N, 2], height and width of the input of each object's image.
    """

    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    input_sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))

    @classmethod
    def concatenate(cls, parts: Sequence[ObjectSizes]) -> ObjectSizes:
        """The objects of several images."""
        parts = [cls(), *parts]
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.input_sizes for part in parts]),
        )

    def some(self, limit: int) -> ObjectSizes:
        """At most `limit` of the objects, spread over all of them."""
        every = slice(None, None, max(1, -(-len(self.boxes) // limit)))
        return ObjectSizes(self.boxes[every], self.input_sizes[every])


def stated_objects(annotations: Sequence[Entry], placement: Placement) -> ObjectSizes:
    """The objects of an image by what their annotations state, without drawing a mask.

    Left out are crowds, and objects that state neither polygons nor a box.

    Args:
        annotations: usable ones, in COCO's own form.
        placement: of the image.
    """
    stated = [stated_box(entry) for entry in annotations if not entry.get("iscrowd")]
    boxes = np.array([box for box in stated if box is not None], float).reshape(-1, 4)
    boxes = placement.boxes(boxes)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    return ObjectSizes(boxes, np.tile(placement.input_size, (len(boxes), 1)))


def stated_box(annotation: Entry) -> tuple[float, float, float, float] | None:
    """The (x, y, width, height) around an annotation's polygons, or else its box, if it has one."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        xs, ys = ([v for polygon in segmentation for v in polygon[i::2]] for i in (0, 1))
        x, y = float(min(xs)), float(min(ys))
        return x, y, max(xs) - x, max(ys) - y
    if not annotation.get("bbox"):
        return None
    x, y, width, height = map(float, annotation["bbox"])
    return x, y, width, height


def check_objects(
    subset: Subset,
    image: Entry,
    size: tuple[int, int],
    segmentations: CheckedSegmentations,
    config: Config,
) -> tuple[list[Finding], ObjectSizes]:
    """Check the sizes of an image and its objects.

    Args:
        subset, image: an entry of `subset.images`.
        size: (height, width) of its file.
        segmentations: of the image, rasterized.
        config: settings of the training.
    """
    placement = place_image(size, config)
    findings = check_fit(subset, image, placement)
    findings += check_count(subset, image, len(segmentations.visible), config)
    if (image["height"], image["width"]) != size:
        return findings, ObjectSizes()
    annotations = subset.annotations.get(image["id"], [])
    boxes = placement.boxes(segmentations.boxes)
    objects = []
    for position, index in enumerate(segmentations.visible):
        annotation = annotations[index]
        height, width = boxes[position, 2:] - boxes[position, :2]
        # Only a thin object can lie between the rows or columns that are taken.
        thin = placement.scale < 1 and min(height, width) < 2
        if thin and _vanishes(segmentations.rles[position], placement):
            _, _, box_width, box_height = segmentations.boxes[position]
            findings.append(
                report(
                    *(VANISHES, subset.name, subset.file, annotation.get("id")),
                    scale=placement.scale,
                    height=box_height,
                    width=box_width,
                )
            )
        elif not annotation.get("iscrowd"):
            objects.append(position)
    input_sizes = np.tile(placement.input_size, (len(objects), 1))
    return findings, ObjectSizes(boxes[objects], input_sizes)


def check_fit(subset: Subset, image: Entry, placement: Placement) -> list[Finding]:
    """Whether the resized image fits the static shape of training."""
    if all(s <= e for s, e in zip(placement.scaled, placement.input_size, strict=True)):
        return []
    shape, size = (" x ".join(map(str, s)) for s in (placement.input_size, placement.scaled))
    return [report(TOO_LARGE, subset.name, subset.file, image["id"], shape=shape, size=size)]


def check_count(subset: Subset, image: Entry, count: int, config: Config) -> list[Finding]:
    """Whether there is a slot for each object."""
    limit = config.MAX_GT_INSTANCES
    if count <= limit:
        return []
    return [report(OVERFLOW, subset.name, subset.file, image["id"], limit=limit, count=count)]


def _vanishes(rle: Rle, placement: Placement) -> bool:
    mask = mask_api.decode(rle).astype(bool)[..., None]
    return not place_masks(mask, placement.scale, [(0, 0), (0, 0), (0, 0)]).any()
