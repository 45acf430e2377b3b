"""RoIAlign on PyTorch: torchvision's kernel beside our operations, by turns.

    KERAS_BACKEND=torch python -m benchmarks.torch_roi_align

Seconds of the crops and their gradient, for 400 RoIs of two images of 256², 256 channels: two
samples a bin (`ARCHITECTURE = "torchvision"`) and as many as it has cells ("detectron2").
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import keras
import numpy as np

from mrcnn.ops import torch_roi_align
from mrcnn.ops.sampled_roi_align import ADAPTIVE, sampled_pyramid_roi_align

SIDE, IMAGES, ROIS, CHANNELS, SIZE = 256, 2, 200, 256, (7, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    kernel = torch_roi_align.kernel
    if kernel() is None:
        raise SystemExit("This needs KERAS_BACKEND=torch, and torchvision.")
    rng = np.random.default_rng(0)
    shapes = [(IMAGES, SIDE // 2**level, SIDE // 2**level, CHANNELS) for level in (2, 3, 4, 5)]
    maps = [
        keras.ops.convert_to_tensor(rng.normal(size=shape).astype(np.float32)) for shape in shapes
    ]
    for features in maps:
        features.requires_grad_(True)
    corners = np.sort(rng.uniform(0, SIDE, (IMAGES, ROIS, 2, 2)), axis=2)
    rois = keras.ops.convert_to_tensor(corners.reshape(IMAGES, ROIS, 4).astype(np.float32))
    for samples, aligned in ((2, False), (ADAPTIVE, True)):
        seconds: dict[str, list[float]] = {"torchvision": [], "ours": []}
        for _ in range(args.rounds + 1):  # the first is thrown away
            for name, used in (("torchvision", kernel), ("ours", lambda: None)):
                torch_roi_align.kernel = used
                began = time.perf_counter()
                sampled_pyramid_roi_align(maps, rois, SIZE, samples, aligned).sum().backward()
                seconds[name].append(time.perf_counter() - began)
        medians = {name: round(statistics.median(s[1:]), 3) for name, s in seconds.items()}
        print(json.dumps({"benchmark": "torch_roi_align", "samples": samples, **medians}))


if __name__ == "__main__":
    main()
