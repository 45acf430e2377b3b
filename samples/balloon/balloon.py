"""Find balloons, and leave color to nothing else: training on data of the VGG Image Annotator.

The data set is a folder with the subsets `train` and `val`; each holds pictures and one json
file of VIA 1 or 2, such as `via_region_data.json`.

    # Train, starting from the weights of COCO; continue with the newest run.
    python samples/balloon/balloon.py train --dataset /path/to/balloon --weights coco
    python samples/balloon/balloon.py train --dataset /path/to/balloon --weights last

    # Keep the color of the balloons in a picture, a GIF, a video or a folder of frames.
    python samples/balloon/balloon.py splash --weights last --image party.jpg
    python samples/balloon/balloon.py splash --weights last --video party.mp4

    # The same with the 80 kinds of things of COCO, without any training.
    python samples/balloon/balloon.py splash --weights coco --image street.jpg

    # What is wrong with the pictures and the drawn regions, and what training does about it.
    python samples/balloon/balloon.py check --dataset /path/to/balloon

    # A look at everything in minutes, on a CPU.
    python samples/balloon/balloon.py train --dataset /path/to/balloon --weights none \\
        --image-size 128 --backbone resnet10 --rois 32 --steps 20 --steps-per-epoch 10

Video files need the extra "video": pip install imageio[ffmpeg].
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import read_image
from mrcnn.data.video import read_frames, write_frames
from mrcnn.datasets.via import read_via_json, region_mask
from mrcnn.files.image_file import width_and_height
from mrcnn.files.untrusted import Folder, check_mask_bytes
from mrcnn.logger import logger

DEFAULT_STEPS = 3000
ANNOTATION_FILE = "via_region_data.json"
# Shares of red, green and blue in the brightness that people see (ITU-R BT.709).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


class BalloonConfig(Config):
    """One class; few pictures, so short epochs; only sure detections keep their color."""

    NAME = "balloon"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 10
    DETECTION_MIN_CONFIDENCE = 0.9


class BalloonDataset(Dataset):
    """Pictures whose regions of the VGG Image Annotator are balloons.

    Pictures without such a region are left out, and so are regions without an area; `left_out`
    counts both.
    """

    def __init__(self, class_map: Any = None) -> None:
        super().__init__(class_map)
        self.left_out: Counter[str] = Counter()

    def load_balloon(self, dataset_dir: str | Path, subset: str) -> None:
        """Load a subset.

        Args:
            dataset_dir: the folder of the data set.
            subset: its folder in there, "train" or "val".

        Raises:
            FileNotFoundError: the folder, the json file or a picture is missing.
            ValueError: the json file is malformed, or names a file outside the folder.
        """
        folder = Path(dataset_dir, subset)
        annotations = _annotation_file(folder)
        self.add_class("balloon", 1, "balloon")
        files = Folder(folder)
        for image in read_via_json(annotations):
            regions = [region for region in image.regions if region.has_area]
            self.left_out.update(
                f"regions of the shape {region.name!r}"
                for region in image.regions
                if not region.has_area
            )
            if not regions:
                self.left_out["pictures without a balloon"] += 1
                continue
            try:
                path = files.find(image.filename)
            except ValueError as error:
                raise ValueError(f"{annotations}, field 'filename': {error}.") from None
            if path is None:
                raise FileNotFoundError(
                    f"{folder / image.filename}: expected the picture that {annotations} names; "
                    f"there is none."
                )
            width, height = width_and_height(path, upright=True)  # as browsers show it
            self.add_image(
                "balloon",
                image_id=image.filename,
                path=path,
                width=width,
                height=height,
                upright=True,
                regions=regions,
            )

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The balloons of a picture: masks bool [H, W, N], class ids int32 [N], all 1."""
        info = self.image_info[image_id]
        if info["source"] != "balloon":
            return super().load_mask(image_id)
        check_mask_bytes(info["height"], info["width"], len(info["regions"]), info["path"])
        masks = [region_mask(r, info["height"], info["width"]) for r in info["regions"]]
        return np.stack(masks, axis=-1), np.ones(len(masks), np.int32)

    def image_reference(self, image_id: int) -> str:
        """The picture's path."""
        return self.image_info[image_id]["path"]

    def summary(self) -> str:
        """One sentence: how many pictures and balloons there are, and what was left out."""
        balloons = sum(len(info.get("regions", ())) for info in self.image_info)
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return (
            f"{len(self.image_info)} pictures with {balloons} balloons; "
            f"left out: {left_out or 'nothing'}."
        )


def _annotation_file(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: expected a folder with pictures and {ANNOTATION_FILE}; there is none."
        )
    files = sorted(folder.glob("*.json"))
    if folder / ANNOTATION_FILE in files:
        return folder / ANNOTATION_FILE
    if len(files) != 1:
        raise FileNotFoundError(
            f"{folder}: expected the annotations as {ANNOTATION_FILE}, or as the only json file; "
            f"found {len(files)} json files."
        )
    return files[0]


# --- Splash ------------------------------------------------------------------------------


def color_splash(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Turn an image grey but for the pixels of any mask.

    Args:
        image: uint8 [H, W, 3].
        mask: [H, W, N], nonzero inside.

    Returns:
        A new uint8 [H, W, 3].
    """
    brightness = np.rint(image @ LUMINANCE).astype(np.uint8)[:, :, np.newaxis]
    return np.where(np.any(mask, axis=-1, keepdims=True), image, brightness)


def detect_and_color_splash(
    model: Any,
    image_path: str | Path | None = None,
    video_path: str | Path | None = None,
    output: str | Path | None = None,
) -> Path:
    """Detect in an image or in each frame of a video, and write it with the splash.

    Args:
        model: a `mrcnn.model.MaskRCNN` for inference.
        image_path, video_path: one of them; the video may be a folder of frames.
        output: where to write; by default, into the current folder: `<name>_splash.png`, or
            the video's kind.

    Returns:
        `output`.
    """
    if (image_path is None) == (video_path is None):
        raise ValueError("splash needs one of --image and --video.")
    source = Path(image_path or video_path)
    suffix = ".png" if image_path else source.suffix
    output = Path(output or f"{source.resolve().stem}_splash{suffix}")
    batch_size, found = model.config.BATCH_SIZE, 0

    def splash(frames: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal found
        filled = [*frames, *[frames[-1]] * (batch_size - len(frames))]
        for frame, detected in zip(frames, model.detect(filled), strict=False):
            found += len(detected["class_ids"])
            yield color_splash(frame, detected["masks"])

    if image_path:
        (picture,) = splash([read_image(image_path, upright=True)])
        output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(output)
        logger.info(f"{found} found.")
    else:
        frames = read_frames(video_path)
        bar = tqdm(frames, desc="Splash", unit="frame")
        results = (picture for batch in _batches(bar, batch_size) for picture in splash(batch))
        count = write_frames(output, results, frames.rate)
        logger.info(f"{found} found in {count} frames.")
    logger.info(f"Saved to {output}")
    return output


def _batches(frames: Any, size: int) -> Iterator[list[np.ndarray]]:
    batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# --- Commands ----------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import options
    from mrcnn.commands.backend_messages import without_backend_messages
    from mrcnn.commands.parser import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "splash", "check"))
    options.add_options(
        parser,
        *("dataset", "start_model", "run_name", "logs", "output"),
        *(*options.SCHEDULE, "seed", *options.NETWORK, *options.TRAINING),
        dataset="with train/ and val/ and VIA's json in each; for training",
        start_model="must be given",
        output="the current folder",
        schedule="scratch from random weights, otherwise paper-160k",
        steps=str(DEFAULT_STEPS),
    )
    parser.add_argument("--image", metavar="FILE", help="picture to splash")
    parser.add_argument("--video", metavar="FILE", help="video, GIF or folder of frames to splash")
    options.add_verbose_option(parser)
    args = parser.parse_args(argv)
    if args.model is None and args.command != "check":
        parser.error("the following arguments are required: --weights/--model")
    try:
        with without_backend_messages(args.verbose):
            if args.command == "check":
                return _check(args)
            _train(args) if args.command == "train" else _splash(args)
    except (ImportError, OSError, ValueError) as error:
        logger.error("balloon.py: %s", error)
        return 2
    return 0


def _train(args: argparse.Namespace) -> None:
    from mrcnn.commands.train import train_from_args
    from mrcnn.data.augment import HorizontalFlip
    from mrcnn.runs.settings import derive_config

    base: type[Config] = BalloonConfig
    if args.model == "none":  # then everything has to be learned, batch statistics too
        base = derive_config(base, {"TRAIN_BN": None})
    args.default_schedule = "scratch" if args.model == "none" else "paper-160k"
    if args.model != "last" and args.steps is None and args.scale is None:
        args.steps = DEFAULT_STEPS
    train_from_args(base, args, *_load(args), HorizontalFlip())


def _load(args: argparse.Namespace) -> tuple[BalloonDataset, BalloonDataset]:
    from mrcnn.commands.chosen import dataset_of

    datasets = BalloonDataset(), BalloonDataset()
    for dataset, subset in zip(datasets, ("train", "val"), strict=True):
        dataset.load_balloon(dataset_of(args), subset)
        dataset.prepare()
    return datasets


def _check(args: argparse.Namespace) -> int:
    from mrcnn.commands.check import check_datasets
    from mrcnn.commands.chosen import settings_from_args
    from mrcnn.runs.settings import configure

    return check_datasets(*_load(args), configure(BalloonConfig, settings_from_args(args)))


def _splash(args: argparse.Namespace) -> None:
    from mrcnn.commands.chosen import settings_from_args, weights_from_args
    from mrcnn.runs.results import describe_run
    from mrcnn.runs.settings import configure
    from mrcnn.runs.start_weights import COCO_CLASSES
    from mrcnn.runs.trained import inference_config, load_detector

    if args.model in ("none", "imagenet"):
        raise ValueError(
            f"splash needs weights that detect: last, coco or a file; received {args.model!r}."
        )
    if (args.image is None) == (args.video is None):
        raise ValueError("splash needs one of --image and --video.")
    weights = weights_from_args(BalloonConfig, args)
    given = {"IMAGES_PER_GPU": 1, **settings_from_args(args)}
    if args.model == "coco":  # Matterport's file, which has no settings beside it
        config = configure(BalloonConfig, {"NUM_CLASSES": COCO_CLASSES, **given})
    else:
        config = inference_config(weights, BalloonConfig, given)
    logger.info(describe_run(config))
    model = load_detector(config, weights)
    detect_and_color_splash(model, args.image, args.video, args.output)


if __name__ == "__main__":
    sys.exit(main())
