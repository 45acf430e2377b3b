"""Filling polygons, in time and memory that pixels and numbers of coordinates bound.

Each format has its own rule for the pixels at the border, which is kept pixel for pixel: that of
`skimage.draw.polygon` for VIA, as in Matterport's sample, and that of Pillow's `ImageDraw` for
Cityscapes, as in its official tool. scikit-image's own function compares every pixel with every
edge, Pillow's every row and every edge with every other edge. Here the work is the length of the
outline, as it is in pycocotools for COCO's polygons. How long an outline may be is one decision
for all three: see `outlines_problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

# Filling takes time and memory in proportion to the outlines' length. No object has such a long
# one; what is drawn in many small parts has many points, each of which allows some pixels more.
POLYGON_MAX_LENGTH = 4_000_000  # pixels, of the edges of one polygon
POLYGON_PIXELS_PER_NUMBER = 4  # that the polygons of an annotation may have beyond that together

_CORNER = 1e-12  # pixels; as near as this, scikit-image takes a point for a corner
_CROSSINGS_AT_ONCE = 1 << 20
# Pairs of edges, and of edges and rows, that Pillow may compare: for a polygon that is painted as
# it is, for a band of rows, and in all.
_PAIRS_OF_WHOLE = 1 << 24
_PAIRS_OF_BAND = 1 << 20
_MAX_PAIRS = 1 << 30

_Quotient = Callable[[np.ndarray | float], np.ndarray]


def outlines_problem(lengths: Sequence[float], numbers: int) -> str | None:
    """What keeps the polygons of an annotation from being filled, as "expected …", or None.

    Args:
        lengths: of the polygons' outlines, in pixels.
        numbers: of their coordinates, x and y counted each.
    """
    if max(lengths) > POLYGON_MAX_LENGTH:
        return f"outlines of at most {POLYGON_MAX_LENGTH} pixels; received {max(lengths):.0f}"
    limit = POLYGON_MAX_LENGTH + POLYGON_PIXELS_PER_NUMBER * numbers
    if sum(lengths) > limit:
        return (
            f"outlines of at most {limit} pixels in all, for polygons of {numbers} numbers; "
            f"received {sum(lengths):.0f} in {len(lengths)} polygons"
        )
    return None


# --- As scikit-image does it ---------------------------------------------------------------------


def inside_polygon(
    rows: Sequence[float], columns: Sequence[float], height: int, width: int
) -> np.ndarray:
    """The pixels that `skimage.draw.polygon` finds, in time that the outline's length bounds.

    A pixel is inside if the ray from its center to the right, or the one to the left, crosses an
    odd number of edges; so pixels on an edge are inside too. A corner that is at a pixel's center
    is also inside.

    Args:
        rows, columns: of the corners, finite; what lies outside the image is cut off.
        height, width: of the image.

    Returns:
        bool [height, width].

    Raises:
        ValueError: the outline within the image is too long; see `outlines_problem`.
    """
    y, x = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
    mask = np.zeros((height, width), bool)
    top, bottom = _span(y, height)
    left, right = _span(x, width)
    if top >= bottom or left >= right:
        return mask
    _expect_short(y, height, 2 * len(y))
    # In bit 0 and 1, whether a ray to the right or left crosses one edge more or one fewer than
    # that of the pixel before.
    changes = np.zeros((bottom - top, right - left), np.uint8)
    before = np.roll(y, 1)
    low, high = np.minimum(y, before), np.maximum(y, before)
    # Rays to the right count an edge's lower end, those to the left its upper end.
    to_right = np.ceil(low), np.ceil(high), lambda crossing: crossing > 0
    to_left = np.floor(low) + 1, np.floor(high) + 1, lambda crossing: ~(crossing < 0)
    for bit, (first, stop, still) in ((1, to_right), (2, to_left)):
        first, stop = np.clip(first, top, bottom), np.clip(stop, top, bottom)
        for edge, row in _pairs(first.astype(np.int64), stop.astype(np.int64)):
            column = _first_column(_quotient(x, y, edge, row), left, right, still)
            within = column < right
            place = (row[within] - top) * (right - left) + column[within].astype(np.int64) - left
            np.bitwise_xor.at(changes.ravel(), place, np.uint8(bit))
    np.bitwise_xor.accumulate(changes, axis=1, out=changes)
    mask[top:bottom, left:right] = changes != 0
    mask[_corners_at_pixels(y, x, height, width)] = True
    return mask


def _span(values: np.ndarray, size: int) -> tuple[int, int]:
    """The pixels, up to and without the second, beyond which nothing of a polygon lies."""
    first, stop = np.floor(values.min()), np.ceil(values.max()) + 1
    return int(np.clip(first, 0, size)), int(np.clip(stop, 0, size))


def _pairs(first: np.ndarray, stop: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each edge with each of its rows, in pieces: (index of the edge, row)."""
    counts = np.maximum(stop - first, 0)
    ends = np.cumsum(counts)
    for start in range(0, int(ends[-1]), _CROSSINGS_AT_ONCE):
        number = np.arange(start, min(start + _CROSSINGS_AT_ONCE, int(ends[-1])))
        edge = np.searchsorted(ends, number, side="right")
        yield edge, first[edge] + number - (ends[edge] - counts[edge])


def _quotient(x: np.ndarray, y: np.ndarray, edge: np.ndarray, row: np.ndarray) -> _Quotient:
    """How far to the right of a pixel in its row each edge is crossed, rounded as scikit-image's.

    The edge leads to the corner of its index from the one before. Where a column is larger, the
    result is smaller or the same, whatever the rounding.
    """
    y_end, y_start = y[edge] - row, y[edge - 1] - row
    x_end, x_start = x[edge], x[edge - 1]

    def right_of(column: np.ndarray | float) -> np.ndarray:
        crossed = (x_end - column) * y_start - (x_start - column) * y_end
        return crossed / (y_start - y_end)

    return right_of


def _first_column(
    right_of: _Quotient, left: int, right: int, still: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The first column of each crossing at which `still` no longer holds; `right`: there is none.

    The first guess is wrong by rounding at most.
    """
    column = np.clip(np.ceil(right_of(0.0)), left, right)
    while True:
        back = (column > left) & ~still(right_of(column - 1))
        if not back.any():
            break
        column -= back
    while True:
        on = (column < right) & still(right_of(column))
        if not on.any():
            return column
        column += on


def _corners_at_pixels(
    y: np.ndarray, x: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels in the image that are corners of the polygon."""
    row, column = np.rint(y), np.rint(x)
    is_one = (np.abs(y - row) < _CORNER) & (np.abs(x - column) < _CORNER)
    is_one &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return row[is_one].astype(np.int64), column[is_one].astype(np.int64)


# --- As Pillow does it ---------------------------------------------------------------------------


def paint_polygon(canvas: Image.Image, points: Sequence[tuple[float, float]], value: int) -> None:
    """Paint a polygon as `PIL.ImageDraw` does, in time that the outline's length bounds.

    Pillow compares all edges with all rows, and edges that meet a row at their ends with all
    others. What it paints in a row depends on the edges that meet that row alone. So a polygon of
    many points is painted in bands of rows, each with the edges nearby.

    Args:
        canvas: to paint on.
        points: (x, y) of the corners.
        value: of the pixels inside.

    Raises:
        ValueError: the outline within the image is too long (see `outlines_problem`), or too many
            edges meet the same rows.
    """
    width, height = canvas.size
    if _cost(len(points), height) <= _PAIRS_OF_WHOLE:
        ImageDraw.Draw(canvas).polygon(points, fill=value)
        return
    corners = np.array(points, np.float64).astype(np.int64)  # cut to whole pixels, as Pillow's
    _expect_short(corners[:, 1], height, corners.size)
    waiting, compared = [(corners, 0, height)], 0
    while waiting:
        corners, top, bottom = waiting.pop()
        corners = _near_rows(corners, top, bottom)
        cost = _cost(len(corners), bottom - top)
        if cost > _PAIRS_OF_BAND and bottom - top > 1:
            middle = (top + bottom) // 2
            waiting += [(corners, top, middle), (corners, middle, bottom)]
            continue
        compared += cost
        if compared > _MAX_PAIRS:
            raise ValueError(
                "expected an outline that meets each row of the image a few hundred times; "
                f"received {len(points)} points, of which {len(corners)} are near the rows from "
                f"{top} to {bottom - 1}"
            )
        if len(corners):
            band = canvas.crop((0, top, width, bottom))
            moved = (corners - (0, top)).ravel().tolist()
            ImageDraw.Draw(band).polygon(moved, fill=value)
            canvas.paste(band, (0, top))


def _cost(points: int, rows: int) -> int:
    return points * (points + rows)


def _near_rows(corners: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """A polygon with the same edges at some rows, and at those beside them.

    Of others, which run on one side of the rows from one such edge to the next, a straight line
    is left.

    Returns:
        int [Q, 2]; Q is 0 where no edge is near.
    """
    y = corners[:, 1]
    following = np.roll(y, -1)
    near = (np.maximum(y, following) >= top - 1) & (np.minimum(y, following) <= bottom)
    if not near.any():
        return corners[:0]
    kept = near | np.roll(near, 1)
    kept[[0, -1]] = True  # the order of the edges, which can matter where they meet, stays
    return corners[kept]


def _expect_short(y: np.ndarray, height: int, numbers: int) -> None:
    """Refuse an outline that crosses the image's rows too often."""
    inside = np.clip(y, 0, height)
    problem = outlines_problem([float(np.abs(inside - np.roll(inside, 1)).sum())], numbers)
    if problem:
        raise ValueError(f"expected {problem}")
