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
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from mrcnn.data.boxes import compute_overlaps
from mrcnn.drawing.captions import Color
from mrcnn.drawing.instances import (
    Instances,
    InstanceStyle,
    class_name,
    distinct_colors,
    draw_instances,
)

DPI = 120
COLUMNS = 2  # pairs of pictures side by side, if there is more than one
CELL_INCHES = 4.0  # width of one picture on a page of detections
MARGIN = 0.08  # inches
LINE_HEIGHT = 0.17  # inches, of a line of text
TITLE_HEIGHT = 2 * LINE_HEIGHT + 0.08  # the image's name, and what each picture shows
FONT_SIZE = 8  # points
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
    titles: Sequence[str] | None = None,
    min_score: float = 0.0,
) -> Path:
    """Save one PNG that shows, image by image, the ground truth beside the detections.

    A detection has the color of the object of its class that it covers, if there is one. The
    page says so, and which detections it shows.

    Args:
        images: images of any sizes; see `to_rgb`.
        ground_truths: one dict an image: `rois` [N, 4] pixel boxes, `class_ids` [N], and
            optionally `masks` [H, W, N] bool and `scores` [N].
        detections: the same, as `MaskRCNN.detect` returns it.
        class_names: names by class id, the background's first.
        path: the PNG; missing folders are made.
        titles: one text an image, written over its pictures (a file name, an id). One that is
            too long loses its middle.
        min_score: detections below are not drawn; their number is told.

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
    columns = min(COLUMNS, len(images))
    rows = [range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    aspects = [min(image.shape[0] / image.shape[1], MAX_CELL_ASPECT) for image in images]
    cell_heights = [CELL_INCHES * max(aspects[i] for i in row) for row in rows]
    explanation = _explanation(min_score)
    head = len(explanation) * LINE_HEIGHT + 2 * MARGIN
    width = columns * PAIR_WIDTH
    height = head + sum(cell_heights) + len(rows) * (TITLE_HEIGHT + MARGIN)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    write(figure, MARGIN, head / 2, "\n".join(explanation))

    top = head
    for row, cell_height in zip(rows, cell_heights, strict=True):
        for column, i in enumerate(row):
            left = column * PAIR_WIDTH + MARGIN
            if titles is not None:
                write_title(figure, left, top + TITLE_HEIGHT - 1.6 * LINE_HEIGHT, titles[i])
            shown = Shown.of(ground_truths[i], detections[i], min_score)
            for instances, describe in (
                (shown.truth, shown.describe_truth),
                (shown.found, shown.describe_found),
            ):
                place = (left, height - top - TITLE_HEIGHT - cell_height, CELL_INCHES, cell_height)
                ax = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
                ax.set_anchor("N")  # the picture touches its title
                written = draw_instances(
                    ax, images[i], instances, class_names, InstanceStyle(alpha=0.4)
                )
                title = describe(class_names, written)
                ax.set_title(title, fontsize=FONT_SIZE, pad=3, parse_math=False)
                left += CELL_INCHES + MARGIN
        top += TITLE_HEIGHT + cell_height + MARGIN
    return save_figure(figure, path)


# --- Texts -------------------------------------------------------------------------------


def _explanation(min_score: float) -> list[str]:
    """What the page shows, in lines that fit one pair of pictures."""
    scores = f", those with a score of {min_score:g} or more" if min_score else ""
    return [
        f"Left: the ground truth. Right: the detections{scores}. Captions: class and score, or one "
        "of them where it is crowded.",
        "A detection has the color of the object that it found: of the same class, and their boxes "
        f"overlap by an IoU of {SAME_COLOR_IOU:g} or more.",
        "A color on the left only is a missed object; a color on the right only is a false "
        "detection.",
    ]


def write(figure: Figure, left: float, middle: float, text: str, **style: Any) -> Text:
    """Text at a place in inches from the upper left corner, centered on its height."""
    width, height = figure.get_size_inches()
    style = {"fontsize": FONT_SIZE, "va": "center", **style}
    return figure.text(left / width, 1 - middle / height, text, **style)


def write_title(
    figure: Figure, left: float, middle: float, title: str, width: float = PAIR_WIDTH
) -> None:
    """The name of an image in bold type, its middle left out where it is wider than there is room.

    Args:
        figure: to write on.
        left, middle: the place, see `write`.
        title: the name.
        width: of the room in inches.
    """
    text = write(figure, left, middle, title, fontweight="bold", parse_math=False)
    longest = len(title)
    while text.get_window_extent().width > (width - 2 * MARGIN) * figure.dpi and longest > 2:
        longest -= 2
        half = longest // 2
        text.set_text(f"{title[:half]}…{title[-half:]}")


# --- What is shown of an image -----------------------------------------------------------


class Shown(NamedTuple):
    """An image's objects and detections, in one color where a detection found an object."""

    truth: Instances
    found: Instances
    objects_found: int
    below: int  # detections of a lower score than those shown
    best_below: float  # the highest score of these

    @classmethod
    def of(
        cls,
        truth: Mapping[str, Any],
        detected: Mapping[str, Any],
        min_score: float,
        colors: Sequence[Color] | None = None,
    ) -> Shown:
        """What is shown of dicts as `MaskRCNN.detect` returns them.

        Args:
            truth, detected: of an image.
            min_score: detections below are left out.
            colors: those to choose from, at least one for each object and detection, the objects'
                first; None: as many as there are objects and detections.
        """
        scores = detected.get("scores")
        scores = np.ones(len(detected["class_ids"])) if scores is None else np.asarray(scores)
        keep = scores >= min_score
        shown = {
            name: np.asarray(values)[..., keep] if name == "masks" else np.asarray(values)[keep]
            for name, values in detected.items()
            if name in ("rois", "class_ids", "scores", "masks") and values is not None
        }
        truth_colors, found_colors = _pair_colors(truth, shown, colors)
        return cls(
            _colored(truth, truth_colors),
            _colored(shown, found_colors),
            objects_found=len(set(truth_colors) & set(found_colors)),
            below=int((~keep).sum()),
            best_below=float(scores[~keep].max(initial=0)),
        )

    def describe_truth(self, class_names: Sequence[str], _captions: int) -> str:
        count = len(self.truth.class_ids)
        text = f"ground truth: {_count(self.truth, class_names)}"
        return f"{text}, {self.objects_found} found" if count else text

    def describe_found(self, class_names: Sequence[str], captions: int) -> str:
        count = len(self.found.class_ids)
        text = f"detections: {_count(self.found, class_names)}"
        if captions < count:
            text += f", {captions} captioned"
        if self.below and not count:
            text += f"; {self.below} below the score, the best {self.best_below:.2f}"
        return text


def _count(instances: Instances, class_names: Sequence[str]) -> str:
    """How many instances there are, and their class if it is one."""
    names = {class_name(class_id, class_names) for class_id in instances.class_ids}
    count = len(instances.class_ids)
    return f"{count} × {names.pop()}" if len(names) == 1 else str(count)


def _colored(found: Mapping[str, Any], colors: Sequence[Color]) -> Instances:
    """Instances from a dict as `MaskRCNN.detect` returns it."""
    masks, scores = found.get("masks"), found.get("scores")
    return Instances(found["rois"], found["class_ids"], masks, scores, colors)


def _pair_colors(
    truth: Mapping[str, Any],
    detection: Mapping[str, Any],
    colors: Sequence[Color] | None = None,
) -> tuple[list[Color], list[Color]]:
    """Colors of the objects, and of the detections: those of the objects that they found."""
    objects = np.asarray(truth["rois"]).reshape(-1, 4)
    found = np.asarray(detection["rois"]).reshape(-1, 4)
    count = len(objects) + len(found)
    chosen = list(distinct_colors(count) if colors is None else colors)[:count]
    truth_colors, found_colors = chosen[: len(objects)], chosen[len(objects) :]
    if len(objects) and len(found):
        overlaps = compute_overlaps(found, objects)
        same_class = np.not_equal.outer(detection["class_ids"], truth["class_ids"])
        overlaps = np.where(same_class, 0, overlaps)
        for i, best in enumerate(overlaps.argmax(axis=1)):
            if overlaps[i, best] >= SAME_COLOR_IOU:
                found_colors[i] = truth_colors[best]
    return truth_colors, found_colors


def save_figure(figure: Figure, path: str | PathLike[str], software: str = "mrcnn") -> Path:
    """Write the figure as a PNG of exactly figsize × dpi pixels, made by `software`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike savefig, print_png ignores the user's savefig settings, which may crop.
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": software})
    return path
