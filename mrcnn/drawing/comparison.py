"""The same images through several networks, side by side, as in the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.drawing import pages
from mrcnn.drawing.captions import Color
from mrcnn.drawing.instances import Instances, InstanceStyle, distinct_colors, draw_instances
from mrcnn.drawing.pages import LINE_HEIGHT, MARGIN, Shown

CELL_INCHES = 3.0  # width of one picture
Detections = Mapping[str, Any]


def comparison_page(
    images: Sequence[np.ndarray],
    ground_truths: Sequence[Detections],
    found: Mapping[str, Sequence[Detections]],
    class_names: Sequence[str],
    path: str | PathLike[str],
    titles: Sequence[str],
    min_score: float = 0.0,
) -> Path:
    """Save one PNG with a row for each image: the ground truth, then each network's detections.

    An object has one color in the whole row, and so has a detection that found it. False detections
    have colors of their own. Masks are drawn without their boxes, and captions only where there are
    several classes.

    Args:
        images: of any sizes; see `mrcnn.drawing.pages.detections_page`.
        ground_truths: one dict an image, as there.
        found: by the name of a network, its detections of each image, likewise.
        class_names: names by class id, the background's first.
        path: the PNG; missing folders are made.
        titles: one text an image.
        min_score: detections below are not drawn; their number is told.

    Raises:
        ValueError: there is no image or no network, or not one entry for each image.
    """
    counts = {"ground truths": len(ground_truths), "titles": len(titles)}
    counts |= {f"detections of {name}": len(of) for name, of in found.items()}
    if not images or not found or set(counts.values()) != {len(images)}:
        raise ValueError(
            f"A comparison needs at least one image and one network, and of each as many entries "
            f"as images; received {len(images)} images, {counts}."
        )
    aspects = [min(image.shape[0] / image.shape[1], pages.MAX_CELL_ASPECT) for image in images]
    heights = [CELL_INCHES * aspect for aspect in aspects]
    lines = _explanation(min_score)
    head = len(lines) * LINE_HEIGHT + 2 * MARGIN
    row_head = pages.TITLE_HEIGHT + LINE_HEIGHT  # the image's name; the network's, and its count
    width = (1 + len(found)) * (CELL_INCHES + MARGIN) + MARGIN
    height = head + sum(heights) + len(images) * (row_head + MARGIN)
    figure = Figure(figsize=(width, height), dpi=pages.DPI, facecolor="white")
    FigureCanvasAgg(figure)
    pages.write(figure, MARGIN, head / 2, "\n".join(lines))
    # Masks are what is compared. Of a single class, a caption would say nothing but the score.
    style = InstanceStyle(show_bbox=False, show_caption=len(class_names) > 2, alpha=0.3)
    top = head
    for i, image in enumerate(images):
        of_image = {name: each[i] for name, each in found.items()}
        name_place = top + row_head - 2.6 * LINE_HEIGHT
        pages.write_title(figure, MARGIN, name_place, titles[i], width)
        shown = _shown(ground_truths[i], of_image, min_score)
        truth = next(iter(shown.values()))
        cells: list[tuple[str, Instances, Shown | None]] = [("ground truth", truth.truth, None)]
        cells += [(name, one.found, one) for name, one in shown.items()]
        left = MARGIN
        for name, instances, one in cells:
            place = (left, height - top - row_head - heights[i], CELL_INCHES, heights[i])
            ax = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
            ax.set_anchor("N")  # the picture touches its title
            draw_instances(ax, image, instances, class_names, style)
            count = len(instances.class_ids)
            text = f"{name}\n{count} objects" if one is None else f"{name}\n{_counts(one)}"
            ax.set_title(text, fontsize=pages.FONT_SIZE, pad=3, parse_math=False)
            left += CELL_INCHES + MARGIN
        top += row_head + heights[i] + MARGIN
    return pages.save_figure(figure, path)


def _shown(
    truth: Detections, of_image: Mapping[str, Detections], min_score: float
) -> dict[str, Shown]:
    """What is shown of each network's detections, with the objects in the same colors."""
    most = max(len(found["class_ids"]) for found in of_image.values())
    colors: Sequence[Color] = distinct_colors(len(truth["class_ids"]) + most)
    return {name: Shown.of(truth, found, min_score, colors) for name, found in of_image.items()}


def _counts(one: Shown) -> str:
    """How many objects a network found, and how often it was wrong."""
    wrong = len(one.found.class_ids) - one.objects_found
    return f"{one.objects_found} of {len(one.truth.class_ids)} found, {wrong} false or double"


def _explanation(min_score: float) -> list[str]:
    scores = f" with a score of {min_score:g} or more" if min_score else ""
    return [
        f"The ground truth, and what each network detects{scores}.",
        "A detection has the color of the object that it found: of the same class, and their boxes "
        f"overlap by an IoU of {pages.SAME_COLOR_IOU:g} or more.",
    ]
