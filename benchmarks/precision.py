"""How much detections in mixed precision differ from those in float32, with trained weights.

    python -m benchmarks.precision WEIGHTS DATASET --dtype bfloat16

Each float32 detection of a photograph is paired with the nearest one of its class (by the IoU of
boxes) in the other precision. One JSON line: how many have a partner, how much the scores, boxes
and masks of partners differ, and mask AP and AP50 of both.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.limits import peak_memory
from mrcnn.config import Config
from mrcnn.data.boxes import compute_overlaps
from mrcnn.datasets.coco import CocoDataset
from mrcnn.evaluation.coco import evaluate_model
from mrcnn.runs.settings import derive_config
from mrcnn.runs.trained import inference_config, load_detector

# A partner's box overlaps by at least this.
PARTNER_IOU = 0.5


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[tuple[float, ...]]:
    """(difference of scores, IoU of boxes, IoU of masks) of each detection, () without partner."""
    rows: list[tuple[float, ...]] = []
    overlaps = compute_overlaps(expected["rois"], found["rois"]) if len(found["rois"]) else None
    for index, class_id in enumerate(expected["class_ids"]):
        if overlaps is None:
            rows.append(())
            continue
        candidates = np.where(found["class_ids"] == class_id, overlaps[index], 0.0)
        partner = int(candidates.argmax())
        if candidates[partner] < PARTNER_IOU:
            rows.append(())
            continue
        one, other = expected["masks"][..., index], found["masks"][..., partner]
        union = max(int((one | other).sum()), 1)
        score = abs(float(expected["scores"][index] - found["scores"][partner]))
        rows.append((score, float(candidates[partner]), int((one & other).sum()) / union))
    return rows


def above(result: dict[str, Any], score: float) -> dict[str, Any]:
    """The detections of a result with at least this score."""
    keep = result["scores"] >= score
    return {
        name: values[..., keep] if name == "masks" else values[keep]
        for name, values in result.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="of a run, with its settings beside it")
    parser.add_argument("dataset", help="folder in COCO's layout")
    parser.add_argument("--subset", default="val")
    parser.add_argument("--year", default="")
    parser.add_argument("--limit", type=int, default=0, help="images; 0: all")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16"))
    parser.add_argument("--min-score", type=float, default=0.5, help="of float32 detections")
    args = parser.parse_args()

    dataset = CocoDataset.of(args.dataset, args.subset, args.year)
    truth = dataset.ground_truth
    base = derive_config(Config, {"NUM_CLASSES": dataset.num_classes})
    metrics, results = {}, {}
    image_ids = dataset.image_ids[: args.limit or None]
    for dtype in ("float32", args.dtype):
        precision = {"MIXED_PRECISION": None if dtype == "float32" else dtype}
        config = inference_config(args.weights, base, precision, every_detection=True)
        model = load_detector(config, args.weights)
        metrics[dtype] = evaluate_model(
            model.detector, dataset, truth, limit=args.limit, progress=False
        )[0]
        least = args.min_score if dtype == "float32" else 0.0
        results[dtype] = [
            above(model.detect([dataset.load_image(image_id)])[0], least) for image_id in image_ids
        ]
    rows = [
        row
        for pair in zip(results["float32"], results[args.dtype], strict=True)
        for row in differences(*pair)
    ]
    partners = np.array([row for row in rows if row])
    score, box, mask = partners.T if len(partners) else np.full((3, 1), np.nan)
    segm = {dtype: values["segm"] for dtype, values in metrics.items()}
    print(
        json.dumps(
            {
                "benchmark": "precision",
                **vars(args),
                "images": len(image_ids),
                "detections": len(rows),
                "with_partner": len(partners),
                "score_difference": {"median": np.median(score), "95 %": np.quantile(score, 0.95)},
                "box_iou": {"median": np.median(box), "5 %": np.quantile(box, 0.05)},
                "mask_iou": {"median": np.median(mask), "5 %": np.quantile(mask, 0.05)},
                "ap": {dtype: values["AP"] for dtype, values in segm.items()},
                "ap50": {dtype: values["AP50"] for dtype, values in segm.items()},
                "peak_gb": round(peak_memory(), 2),
            },
            default=float,
        )
    )


if __name__ == "__main__":
    main()
