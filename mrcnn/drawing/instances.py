"""How images, masks and boxes are drawn; `pages` and `visualize` compose them.

Nothing here opens a window or touches pyplot: the functions draw on given axes or arrays.

Shape letters: H, W image height and width, N instances, P points of an outline.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive. Colors are RGB triples in [0, 1].
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb as to_rgb_color
from matplotlib.patches import Rectangle
from matplotlib.typing import ColorType
from skimage.measure import find_contours

from mrcnn.drawing.captions import Caption, Color, draw_captions

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def to_rgb(image: np.ndarray) -> np.ndarray:
    """A new uint8 [H, W, 3] picture of any image: grey, RGB or RGBA; integer, float or bool.

    Float images whose maximum is at most 1 are taken to span [0, 1], others [0, 255].
    16-bit images brighter than 255 are scaled so that their maximum becomes white.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            "An image must have the shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] to be drawn; "
            f"received {image.shape}."
        )
    image = image[:, :, :3]
    if image.dtype != np.uint8:
        highest = np.nanmax(image, initial=0)
        is_unit_range = image.dtype.kind in "bf" and highest <= 1
        is_deep = image.dtype == np.uint16 and highest > 255
        scale = 255.0 if is_unit_range else 255.0 / highest if is_deep else 1.0
        image = np.nan_to_num(image.astype(np.float64) * scale)
        image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()


def distinct_colors(count: int) -> list[Color]:
    """Bright colors in a fixed order; hues step by the golden ratio, so neighbors differ much."""
    return [colorsys.hsv_to_rgb(i * GOLDEN_RATIO % 1, 0.9, 1.0) for i in range(count)]


def blend_mask(
    image: np.ndarray, mask: np.ndarray, color: Sequence[float], alpha: float = 0.5
) -> np.ndarray:
    """Mix a color into the pixels of a mask, in place.

    Args:
        image: [H, W] or [H, W, 1, 3 or 4], values in [0, 255]. One channel takes the color's
            mean; a fourth channel (alpha) stays as it is.
        mask: [H, W], bool or 0 and 1.
        color: RGB in [0, 1].
        alpha: share of the color in [0, 1].

    Returns:
        `image` itself.
    """
    inside = np.asarray(mask) > 0.5
    if inside.shape != image.shape[:2]:
        raise ValueError(
            f"The mask must have the image's height and width, {image.shape[:2]}; "
            f"received a mask of the shape {inside.shape}."
        )
    paint = 255 * np.asarray(color[:3], dtype=np.float64)
    pixels = image[:, :, np.newaxis] if image.ndim == 2 else image  # a view
    if pixels.shape[2] == 1:
        paint = paint.mean(keepdims=True)
    channels = slice(0, len(paint))
    mixed = pixels[inside, channels] * (1 - alpha) + paint * alpha
    pixels[inside, channels] = mixed.astype(image.dtype)
    return image


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The borders of a mask [H, W]: closed curves [P, 2] of (x, y) around its pixels."""
    mask = np.asarray(mask) > 0.5
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    # Zeros around the crop close the curves of masks that touch the image's border.
    crop = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    offset = (columns[0] - 1, rows[0] - 1)
    return [curve[:, ::-1] + offset for curve in find_contours(crop.astype(np.float64), 0.5)]


def class_name(class_id: int, class_names: Sequence[str]) -> str:
    """The name of a class; crowds (negative ids) and ids without a name are said to be so."""
    index = abs(int(class_id))
    try:
        name = str(class_names[index])
    except (IndexError, KeyError):
        name = f"class {index}"
    return f"{name} (crowd)" if class_id < 0 else name


@dataclass(frozen=True, eq=False)
class Instances:
    """N instances of an image, as ground truth or as a network found them.

    Attributes:
        boxes: [N, 4] pixels.
        class_ids: [N].
        masks: [H, W, N], bool or 0 and 1; or None for boxes alone.
        scores: [N], or None.
        colors: N colors of any kind that matplotlib knows; None: `distinct_colors`.
        captions: N texts that replace "name score", or None.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    masks: np.ndarray | None = None
    scores: np.ndarray | None = None
    colors: Sequence[ColorType] | None = None
    captions: Sequence[str] | None = None

    def checked(self) -> Instances:
        """The same with boxes as [N, 4] and masks as an array.

        Raises:
            ValueError: the counts of boxes, masks, class ids … differ.
        """
        boxes = np.asarray(self.boxes).reshape(-1, 4)
        masks = None if self.masks is None else np.asarray(self.masks)
        counts = {"boxes": len(boxes), "class_ids": len(self.class_ids)}
        counts |= {
            name: len(values)
            for name in ("scores", "colors", "captions")
            if (values := getattr(self, name)) is not None
        }
        if masks is not None:
            counts["masks"] = masks.shape[-1]
        if len(set(counts.values())) > 1:
            received = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise ValueError(
                "Each instance needs one box, one class id, one mask (the last axis of `masks`) "
                f"and so on, so their counts must agree; received {received}."
            )
        return replace(self, boxes=boxes, masks=masks)


@dataclass(frozen=True)
class InstanceStyle:
    """How instances are drawn.

    Attributes:
        show_mask, show_bbox, show_caption: what is drawn.
        alpha: share of the color within a mask.
        font_size: of the captions, in points.
    """

    show_mask: bool = True
    show_bbox: bool = True
    show_caption: bool = True
    alpha: float = 0.5
    font_size: float = 7


def draw_instances(
    ax: Axes,
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str],
    style: InstanceStyle = InstanceStyle(),  # noqa: B008, it is frozen
) -> int:
    """Draw an image and its instances: filled and outlined masks, boxes, captions.

    Lines get thinner as instances get more. Captions that would hide the picture are shortened
    to the class, or to the score where all instances are of one class, and only those of the
    surest instances are written. Boxes without area are skipped.

    Args:
        ax: where to draw; gets the limits of the image.
        image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; see `to_rgb`.
        instances: what to draw.
        class_names: names by class id, the background's first.
        style: which parts, and how they look.

    Returns:
        The number of captions written.

    Raises:
        ValueError: the counts of boxes, masks, class ids … differ.
    """
    instances = instances.checked()
    boxes, colors = instances.boxes, _rgb_colors(instances)
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    visible = np.flatnonzero((heights > 0) & (widths > 0))
    # Large instances first, so that small ones stay on top.
    order = visible[np.argsort(-(heights * widths)[visible], kind="stable")]
    # 1.5 points for a few instances, 0.5 for hundreds
    line_width = float(np.clip(6 / math.sqrt(max(len(order), 1)), 0.5, 1.5))

    picture = to_rgb(image)
    if style.show_mask and instances.masks is not None:
        for i in order:
            mask = np.ascontiguousarray(instances.masks[:, :, i])
            blend_mask(picture, mask, colors[i], style.alpha)
            draw_mask_outline(ax, mask, colors[i], line_width)
    if style.show_bbox:
        for i in order:
            draw_box_outline(ax, boxes[i], colors[i], line_width, linestyle=(0, (4, 2)), alpha=0.8)
    ax.imshow(picture)
    ax.set_axis_off()
    if not style.show_caption:
        return 0
    texts, scores = _captions(instances, class_names), instances.scores
    # The surest instances choose their caption's place first.
    by_score = visible if scores is None else visible[np.argsort(-np.asarray(scores)[visible])]
    captions = [Caption(texts[i][0], boxes[i], colors[i], texts[i][1]) for i in by_score]
    return draw_captions(ax, captions, style.font_size)


def _rgb_colors(instances: Instances) -> list[Color]:
    if instances.colors is None:
        return distinct_colors(len(instances.boxes))
    return [to_rgb_color(color) for color in instances.colors]


def _captions(instances: Instances, class_names: Sequence[str]) -> list[tuple[str, str | None]]:
    """The given captions, or name and score of each instance, and what is short for it."""
    if instances.captions is not None:
        return [(caption, None) for caption in instances.captions]
    names = [class_name(class_id, class_names) for class_id in instances.class_ids]
    if instances.scores is None:
        scores, texts = [""] * len(names), names
    else:
        scores = [f"{score:.2f}" for score in instances.scores]
        texts = [f"{name} {score}" for name, score in zip(names, scores, strict=True)]
    shorts = scores if len(set(names)) == 1 else names
    return list(zip(texts, shorts, strict=True))


def draw_mask_outline(ax: Axes, mask: np.ndarray, color: Color, line_width: float) -> None:
    """Draw the borders of a mask [H, W]."""
    outlines = PolyCollection(
        mask_outlines(mask), facecolors="none", edgecolors=[color], linewidths=line_width
    )
    ax.add_collection(outlines, autolim=False)


def draw_box_outline(
    ax: Axes, box: Sequence[float], color: Color, line_width: float = 1.5, **style: Any
) -> None:
    """Draw one box [4] so that its line runs along the outer edges of its outermost pixels."""
    y1, x1, y2, x2 = box
    # matplotlib puts the center of pixel 0 at 0, and so its outer edge at -0.5.
    corner = (x1 - 0.5, y1 - 0.5)
    ax.add_patch(
        Rectangle(
            corner, x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=line_width, **style
        )
    )
