"""The command `mrcnn convert`: weights of other packages as a weights file of ours."""

from __future__ import annotations

import argparse

from mrcnn.commands import chosen, options
from mrcnn.logger import logger

HELP = "convert weights of torchvision's or Detectron2's Mask R-CNN, or a classifier's"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn convert`."""
    parser.description = (
        "Write weights of other packages as a weights file, with the settings and classes that "
        "they need beside it. Of torchvision's Mask R-CNN (maskrcnn_resnet50_fpn, "
        "maskrcnn_resnet50_fpn_v2, or of your own training): mrcnn predict --model OUT.h5 then "
        "finds what torchvision finds. Of Detectron2's with a ResNet and a feature pyramid, from "
        "its model zoo or of your own training: likewise. Of a ResNet or ResNeXt that torchvision, "
        "timm or Keras's applications trained as a classifier: a backbone for mrcnn train --model "
        "OUT.h5. Every tensor is accounted for in conversion.txt; nothing is downloaded."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=".pth or .pt (needs PyTorch), .safetensors, Detectron2's .pkl, or Keras's .h5",
    )
    parser.add_argument(
        "out",
        metavar="OUT.h5",
        help="the weights file, .h5 or .safetensors, in a folder that holds no other network",
    )
    parser.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="of the classes in the order of their numbers, without the background (default: "
        "COCO's where there are 91 with it, or 81 of Detectron2's, otherwise 'class 1', ...)",
    )
    parser.add_argument(
        "--detectron2-config",
        metavar="FILE",
        help="the config file of Detectron2's network (default: config.yaml beside the weights, "
        "else as in its model zoo for such tensors)",
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
        detectron2_config=args.detectron2_config,
    )
    logger.info(str(done))
    command = "mrcnn predict PICTURE" if done.class_names else "mrcnn train DATA"
    logger.info(f"Next: {command} --model {args.out}")
    return 0
