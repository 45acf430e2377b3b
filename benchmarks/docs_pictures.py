"""The pictures of docs/how_it_works.md and docs/your_data.md, from a run that `mrcnn train` left.

    python -m benchmarks.docs_pictures fruits_nuts logs/fruits_nuts… --output docs/pictures

Nothing is drawn by hand: outlines come from the annotations, anchors, feature maps, proposals,
boxes and masks from the network of the run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import mrcnn
from mrcnn.data.boxes import compute_overlaps
from mrcnn.datasets.coco import CocoDataset
from mrcnn.drawing.instances import draw_mask_outline
from mrcnn.logger import logger

POSITIVE_IOU = 0.7  # RPN_POSITIVE_IOU
SHOWN_PROPOSALS = 150
COLORS = ("#ff5722", "#00bcd4", "#ffeb3b", "#e91e63", "#8bc34a", "#9c27b0", "#03a9f4", "#ff9800")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw all pictures. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("--output", default="docs/pictures")
    parser.add_argument("--image", type=int, default=3, help="of the validation set")
    args = parser.parse_args(arguments)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)

    dataset = CocoDataset()
    dataset.load_coco(args.dataset, "val", year="")
    dataset.prepare()
    photograph = dataset.load_image(args.image)
    model = mrcnn.load(args.run)
    seen = look_inside(model, photograph)
    truth = truth_of(dataset, args.image, seen)

    save(labelling(photograph, dataset, args.image), output / "your_data_outlines.png")
    save(pyramid(seen), output / "how_pyramid.png")
    save(anchors(seen, truth), output / "how_anchors.png")
    save(proposals(seen), output / "how_proposals.png")
    save(heads(model, photograph), output / "how_masks.png")
    return 0


def look_inside(model: Any, photograph: np.ndarray) -> dict[str, Any]:
    """What the network computes of a photograph, boxes in pixels of the image that it sees."""
    network = model.keras_model
    names = {f"P{level}": f"fpn_p{level}" for level in range(2, 6)}
    names["scores"], names["rois"] = "rpn_class", "ROI"
    outputs = [(name, network.get_layer(layer).output) for name, layer in names.items()]
    outputs.append(
        ("refined", model.ancestor(network.get_layer("ROI").output, "ROI/refined_anchors_clipped"))
    )
    found = model.run_graph([photograph], outputs)
    molded, _, windows = model.mold_inputs([photograph])
    image = molded[0] + model.config.MEAN_PIXEL
    side = image.shape[0] - 1
    model.get_anchors(image.shape)
    return {
        "image": image.clip(0, 255).astype(np.uint8),
        "window": windows[0],
        "anchors": model.anchors,
        "maps": {name: found[name][0] for name in ("P2", "P3", "P4", "P5")},
        "scores": found["scores"][0][:, 1],
        "refined": found["refined"][0] * side,
        "rois": found["rois"][0] * side,
    }


def truth_of(dataset: CocoDataset, image_id: int, seen: dict[str, Any]) -> np.ndarray:
    """The boxes of the objects in pixels of the image that the network sees, [N, 4]."""
    info = dataset.image_info[image_id]
    top, left, bottom, right = seen["window"]
    scale = (bottom - top) / info["height"], (right - left) / info["width"]
    x, y, width, height = np.array([entry["bbox"] for entry in info["annotations"]]).T
    boxes = np.stack([y, x, y + height, x + width], axis=1)
    return boxes * np.tile(scale, 2) + [top, left, top, left]


def labelling(photograph: np.ndarray, dataset: CocoDataset, image_id: int) -> Figure:
    """The photograph, and the points and outlines that somebody set."""
    figure, axes = panels(2, 5.2, 4.2)
    show(axes[0], photograph, "a photograph")
    show(axes[1], photograph, "its outlines: points around each object, and a name")
    for number, entry in enumerate(dataset.image_info[image_id]["annotations"]):
        color = COLORS[number % len(COLORS)]
        for polygon in entry["segmentation"]:
            x, y = np.array(polygon).reshape(-1, 2).T
            axes[1].fill(x, y, color=color, alpha=0.25)
            axes[1].plot([*x, x[0]], [*y, y[0]], "o-", color=color, markersize=3, linewidth=1.2)
        left, top, *_ = entry["bbox"]
        name = dataset.class_names[dataset.map_source_class_id(f"coco.{entry['category_id']}")]
        axes[1].text(
            left,
            top - 6,
            name,
            fontsize=8,
            color="black",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1},
        )
    return figure


def pyramid(seen: dict[str, Any]) -> Figure:
    """The image, and how strongly the levels of the pyramid answer to it."""
    figure, axes = panels(5, 2.7, 3.1)
    show(axes[0], seen["image"], "the image, 320 × 320")
    for ax, (name, values) in zip(axes[1:], seen["maps"].items(), strict=True):
        strength = np.linalg.norm(values, axis=-1)
        show(ax, strength, f"{name}: {values.shape[0]} × {values.shape[1]} cells", cmap="magma")
    return figure


def anchors(seen: dict[str, Any], truth: np.ndarray) -> Figure:
    """The anchors of one cell of each level, and those that belong to an object."""
    figure, axes = panels(2, 4.6, 4.9)
    show(axes[0], seen["image"], "the anchors of one cell of each level")
    centers = (seen["anchors"][:, :2] + seen["anchors"][:, 2:]) / 2
    sides = np.sqrt(np.prod(seen["anchors"][:, 2:] - seen["anchors"][:, :2], axis=1)).round()
    middle = np.array(seen["image"].shape[:2]) / 2
    for number, side in enumerate(sorted(set(sides))):
        level = np.flatnonzero(sides == side)
        nearest = level[np.argsort(np.linalg.norm(centers[level] - middle, axis=1))[:3]]
        for box in seen["anchors"][nearest]:
            outline(axes[0], box, COLORS[number % len(COLORS)], 1.5)
    overlaps = compute_overlaps(seen["anchors"], truth)
    positive = (overlaps.max(axis=1) >= POSITIVE_IOU) | (overlaps == overlaps.max(axis=0)).any(1)
    show(axes[1], seen["image"], f"{positive.sum()} anchors that belong to an object")
    for box, best in zip(seen["anchors"][positive], overlaps[positive].argmax(axis=1), strict=True):
        outline(axes[1], box, COLORS[best % len(COLORS)], 0.8)
    return figure


def proposals(seen: dict[str, Any]) -> Figure:
    """The surest anchors as the RPN moves them, and what suppression leaves of them."""
    figure, axes = panels(2, 4.6, 4.9)
    kept = seen["rois"][np.any(seen["rois"] != 0, axis=1)]
    refined = seen["refined"][:SHOWN_PROPOSALS]
    show(axes[0], seen["image"], f"the {len(refined)} surest anchors, moved by the RPN")
    for box in refined:
        outline(axes[0], box, "#00e5ff", 0.6)
    few = kept[:40]
    show(
        axes[1], seen["image"], f"after suppression: the first {len(few)} of {len(kept)} proposals"
    )
    for box in few:
        outline(axes[1], box, "#ffea00", 0.9)
    return figure


def heads(model: Any, photograph: np.ndarray, count: int = 4) -> Figure:
    """Detections: the part of the photograph, the small mask, and the mask in its place."""
    [compact] = model.detector.detect_compact([photograph])
    [whole] = model.detect([photograph])
    figure = Figure(figsize=(12, 4.4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, count + 1, gridspec_kw={"width_ratios": [*[1] * count, 3.2]})
    for k, found in enumerate(of_all_classes(whole["class_ids"])[:count]):
        y1, x1, y2, x2 = whole["rois"][found]
        name = model.class_names[whole["class_ids"][found]]
        show(
            axes[0, k],
            photograph[y1:y2, x1:x2],
            f"{name} {whole['scores'][found]:.2f}",
            aspect="auto",
        )
        show(axes[1, k], compact["box_masks"][found], "28 × 28", cmap="magma", aspect="auto")
    grid = axes[0, -1].get_gridspec()
    for ax in axes[:, -1]:
        ax.remove()
    last = figure.add_subplot(grid[:, -1])
    show(last, photograph, "masks in their places")
    for k, box in enumerate(whole["rois"]):
        color = COLORS[k % len(COLORS)]
        outline(last, box, color, 0.8)
        draw_mask_outline(last, whole["masks"][:, :, k], color, 1.5)
    figure.tight_layout()
    return figure


def of_all_classes(class_ids: np.ndarray) -> list[int]:
    """The numbers of the detections, the surest of each class first."""
    turn = [int(np.sum(class_ids[:k] == own)) for k, own in enumerate(class_ids)]
    return sorted(range(len(class_ids)), key=lambda k: (turn[k], k))


def panels(count: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """A row of panels of that size in inches."""
    figure = Figure(figsize=(count * width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count)


def show(ax: Axes, image: np.ndarray, title: str, **style: Any) -> None:
    """Draw an image without axes, a title above it."""
    ax.imshow(image, **style)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()


def outline(ax: Axes, box: np.ndarray, color: str, width: float) -> None:
    """Draw a box (y1, x1, y2, x2)."""
    y1, x1, y2, x2 = box
    ax.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=width)
    )


def save(figure: Figure, path: Path) -> None:
    """Write a picture of few colors, which keeps the repository small."""
    figure.savefig(path, dpi=110, bbox_inches="tight")
    Image.open(path).convert("RGB").quantize(200).save(path, optimize=True)
    logger.info("%s: %d kB", path, path.stat().st_size // 1000)


if __name__ == "__main__":
    raise SystemExit(main())
