"""The edge agreement loss on a U-Net: the same training with it and without it, side by side.

    python samples/edge_agreement/unet.py --dataset /path/to/nuclei --steps 400 --seeds 0 1 2

The data set is a folder in COCO's layout (`train/`, `val/`, `annotations/instances_train.json`
…). The target is the union of an image's instances: a pixel belongs to an object or to none.

For each seed the U-Net is trained twice, from the same weights and on the same batches: with the
cross entropy alone, and with `EdgeAgreementLoss` added to it. The output folder gets `unet.csv`
(IoU and Boundary IoU on the validation images, by epoch) and `unet.png` (image, truth, and what
each of the two made of it). Differences between seeds can be larger than those between the two
losses, so judge by several seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import comparison  # beside this file
import numpy as np
from comparison import Comparison, Pair

from mrcnn.logger import logger

METRICS = {"iou": "IoU", "boundary_iou": "Boundary IoU"}
# A boundary is two pixels wide in windows of 128: with the usual 0.02 of the diagonal it would
# be half of a nucleus.
BOUNDARY_RATIO = 0.01
LEVELS = 3  # of the U-Net, each at half the size of the one above
GROUPS = 4  # of channels that are normalized together
# A mask's pixels on the page of pictures: what was found, missed, and found too much.
FOUND, MISSED, EXTRA = (255, 255, 255), (70, 130, 255), (255, 140, 0)


class Network(NamedTuple):
    """A network for masks, and the sample that shows it.

    Attributes:
        name: of the sample's files.
        description: of its command line.
        build: images [B, H, W, 3] -> logits [B, H, W, 1], from image size, width and seed.
        multiple: of which the size of the images has to be.
    """

    name: str
    description: str
    build: Callable[[int, int, int], Any]
    multiple: Callable[[], int]


def main(argv: Sequence[str] | None = None, network: Network | None = None) -> int:
    """Run the command line for a network; None: the U-Net. Returns the exit status."""
    from mrcnn.commands.backend_messages import without_backend_messages
    from mrcnn.commands.options import add_verbose_option

    network = network or Network("unet", __doc__ or "", build_unet, lambda: 2 ** (LEVELS - 1))
    parser = argparse.ArgumentParser(
        description=network.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="folder of the data set")
    parser.add_argument("--year", help="in the names of its files and folders, if there is one")
    parser.add_argument(
        "--limit", type=comparison.positive, help="use so many images of each subset"
    )
    comparison.add_options(parser, network.name)
    add_verbose_option(parser)
    args = parser.parse_args(argv)
    try:
        with without_backend_messages(args.verbose):
            _run(args, network)
    except (OSError, ValueError) as error:
        logger.error("%s.py: %s", network.name, error)
        return 2
    return 0


def _run(args: argparse.Namespace, network: Network) -> None:
    edge_loss = comparison.edge_loss_of(args, from_logits=True)
    comparison.check_options(args, network.multiple(), GROUPS)
    train_pairs = load_pairs(args.dataset, "train", args.year, args.limit)
    val_pairs = load_pairs(args.dataset, "val", args.year, args.limit)
    # One window of each image, the same for all seeds.
    random = np.random.default_rng(0)
    windows = [cut_window(*pair, args.image_size, random) for pair in val_pairs]
    logger.info(
        f"{len(train_pairs)} training images, {len(windows)} validation windows of "
        f"{args.image_size} x {args.image_size} pixels."
    )
    images, targets = zip(*windows, strict=True)
    compared = Comparison(
        plain="cross entropy",
        metrics=METRICS,
        build=network.build,
        loss=segmentation_loss,
        batch=lambda seed, step: make_batch(
            train_pairs, args.image_size, args.batch_size, seed, step
        ),
        # The objects' pixels are those more likely than not.
        predict=lambda model: comparison.predict_maps(model, images, args.batch_size) > 0,
        measure=lambda predicted: measure(targets, predicted),
    )
    rows, shown = comparison.compare(compared, edge_loss, args)
    comparison.write_rows(args.output / f"{network.name}.csv", rows)
    logger.info(comparison.report(compared, rows))
    page = args.output / f"{network.name}.png"
    logger.info(f"Pictures: {draw_page(windows, shown, compared.trainings, page)}")


# --- Data --------------------------------------------------------------------------------


def load_pairs(
    folder: str | Path, subset: str, year: str | None = None, limit: int | None = None
) -> list[Pair]:
    """Read the images of a subset, each with the union of its instance masks.

    Crowds count as objects here: their pixels belong to some object.
    """
    from tqdm import tqdm

    from mrcnn.datasets.coco import CocoDataset

    dataset = CocoDataset.of(folder, subset, year, ground_truth=False)
    if not dataset.num_images:
        raise ValueError(f"{folder}: expected images in the subset {subset!r}; there are none.")
    return [
        (dataset.load_image(image_id), dataset.load_mask(image_id)[0].any(axis=2))
        for image_id in tqdm(dataset.image_ids[:limit], desc=f"Read {subset}", unit="image")
    ]


def cut_window(
    image: np.ndarray, target: np.ndarray, size: int, random: np.random.Generator
) -> Pair:
    """Cut a random square window [size, size] out of a pair; small images get zeros around."""
    missing = [max(size - side, 0) for side in target.shape]
    if any(missing):
        padding = [(side // 2, side - side // 2) for side in missing]
        image, target = np.pad(image, [*padding, (0, 0)]), np.pad(target, padding)
    y, x = (int(random.integers(side - size + 1)) for side in target.shape)
    return image[y : y + size, x : x + size], target[y : y + size, x : x + size]


def make_batch(
    pairs: Sequence[Pair], size: int, batch_size: int, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The batch of a step, a function of (seed, step) alone: windows at random, half flipped.

    Returns:
        images uint8 [B, size, size, 3] and targets float32 {0, 1} [B, size, size, 1].
    """
    random = np.random.default_rng([seed, step])
    images, targets = [], []
    for index in random.integers(len(pairs), size=batch_size):
        image, target = cut_window(*pairs[index], size, random)
        direction = -1 if random.random() < 0.5 else 1
        images.append(image[:, ::direction])
        targets.append(target[:, ::direction, None])
    return np.stack(images), np.stack(targets).astype(np.float32)


# --- The network and its training --------------------------------------------------------


def build_unet(image_size: int, width: int, seed: int) -> Any:
    """A small U-Net (Ronneberger et al. 2015): images [B, H, W, 3] -> logits [B, H, W, 1]."""
    import keras
    from keras import layers

    def block(x: Any, channels: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
            # Batches are small and mix kinds of microscopes: no statistics of the batch.
            x = layers.Activation("relu")(layers.GroupNormalization(GROUPS)(x))
        return x

    keras.utils.set_random_seed(seed)
    images = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    skipped = []
    for level in range(LEVELS - 1):
        skipped.append(block(x, width * 2**level))
        x = layers.MaxPooling2D()(skipped[-1])
    x = block(x, width * 2 ** (LEVELS - 1))
    for level in reversed(range(LEVELS - 1)):
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        x = block(layers.Concatenate()([skipped[level], x]), width * 2**level)
    return keras.Model(images, layers.Conv2D(1, 1)(x))


def segmentation_loss(edge_loss: Any = None) -> Callable[[Any, Any], Any]:
    """The cross entropy of logits, and the edge agreement added to it: [B], one an image."""
    import keras
    from keras import ops

    def loss(y_true: Any, y_pred: Any) -> Any:
        entropy = keras.losses.binary_crossentropy(y_true, y_pred, from_logits=True)
        total = ops.mean(entropy, axis=(1, 2))
        return total if edge_loss is None else total + edge_loss.call(y_true, y_pred)

    return loss


def measure(targets: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> dict[str, float]:
    """IoU and Boundary IoU over the pixels of all windows together; 0 where there is no object."""
    from mrcnn.evaluation.boundary import boundary_distance, mask_boundary

    distance = boundary_distance(*targets[0].shape, BOUNDARY_RATIO)
    edges = [
        np.stack([mask_boundary(mask, distance) for mask in masks])
        for masks in (targets, predicted)
    ]
    return {"iou": iou(np.stack(targets), np.stack(predicted)), "boundary_iou": iou(*edges)}


def iou(target: np.ndarray, predicted: np.ndarray) -> float:
    """Intersection over union of two bool arrays; 0 when both are empty."""
    union = np.count_nonzero(target | predicted)
    return np.count_nonzero(target & predicted) / union if union else 0.0


# --- Results -----------------------------------------------------------------------------


def draw_page(
    windows: Sequence[Pair],
    predictions: Sequence[np.ndarray],
    trainings: Sequence[str],
    path: Path,
    count: int = 4,
) -> Path:
    """Save a PNG with a row for each of `count` windows: image, truth, and each prediction.

    Args:
        windows: images and their targets.
        predictions: of each training, bool [N, size, size].
        trainings: their names.
        path: the PNG.
        count: windows to draw, spread over those that hold objects.
    """
    from matplotlib.figure import Figure

    with_objects = [i for i, (_, target) in enumerate(windows) if target.any()]
    chosen = with_objects[:: max(1, len(with_objects) // count)][:count]
    chosen = chosen or list(range(min(count, len(windows))))
    titles = ("image", "truth", *trainings)
    figure = Figure(figsize=(2.5 * len(titles), 2.7 * len(chosen) + 0.5), dpi=120)
    axes = figure.subplots(len(chosen), len(titles), squeeze=False)
    for line, index in zip(axes, chosen, strict=True):
        image, target = windows[index]
        masks = [target, *(predicted[index] for predicted in predictions)]
        pictures = [image, *(color_errors(target, mask) for mask in masks)]
        scores = ["", "", *(f"IoU {iou(target, mask):.3f}" for mask in masks[1:])]
        for ax, picture, score in zip(line, pictures, scores, strict=True):
            ax.imshow(picture, interpolation="nearest")
            ax.set_axis_off()
            ax.set_title(score, fontsize=8, pad=3)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title("\n".join(filter(None, [title, ax.get_title()])), fontsize=9, pad=3)
    figure.text(0.5, 0.005, "white: found · blue: missed · orange: too much", ha="center", size=8)
    figure.tight_layout(rect=(0, 0.02, 1, 1), pad=0.4)
    figure.savefig(path)
    return path


def color_errors(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A picture uint8 [H, W, 3] of a mask that shows where it differs from its target."""
    picture = np.zeros((*target.shape, 3), np.uint8)
    picture[target & predicted] = FOUND
    picture[target & ~predicted] = MISSED
    picture[~target & predicted] = EXTRA
    return picture


if __name__ == "__main__":
    sys.exit(main())
