"""What `visualize` shows besides instances: image grids, RoIs, differences, overlaps.

Nothing here opens a window or touches pyplot: the functions draw on given axes or figures.

Shape letters: H, W image height and width, N instances or RoIs, G ground-truth instances,
h, w the small mask of an RoI. Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive.
Colors are RGB triples in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mrcnn.data.masks import unmold_mask
from mrcnn.drawing.captions import Caption, Color, draw_captions
from mrcnn.drawing.instances import (
    Instances,
    blend_mask,
    class_name,
    draw_box_outline,
    mask_outlines,
    to_rgb,
)
from mrcnn.drawing.pages import MAX_CELL_ASPECT
from mrcnn.evaluation.average_precision import compute_matches

CAPTION_SIZE = 11  # points
TITLE_INCHES = 0.3
GROUND_TRUTH_COLOR = (0.0, 1.0, 0.0)
PREDICTION_COLOR = (1.0, 0.0, 0.0)
GREY = (0.65, 0.65, 0.65)
# The numbers of a larger matrix of overlaps (rows, columns) could not be read.
MAX_NUMBERED_CELLS = (40, 25)


# --- Images ------------------------------------------------------------------------------


def grid_height(images: Sequence[np.ndarray], columns: int, width: float) -> float:
    """The height in inches of a grid of images that is `width` inches wide."""
    aspect = max((image.shape[0] / image.shape[1] for image in images), default=1.0)
    rows = -(-len(images) // columns)
    return max(rows * (width / columns * min(aspect, MAX_CELL_ASPECT) + TITLE_INCHES), 1)


def draw_grid(
    figure: Figure,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    columns: int,
    **style: Any,
) -> np.ndarray:
    """Draw images row by row; returns their axes.

    Args:
        figure: where to draw.
        images: each [H, W, 1, 3 or 4] (grey, RGB, RGBA), or [H, W]: values for a color map.
        titles: one for each image.
        columns: images in a row.
        style: `cmap`, `norm` and `interpolation` of matplotlib's `imshow`.
    """
    rows = -(-len(images) // columns)
    axes = np.empty(len(images), dtype=object)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes[i] = figure.add_subplot(rows, columns, i + 1)
        axes[i].set_title(title, fontsize=9)
        axes[i].set_axis_off()
        is_map = image.ndim == 2 or (image.shape[2] == 1 and style.get("cmap") is not None)
        axes[i].imshow(image.reshape(image.shape[:2]) if is_map else to_rgb(image), **style)
    return axes


def largest_classes(
    masks: np.ndarray, class_ids: np.ndarray, limit: int
) -> list[tuple[int, np.ndarray]]:
    """The classes that cover most pixels, each with one picture of all of its masks.

    Args:
        masks: [H, W, N], nonzero inside.
        class_ids: [N].
        limit: at most so many classes.

    Returns:
        (class id, int32 [H, W]) of each; 0 is outside, i + 1 inside of mask i.
    """
    inside, class_ids = np.asarray(masks) > 0.5, np.asarray(class_ids)
    areas = {c: np.count_nonzero(inside[:, :, class_ids == c]) for c in np.unique(class_ids)}
    merged = []
    for chosen in sorted(areas, key=lambda c: -areas[c])[:limit]:
        picture = np.zeros(inside.shape[:2], dtype=np.int32)
        for i in np.flatnonzero(class_ids == chosen):
            picture[inside[:, :, i]] = i + 1
        merged.append((int(chosen), picture))
    return merged


# --- Boxes -------------------------------------------------------------------------------


def draw_roi_refinement(
    ax: Axes,
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    masks: np.ndarray,
    names: Sequence[str | None],
    colors: Sequence[Color],
) -> None:
    """Draw RoIs (dotted), their refined boxes (solid) and their masks; negative RoIs in grey.

    Args:
        ax: where to draw.
        image: see `to_rgb`.
        rois, refined_rois: [N, 4 or more] pixels.
        masks: [N, h, w], values in [0, 1], spanning `rois`.
        names: N, of their classes; None for a negative RoI.
        colors: N.
    """
    picture, captions = to_rgb(image), []
    height, width = picture.shape[:2]
    for i, (name, color) in enumerate(zip(names, colors, strict=True)):
        roi, refined = rois[i][:4], refined_rois[i][:4]
        if name is None:
            draw_box_outline(ax, roi, GREY, 2, linestyle=":", alpha=0.9)
            continue
        draw_box_outline(ax, roi, color, 2, linestyle=":", alpha=0.9)
        _draw_moved_box(ax, roi, refined, color)
        captions.append(Caption(name, refined, color))
        inside = np.clip(roi, 0, (height, width, height, width)).astype(np.int32)
        blend_mask(picture, unmold_mask(masks[i], inside, picture.shape), color)
    ax.imshow(picture)
    draw_captions(ax, captions, CAPTION_SIZE)


class BoxStyle(NamedTuple):
    """How one of `draw_box_pairs` looks."""

    color: Color
    line: str = "--"  # as matplotlib writes line styles
    opacity: float = 0.9
    width: float = 1.2  # points
    is_faint: bool = False  # neither its refined form nor its mask is drawn


def box_style(visibility: int, color: Color) -> BoxStyle:
    """The style of a visibility: 0 (grey and faint), 1 (colored), 2 (colored and bold).

    Raises:
        ValueError: it is another.
    """
    styles = {
        0: BoxStyle(GREY, ":", 0.8, is_faint=True),
        1: BoxStyle(color),
        2: BoxStyle(color, "-", 1.0, 2.0),
    }
    if int(visibility) not in styles:
        raise ValueError(f"visibilities: expected 0, 1 or 2 each; received {visibility!r}.")
    return styles[int(visibility)]


def draw_box_pairs(
    ax: Axes,
    image: np.ndarray,
    boxes: np.ndarray | None,
    refined_boxes: np.ndarray | None,
    masks: np.ndarray | None,
    captions: Sequence[str] | None,
    styles: Sequence[BoxStyle],
) -> None:
    """Draw boxes, their refined forms, masks and captions, each in a style of its own.

    Args:
        ax: where to draw.
        image: see `to_rgb`.
        boxes, refined_boxes: [N, 4] pixels, or None; boxes of zeros are padding.
        masks: [H, W, N], or None.
        captions: N texts, at the refined box or else the box; or None.
        styles: N.
    """
    picture, texts = to_rgb(image), []
    for i, style in enumerate(styles):
        color = style.color
        box = None if boxes is None or not np.any(boxes[i]) else boxes[i]
        refined = None if refined_boxes is None else refined_boxes[i]
        if box is not None:
            draw_box_outline(ax, box, color, style.width, linestyle=style.line, alpha=style.opacity)
        if refined is not None and not style.is_faint:
            _draw_moved_box(ax, box, refined, color)
        anchor = box if refined is None else refined
        if captions is not None and captions[i] and anchor is not None:
            texts.append(Caption(captions[i], anchor, color))
        if masks is not None and not style.is_faint:
            blend_mask(picture, masks[:, :, i], color)
            for outline in mask_outlines(masks[:, :, i]):
                ax.add_line(Line2D(*outline.T, color=color, linewidth=1))
    ax.imshow(picture)
    draw_captions(ax, texts, CAPTION_SIZE)


def _draw_moved_box(
    ax: Axes, box: Sequence[float] | None, refined: Sequence[float], color: Color
) -> None:
    """Draw a refined box, and the way that its corner moved."""
    draw_box_outline(ax, refined, color, line_width=2.0)
    if box is not None:
        ax.add_line(Line2D([box[1], refined[1]], [box[0], refined[0]], color=color))


# --- Ground truth and predictions --------------------------------------------------------


def mark_differences(
    truth: Instances, predicted: Instances, iou_threshold: float, score_threshold: float
) -> Instances:
    """Ground truth and predictions as one set of instances, colored and captioned "score / IoU".

    The IoU, of masks, is that of the matched object, or else the largest with any object.

    Args:
        truth: objects with masks; boxes of zeros are padding.
        predicted: predictions with masks and scores; boxes of zeros are padding.
        iou_threshold, score_threshold: those of `compute_matches`.

    Returns:
        The ground truth first, then the predictions by falling score.

    Raises:
        ValueError: masks or scores are missing.
    """
    if truth.masks is None or predicted.masks is None or predicted.scores is None:
        raise ValueError("Differences: expected masks of both sets and scores of the predictions.")
    # compute_matches drops padding and answers in the order of falling scores: do so before.
    gt_boxes, boxes = np.reshape(truth.boxes, (-1, 4)), np.reshape(predicted.boxes, (-1, 4))
    real = np.flatnonzero(np.any(gt_boxes, axis=1))
    order = np.flatnonzero(np.any(boxes, axis=1))
    order = order[np.argsort(-np.asarray(predicted.scores)[order], kind="stable")]
    gt_boxes, boxes = gt_boxes[real], boxes[order]
    gt_class_ids = np.asarray(truth.class_ids)[real]
    class_ids = np.asarray(predicted.class_ids)[order]
    gt_masks = np.asarray(truth.masks)[..., real]
    masks = np.asarray(predicted.masks)[..., order]
    scores = np.asarray(predicted.scores)[order]
    _, matches, overlaps = compute_matches(
        gt_boxes,
        gt_class_ids,
        gt_masks,
        boxes,
        class_ids,
        -np.arange(len(order)),  # ranks for scores, so that equal scores cannot change places
        masks,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )
    captions = [""] * len(gt_boxes)
    for score, match, row in zip(scores, matches, overlaps, strict=True):
        iou = row[int(match)] if match > -1 else row.max(initial=0)
        captions.append(f"{score:.2f} / {iou:.2f}")
    return Instances(
        boxes=np.concatenate([gt_boxes, boxes]),
        class_ids=np.concatenate([gt_class_ids, class_ids]),
        masks=np.concatenate([gt_masks, masks], axis=-1),
        scores=np.concatenate([np.zeros(len(gt_boxes)), scores]),
        colors=[GROUND_TRUTH_COLOR] * len(gt_boxes) + [PREDICTION_COLOR] * len(boxes),
        captions=captions,
    )


def draw_overlaps(
    ax: Axes,
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float,
) -> None:
    """Draw the IoU of every prediction (rows) with every ground-truth object (columns).

    Args:
        ax: where to draw.
        gt_class_ids, pred_class_ids: [G] and [N]; zeros at the end (padding) are left out.
        pred_scores: [N].
        overlaps: [N, G], IoU.
        class_names: names by class id.
        threshold: cells above it are marked "match" or, with another class, "wrong".
    """
    true = np.asarray(gt_class_ids)[np.flatnonzero(gt_class_ids)]
    predicted = np.asarray(pred_class_ids)[np.flatnonzero(pred_class_ids)]
    overlaps = np.asarray(overlaps)[: len(predicted), : len(true)]
    if overlaps.size:
        ax.imshow(overlaps, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    names = [class_name(class_id, class_names) for class_id in predicted]
    labels = [f"{name} ({score:.2f})" for name, score in zip(names, pred_scores, strict=False)]
    ax.set_yticks(range(len(labels)), labels)
    names = [class_name(class_id, class_names) for class_id in true]
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set(xlabel="Ground Truth", ylabel="Predictions")
    if np.any(np.greater(overlaps.shape, MAX_NUMBERED_CELLS)):
        return
    for (row, column), iou in np.ndenumerate(overlaps):
        text = f"{iou:.3f}"
        if iou > threshold:
            text += "\nmatch" if true[column] == predicted[row] else "\nwrong"
        ax.text(
            column,
            row,
            text,
            horizontalalignment="center",
            verticalalignment="center",
            fontsize=9,
            color="white" if iou > 0.5 else "black",
        )
