"""How many slots for RoIs hold one over a training: what the heads really have to compute.

    python -m benchmarks.positives                                     # synthetic shapes
    python -m benchmarks.positives --dataset DIR --image-size 256      # in COCO's layout

Trains a small network from random weights, batch statistics included, and looks at the targets of
every few steps. One JSON line for each quarter of the training: the share of the slots for
positive RoIs that hold one, mean over the images (`positives`) and of the fullest image of each
batch (`fullest_positives`), and the same of all RoIs' slots (`rois`, `fullest_rois`). Heads compute
what the fullest image of a batch needs; `benchmarks.training_step --positives` takes such a share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

import keras
import numpy as np

from mrcnn.commands import chosen
from mrcnn.config import BACKBONES, Config
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.ops.targets import DetectionTargets
from mrcnn.process import keep_freed_memory
from mrcnn.runs import settings
from mrcnn.training import compile
from mrcnn.training import model as training_model

SYNTHETIC_IMAGES = 200
QUARTERS = 4


def shares(targets: DetectionTargets) -> dict[str, float]:
    """Of a batch: the shares of slots in use, see the module."""
    positives, rois = (
        keras.ops.convert_to_numpy(flags).mean(axis=1)
        for flags in (targets.mask_class_ids > 0, targets.valid)
    )
    return {
        "positives": float(positives.mean()),
        "fullest_positives": float(positives.max()),
        "rois": float(rois.mean()),
        "fullest_rois": float(rois.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="folder in COCO's layout; synthetic shapes without it")
    parser.add_argument("--subset", default="train")
    parser.add_argument("--year", default="")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet18")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rois", type=int, default=200, help="training RoIs an image")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=5, help="steps between two looks")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        if args.dataset is None:
            write_shapes(folder, SYNTHETIC_IMAGES, 0, (args.image_size, args.image_size))
        dataset = CocoDataset.of(args.dataset or folder, args.subset, args.year)
        size = args.image_size
        config = settings.configure(
            Config,
            {
                "NAME": "positives",
                "BACKBONE": args.backbone,
                "IMAGE_MIN_DIM": size,
                "IMAGE_MAX_DIM": size,
                "IMAGES_PER_GPU": args.batch_size,
                "TRAIN_ROIS_PER_IMAGE": args.rois,
                "NUM_CLASSES": dataset.num_classes,
                "RPN_ANCHOR_SCALES": tuple(size // 2**k for k in (4, 3, 2, 1, 0)),
                "TRAIN_BN": None,
                "OPTIMIZER": "adam",
                **chosen.parse_settings(args.set),
            },
        )
        keras.utils.set_random_seed(0)
        model = training_model.build(config)
        compile.compile_model(model, config, 3e-4, config.LEARNING_MOMENTUM)
        probe = keras.Model(model.inputs, model.get_layer("proposal_targets").output)
        found, losses = [], []
        with Loader(SampleStream.of(dataset, config, seed=0)) as loader:
            for step, batch in enumerate(loader.batches(0, args.steps)):
                if step % args.every == 0:
                    found.append(shares(DetectionTargets(*probe.predict_on_batch(batch))))
                model.reset_metrics()
                losses.append(float(model.train_on_batch(batch, return_dict=True)["loss"]))
    for part in range(QUARTERS):
        of_part = np.array_split(np.arange(len(found)), QUARTERS)[part]
        means = {
            name: round(statistics.mean(found[k][name] for k in of_part), 3) for name in found[0]
        }
        loss = round(float(np.array_split(losses, QUARTERS)[part].mean()), 3)
        line = {"benchmark": "positives", "dataset": args.dataset or "shapes"}
        print(json.dumps({**line, "quarter": part + 1, **means, "loss": loss}))


if __name__ == "__main__":
    main()
