"""Detection by Detectron2's network and by the same weights converted, side by side.

    PYTHONPATH=.:DETECTRON2 python -m benchmarks.detectron2_weights --picture photo.jpg

DETECTRON2 is a folder with its package in it; see `tests/fixtures/detectron2/make_detectron2.py`.
The weights are random, so that nothing need be downloaded, and give as many detections as there is
room for. Both take turns in one process, from the picture to pasted masks, at full size (the
shorter side scaled to 800, the longer one to 1333 at most). A JSON line: median seconds of each,
the median of Detectron2's time divided by ours in the same round, how many detections are the same,
and how far these differ.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model

import mrcnn
from mrcnn.data.images import read_image
from mrcnn.runs.conversion import convert
from tests.detectron2_tensors import Fixture, calibrated, calibration, tensors
from tests.fixtures.detectron2.make_detectron2 import config

CLASSES = 80


class Theirs:
    """Detectron2's Mask R-CNN with random weights, whose scores differ on a picture."""

    def __init__(self, picture: np.ndarray) -> None:
        self.model = build_model(config(**{"MODEL.ROI_HEADS.NUM_CLASSES": CLASSES}))
        self.model.eval()
        shapes = {
            name: tuple(value.shape)
            for name, value in self.model.state_dict().items()
            if not name.startswith("pixel_") and "cell_anchors" not in name
        }
        arrays = tensors(shapes)
        self._load(arrays)
        seen: list[Any] = []
        score = self.model.roi_heads.box_predictor.cls_score
        hook = score.register_forward_hook(lambda m, inputs, o: seen.append(inputs[0].numpy()))
        self(picture)
        hook.remove()
        self.arrays = calibrated(arrays, Fixture(shapes, calibration(seen[0], arrays)))
        self._load(self.arrays)

    def _load(self, arrays: dict[str, np.ndarray]) -> None:
        state = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        self.model.load_state_dict(state, strict=False)

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        bgr = picture[:, :, ::-1]
        resize = ResizeShortestEdge([800, 800], 1333).get_transform(bgr)
        image = torch.as_tensor(resize.apply_image(bgr).astype("float32").transpose(2, 0, 1))
        with torch.inference_mode():
            found = self.model(
                [{"image": image, "height": picture.shape[0], "width": picture.shape[1]}]
            )[0]["instances"]
        return {
            "boxes": found.pred_boxes.tensor.numpy()[:, [1, 0, 3, 2]],
            "class_ids": found.pred_classes.numpy() + 1,
            "scores": found.scores.numpy(),
            "masks": found.pred_masks.numpy(),
        }


def main() -> None:
    """Run both; print the line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    picture = read_image(args.picture)
    theirs = Theirs(picture)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "theirs.pkl")
        source.write_bytes(pickle.dumps({"model": theirs.arrays}))
        convert(source, Path(folder, "own", "weights.h5"))
        own = mrcnn.load(Path(folder, "own", "weights.h5"))

    seconds: dict[str, list[float]] = {"Detectron2": [], "mrcnn": []}
    found: dict[str, dict[str, np.ndarray]] = {}
    runs = {"Detectron2": lambda: theirs(picture), "mrcnn": lambda: own.detect([picture])[0]}
    for number in range(args.rounds + 1):  # the first warms up
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    (exact,) = own.detector.detect_compact([picture])  # boxes that are not rounded, in that order
    ratios = [a / b for a, b in zip(seconds["Detectron2"], seconds["mrcnn"], strict=True)]
    line = {
        "picture": list(picture.shape[:2]),
        **{name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "times Detectron2's speed": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        **_compared(found["Detectron2"], exact, found["mrcnn"]["masks"].transpose(2, 0, 1)),
    }
    print(json.dumps(line))


def _compared(
    theirs: dict[str, np.ndarray], own: dict[str, np.ndarray], masks: np.ndarray
) -> dict[str, float]:
    """How many detections are the same, and the largest differences of these."""
    far = np.abs(theirs["boxes"][:, None] - own["boxes"][None]).max(axis=2)
    far[theirs["class_ids"][:, None] != own["class_ids"][None]] = np.inf
    place = far.argmin(axis=1)
    same = np.flatnonzero(far.min(axis=1) < 0.1)
    pairs = place[same]
    scores = np.abs(theirs["scores"][same] - own["scores"][pairs])
    return {
        "of Detectron2": len(far),
        "own": len(own["scores"]),
        "same": len(set(pairs.tolist())),
        "boxes differ by pixels": float(far.min(axis=1)[same].max()),
        "scores differ by": float(scores.max()),
        "pixels of masks that differ": int((theirs["masks"][same] != masks[pairs]).sum()),
        "of": int(theirs["masks"][same].sum()),
    }


if __name__ == "__main__":
    main()
