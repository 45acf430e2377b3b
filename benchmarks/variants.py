"""Every variant for a few steps on real images, on either backend: is all of it finite?

    python -m benchmarks.variants --dataset path/to/nuclei --steps 20
    KERAS_BACKEND=jax python -m benchmarks.variants --dataset path/to/nuclei --steps 20

The variants are the arms of `mrcnn ablate`, those of the paper's experiments among them, a few
combinations beyond, and components that replace one of the network's. All see the same batches,
windows of the images, and start from the same seed. The network is tiny, but for the backbones that
are among the components. The second stage gets regions around the ground-truth objects, so that the
mask branch is busy from the first step on. The Markdown table shows each variant's losses in the
first and in the last step; a step whose loss, or a network whose weights, are not finite stops with
an error after the table.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from mrcnn.ablation.arms import ARMS, Settings, choose_arms
from mrcnn.config import Config
from mrcnn.data.loader import Batch, Loader
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.coco import CocoDataset
from mrcnn.ops.edge_filters import FILTERS
from mrcnn.runs import settings as runs_settings
from mrcnn.training import compile
from mrcnn.training import model as training_model

# Beyond the arms: exponents and combinations that the paper does not have.
MORE: dict[str, Settings] = {
    "sobel-l5": {"EDGE_LOSS_FILTERS": "sobel", "EDGE_LOSS_NORM": "l5"},
    "sobel-p-1.5": {"EDGE_LOSS_FILTERS": "sobel", "EDGE_LOSS_NORM": 1.5},
    "sobel-p-12": {
        "EDGE_LOSS_FILTERS": "sobel",
        "EDGE_LOSS_NORM": 12,
        "EDGE_LOSS_WEIGHT_FACTOR": 1e-6,
    },
    "roberts+prewitt-magnitude": {
        "EDGE_LOSS_FILTERS": ("roberts", "prewitt"),
        "EDGE_LOSS_MAGNITUDE": True,
    },
    "everything": {
        "EDGE_LOSS_FILTERS": tuple(FILTERS),
        "EDGE_LOSS_NORM": 2.5,
        "EDGE_LOSS_WEIGHT_FACTOR": 0.01,
        "EDGE_LOSS_SMOOTHING_GT": True,
        "EDGE_LOSS_SMOOTHING_PREDICTIONS": True,
        "EDGE_LOSS_WEIGHT_ENTROPY": "exp",
        "EDGE_LOSS_MAGNITUDE": True,
        "UNCERTAINTY_WEIGHTING": True,
        "MASK_SHAPE": (56, 56),
    },
}
# In the place of the usual backbone, pooling or anchors; without edge loss.
COMPONENTS: dict[str, Settings] = {
    "roi-pool": {"ROI_POOLING": "pool"},
    "border-anchors-ignored": {"RPN_BORDER_ANCHORS": "ignore"},
    "resnext50": {"BACKBONE": "resnext50"},
    "resnext101": {"BACKBONE": "resnext101"},
}
VARIANTS = {**ARMS, **MORE, **COMPONENTS}
NETWORK: Settings = {
    "NAME": "variants",
    "BACKBONE": "resnet10",
    "TRAIN_BN": None,
    "OPTIMIZER": "adam",
    "IMAGE_RESIZE_MODE": "crop",
    "IMAGES_PER_GPU": 2,
    "TOP_DOWN_PYRAMID_SIZE": 16,
    "RPN_CONV_FILTERS": 16,
    "MASK_CONV_FILTERS": 16,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 32,
    "RPN_ANCHOR_SCALES": (8, 16, 32, 64, 128),
    "TRAIN_ROIS_PER_IMAGE": 24,
    "MAX_GT_INSTANCES": 32,
    "MINI_MASK_SHAPE": (28, 28),
    "USE_RPN_ROIS": False,
    "POST_NMS_ROIS_TRAINING": 60,
    "LOADER_WORKERS": 1,
}
TOTAL, MASK, EDGE = "loss", "mrcnn_mask_loss", "mrcnn_mask_edge_loss"
HEAD = ("variant", "steps", "total", "mask loss", "edge loss", "finite", "seconds")


class Row(NamedTuple):
    """What a variant's training did."""

    losses: list[dict[str, float]]  # of each step
    finite_weights: bool
    seconds: float

    @property
    def finite(self) -> bool:
        values = (value for step in self.losses for value in step.values())
        return self.finite_weights and all(map(math.isfinite, values))

    def cells(self, name: str) -> tuple[str, ...]:
        """The row of a table with the columns HEAD."""
        ends = (self._ends(loss) for loss in (TOTAL, MASK, EDGE))
        finite = "yes" if self.finite else "NO"
        return (name, str(len(self.losses)), *ends, finite, f"{self.seconds:.0f}")

    def _ends(self, loss: str) -> str:
        if loss not in self.losses[0]:
            return ""
        return f"{self.losses[0][loss]:.4g} → {self.losses[-1][loss]:.4g}"


def make_config(settings: Mapping[str, Any], image_size: int, num_classes: int) -> Config:
    """The tiny network with a variant's settings."""
    size = {"IMAGE_MIN_DIM": image_size, "IMAGE_MAX_DIM": image_size, "NUM_CLASSES": num_classes}
    return runs_settings.configure(Config, {**NETWORK, **size, **settings})


def load_batches(dataset: CocoDataset, config: Config, steps: int) -> list[Batch]:
    """The batches of the first steps."""
    loader = Loader(SampleStream.of(dataset, config, seed=0))
    try:
        return [batch for _, batch in zip(range(steps), loader.batches(0, steps), strict=True)]
    finally:
        loader.close()


def train_variant(config: Config, batches: Sequence[Batch], learning_rate: float = 1e-3) -> Row:
    """Train a network from scratch, one step for each batch."""
    started = time.perf_counter()
    keras.utils.set_random_seed(0)
    model = training_model.build(config)
    compile.compile_model(model, config, learning_rate, 0.9)
    losses = []
    for batch in batches:
        model.reset_metrics()  # the mean since the last reset is the step's own loss
        step = model.train_on_batch(batch, return_dict=True)
        losses.append({name: float(value) for name, value in step.items() if np.ndim(value) == 0})
    finite = all(bool(np.isfinite(weights).all()) for weights in model.get_weights())
    return Row(losses, finite, time.perf_counter() - started)


def table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the number of variants that were not finite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder in COCO's layout")
    parser.add_argument("--subset", default="train")
    parser.add_argument("--year", default="")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=64, help="side of the windows (64)")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="NAME")
    args = parser.parse_args(argv)
    variants = choose_arms(args.variants, {**MORE, **COMPONENTS})
    dataset = CocoDataset.of(args.dataset, args.subset, args.year)
    classes = dataset.num_classes
    batches = load_batches(dataset, make_config({}, args.image_size, classes), args.steps)
    print(f"backend {keras.backend.backend()}, windows of {args.image_size} pixels\n")
    print(table_line(HEAD), table_line(["---"] * len(HEAD)), sep="\n", flush=True)
    broken = []
    for name, settings in variants.items():
        row = train_variant(make_config(settings, args.image_size, classes), batches)
        print(table_line(row.cells(name)), flush=True)
        if not row.finite:
            broken.append(name)
        keras.backend.clear_session()
    print(f"\n{len(variants) - len(broken)} of {len(variants)} variants stayed finite.")
    if broken:
        print(f"Not finite: {', '.join(broken)}.", file=sys.stderr)
    return len(broken)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
