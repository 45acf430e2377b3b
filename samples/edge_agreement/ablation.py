"""The experiments of the Edge Agreement paper (arXiv 1809.07069), on any data in COCO's layout.

    # The paper's own: filters, exponents, factors, smoothing, mask sizes, further variants.
    python samples/edge_agreement/ablation.py paper path/to/coco --year 2017 --output ablation

    # One of them, longer, two runs at a time.
    python samples/edge_agreement/ablation.py paper path/to/coco --year 2017 --output longer \\
        --grid filters --schedule paper-320k --jobs 2

    # Cityscapes in COCO's layout: batches of four, masks of 28 and of 56 pixels.
    python samples/edge_agreement/ablation.py cityscapes path/to/cityscapes --output streets

    # A small network from a random start, in about an hour on two CPU cores.
    python samples/edge_agreement/ablation.py small path/to/nuclei --output nuclei

A recipe is a set of options of `mrcnn ablate`; options after the data set are added to them and
win over the recipe's. After a kill, the same command continues. Each experiment gets its report in
`reports/`; an arm that several experiments share is trained once for each seed.

Of the recipes, "small" has been run; its results are in `docs/results`. "paper" is 25 arms x 3
seeds of 160k steps: on one fast GPU that is weeks, so begin with `--grid short`.

"paper" has the backbone that the published code names, ResNet-101, and images of at least 800 and
at most 1024 pixels. The ImageNet weights are those of ResNet-50: of stage 4, the blocks that both
have start from them. "cityscapes" has He et al.'s schedule and ResNet-50, and draws the shorter
side from 800 to 1024 pixels; `--schedule cityscapes-48k` reads its steps the other way
(samples/cityscapes).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

PAPER = (
    *("--backbone", "resnet101", "--model", "imagenet", "--batch-size", "2"),
    *("--schedule", "paper-160k", "--set", "IMAGE_MIN_DIM=800", "IMAGE_MAX_DIM=1024"),
)
RECIPES = {
    "paper": (
        *PAPER,
        *("--grid", "filters", "norms", "factors", "smoothing", "masks", "masks-56", "variants"),
    ),
    "cityscapes": (
        *("--backbone", "resnet50", "--model", "imagenet", "--batch-size", "4"),
        *("--schedule", "cityscapes-24k", "--set", "IMAGE_RESIZE_MODE=pad64"),
        *("IMAGE_MIN_DIM=1024", "IMAGE_MAX_DIM=2048", "IMAGE_PAD_SHAPE=(1024,2048)"),
        *("IMAGE_MIN_DIM_RANGE=(800,1024)", "MAX_GT_INSTANCES=150"),
        *("--dilation-ratio", "0.005", "--grid", "masks", "masks-56"),
    ),
    "small": (
        *("--grid", "short", "--backbone", "resnet10", "--model", "none"),
        *("--image-size", "128", "--batch-size", "4", "--rois", "32", "--learning-rate", "0.001"),
        *("--steps", "400", "--steps-per-epoch", "40", "--validation-steps", "4"),
        *("--set", "OPTIMIZER=adam", "TRAIN_BN=None", "IMAGE_RESIZE_MODE=crop"),
        *("TOP_DOWN_PYRAMID_SIZE=64", "RPN_CONV_FILTERS=64", "MASK_CONV_FILTERS=32"),
        *("FPN_CLASSIF_FC_LAYERS_SIZE=256", "RPN_ANCHOR_SCALES=(8,16,32,64,128)"),
        *("PRE_NMS_LIMIT=600", "POST_NMS_ROIS_TRAINING=200", "POST_NMS_ROIS_INFERENCE=600"),
        *("MAX_GT_INSTANCES=64", "DETECTION_MAX_INSTANCES=300", "MINI_MASK_SHAPE=(28,28)"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import cli

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", choices=tuple(RECIPES))
    parser.add_argument("dataset", help="folder in COCO's layout")
    args, others = parser.parse_known_args(argv)
    return cli.main(["ablate", args.dataset, *RECIPES[args.recipe], *others])


if __name__ == "__main__":
    sys.exit(main())
