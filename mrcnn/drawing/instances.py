"""How images, masks, boxes and captions are drawn; `figures` and `visualize` compose them.

Nothing here opens a window or touches pyplot: the functions draw on given axes or arrays.

Shape letters: H, W image height and width, N instances, P points of an outline.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive. Colors are RGB triples in [0, 1].
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb as to_rgb_color
from matplotlib.patches import Rectangle
from skimage.measure import find_contours

Color = Sequence[float]

# No caption is written when there are more, or when together they would cover more than this
# share of the picture.
MAX_CAPTIONS = 50
MAX_CAPTION_SHARE = 0.2
# A caption is left out when others cover more than this share of it wherever it is put.
MAX_CAPTION_OVERLAP = 0.4
POINTS_PER_INCH = 72
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


def distinct_colors(count: int) -> list[tuple[float, float, float]]:
    """Bright colors in a fixed order; hues step by the golden ratio, so neighbors differ much."""
    return [colorsys.hsv_to_rgb(i * GOLDEN_RATIO % 1, 0.9, 1.0) for i in range(count)]


def blend_mask(image: np.ndarray, mask: np.ndarray, color: Color, alpha: float = 0.5) -> np.ndarray:
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


def draw_instances(
    ax: Axes,
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    *,
    colors: Sequence[Color] | None = None,
    captions: Sequence[str] | None = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    show_caption: bool = True,
    alpha: float = 0.5,
    font_size: float = 7,
) -> None:
    """Draw an image and its instances: filled and outlined masks, boxes, captions.

    Lines get thinner as instances get more, and captions are left out when they would hide
    the picture. Boxes without area are skipped.

    Args:
        ax: where to draw; gets the limits of the image.
        image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; see `to_rgb`.
        boxes: [N, 4] pixels.
        masks: [H, W, N] bool, or None for boxes alone.
        class_ids: [N].
        class_names: names by class id, the background's first.
        scores: [N], part of the caption.
        colors: N colors of any kind matplotlib knows; by default `distinct_colors`.
        captions: N strings that replace "name score".
        alpha: share of the color within a mask.
        font_size: points.

    Raises:
        ValueError: when the counts of boxes, masks, class ids … differ.
    """
    boxes = np.asarray(boxes).reshape(-1, 4)
    given = {"boxes": boxes, "class_ids": class_ids, "scores": scores}
    given |= {"colors": colors, "captions": captions}
    counts = {name: len(values) for name, values in given.items() if values is not None}
    if masks is not None:
        masks = np.asarray(masks)
        counts["masks"] = masks.shape[-1]
    if len(set(counts.values())) > 1:
        received = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(
            "Each instance needs one box, one class id, one mask (the last axis of `masks`) and so "
            f"on, so their counts must agree; received {received}."
        )
    colors = distinct_colors(len(boxes)) if colors is None else list(map(to_rgb_color, colors))
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    visible = np.flatnonzero((heights > 0) & (widths > 0))
    # Large instances first, so that small ones stay on top.
    order = visible[np.argsort(-(heights * widths)[visible], kind="stable")]
    # 1.5 points for a few instances, 0.5 for hundreds
    line_width = float(np.clip(6 / math.sqrt(max(len(order), 1)), 0.5, 1.5))

    picture = to_rgb(image)
    if show_mask and masks is not None:
        for i in order:
            mask = np.ascontiguousarray(masks[:, :, i])
            blend_mask(picture, mask, colors[i], alpha)
            outlines = mask_outlines(mask)
            ax.add_collection(
                PolyCollection(
                    outlines, facecolors="none", edgecolors=[colors[i]], linewidths=line_width
                ),
                autolim=False,
            )
    if show_bbox:
        for i in order:
            draw_box_outline(ax, boxes[i], colors[i], line_width, linestyle=(0, (4, 2)), alpha=0.8)
    ax.imshow(picture)
    ax.set_axis_off()
    if show_caption:
        if captions is None:
            names = [class_name(class_id, class_names) for class_id in class_ids]
            scored = [None] * len(names) if scores is None else scores
            captions = [
                name if score is None else f"{name} {score:.2f}"
                for name, score in zip(names, scored, strict=True)
            ]
        # The surest instances choose their caption's place first.
        by_score = visible if scores is None else visible[np.argsort(-np.asarray(scores)[visible])]
        draw_captions(ax, [(captions[i], boxes[i], colors[i]) for i in by_score], font_size)


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


def draw_captions(
    ax: Axes, captions: Sequence[tuple[str, np.ndarray, Color]], font_size: float
) -> None:
    """Write (text, box, color) captions inside the picture and, if possible, clear of each other.

    Each tries the places above its box, inside at the top, inside at the bottom, below; the
    first captions choose first, and one that finds no place is left out. Where they would
    hide the picture (`MAX_CAPTIONS`, `MAX_CAPTION_SHARE`), none is written. The axes must have
    their limits.
    """
    captions = [caption for caption in captions if caption[0]]
    ax.apply_aspect()  # the picture's place on the page is only known after this
    frame = ax.get_window_extent()
    pixels_per_point = ax.figure.dpi / POINTS_PER_INCH
    line_height = 1.5 * font_size * pixels_per_point
    # A letter is about 0.4 of its line's height wide.
    area = sum(len(text) for text, _, _ in captions) * 0.4 * line_height**2
    is_crowded = area > MAX_CAPTION_SHARE * frame.width * frame.height
    if is_crowded or len(captions) > MAX_CAPTIONS:
        return
    to_data = ax.transData.inverted()
    taken: list[tuple[float, float, float, float]] = []
    for text, (y1, x1, y2, _), color in captions:
        luminance = np.dot(color[:3], (0.299, 0.587, 0.114))
        label = ax.text(
            x1,
            y1,
            text,
            color="black" if luminance > 0.5 else "white",
            fontsize=font_size,
            clip_on=True,
            bbox={"boxstyle": "square,pad=0.12", "facecolor": color, "alpha": 0.75, "linewidth": 0},
        )
        extent = label.get_window_extent()
        width, height = extent.width, extent.height
        pad = 0.3 * font_size * pixels_per_point
        left, top = ax.transData.transform((x1 - 0.5, y1 - 0.5))
        bottom = ax.transData.transform((x1 - 0.5, y2 - 0.5))[1]
        # Display coordinates run upwards.
        places = []
        for y in (top + pad, top - height - pad, bottom + pad, bottom - height - pad):
            x = np.clip(left + pad / 2, frame.x0 + pad / 2, max(frame.x1 - width - pad, frame.x0))
            y = np.clip(y, frame.y0 + pad, max(frame.y1 - height - pad, frame.y0))
            places.append((x, y, x + width + pad, y + height + pad / 2))
        place = min(places, key=lambda place: _covered(place, taken))
        if _covered(place, taken) > MAX_CAPTION_OVERLAP * width * height:
            label.remove()
            continue
        taken.append(place)
        label.set_position(to_data.transform(place[:2]))


def _covered(
    place: tuple[float, float, float, float], taken: list[tuple[float, float, float, float]]
) -> float:
    """The area of a rectangle (x1, y1, x2, y2) that others cover, in square pixels."""
    x1, y1, x2, y2 = place
    return sum(
        max(min(x2, right) - max(x1, left), 0) * max(min(y2, top) - max(y1, bottom), 0)
        for left, bottom, right, top in taken
    )
