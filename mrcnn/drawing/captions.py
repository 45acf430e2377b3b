"""Captions inside a picture, placed clear of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

# Captions that would cover more than this share of the picture are shortened, and then only the
# first are written: so many, and as long as they cover no more than it.
MAX_CAPTION_SHARE = 0.2
MAX_CAPTIONS = 50
SHORT_CAPTION_SIZE = 0.85  # of the font, where captions are shortened
# A caption is left out when others cover more than this share of it wherever it is put.
MAX_CAPTION_OVERLAP = 0.15
POINTS_PER_INCH = 72

Color = tuple[float, float, float]  # RGB in [0, 1]
Place = tuple[float, float, float, float]  # (x1, y1, x2, y2) in pixels of the page, y upwards


class Caption(NamedTuple):
    """A text at a box."""

    text: str
    box: np.ndarray  # (y1, x1, y2, x2)
    color: Color
    short: str | None = None  # instead of `text` in a crowded picture; None: `text` itself


def draw_captions(ax: Axes, captions: Sequence[Caption], font_size: float) -> int:
    """Write captions inside the picture and, if possible, clear of each other.

    Each tries the places above its box, inside at the top, inside at the bottom, below; the
    first captions choose first, and one that finds no place is left out. In a crowded picture
    (`MAX_CAPTION_SHARE`, `MAX_CAPTIONS`) they are shortened, and the last are left out. The axes
    must have their limits.

    Returns:
        How many are written.
    """
    captions = [caption for caption in captions if caption.text]
    ax.apply_aspect()  # the picture's place on the page is only known after this
    frame = ax.get_window_extent()
    pixels_per_point = ax.figure.dpi / POINTS_PER_INCH
    line_height = 1.5 * font_size * pixels_per_point
    # A letter is about 0.4 of its line's height wide.
    area = sum(len(caption.text) for caption in captions) * 0.4 * line_height**2
    free = MAX_CAPTION_SHARE * frame.width * frame.height
    if area > free or len(captions) > MAX_CAPTIONS:
        font_size *= SHORT_CAPTION_SIZE
        captions = [
            caption if caption.short is None else caption._replace(text=caption.short)
            for caption in captions
            if caption.short != ""
        ]
    pad = 0.3 * font_size * pixels_per_point
    taken: list[Place] = []
    for caption in captions:
        if len(taken) == MAX_CAPTIONS:
            break
        label = _write(ax, caption, font_size)
        extent = label.get_window_extent()
        area = extent.width * extent.height
        places = _places(ax, caption.box, extent, frame, pad)
        place = min(places, key=lambda place: _covered(place, taken))
        if area > free or _covered(place, taken) > MAX_CAPTION_OVERLAP * area:
            label.remove()
            continue
        free -= area
        taken.append(place)
        x, y = ax.transData.inverted().transform(place[:2])
        label.set_position((x, y))
    return len(taken)


def _write(ax: Axes, caption: Caption, font_size: float) -> Text:
    """Write a caption at its box's corner."""
    luminance = np.dot(caption.color[:3], (0.299, 0.587, 0.114))
    background = {"facecolor": caption.color, "alpha": 0.75, "linewidth": 0}
    return ax.text(
        caption.box[1],
        caption.box[0],
        caption.text,
        color="black" if luminance > 0.5 else "white",
        fontsize=font_size,
        clip_on=True,
        parse_math=False,  # a class may have a $ in its name
        bbox={"boxstyle": "square,pad=0.12", **background},
    )


def _places(
    ax: Axes, box: np.ndarray, extent: BboxBase, frame: BboxBase, pad: float
) -> list[Place]:
    """Where a label may lie at its box, all inside the frame; the first is the best."""
    y1, x1, y2, _ = box
    left, top = ax.transData.transform((x1 - 0.5, y1 - 0.5))
    bottom = ax.transData.transform((x1 - 0.5, y2 - 0.5))[1]
    width, height = extent.width, extent.height
    places = []
    for y in (top + pad, top - height - pad, bottom + pad, bottom - height - pad):
        x = np.clip(left + pad / 2, frame.x0 + pad / 2, max(frame.x1 - width - pad, frame.x0))
        y = np.clip(y, frame.y0 + pad, max(frame.y1 - height - pad, frame.y0))
        places.append((x, y, x + width + pad, y + height + pad / 2))
    return places


def _covered(place: Place, taken: Sequence[Place]) -> float:
    """The area of a rectangle (x1, y1, x2, y2) that others cover, in square pixels."""
    x1, y1, x2, y2 = place
    return sum(
        max(min(x2, right) - max(x1, left), 0) * max(min(y2, top) - max(y1, bottom), 0)
        for left, bottom, right, top in taken
    )
