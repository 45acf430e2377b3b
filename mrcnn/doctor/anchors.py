"""How well the anchors fit the objects, and which RPN_ANCHOR_SCALES would fit them better.

Boxes are (y1, x1, y2, x2) in pixels of the network's input. Shape letters: N objects, L pyramid
levels, R anchor ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcnn.config import Config
from mrcnn.doctor.findings import Finding, Kind, report, warning
from mrcnn.doctor.subset import Subset

UNREACHED = warning(
    *("anchors-miss", "subset", "annotations"),
    "anchors of IoU {iou} or more for at least {enough:.0%} of the objects",
    "{share:.1%} of {count} objects with it; the best RPN_ANCHOR_SCALES found, {scales}, reach "
    "{better:.1%}",
    "gives such an object its best anchor only, however badly it fits, and lets the RPN move it "
    "far",
)

KINDS: tuple[Kind, ...] = (UNREACHED,)

# An anchor of this IoU can be moved to its object; below, it is more guess than regression.
GOOD_IOU = 0.5
# A share of objects with a good anchor that is nothing to worry about.
ENOUGH = 0.95
# Objects that the search for scales considers.
MAX_SEARCH_OBJECTS = 4000
# Factors by which the search changes a scale.
STEPS = (0.5, 2**-0.5, 0.84, 0.92, 0.97, 1.03, 1.09, 1.19, 2**0.5, 2)
MIN_SCALE = 4.0
# A gain of the score that is worth another setting.
WORTHWHILE_GAIN = 0.02
# A gain that a step of the search must have, so that the search ends.
MIN_GAIN = 1e-4
BAR_WIDTH = 40


@dataclass(frozen=True)
class AnchorCoverage:
    """How well anchors fit the objects.

    Attributes:
        sides: float [N], the square root of each object's box area, in the network's pixels.
        scales: the present ones.
        best_ious: float [N], the IoU with its best anchor.
        recommended: scales that fit better; the present ones where little is to be gained.
        recommended_ious: float [N], the IoU with the best anchor of those.
        negative_iou, positive_iou: of the configuration: an anchor is background below the first,
            and an object's from the second on.
        image_size: (height, width) of the images at the network's scale, of the configuration.
    """

    sides: np.ndarray
    scales: tuple[float, ...]
    best_ious: np.ndarray
    recommended: tuple[float, ...]
    recommended_ious: np.ndarray
    negative_iou: float
    positive_iou: float
    image_size: tuple[int, int]

    def describe(self, scales: Sequence[float], ious: np.ndarray) -> str:
        """Scales, and for how many objects they have an anchor of which IoU, in words."""
        if not len(ious):
            return f"RPN_ANCHOR_SCALES = {tuple(scales)}: no objects"
        thresholds = (self.negative_iou, GOOD_IOU, self.positive_iou)
        shares = ", ".join(f"{np.mean(ious >= iou):.1%} reach {iou}" for iou in thresholds)
        return f"RPN_ANCHOR_SCALES = {tuple(scales)}: mean best IoU {ious.mean():.2f}; {shares}"

    def describe_choice(self) -> str:
        """That the recommended scales are taken, and why, in a sentence."""
        return (
            f"Anchors of sides {self.recommended} fit the objects better than {self.scales} (mean "
            f"best IoU {self.recommended_ious.mean():.2f}, not {self.best_ious.mean():.2f}) and "
            "are used. Others: --set RPN_ANCHOR_SCALES=…"
        )


def measure_coverage(boxes: np.ndarray, input_sizes: np.ndarray, config: Config) -> AnchorCoverage:
    """Compare the anchors of a configuration with objects, and look for better scales.

    Args:
        boxes: [N, 4] of the objects.
        input_sizes: [N, 2] height and width of what the anchors of each object's image cover.
        config: settings of the anchors.
    """
    scales = tuple(config.RPN_ANCHOR_SCALES)
    ious = _best_ious(boxes, input_sizes, scales, config).max(axis=1, initial=0)
    recommended, recommended_ious = scales, ious
    if len(boxes):
        some = slice(None, None, -(-len(boxes) // MAX_SEARCH_OBJECTS))
        found = search_scales(boxes[some], input_sizes[some], config)
        found_ious = _best_ious(boxes, input_sizes, found, config).max(axis=1)
        if _score(found_ious, config) > _score(ious, config) + WORTHWHILE_GAIN:
            recommended, recommended_ious = found, found_ious
    return AnchorCoverage(
        sides=_sides(boxes),
        scales=scales,
        best_ious=ious,
        recommended=recommended,
        recommended_ious=recommended_ious,
        negative_iou=config.RPN_NEGATIVE_IOU,
        positive_iou=config.RPN_POSITIVE_IOU,
        image_size=(int(config.IMAGE_SHAPE[0]), int(config.IMAGE_SHAPE[1])),
    )


def check_coverage(subset: Subset, coverage: AnchorCoverage) -> list[Finding]:
    """Whether enough objects have a good anchor."""
    ious = coverage.best_ious
    share = float(np.mean(ious >= GOOD_IOU)) if len(ious) else 1.0
    if share >= ENOUGH:
        return []
    return [
        report(
            *(UNREACHED, subset.name, subset.file),
            iou=GOOD_IOU,
            enough=ENOUGH,
            share=share,
            count=len(ious),
            scales=coverage.recommended,
            better=float(np.mean(coverage.recommended_ious >= GOOD_IOU)),
        )
    ]


def best_ious(
    boxes: np.ndarray,
    input_sizes: np.ndarray,
    scales: Sequence[float],
    ratios: Sequence[float],
    strides: Sequence[int],
    anchor_stride: int = 1,
) -> np.ndarray:
    """The IoU of each object with its best anchor, of all that the network has.

    Of the anchors of one shape, the best is the one whose center is nearest: so only one a
    level and ratio needs to be compared.

    Args:
        boxes: [N, 4] in the network's pixels.
        input_sizes: [N, 2] height and width of the input.
        scales, strides: [L] of the levels.
        ratios: [R] width / height.
        anchor_stride: 1 puts anchors on every cell.

    Returns:
        float64 [N, L].
    """
    best = np.zeros((len(boxes), len(scales)))
    for level, (scale, stride) in enumerate(zip(scales, strides, strict=True)):
        step = stride * anchor_stride
        last = (-(-input_sizes // stride) - 1) // anchor_stride * step
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


def search_scales(boxes: np.ndarray, input_sizes: np.ndarray, config: Config) -> tuple[int, ...]:
    """Ascending scales, one a level, that fit the objects best, by `_score`.

    Climbs from the present scales and from the quantiles of the objects' sides.

    Args:
        boxes, input_sizes, config: as of `measure_coverage`, of at least one object.
    """
    levels = len(config.BACKBONE_STRIDES)
    quantiles = np.quantile(_sides(boxes), (np.arange(levels) + 0.5) / levels)
    starts = (np.array(config.RPN_ANCHOR_SCALES, float), np.maximum(quantiles, MIN_SCALE))
    return max(_climb(boxes, input_sizes, scales, config) for scales in starts)[1]


def _climb(
    boxes: np.ndarray, input_sizes: np.ndarray, scales: np.ndarray, config: Config
) -> tuple[float, tuple[int, ...]]:
    """Change one scale at a time, until no step helps; returns the score and the scales."""

    def ious_of(level: int, scale: float) -> np.ndarray:
        return _best_ious(boxes, input_sizes, [scale], config, slice(level, level + 1))[:, 0]

    ious = np.stack([ious_of(level, scale) for level, scale in enumerate(scales)])
    score, improved = _score(ious.max(axis=0), config), True
    while improved:
        improved = False
        for level in range(len(scales)):
            others = np.delete(ious, level, axis=0).max(axis=0, initial=0)
            for scale in scales[level] * np.array(STEPS):
                low = scales[level - 1] if level else MIN_SCALE
                high = scales[level + 1] if level + 1 < len(scales) else math.inf
                if not low <= scale <= high:
                    continue
                candidate = ious_of(level, scale)
                new_score = _score(np.maximum(others, candidate), config)
                if new_score > score + MIN_GAIN:
                    scales[level], ious[level] = scale, candidate
                    score, improved = new_score, True
    return score, tuple(int(round(scale)) for scale in scales)


def _best_ious(
    boxes: np.ndarray,
    input_sizes: np.ndarray,
    scales: Sequence[float],
    config: Config,
    levels: slice = slice(None),
) -> np.ndarray:
    """`best_ious` with the grid of a configuration, on some of its levels."""
    return best_ious(
        *(boxes, input_sizes, scales, config.RPN_ANCHOR_RATIOS),
        *(config.BACKBONE_STRIDES[levels][: len(scales)], config.RPN_ANCHOR_STRIDE),
    )


def _sides(boxes: np.ndarray) -> np.ndarray:
    """The square root of each box's area."""
    return np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def _score(ious: np.ndarray, config: Config) -> float:
    """How many objects have a good anchor, and how good, up to one that is surely positive."""
    enough = np.minimum(ious, config.RPN_POSITIVE_IOU)
    return float(np.mean(ious >= GOOD_IOU) + enough.mean())


def histogram(coverage: AnchorCoverage) -> str:
    """A text: how many objects there are of each side, and how well anchors fit them."""
    height, width = coverage.image_size
    lines = [
        f"Object sides in images of {width} x {height}: square root of the box area, in pixels "
        "(--image-size for another size)"
    ]
    if not len(coverage.sides):
        return lines[0] + ": no objects."
    classes = np.floor(2 * np.log2(np.maximum(coverage.sides, 1))).astype(int)
    counts = np.bincount(classes - classes.min())
    lines.append(f"{'pixels':>13} {'objects':>8}  best IoU (mean)")
    for step, count in enumerate(counts, start=classes.min()):
        inside = classes == step
        mean = f"{coverage.best_ious[inside].mean():.2f}" if count else "    "
        bar = "#" * math.ceil(BAR_WIDTH * count / counts.max())
        lines.append(f"{2 ** (step / 2):6.0f}{2 ** ((step + 1) / 2):7.0f} {count:8}  {mean}  {bar}")
    lines.append(coverage.describe(coverage.scales, coverage.best_ious))
    if coverage.recommended == coverage.scales:
        lines[-1] += "; no better ones found"
    else:
        better = coverage.describe(coverage.recommended, coverage.recommended_ious)
        setting = f"RPN_ANCHOR_SCALES={coverage.recommended}".replace(" ", "")
        lines += [
            f"recommended: {better}",
            "mrcnn train fits them to its image size by itself, unless it starts from trained "
            f"weights, which learned with their own. To set them: --set '{setting}'",
        ]
    return "\n".join(lines)
