"""The pictures of this package's own commands: loss curves, and pages of detections.

The figures are built on matplotlib's object-oriented API and drawn by Agg, so they work
without a display and in any thread, and leave pyplot's state and backend alone.
`mrcnn.visualize` draws its instances with `draw_instances` too.

Shape letters: H, W image height and width, N instances, P points of an outline.
Boxes are pixel boxes (y1, x1, y2, x2), y2 and x2 exclusive. Colors are RGB triples in [0, 1].
"""

from __future__ import annotations

import colorsys
import csv
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb as to_rgb_color
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from skimage.measure import find_contours

from mrcnn.data.boxes import compute_overlaps

Color = Sequence[float]

DPI = 120
CELL_INCHES = 4.0  # width of one picture on a page of detections
# A picture taller than this times its width is drawn narrower instead.
MAX_CELL_ASPECT = 1.5
PANEL_INCHES = (4.2, 3.0)  # one panel of the loss curves
# No caption is written when there are more, or when together they would cover more than this
# share of the picture.
MAX_CAPTIONS = 50
MAX_CAPTION_SHARE = 0.2
# A caption is left out when others cover more than this share of it wherever it is put.
MAX_CAPTION_OVERLAP = 0.4
# Below this ratio of largest to smallest loss, a linear axis shows the curve better.
LOG_SCALE_RATIO = 10.0
# Below this ratio, a logarithmic axis has room for labels at 2 and 5 too.
MANY_DECADES = 1000.0
# A detection takes the color of the object that it overlaps at least this much (IoU).
SAME_COLOR_IOU = 0.5
POINTS_PER_INCH = 72
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


# --- Pixels ------------------------------------------------------------------------------


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
        image: [H, W, 1, 3 or 4], values in [0, 255]. One channel takes the color's mean;
            a fourth channel (alpha) stays as it is.
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
    if image.shape[2] == 1:
        paint = paint.mean(keepdims=True)
    channels = slice(0, len(paint))
    image[inside, channels] = (image[inside, channels] * (1 - alpha) + paint * alpha).astype(
        image.dtype
    )
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


# --- Instances ---------------------------------------------------------------------------


def class_name(class_id: int, class_names: Sequence[str]) -> str:
    """The name of a class; crowds (negative ids) and ids without a name are said to be so."""
    index = abs(int(class_id))
    name = str(class_names[index]) if index < len(class_names) else f"class {index}"
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


# --- Pages -------------------------------------------------------------------------------


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
    margin, title_height = 0.08, 0.24  # inches
    pair_width = 2 * CELL_INCHES + 3 * margin
    rows = [range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    aspects = [min(image.shape[0] / image.shape[1], MAX_CELL_ASPECT) for image in images]
    cell_heights = [CELL_INCHES * max(aspects[i] for i in row) for row in rows]
    height = sum(cell_heights) + len(rows) * (title_height + margin)
    figure = Figure(figsize=(columns * pair_width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    size = np.array([columns * pair_width, height] * 2)

    bottom = height
    for row, cell_height in zip(rows, cell_heights, strict=True):
        bottom -= cell_height + title_height
        for column, i in enumerate(row):
            truth, detection = ground_truths[i], detections[i]
            truth_colors, detection_colors = _pair_colors(truth, detection)
            name = "" if titles is None else f"{titles[i]} · "
            left = column * pair_width + margin
            for instances, colors, title in (
                (truth, truth_colors, f"{name}ground truth: {len(truth['class_ids'])}"),
                (detection, detection_colors, f"detections: {len(detection['class_ids'])}"),
            ):
                ax = figure.add_axes(np.array([left, bottom, CELL_INCHES, cell_height]) / size)
                ax.set_anchor("N")  # the picture hangs from its title
                ax.set_title(title, fontsize=8, pad=3)
                draw_instances(
                    ax,
                    images[i],
                    instances["rois"],
                    instances.get("masks"),
                    instances["class_ids"],
                    class_names,
                    instances.get("scores"),
                    colors=colors,
                    alpha=0.4,
                )
                left += CELL_INCHES + margin
        bottom -= margin
    return _save(figure, path)


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


def plot_losses(
    history: str | PathLike[str] | Mapping[str, Sequence[float]],
    path: str | PathLike[str],
    stages: Sequence[float] = (),
) -> Path:
    """Save a PNG of the loss curves: one panel for the total and one for each component.

    Args:
        history: the path of a CSV log with a header (`epoch,loss,val_loss,…`), or a dict of
            lists with such names. Every column whose name ends with `loss` is drawn, with
            `val_…` in its panel. Without the column `epoch`, epochs count from 1. When an epoch
            stands there twice (a resumed run), its last row counts. Gaps (empty, NaN) are allowed.
        path: the PNG; missing folders are made.
        stages: the last epoch of each training stage, drawn as vertical lines.

    Returns:
        `path`.

    Raises:
        ValueError: when there is no loss or no epoch to draw.
    """
    source = "The history" if isinstance(history, Mapping) else f"The log {history}"
    table = _clean_table(history if isinstance(history, Mapping) else _read_csv(history))
    names = {name.removeprefix("val_") for name in table if name.endswith("loss")}
    if not names or not len(table["epoch"]):
        raise ValueError(
            f"{source} must hold at least one epoch and a column that ends with 'loss'; "
            f"received {len(table['epoch'])} epochs of the columns {sorted(table)}."
        )
    # The total comes first, the components in the order of the table.
    order = [name.removeprefix("val_") for name in table]
    panels = sorted(names, key=lambda name: (name != "loss", order.index(name)))
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(
        figsize=(columns * PANEL_INCHES[0], rows * PANEL_INCHES[1]),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    for position, name in enumerate(panels):
        ax = figure.add_subplot(rows, columns, position + 1)
        _plot_loss(ax, name, table)
        for end in stages:
            ax.axvline(end, color="0.4", linestyle=":", linewidth=1)
    return _save(figure, path)


def _plot_loss(ax: Axes, name: str, table: Mapping[str, np.ndarray]) -> None:
    """Draw the training and validation curves of one loss."""
    drawn = []
    for column, label, color in ((name, "train", "tab:blue"), (f"val_{name}", "val", "tab:orange")):
        values = table.get(column, np.empty(0))
        known = np.isfinite(values)
        if known.any():
            drawn.append(values[known])
            marker = "o" if known.sum() <= 30 else None  # a single epoch is a dot, not a line
            label = f"{label} {values[known][-1]:.4g}"
            x = table["epoch"][known]
            ax.plot(x, values[known], color=color, label=label, marker=marker, ms=3, lw=1.4)
    ax.set_title("loss (total)" if name == "loss" else name, fontsize=10)
    ax.set_xlabel("epoch", fontsize=8)
    ax.tick_params(which="both", labelsize=8)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.grid(True, which="both", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    if drawn:
        lowest, highest = np.concatenate(drawn).min(), np.concatenate(drawn).max()
        if lowest > 0 and highest / lowest > LOG_SCALE_RATIO:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            if highest / lowest < MANY_DECADES:
                ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
                ax.yaxis.set_minor_formatter("{x:g}")
            else:
                ax.yaxis.set_minor_formatter(NullFormatter())
        ax.legend(fontsize=8, framealpha=0.8)
    else:
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", color="0.4")


def _read_csv(path: str | PathLike[str]) -> dict[str, list[str]]:
    """The columns of a CSV file with a header; cells of short rows are empty."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restval="")
        rows = list(reader)
    return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}


def _clean_table(table: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    """The columns `epoch` and `…loss` as floats, epochs ascending and once each."""
    columns = {
        name: np.array([_to_float(value) for value in values], dtype=np.float64)
        for name, values in table.items()
        if name == "epoch" or name.endswith("loss")
    }
    length = max(map(len, columns.values()), default=0)
    columns = {"epoch": np.arange(1.0, length + 1)} | columns
    for name, values in columns.items():
        if len(values) != length:
            raise ValueError(
                f"Every loss needs one value an epoch; '{name}' has {len(values)} values, another "
                f"column {length}. Put NaN where there is none."
            )
    # np.unique finds the first of equals; reversed, that is the last row of an epoch.
    rows = length - 1 - np.unique(columns["epoch"][::-1], return_index=True)[1]
    return {name: values[rows] for name, values in columns.items()}


def _to_float(value: Any) -> float:
    """A number of a log; NaN for an empty cell or Keras's "NA"."""
    return math.nan if value in ("", "NA", None) else float(value)


def _save(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write the figure as a PNG of exactly figsize × dpi pixels."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike savefig, print_png ignores the user's savefig settings, which may crop.
    FigureCanvasAgg(figure).print_png(path)
    return path
