"""Object sizes as the network sees them: what vanishes, what no anchor fits, which scales would.

Boxes here are (y1, x1, y2, x2) in pixels of the network's input. Shape letters: N objects,
L pyramid levels, R anchor ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.images import resize_scale, scaled_size
from mrcnn.data.sample import place_masks
from mrcnn.doctor.annotations import Subset
from mrcnn.doctor.findings import Finding, Kind, report, stops_at_step, warning
from mrcnn.doctor.segmentations import Shapes
from mrcnn.ops.assignment import RPN_NEGATIVE_IOU, RPN_POSITIVE_IOU

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
UNREACHED = warning(
    *("anchors-miss", "subset", "annotations"),
    "anchors of IoU {iou} or more for at least {enough:.0%} of the objects",
    "{share:.1%} of {count} objects with it; the best RPN_ANCHOR_SCALES found, {scales}, reach "
    "{better:.1%}",
    "gives such an object its best anchor only, however badly it fits, and lets the RPN move it "
    "far",
)

KINDS: tuple[Kind, ...] = (OVERFLOW, VANISHES, TOO_LARGE, UNREACHED)

# An anchor of this IoU can be moved to its object; below, it is more guess than regression.
GOOD_IOU = 0.5
# A share of objects with a good anchor that is nothing to worry about.
ENOUGH = 0.95
# Objects that the search for scales looks at.
MOST_OBJECTS = 4000
STEPS = (0.5, 2**-0.5, 0.84, 0.92, 0.97, 1.03, 1.09, 1.19, 2**0.5, 2)
SMALLEST_SCALE = 4.0
# A gain of the score that is worth another setting.
WORTHWHILE = 0.02
BAR = 40


@dataclass(frozen=True)
class Placement:
    """How an image lies in the network's input.

    Attributes:
        size: (height, width) of the image.
        scaled: the same after scaling.
        scale: the factor.
        offset: (top, left) of the scaled image.
        extent: (height, width) of what the anchors cover.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    scale: float
    offset: tuple[int, int]
    extent: tuple[int, int]

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """The json's boxes [N, 4] as training measures them on the resized masks: float [N, 4].

        A row of the network takes the image's row in which its center lies.
        """
        x, y, width, height = boxes.T
        edges = np.stack([y, x, y + height, x + width], axis=1)
        factors = np.tile(np.divide(self.scaled, self.size), 2)
        return np.ceil(edges * factors - 0.5) + np.tile(self.offset, 2)


def place(size: tuple[int, int], config: Any) -> Placement:
    """How training resizes an image of (height, width).

    In the mode "crop" the window is random; the whole scaled image is taken in its place.
    """
    mode = config.IMAGE_RESIZE_MODE
    limits = config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE
    scale = resize_scale(size, *limits, mode)
    scaled = scaled_size(size, scale)
    extent = scaled if mode == "crop" else tuple(int(side) for side in config.IMAGE_SHAPE[:2])
    padded = scaled
    if mode == "pad64":
        padded = tuple(side + -side % 64 for side in scaled)
    # Twice halved and rounded down in "pad64": once by the resize, once by the static shape.
    offset = tuple(
        (p - s) // 2 + (e - p) // 2 for s, p, e in zip(scaled, padded, extent, strict=True)
    )
    return Placement(size, scaled, scale, offset, extent)


@dataclass
class Objects:
    """What `look_at` gathers of an image's objects, crowds left out.

    Attributes:
        findings: of the image and its annotations.
        boxes: float [N, 4], in the network's pixels.
        extents: int [N, 2], height and width of what the anchors cover.
    """

    findings: list[Finding]
    boxes: np.ndarray
    extents: np.ndarray


def look_at(
    subset: Subset, image: dict[str, Any], size: tuple[int, int], shapes: Shapes, config: Any
) -> Objects:
    """Look at the sizes of an image's objects.

    Args:
        subset, image: an entry of `subset.images`.
        size: (height, width) of its file.
        shapes: of `mrcnn.doctor.segmentations.look_at`, with masks.
        config: settings, see `mrcnn.config.Config`.
    """
    placement = place(size, config)
    findings = check_fit(subset, image, placement)
    annotations = subset.annotations.get(image["id"], [])
    findings += check_count(subset, image, len(shapes.visible), config)
    if (image["height"], image["width"]) != size:
        return Objects(findings, np.zeros((0, 4)), np.zeros((0, 2), int))
    boxes = placement.boxes(shapes.boxes)
    objects = []
    for position, index in enumerate(shapes.visible):
        annotation = annotations[index]
        height, width = boxes[position, 2:] - boxes[position, :2]
        # Only a thin object can lie between the rows or columns that are taken.
        thin = placement.scale < 1 and min(height, width) < 2
        if thin and _vanishes(shapes.rles[position], placement):
            values = {"height": shapes.boxes[position, 3], "width": shapes.boxes[position, 2]}
            findings.append(
                report(
                    *(VANISHES, subset.name, subset.file, annotation.get("id")),
                    scale=placement.scale,
                    **values,
                )
            )
        elif not annotation.get("iscrowd"):
            objects.append(position)
    return Objects(findings, boxes[objects], np.tile(placement.extent, (len(objects), 1)))


def check_fit(subset: Subset, image: dict[str, Any], placement: Placement) -> list[Finding]:
    """Whether the resized image fits the static shape of training."""
    if all(s <= e for s, e in zip(placement.scaled, placement.extent, strict=True)):
        return []
    shape, size = (" x ".join(map(str, s)) for s in (placement.extent, placement.scaled))
    return [report(TOO_LARGE, subset.name, subset.file, image["id"], shape=shape, size=size)]


def check_count(subset: Subset, image: dict[str, Any], count: int, config: Any) -> list[Finding]:
    """Whether there are slots for so many objects."""
    limit = config.MAX_GT_INSTANCES
    if count <= limit:
        return []
    return [report(OVERFLOW, subset.name, subset.file, image["id"], limit=limit, count=count)]


def _vanishes(rle: dict[str, Any], placement: Placement) -> bool:
    mask = mask_api.decode(rle).astype(bool)[..., None]
    return not place_masks(mask, placement.scale, [(0, 0), (0, 0), (0, 0)]).any()


def best_ious(
    boxes: np.ndarray,
    extents: np.ndarray,
    scales: Sequence[float],
    ratios: Sequence[float],
    strides: Sequence[int],
    anchor_stride: int = 1,
) -> np.ndarray:
    """The IoU of each object with its best anchor, of all that the network has.

    Of the anchors of one shape, the best is the one whose center is nearest: so only one a
    level and ratio needs to be looked at.

    Args:
        boxes: [N, 4] in the network's pixels.
        extents: [N, 2] height and width of the input.
        scales, strides: [L] of the levels.
        ratios: [R] width / height.
        anchor_stride: 1 puts anchors on every cell.

    Returns:
        float64 [N, L].
    """
    best = np.zeros((len(boxes), len(scales)))
    for level, (scale, stride) in enumerate(zip(scales, strides, strict=True)):
        step = stride * anchor_stride
        last = (-(-extents // stride) - 1) // anchor_stride * step
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        nearest = np.clip(np.round(centers / step) * step, 0, last)
        for ratio in ratios:
            half = 0.5 * scale * np.array([ratio**-0.5, ratio**0.5])
            overlap = np.minimum(boxes[:, 2:], nearest + half) - np.maximum(
                boxes[:, :2], nearest - half
            )
            shared = np.prod(np.maximum(overlap, 0), axis=1)
            areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
            np.maximum(best[:, level], shared / (areas + scale**2 - shared), out=best[:, level])
    return best


@dataclass(frozen=True)
class Reach:
    """How well anchors fit the objects.

    Attributes:
        sides: float [N], the square root of each object's box area, in the network's pixels.
        best: float [N], the IoU with its best anchor.
        scales: the present ones.
        recommended: scales that fit better; the present ones where little is to be gained.
        recommended_best: float [N], the IoU with the best anchor of those.
    """

    sides: np.ndarray
    best: np.ndarray
    scales: tuple[float, ...]
    recommended: tuple[float, ...]
    recommended_best: np.ndarray


def reach(boxes: np.ndarray, extents: np.ndarray, config: Any) -> Reach:
    """Compare the anchors of a configuration with objects, and look for better scales."""
    grid = config.RPN_ANCHOR_RATIOS, config.BACKBONE_STRIDES, config.RPN_ANCHOR_STRIDE
    scales = tuple(config.RPN_ANCHOR_SCALES)
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    best = best_ious(boxes, extents, scales, *grid).max(axis=1, initial=0)
    recommended, recommended_best = scales, best
    if len(boxes):
        some = slice(None, None, -(-len(boxes) // MOST_OBJECTS))
        found = recommend(boxes[some], extents[some], config)
        ious = best_ious(boxes, extents, found, *grid).max(axis=1)
        if _score(ious) > _score(best) + WORTHWHILE:
            recommended, recommended_best = found, ious
    return Reach(sides, best, scales, recommended, recommended_best)


def recommend(boxes: np.ndarray, extents: np.ndarray, config: Any) -> tuple[int, ...]:
    """Ascending scales, one a level, that fit the objects best, by `_score`.

    Climbs from the present scales and from the quantiles of the objects' sides, one scale at a
    time, until no step helps.
    """
    ratios, strides = config.RPN_ANCHOR_RATIOS, config.BACKBONE_STRIDES

    def of_level(level: int, scale: float) -> np.ndarray:
        stride = strides[level : level + 1]
        return best_ious(boxes, extents, [scale], ratios, stride, config.RPN_ANCHOR_STRIDE)[:, 0]

    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    quantiles = np.quantile(sides, (np.arange(len(strides)) + 0.5) / len(strides))
    starts = [np.array(config.RPN_ANCHOR_SCALES, float), np.maximum(quantiles, SMALLEST_SCALE)]
    results = []
    for scales in starts:
        ious = np.stack([of_level(level, scale) for level, scale in enumerate(scales)])
        score, improved = _score(ious.max(axis=0)), True
        while improved:
            improved = False
            for level in range(len(scales)):
                others = np.delete(ious, level, axis=0).max(axis=0)
                for scale in scales[level] * np.array(STEPS):
                    low = scales[level - 1] if level else SMALLEST_SCALE
                    high = scales[level + 1] if level + 1 < len(scales) else math.inf
                    if not low <= scale <= high:
                        continue
                    candidate = of_level(level, scale)
                    new_score = _score(np.maximum(others, candidate))
                    if new_score > score + 1e-4:
                        scales[level], ious[level] = scale, candidate
                        score, improved = new_score, True
        results.append((score, tuple(int(round(scale)) for scale in scales)))
    return max(results)[1]


def _score(best: np.ndarray) -> float:
    """Of anchors: how many objects have a good one, and how good, up to a sure positive."""
    return float(np.mean(best >= GOOD_IOU) + np.minimum(best, RPN_POSITIVE_IOU).mean())


def check_reach(subset: Subset, reached: Reach) -> list[Finding]:
    """Whether enough objects have a good anchor."""
    share = float(np.mean(reached.best >= GOOD_IOU)) if len(reached.best) else 1.0
    if share >= ENOUGH:
        return []
    better = float(np.mean(reached.recommended_best >= GOOD_IOU))
    return [
        report(
            *(UNREACHED, subset.name, subset.file),
            iou=GOOD_IOU,
            enough=ENOUGH,
            share=share,
            count=len(reached.best),
            scales=reached.recommended,
            better=better,
        )
    ]


def histogram(reached: Reach) -> str:
    """A text: how many objects there are of each side, and how well anchors fit them."""
    lines = ["Object sides at the network's scale: square root of the box area, in pixels"]
    if not len(reached.sides):
        return lines[0] + ": no objects."
    classes = np.floor(2 * np.log2(np.maximum(reached.sides, 1))).astype(int)
    counts = np.bincount(classes - classes.min())
    lines.append(f"{'pixels':>13} {'objects':>8}  best IoU (mean)")
    for step, count in enumerate(counts, start=classes.min()):
        inside = classes == step
        mean = f"{reached.best[inside].mean():.2f}" if count else "    "
        bar = "#" * math.ceil(BAR * count / counts.max())
        lines.append(f"{2 ** (step / 2):6.0f}{2 ** ((step + 1) / 2):7.0f} {count:8}  {mean}  {bar}")
    for name, scales, best in (
        ("RPN_ANCHOR_SCALES", reached.scales, reached.best),
        ("recommended", reached.recommended, reached.recommended_best),
    ):
        shares = ", ".join(
            f"{np.mean(best >= iou):.1%} reach {iou}"
            for iou in (RPN_NEGATIVE_IOU, GOOD_IOU, RPN_POSITIVE_IOU)
        )
        lines.append(f"{name} = {scales}: mean best IoU {best.mean():.2f}; {shares}")
        if reached.recommended == reached.scales:
            lines[-1] += "; no better ones found"
            break
    return "\n".join(lines)
