"""One large picture, made of many annotated ones: found in tiles, in one look, or one by one.

    python -m benchmarks.mosaic nucleus_dsb2018 --model logs/nucleus20260101T1200 --side 6000

The pictures of a subset, mirrored and turned at random, are laid in rows until the square is full.
A JSON line for each way: AP and AP50 of the masks, with as many detections as there are (COCO's 100
would be few for thousands of objects), the detections, seconds, and the peak memory of the process
so far. "one by one" is what the network reaches on the same pictures without a border that cuts.
"scaled" is the whole picture in the network's usual size for large ones, 1024 pixels.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.data.rle import encode_in_boxes, run_lengths
from mrcnn.datasets.coco import CocoDataset
from mrcnn.prediction.tiles import Tiled, Tiling
from mrcnn.runs.trained import open_run

SCALED = {"IMAGE_RESIZE_MODE": "square", "IMAGE_MIN_DIM": 0, "IMAGE_MAX_DIM": 1024}
MANY = 1_000_000


class Piece(NamedTuple):
    """A picture of the mosaic, and where it lies."""

    pixels: np.ndarray  # uint8 [h, w, 3]
    masks: list[np.ndarray]  # bool [h, w] each
    y: int
    x: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="a data set in COCO's layout")
    parser.add_argument("--model", required=True, help="a run's folder or a weights file")
    parser.add_argument("--subset", default="val")
    parser.add_argument("--side", type=int, default=6000)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help="where to write the mosaic with what the tiles found")
    args = parser.parse_args()

    pieces = lay_out(args.dataset, args.subset, args.side, args.seed)
    mosaic = np.zeros((args.side, args.side, 3), np.uint8)
    truth = []
    for piece in pieces:
        height, width = piece.pixels.shape[:2]
        mosaic[piece.y : piece.y + height, piece.x : piece.x + width] = piece.pixels
        truth += [_moved(mask, piece, args.side) for mask in piece.masks]
    print(json.dumps({"pictures": len(pieces), "objects": len(truth)}), flush=True)

    model = open_run(args.model, every_detection=True, overrides={"IMAGES_PER_GPU": 1})
    tiled = Tiled(model.detector, Tiling(args.tile, args.overlap))
    start = time.perf_counter()
    result = tiled.detect_batch([tiled.prepare(mosaic)])[0]
    found = _encoded(result)
    _report(f"tiles of {args.tile}", truth, found, result["scores"], start)
    if args.picture:
        _draw(mosaic, found, result["scores"], Path(args.picture))

    start, scores, found = time.perf_counter(), [], []
    for piece in pieces:
        result = model.detector.detect_compact([piece.pixels])[0]
        scores += result["scores"].tolist()
        found += [_moved(mask_api.decode(rle), piece, args.side) for rle in _encoded(result)]
    _report("one by one", truth, found, scores, start)

    scaled = open_run(args.model, every_detection=True, overrides={"IMAGES_PER_GPU": 1, **SCALED})
    start = time.perf_counter()
    result = scaled.detector.detect_compact([mosaic])[0]
    _report("scaled", truth, _encoded(result), result["scores"], start)


def lay_out(dataset: str, subset: str, side: int, seed: int) -> list[Piece]:
    """Pictures in rows, each row as high as its highest, until there is no more room."""
    data = CocoDataset()
    data.load_coco(dataset, subset, year="")
    data.prepare()
    random = np.random.default_rng(seed)
    pieces: list[Piece] = []
    y = x = row = 0
    misses = 0
    while misses < 50:
        image_id = int(random.choice(data.image_ids))
        pixels = data.load_image(image_id)
        instances = data.load_mask(image_id)[0].astype(bool)
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        pixels, masks = (np.rot90(values, turns) for values in (pixels, instances))
        if mirrored:
            pixels, masks = pixels[:, ::-1], masks[:, ::-1]
        height, width = pixels.shape[:2]
        if x + width > side:
            y, x, row = y + row, 0, 0
        if y + height > side or width > side:
            misses += 1
            continue
        pieces.append(Piece(pixels, [masks[..., k] for k in range(masks.shape[2])], y, x))
        x, row = x + width, max(row, height)
    return pieces


def _moved(mask: np.ndarray, piece: Piece, side: int) -> dict[str, Any]:
    """The run lengths of a piece's mask in the mosaic."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y, x = (int(places[0]) if places.size else 0 for places in (rows, columns))
    part = mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(bool) if rows.size else mask[:0, :0]
    counts = run_lengths(part, (piece.y + y, piece.x + x), (side, side))
    return mask_api.frPyObjects({"counts": counts.tolist(), "size": [side, side]}, side, side)


def _encoded(result: dict[str, Any]) -> list[Any]:
    names = ("box_masks", "mask_areas", "image_shape", "mask_corners")
    return encode_in_boxes(*(result[name] for name in names))


def _report(what: str, truth: list, found: list, scores: Any, start: float) -> None:
    seconds = time.perf_counter() - start
    entry = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    size = truth[0]["size"][0]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        coco = COCO()
        coco.dataset = {
            "images": [{"id": 1, "height": size, "width": size}],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": [
                {**entry, "id": k, "segmentation": rle, "area": float(mask_api.area(rle))}
                for k, rle in enumerate(truth, start=1)
            ],
        }
        coco.createIndex()
        results = COCO()
        results.dataset = {
            **coco.dataset,
            "annotations": [
                {**entry, "id": k, "segmentation": rle, "score": float(score), "area": 1.0}
                for k, (rle, score) in enumerate(zip(found, scores, strict=True), start=1)
            ],
        }
        results.createIndex()
        evaluation = COCOeval(coco, results, "segm")
        evaluation.params.maxDets = [MANY]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0, 0]  # IoU x recall
    line = {
        "way": what,
        "AP": round(float(precision.mean()), 3),
        "AP50": round(float(precision[0].mean()), 3),
        "detections": len(found),
        "seconds": round(seconds, 1),
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps(line), flush=True)


def _draw(mosaic: np.ndarray, found: list, scores: Any, path: Path) -> None:
    """The mosaic, with the borders of what is at least as sure as 0.7."""
    drawn = mosaic.copy()
    for rle, score in zip(found, scores, strict=True):
        if score < 0.7:
            continue
        x, y, width, height = (int(value) for value in mask_api.toBbox(rle))
        part = mask_api.decode(rle)[y : y + height, x : x + width].astype(bool)
        inner = np.pad(part, 1)
        inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        drawn[y : y + height, x : x + width][part & ~inner] = (255, 80, 0)
    Image.fromarray(drawn).save(path)


if __name__ == "__main__":
    main()
