"""Find cell nuclei in microscope images: the 2018 Data Science Bowl.

The data set is a folder of subsets as Kaggle hands them out, `stage1_train`, `stage1_test`, …;
in a subset, an image lies in `<id>/images/<id>.png`, and its nuclei, one per file, in
`<id>/masks/*.png`. Of `stage1_train`, a tenth of the images is kept for validation: the
subsets "train" and "val" are its two parts.

    # Train, starting from the weights of ImageNet; continue with the newest run.
    python samples/nucleus/nucleus.py train --dataset /path/to/dsb --weights imagenet
    python samples/nucleus/nucleus.py train --dataset /path/to/dsb --weights last

    # Write a submission and a picture of each image; compute COCO's metrics.
    python samples/nucleus/nucleus.py detect --dataset /path/to/dsb --subset stage1_test \\
        --weights last
    python samples/nucleus/nucleus.py evaluate --dataset /path/to/dsb --weights last

    # What is wrong with the images and the masks, and what training does about it.
    python samples/nucleus/nucleus.py check --dataset /path/to/dsb

    # A look at everything in minutes, on a CPU.
    python samples/nucleus/nucleus.py train --dataset /path/to/dsb --weights none \\
        --image-size 128 --backbone resnet10 --rois 32 --steps 30 --steps-per-epoch 10
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import read_image
from mrcnn.files.image_file import width_and_height
from mrcnn.files.untrusted import Folder, check_mask_bytes
from mrcnn.logger import logger

DEFAULT_STEPS = 12_000
LABELED_SUBSET = "stage1_train"
PARTS = ("train", "val")  # of the labeled subset
VALIDATION_SHARE = 0.1
DPI = 100


class NucleusConfig(Config):
    """Many small objects of one class, in images of many sizes.

    Training looks at random windows of images enlarged twice, detection at whole ones.
    """

    NAME = "nucleus"
    BACKBONE = "resnet50"
    NUM_CLASSES = 1 + 1
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 300  # about once through the 600 images
    VALIDATION_STEPS = 30
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 512
    IMAGE_MAX_DIM = 512
    IMAGE_MIN_SCALE = 2.0
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    RPN_NMS_THRESHOLD = 0.9  # nuclei touch: keep more proposals
    POST_NMS_ROIS_TRAINING = 1000
    POST_NMS_ROIS_INFERENCE = 2000
    TRAIN_ROIS_PER_IMAGE = 128
    MAX_GT_INSTANCES = 200
    DETECTION_MAX_INSTANCES = 400
    DETECTION_MIN_CONFIDENCE = 0.5  # false nuclei cost as much as missed ones


class NucleusDataset(Dataset):
    """Images in the layout of the Data Science Bowl."""

    def load_nucleus(self, dataset_dir: str | Path, subset: str) -> None:
        """Load a subset.

        Args:
            dataset_dir: the folder of the data set.
            subset: a folder in there, such as "stage1_test", or "train" or "val", the two
                parts of `stage1_train`.

        Raises:
            FileNotFoundError: the folder is missing or empty, or an image is missing.
            ValueError: a link leads out of the folder.
        """
        folder = Path(dataset_dir, LABELED_SUBSET if subset in PARTS else subset)
        ids = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        if not ids:
            raise FileNotFoundError(
                f"{folder}: expected the images of the subset {subset!r} as <id>/images/<id>.png; "
                f"there are none."
            )
        if subset in PARTS:
            ids = split_ids(ids)[PARTS.index(subset)]
        self.add_class("nucleus", 1, "nucleus")
        files = Folder(folder)
        for name in ids:
            path = files.find(f"{name}/images/{name}.png")
            if path is None:
                path = folder / name / "images" / f"{name}.png"
                raise FileNotFoundError(f"{path}: expected the image {name!r}; there is none.")
            found = (folder / name / "masks").glob("*.png")
            masks = sorted(files.find(f"{name}/masks/{mask.name}") or str(mask) for mask in found)
            self.add_image("nucleus", image_id=name, path=path, mask_paths=masks)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The nuclei of an image: masks bool [H, W, N], class ids int32 [N], all 1."""
        info = self.image_info[image_id]
        if info["source"] != "nucleus":
            return super().load_mask(image_id)
        width, height = width_and_height(info["path"])
        check_mask_bytes(height, width, len(info["mask_paths"]), info["path"])
        masks = np.zeros((len(info["mask_paths"]), height, width), bool)
        for mask, path in zip(masks, info["mask_paths"], strict=True):
            content = read_image(path).any(axis=2)
            if content.shape != mask.shape:
                raise ValueError(
                    f"{path}: expected a mask of its image's {height} x {width} pixels; received "
                    f"{content.shape[0]} x {content.shape[1]}."
                )
            mask[:] = content
        return masks.transpose(1, 2, 0), np.ones(len(masks), np.int32)

    def image_reference(self, image_id: int) -> str:
        """The image's id in the competition."""
        return self.image_info[image_id]["id"]

    def summary(self) -> str:
        """One sentence: how many images and nuclei there are."""
        nuclei = sum(len(info.get("mask_paths", ())) for info in self.image_info)
        return f"{len(self.image_info)} images with {nuclei} nuclei."


def split_ids(ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ids to train on and those to validate with: always the same of the same ids."""
    count = max(1, round(VALIDATION_SHARE * len(ids)))
    # In an order that has nothing to do with the images.
    shuffled = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = set(shuffled[:count])
    return [name for name in ids if name not in chosen], [name for name in ids if name in chosen]


# --- Submission --------------------------------------------------------------------------


def rle_encode(mask: np.ndarray) -> str:
    """Run lengths of a mask [H, W]: "start length start length …".

    Pixels are numbered from 1, down the columns.
    """
    pixels = np.concatenate([[False], np.asarray(mask, bool).T.ravel(), [False]])
    starts, ends = np.flatnonzero(pixels[1:] != pixels[:-1]).reshape(-1, 2).T
    return " ".join(map(str, np.stack([starts + 1, ends - starts], axis=1).ravel()))


def rle_decode(rle: str, shape: Sequence[int]) -> np.ndarray:
    """The mask, bool [H, W], of run lengths; undoes `rle_encode`.

    Raises:
        ValueError: the text is no list of pairs, or a run leaves the image.
    """
    height, width = shape[:2]
    numbers = rle.split()
    if len(numbers) % 2 or not all(number.isdigit() for number in numbers):
        raise ValueError(f"expected run lengths 'start length start length …'; received {rle!r}.")
    pixels = np.zeros(height * width, bool)
    for start, length in np.array(numbers, np.int64).reshape(-1, 2) - (1, 0):
        if start < 0 or start + length > pixels.size:
            raise ValueError(
                f"expected runs within the {pixels.size} pixels of {height} x {width}, the first "
                f"being 1; received the run {start + 1} {length}."
            )
        pixels[start : start + length] = True
    return pixels.reshape(width, height).T


def separate_masks(masks: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give each pixel to the mask of the highest score only.

    Args:
        masks: bool [H, W, N].
        scores: [N]; of equals, the first has the pixel.

    Returns:
        bool [H, W, N].
    """
    free, separate = np.ones(masks.shape[:2], bool), np.zeros(masks.shape, bool)
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        separate[:, :, index] = masks[:, :, index] & free
        free &= ~separate[:, :, index]
    return separate


def submission_rows(image_id: str, masks: np.ndarray, scores: np.ndarray) -> list[tuple[str, str]]:
    """Rows (ImageId, EncodedPixels) of an image's nuclei; one empty row when there are none."""
    separate = separate_masks(masks, scores)
    rows = [(image_id, rle_encode(separate[:, :, i])) for i in range(separate.shape[2])]
    return [row for row in rows if row[1]] or [(image_id, "")]


def save_picture(
    path: Path, image: np.ndarray, found: dict[str, Any], class_names: Sequence[str]
) -> None:
    """Draw the detections on an image and write it, two pixels for one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mrcnn.drawing.instances import Instances, InstanceStyle, draw_instances

    height, width = image.shape[:2]
    figure = Figure(figsize=(2 * width / DPI, 2 * height / DPI), dpi=DPI)
    draw_instances(
        figure.add_axes((0, 0, 1, 1)),
        image,
        Instances(found["rois"], found["class_ids"], found["masks"]),
        class_names,
        InstanceStyle(show_bbox=False, show_caption=False, alpha=0.3),
    )
    FigureCanvasAgg(figure).print_png(path)


# --- Commands ----------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import options
    from mrcnn.commands.backend_messages import without_backend_messages
    from mrcnn.commands.parser import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "detect", "evaluate", "check"))
    options.add_options(
        parser,
        *("dataset", "subset", "limit", "start_model", "run_name", "logs", "output"),
        *(*options.SCHEDULE, "seed", *options.NETWORK, *options.TRAINING),
        dataset="that of the 2018 Data Science Bowl, with stage1_train/",
        subset="train to train, val to evaluate, stage1_test to detect, or a folder of the data "
        "set",
        start_model="must be given",
        output="beside the weights",
        schedule="scratch from random weights, otherwise paper-160k",
        steps=str(DEFAULT_STEPS),
    )
    parser.add_argument(
        "--pictures",
        type=int,
        metavar="N",
        help="pictures that `detect` draws at most (default: one of each image)",
    )
    options.add_verbose_option(parser)
    args = parser.parse_args(argv)
    if args.model is None and args.command != "check":
        parser.error("the following arguments are required: --weights/--model")
    try:
        with without_backend_messages(args.verbose):
            if args.command == "check":
                return _check(args)
            {"train": _train, "detect": _detect, "evaluate": _evaluate}[args.command](args)
    except (OSError, ValueError) as error:
        logger.error("nucleus.py: %s", error)
        return 2
    return 0


def _train(args: argparse.Namespace) -> None:
    from mrcnn.commands.train import train_from_args
    from mrcnn.data.augment import HorizontalFlip, RandomRotate90, Sequential
    from mrcnn.runs.settings import derive_config

    base: type[Config] = NucleusConfig
    if args.model == "none":  # then everything has to be learned, batch statistics too
        base = derive_config(base, {"TRAIN_BN": None})
    args.default_schedule = "scratch" if args.model == "none" else "paper-160k"
    if args.model != "last" and args.steps is None and args.scale is None:
        args.steps = DEFAULT_STEPS
    train_set, val_set = _load(args, args.subset or "train"), _load(args, "val")
    # A nucleus has no upright position.
    augmentation = Sequential([HorizontalFlip(), RandomRotate90()])
    train_from_args(base, args, train_set, val_set, augmentation)


def _check(args: argparse.Namespace) -> int:
    from mrcnn.commands.check import check_datasets
    from mrcnn.commands.chosen import settings_from_args
    from mrcnn.runs.settings import configure

    datasets = _load(args, args.subset or "train"), _load(args, "val")
    return check_datasets(*datasets, configure(NucleusConfig, settings_from_args(args)))


def _evaluate(args: argparse.Namespace) -> None:
    from mrcnn.commands.chosen import weights_from_args
    from mrcnn.commands.evaluate import evaluate_from_args
    from mrcnn.evaluation.ground_truth import coco_ground_truth
    from mrcnn.runs.results import Split

    subset = args.subset or "val"
    dataset = _load(args, subset)
    truth = coco_ground_truth(dataset, dataset.image_ids[: args.limit or None])
    split = Split(dataset, truth, subset, args.limit)
    evaluate_from_args(NucleusConfig, args, weights_from_args(NucleusConfig, args), split)


def _detect(args: argparse.Namespace) -> None:
    """Write the submission and the pictures of a subset."""
    from mrcnn.commands.chosen import settings_from_args, weights_from_args
    from mrcnn.runs.results import describe_run
    from mrcnn.runs.trained import inference_config, load_detector

    if args.model in ("none", "imagenet", "coco"):
        raise ValueError(
            f"detect needs weights that know nuclei: last or a file; received {args.model!r}."
        )
    subset = args.subset or "stage1_test"
    dataset = _load(args, subset)
    weights = weights_from_args(NucleusConfig, args)
    config = inference_config(
        weights, NucleusConfig, {"IMAGES_PER_GPU": 1, **settings_from_args(args)}
    )
    logger.info(describe_run(config))
    model = load_detector(config, weights)

    folder = Path(args.output or Path(weights).resolve().parent / f"submit_{subset}")
    folder.mkdir(parents=True, exist_ok=True)
    image_ids = dataset.image_ids[: args.limit or None]
    pictures = len(image_ids) if args.pictures is None else args.pictures
    nuclei = 0
    with open(folder / "submit.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", "EncodedPixels"])
        for number, image_id in enumerate(tqdm(image_ids, desc="Detect", unit="image")):
            image, name = dataset.load_image(image_id), dataset.image_info[image_id]["id"]
            found = model.detect([image] * config.BATCH_SIZE)[0]
            writer.writerows(submission_rows(name, found["masks"], found["scores"]))
            nuclei += len(found["scores"])
            if number < pictures:
                save_picture(folder / f"{name}.png", image, found, dataset.class_names)
    logger.info(f"{nuclei} nuclei in {len(image_ids)} images. Submission: {folder / 'submit.csv'}")


def _load(args: argparse.Namespace, subset: str) -> NucleusDataset:
    from mrcnn.commands.chosen import dataset_of

    dataset = NucleusDataset()
    dataset.load_nucleus(dataset_of(args), subset)
    dataset.prepare()
    return dataset


if __name__ == "__main__":
    sys.exit(main())
