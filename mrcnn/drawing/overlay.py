"""Detections drawn on a picture pixel by pixel: quickly, at the picture's own size.

`mrcnn.drawing.instances` draws the same on figures, for pages and notebooks.

Shape letters: H, W image height and width, N detections; h, w of the part of a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from mrcnn.drawing.captions import MAX_CAPTION_OVERLAP, MAX_CAPTIONS
from mrcnn.drawing.instances import distinct_colors, to_rgb

MASK_ALPHA = 0.45  # share of the color within a mask
# Sides of a picture for each pixel of an outline's width, and of a letter's height.
_PIXELS_PER_LINE, _PIXELS_PER_LETTER = 500, 45
_LEAST_LETTER, _LARGEST_LETTER = 10, 40  # pixels
_PADDING = 2  # pixels around a caption
# Of the picture that captions may cover; the surest detections have theirs.
_CAPTION_SHARE = 0.08

Part = tuple[tuple[int, int], np.ndarray]  # (y, x) of a corner, and bool [h, w]
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom


def draw_overlay(
    image: np.ndarray,
    boxes: np.ndarray,
    parts: Sequence[Part],
    captions: Sequence[str],
) -> np.ndarray:
    """Draw masks, boxes and captions.

    Large objects are drawn first, so that small ones stay visible. Captions are written for the
    first detections, the surest, where they have room.

    Args:
        image: as `mrcnn.drawing.instances.to_rgb` takes it.
        boxes: int [N, 4], (y1, x1, y2, x2) inside the image.
        parts: the masks, each as a corner and the mask from there on.
        captions: N texts.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: not as many boxes, parts and captions.
    """
    if not len(boxes) == len(parts) == len(captions):
        raise ValueError(
            f"expected a mask and a caption for each box; received {len(boxes)} boxes, "
            f"{len(parts)} masks and {len(captions)} captions."
        )
    picture = to_rgb(image)
    side = max(picture.shape[:2])
    width = max(1, round(side / _PIXELS_PER_LINE))
    colors = [tuple(round(255 * part) for part in color) for color in distinct_colors(len(boxes))]
    areas = [int(part.sum()) for _, part in parts]
    for index in sorted(range(len(boxes)), key=lambda k: -areas[k]):
        _draw_mask(picture, parts[index], colors[index], width)
        _draw_box(picture, boxes[index].tolist(), colors[index], max(1, width // 2))
    size = int(np.clip(side / _PIXELS_PER_LETTER, _LEAST_LETTER, _LARGEST_LETTER))
    return _draw_captions(picture, boxes, captions, colors, size)


def _draw_mask(picture: np.ndarray, part: Part, color: Sequence[int], width: int) -> None:
    (y, x), mask = part
    if not mask.any():
        return
    region = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    paint = np.asarray(color, np.float32)
    region[mask] = region[mask] * (1 - MASK_ALPHA) + paint * MASK_ALPHA
    region[mask & ~binary_erosion(mask, iterations=width)] = color


def _draw_box(picture: np.ndarray, box: Sequence[int], color: Sequence[int], width: int) -> None:
    y1, x1, y2, x2 = box
    for rows, columns in (
        (slice(y1, y1 + width), slice(x1, x2)),
        (slice(max(y1, y2 - width), y2), slice(x1, x2)),
        (slice(y1, y2), slice(x1, x1 + width)),
        (slice(y1, y2), slice(max(x1, x2 - width), x2)),
    ):
        picture[rows, columns] = color


def _draw_captions(
    picture: np.ndarray,
    boxes: np.ndarray,
    captions: Sequence[str],
    colors: Sequence[tuple[int, ...]],
    size: int,
) -> np.ndarray:
    canvas = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(canvas), _font(size)
    taken: list[Rectangle] = []
    room = _CAPTION_SHARE * canvas.width * canvas.height
    for box, caption, color in list(zip(boxes, captions, colors, strict=True))[:MAX_CAPTIONS]:
        left, top, right, bottom = draw.textbbox((0, 0), caption, font=font)
        place = _place(
            box.tolist(),
            (int(right - left) + 2 * _PADDING, int(bottom - top) + 2 * _PADDING),
            (canvas.width, canvas.height),
            taken,
        )
        if place is None:
            continue
        room -= (place[2] - place[0]) * (place[3] - place[1])
        if taken and room < 0:
            break
        taken.append(place)
        draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=color)
        dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 128
        start = (place[0] + _PADDING - left, place[1] + _PADDING - top)
        draw.text(start, caption, fill="white" if dark else "black", font=font)
    return np.asarray(canvas)


def _place(
    box: Sequence[int], size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle | None:
    """Above the box, inside it at the top, or below it; None: everywhere are others."""
    y1, x1, y2, _ = box
    width, height = size
    left = max(0, min(x1, canvas[0] - width))
    for top in (y1 - height, y1, y2):
        place = (left, top, left + width, top + height)
        if top < 0 or top + height > canvas[1]:
            continue
        if all(_shared(place, other) <= MAX_CAPTION_OVERLAP for other in taken):
            return place
    return None


def _shared(place: Rectangle, other: Rectangle) -> float:
    """The share of a place that another one covers."""
    width = min(place[2], other[2]) - max(place[0], other[0])
    height = min(place[3], other[3]) - max(place[1], other[1])
    area = (place[2] - place[0]) * (place[3] - place[1])
    return max(0, width) * max(0, height) / area


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Matplotlib's own font, which knows most alphabets and is there wherever this package is."""
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
