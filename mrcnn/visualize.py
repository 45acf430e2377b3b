"""Matterport's drawing functions, for notebooks and scripts; `mrcnn.drawing` does the work.

A function that gets no axes makes its own figure with pyplot and shows it; one that gets axes
draws there and leaves showing to its caller, as the `plot_…` functions do. The backend is the
user's. Functions return the axes they drew on: `display_instances(…).figure.savefig("x.png")`.

Shape letters: H, W image height and width, N instances, G ground-truth instances, C classes.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive; masks are [H, W, N], bool or
0 and 1, or mini masks, which are expanded to their boxes; colors are RGB triples in [0, 1]
where nothing else is said.
"""

from __future__ import annotations

import colorsys
import itertools
import logging
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import lines, patches
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Polygon
from skimage.measure import find_contours

from mrcnn import utils
from mrcnn.data.masks import full_masks
from mrcnn.drawing import notebook, tables
from mrcnn.drawing.instances import (
    Instances,
    InstanceStyle,
    blend_mask,
    class_name,
    draw_instances,
    to_rgb,
)
from mrcnn.logger import logger
from mrcnn.matterport.module_names import IPython, cv2

__all__ = [
    "apply_mask",
    "display_differences",
    "display_images",
    "display_instances",
    "display_table",
    "display_top_masks",
    "display_weight_stats",
    "draw_box",
    "draw_boxes",
    "draw_rois",
    "plot_overlaps",
    "plot_precision_recall",
    "random_colors",
]
# Modules, and what is in them, that scripts take from here, as from Matterport's.
__all__ += ["IPython", "Polygon", "colorsys", "cv2", "find_contours", "itertools", "lines"]
__all__ += ["logging", "np", "os", "patches", "plt", "random", "sys", "utils"]

FIGURE_SIZE = (16, 16)  # inches, Matterport's
ROI_FIGURE_SIZE = (12, 12)
GRID_WIDTH = 14  # inches, of `display_images`
TITLE_HEIGHT = 0.5  # inches, room for two lines above a picture


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
    images = [np.asarray(image) for image in images]
    titles = [""] * len(images) if titles is None else titles
    if len(titles) != len(images):
        raise ValueError(
            f"Each image needs one title; received {len(images)} images, {len(titles)} titles."
        )
    size = (GRID_WIDTH, notebook.grid_height(images, cols, GRID_WIDTH))
    figure = plt.figure(figsize=size, layout="constrained")
    style = {"cmap": cmap, "norm": norm, "interpolation": interpolation}
    axes = notebook.draw_grid(figure, images, titles, cols, **style)
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


def display_top_masks(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 4,
) -> np.ndarray:
    """Show an image and, class by class, the masks [H, W, N] of the classes that cover most."""
    pictures, titles = [to_rgb(image)], [f"H x W = {image.shape[0]} x {image.shape[1]}"]
    for class_id, picture in notebook.largest_classes(mask, class_ids, limit):
        pictures.append(picture)
        titles.append(class_name(class_id, class_names))
    empty = limit + 1 - len(pictures)
    pictures += [np.zeros(image.shape[:2], np.int32)] * empty
    titles += ["-"] * empty
    return display_images(pictures, titles, cols=limit + 1, cmap="Blues_r")


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
    colors: Sequence[Any] | None = None,
    captions: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show an image with its instances: masks, outlines, boxes and captions.

    Both signatures are accepted, Matterport's and the Edge Agreement fork's: axes as `ax` or
    `figAx` (axes, or a pair of figure and axes), and colors and captions after `show_bbox` with
    or without `show_caption` between. Where captions would hide the picture they are shortened, and
    only those of the surest instances are written.

    Args:
        image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], integer or float.
        boxes: [N, 4] pixels; those without area are skipped.
        masks: [H, W, N], or None.
        class_ids: [N].
        class_names: names by class id; an id without a name is shown as a number.
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
        captions = colors if captions is None else captions
        show_caption, colors = True, show_caption
    boxes = np.asarray(boxes).reshape(-1, 4)
    if not len(boxes):
        logger.info("\n*** No instances to display *** \n")
    ax, created = _axes(figAx if ax is None else ax, figsize)
    instances = Instances(
        boxes,
        class_ids,
        _full_masks(masks, boxes, image),
        scores,
        colors=random_colors(len(boxes)) if colors is None else colors,
        captions=captions,
    )
    style = InstanceStyle(show_mask, show_bbox, bool(show_caption), font_size=notebook.CAPTION_SIZE)
    draw_instances(ax, image, instances, class_names, style)
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

    Shapes, padding and thresholds are those of `mrcnn.drawing.notebook.mark_differences`.
    """
    marked = notebook.mark_differences(
        Instances(gt_box, gt_class_id, _full_masks(gt_mask, gt_box, image)),
        Instances(pred_box, pred_class_id, _full_masks(pred_mask, pred_box, image), pred_score),
        iou_threshold,
        score_threshold,
    )
    return display_instances(
        image,
        marked.boxes,
        marked.masks,
        marked.class_ids,
        class_names,
        marked.scores,
        title or "Ground truth and detections\nGT: green, detections: red, score / IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=marked.colors,
        captions=marked.captions,
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
    class_ids, count = np.asarray(class_ids), len(rois)
    chosen = sorted(random.sample(range(count), min(limit, count)))
    rois, refined_rois, mask = (np.asarray(x)[chosen] for x in (rois, refined_rois, mask))
    ax, _ = _axes(None, ROI_FIGURE_SIZE)
    ax.set_title(f"Showing {len(chosen)} random RoIs of {count}" if count else "No RoIs")
    names = [class_name(c, class_names) if c > 0 else None for c in class_ids[chosen]]
    colors = random_colors(len(chosen))
    notebook.draw_roi_refinement(ax, image, rois, refined_rois, mask, names, colors)
    positives = int(np.count_nonzero(class_ids > 0))
    # Matterport printed two arguments: hence the two spaces.
    logger.info(f"Positive ROIs:  {positives}")
    logger.info(f"Negative ROIs:  {len(class_ids) - positives}")
    logger.info(f"Positive Ratio: {positives / max(len(class_ids), 1):.2f}")
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
    """Show boxes, their refined forms, masks and captions, as prominent as `visibilities` says.

    Args:
        image: see `display_instances`.
        boxes: [N, 4] pixels, dashed.
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
    ax, created = _axes(ax, ROI_FIGURE_SIZE)
    ax.set_title(title)
    styles = [
        notebook.box_style(visibility, color)
        for visibility, color in zip(visibilities, random_colors(count), strict=True)
    ]
    masks = _full_masks(masks, shown, image)
    notebook.draw_box_pairs(ax, image, boxes, refined_boxes, masks, captions, styles)
    if created:
        plt.show()
    return ax


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
    ax = plt.subplots(figsize=(12, 10), layout="constrained")[1]
    notebook.draw_overlaps(
        ax, gt_class_ids, pred_class_ids, pred_scores, overlaps, class_names, threshold
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
    if shell is not None:
        display(HTML(tables.html_table(table)))
    else:
        logger.info(tables.text_table(table))


def display_weight_stats(model: Any) -> None:
    """Show name, shape, least, greatest and standard deviation of every weight, and odd ones.

    Args:
        model: a `MaskRCNN` or a Keras model.
    """
    display_table(tables.weight_table(model))


def _full_masks(
    masks: np.ndarray | None, boxes: np.ndarray, image: np.ndarray
) -> np.ndarray | None:
    """Masks of the image's size, or None."""
    if masks is None:
        return None
    return full_masks(masks, np.reshape(boxes, (-1, 4)), np.shape(image))


def _axes(given: Any, figsize: tuple[float, float]) -> tuple[Axes, bool]:
    """The given axes (alone, or as a pair with their figure) or new ones; whether they are new."""
    created = given is None
    if created:
        # All of the figure but the title's place: photographs need no margins.
        ax = plt.figure(figsize=figsize).add_axes(
            (0, 0, 1, max(1 - TITLE_HEIGHT / figsize[1], 0.5))
        )
    else:
        ax = given[1] if isinstance(given, (tuple, list)) else given
    ax.set_axis_off()
    return ax, created
