"""Pages of detections beside their ground truth, and how a figure becomes a file.

The figures are built on matplotlib's object-oriented API and drawn by Agg, so they work
without a display and in any thread, and leave pyplot's state and backend alone.

Shape letters: H, W image height and width, N instances, P points of an outline.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive. Colors are RGB triples in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.data.boxes import compute_overlaps
from mrcnn.drawing.captions import Color
from mrcnn.drawing.instances import (
    Instances,
    InstanceStyle,
    distinct_colors,
    draw_instances,
)

DPI = 120
CELL_INCHES = 4.0  # width of one picture on a page of detections
MARGIN = 0.08  # inches
TITLE_HEIGHT = 0.24
PAIR_WIDTH = 2 * CELL_INCHES + 3 * MARGIN
# A picture taller than this times its width is drawn narrower instead.
MAX_CELL_ASPECT = 1.5
# A detection takes the color of the object that it overlaps at least this much (IoU).
SAME_COLOR_IOU = 0.5


def detections_page(
    images: Sequence[np.ndarray],
    ground_truths: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    path: str | PathLike[str],
    columns: int = 2,
    titles: Sequence[str] | None = None,
) -> Path:
    """Save one PNG that shows, image by image, the ground truth beside the detections.

    A detection has the color of the object of its class that it covers, if there is one.

    Args:
        images: images of any sizes; see `to_rgb`.
        ground_truths: one dict an image: `rois` [N, 4] pixel boxes, `class_ids` [N], and
            optionally `masks` [H, W, N] bool and `scores` [N].
        detections: the same, as `MaskRCNN.detect` returns it.
        class_names: names by class id, the background's first.
        path: the PNG; missing folders are made.
        columns: pairs side by side; `2 * columns` pictures in a row.
        titles: one text an image, written over its ground truth (an id, a file name).

    Returns:
        `path`.
    """
    counts = (len(images), len(ground_truths), len(detections))
    if counts[0] == 0 or len(set(counts)) > 1 or (titles is not None and len(titles) != counts[0]):
        raise ValueError(
            "A page needs at least one image, and one ground truth, one dict of detections and (if "
            f"any) one title for each; received {counts[0]} images, {counts[1]} ground truths, "
            f"{counts[2]} detections, {'no' if titles is None else len(titles)} titles."
        )
    if columns < 1:
        raise ValueError(f"columns must be at least 1; received {columns}.")
    columns = min(columns, len(images))
    rows = [range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    aspects = [min(image.shape[0] / image.shape[1], MAX_CELL_ASPECT) for image in images]
    cell_heights = [CELL_INCHES * max(aspects[i] for i in row) for row in rows]
    page = np.array([columns * PAIR_WIDTH, sum(cell_heights) + len(rows) * (TITLE_HEIGHT + MARGIN)])
    figure = Figure(figsize=tuple(page), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    bottom = page[1]
    for row, cell_height in zip(rows, cell_heights, strict=True):
        bottom -= cell_height + TITLE_HEIGHT
        for column, i in enumerate(row):
            name = "" if titles is None else f"{titles[i]} · "
            left = column * PAIR_WIDTH + MARGIN
            for instances, title in zip(
                _matching_colors(ground_truths[i], detections[i]),
                (f"{name}ground truth", "detections"),
                strict=True,
            ):
                cell = np.array([left, bottom, CELL_INCHES, cell_height]) / np.tile(page, 2)
                ax = figure.add_axes(tuple(cell))
                ax.set_anchor("N")  # the picture touches its title
                ax.set_title(f"{title}: {len(instances.class_ids)}", fontsize=8, pad=3)
                draw_instances(ax, images[i], instances, class_names, InstanceStyle(alpha=0.4))
                left += CELL_INCHES + MARGIN
        bottom -= MARGIN
    return save_figure(figure, path)


def _matching_colors(
    truth: Mapping[str, Any], detection: Mapping[str, Any]
) -> tuple[Instances, Instances]:
    """Objects and detections in one color where a detection found an object."""
    truth_colors, detection_colors = _pair_colors(truth, detection)
    return _colored(truth, truth_colors), _colored(detection, detection_colors)


def _colored(found: Mapping[str, Any], colors: Sequence[Color]) -> Instances:
    """Instances from a dict as `MaskRCNN.detect` returns it."""
    masks, scores = found.get("masks"), found.get("scores")
    return Instances(found["rois"], found["class_ids"], masks, scores, colors)


def _pair_colors(
    truth: Mapping[str, Any], detection: Mapping[str, Any]
) -> tuple[list[Color], list[Color]]:
    """Colors of the objects, and of the detections: those of the objects that they found."""
    objects = np.asarray(truth["rois"]).reshape(-1, 4)
    found = np.asarray(detection["rois"]).reshape(-1, 4)
    colors = distinct_colors(len(objects) + len(found))
    truth_colors, found_colors = colors[: len(objects)], colors[len(objects) :]
    if len(objects) and len(found):
        overlaps = compute_overlaps(found, objects)
        same_class = np.not_equal.outer(detection["class_ids"], truth["class_ids"])
        overlaps = np.where(same_class, 0, overlaps)
        for i, best in enumerate(overlaps.argmax(axis=1)):
            if overlaps[i, best] >= SAME_COLOR_IOU:
                found_colors[i] = truth_colors[best]
    return truth_colors, found_colors


def save_figure(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write the figure as a PNG of exactly figsize × dpi pixels."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike savefig, print_png ignores the user's savefig settings, which may crop.
    FigureCanvasAgg(figure).print_png(path)
    return path
