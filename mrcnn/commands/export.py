"""The command `mrcnn export`: a trained network as a file for other programs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mrcnn.commands import chosen, options
from mrcnn.config import Config
from mrcnn.logger import logger

if TYPE_CHECKING:
    import numpy as np

HELP = "write a trained network into a file that other programs run"
DEFAULT_OUTPUT = "exported"
FORMATS = ("savedmodel", "onnx", "openvino", "litert")
# Enough to compare on, where a folder has thousands.
MOST_PICTURES = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn export`."""
    parser.description = (
        "Write a trained network into a file: from a picture's bytes to boxes, classes, scores "
        "and masks in its pixels, resizing and suppression included. The file is opened in its "
        "own runtime and compared with the network; if they differ, there is no file."
    )
    options.add_options(
        parser,
        *("trained_model", "name", "run_name", "logs", "output", "set"),
        trained_model="last, the newest run in the folder of --logs",
        output=DEFAULT_OUTPUT,
    )
    group = parser.add_argument_group("the file")
    group.add_argument("--format", required=True, choices=FORMATS, help="of the file")
    group.add_argument(
        "--picture-size",
        "--image-size",  # which in other commands is the side of the network's input
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="of the pictures that the file takes; litert needs it, and networks trained with "
        "IMAGE_RESIZE_MODE pad64 or crop (default: any size)",
    )
    weights = group.add_mutually_exclusive_group()
    weights.add_argument(
        "--fp16", action="store_true", help="keep the weights as float16: half the file"
    )
    weights.add_argument(
        "--int8",
        action="store_true",
        help="keep the weights as int8, with a scale for each channel: a quarter of the file",
    )
    group.add_argument(
        "--pasted",
        action="store_true",
        help="let the file return masks of the picture's size too: MAX_DETECTIONS x HEIGHT x WIDTH "
        "bytes for each picture",
    )
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--images",
        nargs="+",
        metavar="SOURCE",
        help=f"pictures or folders to compare on, the first {MOST_PICTURES} of them: best pictures "
        "in which there is something to find (default: photographs of scikit-image)",
    )


def run(args: argparse.Namespace) -> int:
    """Export; returns 0."""
    from mrcnn.export.exporting import ExportSettings, export
    from mrcnn.runs import trained

    settings = ExportSettings(
        args.format,
        None if args.picture_size is None else (args.picture_size[0], args.picture_size[1]),
        "float16" if args.fp16 else "int8" if args.int8 else "float32",
        args.pasted,
    )
    weights = chosen.trained_weights_from_args(args)
    model = trained.open_run(
        weights, overrides={"IMAGES_PER_GPU": 1, **chosen.settings_from_args(args)}
    )
    pictures = _pictures(args.images, model.config) if args.images else None
    done = export(
        model.detector, args.output or DEFAULT_OUTPUT, settings, pictures, model.class_names
    )
    logger.info(str(done))
    return 0


def _pictures(sources: list[str], config: Config) -> list[np.ndarray]:
    from mrcnn.prediction.sources import Picture, find_sources

    found = [source for source in find_sources(sources) if isinstance(source, Picture)]
    if not found:
        raise ValueError(f"--images: expected pictures; received {', '.join(sources)}.")
    return [picture.load(config) for picture in found[:MOST_PICTURES]]
