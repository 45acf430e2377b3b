"""The command `mrcnn convert`: torchvision's weights of a Mask R-CNN as a weights file of ours."""

from __future__ import annotations

import argparse

from mrcnn.commands import chosen, options
from mrcnn.logger import logger

HELP = "convert torchvision's Mask R-CNN weights (.pth, .safetensors)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn convert`."""
    parser.description = (
        "Write torchvision's weights of a Mask R-CNN (maskrcnn_resnet50_fpn, "
        "maskrcnn_resnet50_fpn_v2, or of your own training) as a weights file, with the settings "
        "and classes that they need beside it: mrcnn predict --model OUT.h5 then finds what "
        "torchvision finds. Every tensor is accounted for in conversion.txt; nothing is downloaded."
    )
    parser.add_argument(
        "source", metavar="SOURCE", help=".pth or .pt (needs PyTorch), or .safetensors"
    )
    parser.add_argument(
        "out", metavar="OUT.h5", help="the weights file, in a folder that holds no other network"
    )
    parser.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="of the classes in the order of their numbers, without the background (default: "
        "COCO's where there are 91 with it, otherwise 'class 1', ...)",
    )
    parser.add_argument(
        "--norm-epsilon",
        type=float,
        metavar="E",
        help="of the normalizations, which no tensor tells: 0 for networks that were trained on "
        "from torchvision's maskrcnn_resnet50_fpn COCO weights (default: 0 for that file itself, "
        "otherwise 1e-5)",
    )
    options.add_options(parser, "set")


def run(args: argparse.Namespace) -> int:
    """Convert; returns 0."""
    from mrcnn.runs.conversion import convert

    done = convert(
        args.source,
        args.out,
        class_names=args.class_names,
        norm_epsilon=args.norm_epsilon,
        settings=chosen.settings_from_args(args),
    )
    logger.info(str(done))
    logger.info(f"Next: mrcnn predict PICTURE --model {args.out}")
    return 0
