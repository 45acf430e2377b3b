"""The worker of a fork's data generator, over the data set of its own COCO sample.

It makes the RPN's targets too, which ours and torchvision make within the step.
"""

from __future__ import annotations

import contextlib
import os
import sys

from benchmarks.peers import fork
from benchmarks.peers.worker import Spec, Work, serve


def prepare(spec: Spec) -> Work:
    """The next batches over `spec["dataset"]`, mirrored at random, with mini masks."""
    import random

    import numpy as np

    np.bool = bool  # which NumPy 1.24 has dropped, and imgaug 0.4 reads
    import imgaug

    model = fork.load(spec)
    random.seed(0)
    np.random.seed(0)
    sys.path.insert(0, os.path.join(os.path.abspath(spec["checkout"]), "samples", "coco"))
    from coco import CocoDataset

    dataset = CocoDataset()
    with contextlib.redirect_stdout(sys.stderr):
        dataset.load_coco(spec["dataset"], spec["subset"], spec["year"])
    dataset.prepare()
    config = fork.configuration({**spec, "classes": dataset.num_classes})
    flip = imgaug.augmenters.Fliplr(0.5)
    generator = model.DataGenerator(dataset, config, shuffle=True, augmentation=flip)

    def load() -> None:
        for number in range(spec["batches"]):
            generator[number]  # shuffles, and takes the first images

    return Work({"load": load}, {"images": spec["batches"] * spec["batch_size"]})


if __name__ == "__main__":
    serve(prepare)
