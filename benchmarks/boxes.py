"""AP over the size at which images are detected in, with exact boxes and with Matterport's.

    python -m benchmarks.boxes perfect coco_open --year 2017 --lines boxes.jsonl
    python -m benchmarks.boxes detected nucleus_dsb2018 --model logs/…/mask_rcnn_nucleus_0010.h5 \\
        --sizes 128 192 256 384 --lines boxes.jsonl
    python -m benchmarks.boxes plot --lines boxes.jsonl --output docs/results/boxes.png

"perfect": detections are what training teaches of each object, so that all that is missing to an
AP of 1 is lost between the network and the photograph's pixels. "detected": those of a trained
network. A JSON line for each size and each DETECTION_BOXES, which is appended to a file; images are
shrunk, or enlarged, to squares of that size.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.config import Config
from mrcnn.data.boxes import norm_boxes
from mrcnn.data.sample import load_sample
from mrcnn.data.unmolding import locate_detections
from mrcnn.datasets.coco import CocoDataset
from mrcnn.evaluation.coco import evaluate_model, evaluate_results
from mrcnn.evaluation.results import Result, image_results
from mrcnn.inference.detector import Detector
from mrcnn.ops.target_settings import RoiTargetSettings
from mrcnn.ops.targets import detection_targets
from mrcnn.runs.settings import configure
from mrcnn.runs.trained import open_run
from mrcnn.setting_rules.names import DETECTION_BOXES


def perfect_results(dataset: CocoDataset, image_ids: Sequence[int], config: Config) -> list[Result]:
    """COCO's results of a network that answers exactly what it was taught of each object."""
    results = []
    for image_id in image_ids:
        sample = load_sample(dataset, image_id, config, np.random.default_rng(0))
        objects = sample.class_ids > 0
        count = int(objects.sum())
        if not count:
            continue
        boxes = norm_boxes(sample.boxes[objects], sample.image.shape)
        # A hair smaller than the objects: at exactly their ends, the last bit of a float decides
        # between the last row of a mask and zero.
        proposals = boxes + np.array([1, 1, -1, -1], np.float32) * 1e-6
        given = (proposals, sample.class_ids[objects], boxes, sample.masks[objects])
        targets = detection_targets(
            *(ops.convert_to_tensor(np.asarray(array)[None]) for array in given),
            ops.convert_to_tensor(np.linspace(0.9, 0.1, count, dtype=np.float32)[None]),
            RoiTargetSettings(
                count=2 * count, positive_ratio=0.5, mini_masks=config.USE_MINI_MASK
            ),  # there is a RoI for each object, and none else
        )
        rois, class_ids, masks = (
            ops.convert_to_numpy(array)[0][:count]
            for array in (targets.rois, targets.class_ids, targets.masks)
        )
        detections = np.column_stack([rois, class_ids, np.ones(count)]).astype(np.float32)
        of_classes = np.repeat(masks[..., None], config.NUM_CLASSES, axis=-1)
        original, molded = sample.image_meta[1:4].astype(int), sample.image.shape
        window = sample.image_meta[7:11].astype(int)
        found = locate_detections(detections, of_classes, original, molded, window, config)
        fields = {**found._asdict(), "image_shape": tuple(original.tolist())}
        results += image_results(dataset, image_id, fields)
    return results


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row of AP for each size and each DETECTION_BOXES."""
    dataset = CocoDataset()
    truth = dataset.load_coco(args.dataset, args.subset, year=args.year, return_coco=True)
    dataset.prepare()
    image_ids = list(dataset.image_ids)[: args.limit or None]
    model = None
    for size in args.sizes:
        sides = {
            "IMAGE_RESIZE_MODE": "square",
            "IMAGE_MIN_DIM": size,
            "IMAGE_MAX_DIM": size,
        }
        if args.what == "detected":
            model = open_run(args.model, overrides=sides, every_detection=True)
        for boxes in DETECTION_BOXES:
            settings = {**sides, "NUM_CLASSES": dataset.num_classes, "DETECTION_BOXES": boxes}
            if model is None:
                config = configure(Config, {"NAME": "perfect", **settings})
                found = perfect_results(dataset, image_ids, config)
                ids = [dataset.image_info[image_id]["id"] for image_id in image_ids]
                metrics = evaluate_results(truth, found, image_ids=ids)
            else:
                config = configure(type(model.config), {"DETECTION_BOXES": boxes})
                detector = Detector(model.keras_model, config)
                metrics = evaluate_model(
                    detector, dataset, truth, image_ids, progress=False
                ).metrics
            yield {
                "what": args.what,
                "data": args.name or Path(args.dataset).name,
                "images": len(image_ids),
                "size": size,
                "boxes": boxes,
                **{
                    f"{kind} {name}": round(metrics[kind][name], 4)
                    for kind in ("segm", "bbox")
                    for name in ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
                },
            }


def plot(lines: Sequence[dict[str, Any]], path: str) -> None:
    """Save a PNG: a panel for each data set, perfect detections above, a network's below."""
    panels = list(dict.fromkeys((line["what"], line["data"]) for line in lines))
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(3.2 * columns, 5.4), dpi=90, layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False).ravel()
    for ax, (what, data) in zip(axes, panels, strict=False):
        chosen = [line for line in lines if (line["what"], line["data"]) == (what, data)]
        for kind, color in (("segm", "C0"), ("bbox", "C1")):
            for boxes, style in (("exact", "o-"), ("matterport", "x--")):
                points = sorted((x["size"], x[f"{kind} AP"]) for x in chosen if x["boxes"] == boxes)
                label = f"{'masks' if kind == 'segm' else 'boxes'}, {boxes}"
                ax.plot(*zip(*points, strict=True), style, color=color, lw=1.3, ms=4, label=label)
        sizes = sorted({line["size"] for line in chosen})
        ax.set_ylim(0, None)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        ax.set_title(f"{data}, {what}", fontsize=8)
        ax.set_xlabel("IMAGE_MAX_DIM", fontsize=7)
        ax.set_ylabel("AP", fontsize=7)
        ax.tick_params(labelsize=7)
        ax.grid(True, color="0.9", lw=0.6)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    axes[0].legend(fontsize=6)
    FigureCanvasAgg(figure).print_png(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("perfect", "detected"):
        command = commands.add_parser(name)
        command.add_argument("dataset", help="folder in COCO's layout")
        command.add_argument("--name", help="of the data, in the figure (the folder's)")
        command.add_argument("--subset", default="val")
        command.add_argument("--year", default="")
        command.add_argument("--limit", type=int, default=0, help="of images (all)")
        command.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
        command.add_argument("--lines", type=Path, required=True, help="file to append to")
        if name == "detected":
            command.add_argument("--model", required=True, help="weights, settings beside them")
    command = commands.add_parser("plot")
    command.add_argument("--lines", type=Path, required=True)
    command.add_argument("--output", default="boxes.png")
    args = parser.parse_args()
    if args.what == "plot":
        plot([json.loads(line) for line in args.lines.read_text().splitlines()], args.output)
        return
    with args.lines.open("a") as file:
        for row in rows(args):
            line = json.dumps(row)
            print(line, flush=True)
            print(line, file=file, flush=True)


if __name__ == "__main__":
    main()
