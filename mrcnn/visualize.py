"""Matterport's drawing functions, for notebooks and scripts.

A function that gets no axes makes its own figure with pyplot and shows it; one that gets axes
draws there and leaves showing to its caller, as the `plot_…` functions do. The backend is the
user's. Functions return the axes they drew on: `display_instances(…).figure.savefig("x.png")`.

Shape letters: H, W image height and width, N instances, G ground-truth instances, C classes.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive; masks are [H, W, N] bool;
colors are RGB triples in [0, 1] where nothing else is said.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from mrcnn.data.masks import unmold_mask
from mrcnn.drawing import (
    blend_mask,
    class_name,
    draw_box_outline,
    draw_captions,
    draw_instances,
    mask_outlines,
    to_rgb,
)
from mrcnn.evaluation.matching import compute_matches
from mrcnn.figures import MAX_CELL_ASPECT

FIGURE_SIZE = (16, 16)  # inches, Matterport's
GRID_WIDTH = 14  # inches, of `display_images`
CAPTION_SIZE = 11  # points
GROUND_TRUTH_COLOR = (0.0, 1.0, 0.0)
PREDICTION_COLOR = (1.0, 0.0, 0.0)
GREY = (0.65, 0.65, 0.65)
DEAD_WEIGHT = "*** dead?"
OVERFLOW = "*** overflow?"
# A weight beyond this is suspicious in a network whose activations are normalized.
LARGE_WEIGHT = 1000


# --- Images and masks --------------------------------------------------------------------


def display_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    cols: int = 4,
    cmap: Any = None,
    norm: Normalize | None = None,
    interpolation: str | None = None,
) -> np.ndarray:
    """Show images in a grid.

    Args:
        images: each [H, W, 1, 3 or 4] (grey, RGB, RGBA), or [H, W]: values to be mapped
            by `cmap` and `norm`.
        titles: one for each image.
        cols: images in a row.
        cmap, norm, interpolation: passed to matplotlib's `imshow`.

    Returns:
        The axes, one for each image.
    """
    titles = [""] * len(images) if titles is None else titles
    if len(titles) != len(images):
        raise ValueError(
            f"Each image needs one title; received {len(images)} images, {len(titles)} titles."
        )
    rows = -(-len(images) // cols)
    width = GRID_WIDTH / cols
    aspect = max((image.shape[0] / image.shape[1] for image in images), default=1)
    height = rows * (width * min(aspect, MAX_CELL_ASPECT) + 0.3)  # 0.3 inches of title
    figure = plt.figure(figsize=(GRID_WIDTH, max(height, 1)), layout="constrained")
    axes = np.empty(len(images), dtype=object)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes[i] = figure.add_subplot(rows, cols, i + 1)
        axes[i].set_title(title, fontsize=9)
        axes[i].set_axis_off()
        is_map = image.ndim == 2 or (image.shape[2] == 1 and cmap is not None)
        picture = image.reshape(image.shape[:2]) if is_map else to_rgb(image)
        axes[i].imshow(picture, cmap=cmap, norm=norm, interpolation=interpolation)
    plt.show()
    return axes


def random_colors(N: int, bright: bool = True) -> list[tuple[float, float, float]]:
    """N colors of evenly spaced hues, shuffled by Python's `random`; darker unless `bright`."""
    colors = [colorsys.hsv_to_rgb(i / N, 1, 1.0 if bright else 0.7) for i in range(N)]
    random.shuffle(colors)
    return colors


def apply_mask(
    image: np.ndarray, mask: np.ndarray, color: Sequence[float], alpha: float = 0.5
) -> np.ndarray:
    """Mix a color into an image where the mask [H, W] is set, in place; returns the image.

    The image's values lie in [0, 255], whatever its dtype; the color's in [0, 1].
    """
    return blend_mask(image, mask, color, alpha)


def draw_box(image: np.ndarray, box: Sequence[int], color: Sequence[int]) -> np.ndarray:
    """Draw a frame, 2 pixels thick, inside a box, in place; returns the image.

    The color is in the image's own units (0 to 255 for uint8). What lies outside the image
    is cut off.
    """
    height, width = image.shape[:2]
    y1, y2 = np.clip((int(box[0]), int(box[2])), 0, height)
    x1, x2 = np.clip((int(box[1]), int(box[3])), 0, width)
    inside = image[y1:y2, x1:x2]
    inside[:2] = color
    inside[-2:] = color
    inside[:, :2] = color
    inside[:, -2:] = color
    return image


# --- Instances ---------------------------------------------------------------------------


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    title: str = "",
    figsize: tuple[float, float] = FIGURE_SIZE,
    figAx: Any = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    show_caption: Any = True,
    colors: Sequence[Sequence[float]] | None = None,
    captions: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show an image with its instances: masks, outlines, boxes and captions.

    Both of the ancestors' signatures are accepted: axes as `ax` or `figAx` (axes, or a pair of
    figure and axes), and colors and captions after `show_bbox` with or without `show_caption`
    between. Captions are left out where so many would hide the picture.

    Args:
        image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], integer or float.
        boxes: [N, 4] pixels; those without area are skipped.
        masks: [H, W, N], or None.
        class_ids: [N].
        class_names: names by class id.
        scores: [N], shown after the name.
        title: above the image.
        figsize: inches, when the figure is made here.
        figAx, ax: where to draw.
        show_mask, show_bbox, show_caption: what to draw.
        colors: N colors instead of random ones.
        captions: N texts instead of name and score.
    """
    if not isinstance(show_caption, (bool, np.bool_, int)):
        # Matterport's order: (…, show_bbox, colors, captions).
        show_caption, colors, captions = (
            True,
            show_caption,
            colors if captions is None else captions,
        )
    boxes = np.asarray(boxes).reshape(-1, 4)
    if not len(boxes):
        print("\n*** No instances to display *** \n")
    ax, created = _axes(figAx if ax is None else ax, figsize)
    draw_instances(
        ax,
        image,
        boxes,
        masks,
        class_ids,
        class_names,
        scores,
        colors=random_colors(len(boxes)) if colors is None else colors,
        captions=captions,
        show_mask=show_mask,
        show_bbox=show_bbox,
        show_caption=bool(show_caption),
        font_size=CAPTION_SIZE,
    )
    ax.set_title(title)
    if created:
        plt.show()
    return ax


def display_differences(
    image: np.ndarray,
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ax: Axes | None = None,
    show_mask: bool = True,
    show_box: bool = True,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
) -> Axes:
    """Show ground truth (green) and predictions (red), captioned "score / IoU", in one image.

    The IoU, of masks, is that of the matched object, or else the largest with any object.
    Shapes: boxes [·, 4], class ids and scores [·], masks [H, W, ·]; boxes of zeros are padding.
    The thresholds are those of `mrcnn.evaluation.matching.compute_matches`.
    """
    # compute_matches drops padding and answers in the order of falling scores: do so before.
    real = np.flatnonzero(np.any(gt_box, axis=1))
    gt_box, gt_class_id, gt_mask = gt_box[real], gt_class_id[real], gt_mask[..., real]
    order = np.flatnonzero(np.any(pred_box, axis=1))
    order = order[np.argsort(-pred_score[order], kind="stable")]
    pred_box, pred_class_id = pred_box[order], pred_class_id[order]
    pred_score, pred_mask = pred_score[order], pred_mask[..., order]
    _, pred_match, overlaps = compute_matches(
        gt_box,
        gt_class_id,
        gt_mask,
        pred_box,
        pred_class_id,
        -np.arange(len(order)),  # ranks for scores, so that equal scores cannot change places
        pred_mask,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
    )
    captions = [""] * len(gt_box)
    for score, match, row in zip(pred_score, pred_match, overlaps, strict=True):
        iou = row[int(match)] if match > -1 else row.max(initial=0)
        captions.append(f"{score:.2f} / {iou:.2f}")
    return display_instances(
        image,
        np.concatenate([gt_box, pred_box]),
        np.concatenate([gt_mask, pred_mask], axis=-1),
        np.concatenate([gt_class_id, pred_class_id]),
        class_names,
        np.concatenate([np.zeros(len(gt_box)), pred_score]),
        title=title or "Ground truth and detections\nGT: green, detections: red, score / IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=[GROUND_TRUTH_COLOR] * len(gt_box) + [PREDICTION_COLOR] * len(pred_box),
        captions=captions,
    )


def draw_rois(
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 10,
) -> Axes:
    """Show regions of interest before (dotted) and after refinement, and print their counts.

    Args:
        image: see `display_instances`.
        rois, refined_rois: [N, 4] pixels.
        mask: [N, h, w], small masks of the positive RoIs, values in [0, 1], spanning `rois`.
        class_ids: [N]; 0 is a negative RoI, drawn in grey.
        class_names: names by class id.
        limit: at most so many RoIs, drawn at random.
    """
    class_ids = np.asarray(class_ids)
    chosen = range(len(rois))
    if len(rois) > limit:
        chosen = sorted(random.sample(chosen, limit))
    picture, captions = to_rgb(image), []
    ax, _ = _axes(None, (12, 12))
    ax.set_title(f"Showing {len(chosen)} random RoIs of {len(rois)}" if len(rois) else "No RoIs")
    for i, color in zip(chosen, random_colors(len(chosen)), strict=True):
        positive = class_ids[i] > 0
        color = color if positive else GREY
        draw_box_outline(ax, rois[i][:4], color, 2, linestyle=":", alpha=0.9)
        if not positive:
            continue
        refined = refined_rois[i][:4]
        draw_box_outline(ax, refined, color, line_width=2)
        # The way that refinement moved the corner.
        ax.add_line(Line2D([rois[i][1], refined[1]], [rois[i][0], refined[0]], color=color))
        captions.append((class_name(class_ids[i], class_names), refined, color))
        full = unmold_mask(mask[i], np.asarray(rois[i][:4]).astype(np.int32), picture.shape)
        blend_mask(picture, full, color)
    ax.imshow(picture)
    draw_captions(ax, captions, CAPTION_SIZE)
    positives = int(np.count_nonzero(class_ids > 0))
    print("Positive ROIs: ", positives)
    print("Negative ROIs: ", len(class_ids) - positives)
    print(f"Positive Ratio: {positives / max(len(class_ids), 1):.2f}")
    plt.show()
    return ax


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray | None = None,
    refined_boxes: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    visibilities: Sequence[int] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Show boxes, their refined forms, masks and captions, each as prominent as wished.

    Args:
        image: see `display_instances`.
        boxes: [N, 4] pixels, dashed when there are refined ones too.
        refined_boxes: [N, 4] pixels, solid; a line joins the corners of a pair.
        masks: [H, W, N].
        captions: N texts, at the refined box or else the box.
        visibilities: N of 0 (grey, faint), 1 (colored) and 2 (colored, bold); 1 by default.
        title: above the image.
        ax: where to draw.
    """
    shown = refined_boxes if boxes is None else boxes
    if shown is None:
        raise ValueError("draw_boxes needs `boxes`, `refined_boxes` or both; received neither.")
    count = len(shown)
    visibilities = [1] * count if visibilities is None else visibilities
    styles = {0: (GREY, ":", 0.8), 1: (None, "--", 0.9), 2: (None, "-", 1.0)}
    picture, texts = to_rgb(image), []
    ax, created = _axes(ax, (12, 12))
    ax.set_title(title)
    for i, random_color in enumerate(random_colors(count)):
        grey, line_style, opacity = styles[int(visibilities[i])]
        color = grey or random_color
        box = None if boxes is None or not np.any(boxes[i]) else boxes[i]
        refined = None if refined_boxes is None else refined_boxes[i]
        width = 2.0 if visibilities[i] == 2 else 1.2
        if box is not None:
            draw_box_outline(ax, box, color, width, linestyle=line_style, alpha=opacity)
        if refined is not None and visibilities[i] > 0:
            draw_box_outline(ax, refined, color, 2.0)
            if box is not None:
                ax.add_line(Line2D([box[1], refined[1]], [box[0], refined[0]], color=color))
        anchor = box if refined is None else refined
        if captions is not None and captions[i] and anchor is not None:
            texts.append((captions[i], anchor, color))
        if masks is not None and visibilities[i] > 0:
            blend_mask(picture, masks[:, :, i], color)
            for outline in mask_outlines(masks[:, :, i]):
                ax.add_line(Line2D(*outline.T, color=color, linewidth=1))
    ax.imshow(picture)
    draw_captions(ax, texts, CAPTION_SIZE)
    if created:
        plt.show()
    return ax


def display_top_masks(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 4,
) -> np.ndarray:
    """Show an image and, class by class, the masks [H, W, N] of the classes that cover most."""
    class_ids = np.asarray(class_ids)
    areas = {
        class_id: np.count_nonzero(mask[:, :, class_ids == class_id])
        for class_id in np.unique(class_ids)
    }
    top = sorted(areas, key=lambda class_id: -areas[class_id])[:limit]
    pictures, titles = [to_rgb(image)], [f"H x W = {image.shape[0]} x {image.shape[1]}"]
    for slot in range(limit):
        merged, name = np.zeros(image.shape[:2], dtype=np.int32), "-"
        if slot < len(top):
            name = class_name(top[slot], class_names)
            for i in np.flatnonzero(class_ids == top[slot]):
                merged[mask[:, :, i] > 0.5] = i + 1  # a shade for each instance
        pictures.append(merged)
        titles.append(name)
    return display_images(pictures, titles, cols=limit + 1, cmap="Blues_r")


# --- Curves and tables -------------------------------------------------------------------


def plot_precision_recall(AP: float, precisions: np.ndarray, recalls: np.ndarray) -> Axes:
    """Plot precision over recall, both [K] in [0, 1], with the average precision as title."""
    ax = plt.subplots()[1]
    ax.set_title(f"Precision-Recall Curve. AP@50 = {AP:.3f}")
    ax.set(xlim=(0, 1.1), ylim=(0, 1.1), xlabel="recall", ylabel="precision")
    ax.plot(recalls, precisions)
    return ax


def plot_overlaps(
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float = 0.5,
) -> Axes:
    """Plot the IoU of every prediction with every ground-truth object as a matrix.

    Args:
        gt_class_ids: [G]; zeros (padding) are left out.
        pred_class_ids: [N]; zeros are left out.
        pred_scores: [N].
        overlaps: [N, G], IoU.
        class_names: names by class id.
        threshold: cells above it are marked "match" or, with another class, "wrong".
    """
    gt_class_ids = np.asarray(gt_class_ids)[np.flatnonzero(gt_class_ids)]
    pred_class_ids = np.asarray(pred_class_ids)[np.flatnonzero(pred_class_ids)]
    overlaps = np.asarray(overlaps)[: len(pred_class_ids), : len(gt_class_ids)]
    ax = plt.subplots(figsize=(12, 10), layout="constrained")[1]
    if overlaps.size:
        ax.imshow(overlaps, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    names = [class_name(class_id, class_names) for class_id in pred_class_ids]
    ax.set_yticks(
        range(len(names)),
        [f"{name} ({score:.2f})" for name, score in zip(names, pred_scores, strict=False)],
    )
    names = [class_name(class_id, class_names) for class_id in gt_class_ids]
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set(xlabel="Ground Truth", ylabel="Predictions")
    # Digits of 60 x 60 cells could not be read.
    is_readable = overlaps.shape[0] <= 40 and overlaps.shape[1] <= 25
    for (row, column), iou in np.ndenumerate(overlaps):
        if is_readable:
            verdict = ""
            if iou > threshold:
                same = gt_class_ids[column] == pred_class_ids[row]
                verdict = "match" if same else "wrong"
            ax.text(
                column,
                row,
                f"{iou:.3f}\n{verdict}" if verdict else f"{iou:.3f}",
                horizontalalignment="center",
                verticalalignment="center",
                fontsize=9,
                color="white" if iou > 0.5 else "black",
            )
    return ax


def display_table(table: Sequence[Sequence[Any]]) -> None:
    """Show rows of cells: as HTML in a notebook (cells may hold tags), else as aligned text."""
    shell = None
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display

        shell = get_ipython()
    except ImportError:
        pass  # IPython is optional: text does as well
    cells = [[str(cell) for cell in row] for row in table]
    if shell is not None:
        rows = ("".join(f"<td>{cell}</td>" for cell in row) for row in cells)
        display(HTML("<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"))
        return
    widths = [
        max(len(row[column]) for row in cells if column < len(row))
        for column in range(max(map(len, cells), default=0))
    ]
    for row in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        )


def display_weight_stats(model: Any) -> None:
    """Show name, shape, least, greatest and standard deviation of every weight, and odd ones.

    Args:
        model: a `MaskRCNN` (its trainable layers are shown) or a Keras model.
    """
    layers = (
        model.get_trainable_layers() if hasattr(model, "get_trainable_layers") else model.layers
    )
    table = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in layers:
        for weight, values in zip(layer.weights, layer.get_weights(), strict=True):
            name = getattr(weight, "path", weight.name)
            low, high = values.min(), values.max()
            # A bias may well be constant; a kernel that is has learned nothing.
            if low == high and values.ndim > 1:
                name += f" {DEAD_WEIGHT}"
            if max(abs(low), abs(high)) > LARGE_WEIGHT or not np.isfinite(values).all():
                name += f" {OVERFLOW}"
            row = [name, str(tuple(values.shape)), f"{low:+9.4f}", f"{high:+10.4f}"]
            table.append([*row, f"{values.std():+9.4f}"])
    display_table(table)


def _axes(given: Any, figsize: tuple[float, float]) -> tuple[Axes, bool]:
    """The given axes (alone, or as a pair with their figure) or new ones; whether they are new."""
    created = given is None
    if created:
        ax = plt.subplots(figsize=figsize)[1]
    else:
        ax = given[1] if isinstance(given, (tuple, list)) else given
    ax.set_axis_off()
    return ax, created
