"""The edge agreement loss on monocular depth: the same training with it and without it.

    python samples/edge_agreement/depth.py --steps 400 --seeds 0 1 2

Needs no data: the images are scenes of spheres and boxes on a checkered floor before a wall, whose
depth is known exactly (`scenes.py`). A small U-Net learns the depth of each pixel in parts of the
distance to the wall. For each seed it is trained twice, from the same weights and on the same
batches: with the mean absolute error alone, and with `EdgeAgreementLoss` on the depth maps added to
it.

The output folder gets `depth.csv` and `depth.png`. Measured on scenes of their own:

- `abs_rel`, the mean of |predicted - true| / true;
- `delta`, the share of pixels whose ratio to the truth, or the truth's to it, is below 1.25;
- `border_rmse`, the root of the mean squared error within two pixels of where the depth jumps, in
  parts of the distance to the wall.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import comparison  # beside this file
import numpy as np
import scenes
import unet
from comparison import Comparison, Pair

from mrcnn.logger import logger

METRICS = {"abs_rel": "AbsRel", "delta": "delta < 1.25", "border_rmse": "border RMSE"}
DELTA = 1.25
LEAST_DEPTH = 0.02  # a divisor's, in parts of the distance to the wall
JUMP, BORDER_PIXELS = 0.05, 2  # of the depth between neighbors; around it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands.backend_messages import without_backend_messages
    from mrcnn.commands.options import add_verbose_option

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--train-scenes", type=comparison.positive, default=400, metavar="N", help="to draw (400)"
    )
    parser.add_argument(
        "--val-scenes", type=comparison.positive, default=60, metavar="N", help="to draw (60)"
    )
    comparison.add_options(parser, "depth")
    add_verbose_option(parser)
    args = parser.parse_args(argv)
    try:
        with without_backend_messages(args.verbose):
            _run(args)
    except (OSError, ValueError) as error:
        logger.error("depth.py: %s", error)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    edge_loss = comparison.edge_loss_of(args, from_logits=False)
    comparison.check_options(args, 2 ** (unet.LEVELS - 1), unet.GROUPS)
    train_pairs = scenes.draw_scenes("train", args.train_scenes, args.image_size)
    val_pairs = scenes.draw_scenes("val", args.val_scenes, args.image_size)
    images, depths = zip(*val_pairs, strict=True)
    compared = Comparison(
        plain="absolute error",
        metrics=METRICS,
        build=build_network,
        loss=depth_loss,
        batch=lambda seed, step: unet.make_batch(
            train_pairs, args.image_size, args.batch_size, seed, step
        ),
        predict=lambda model: comparison.predict_maps(model, images, args.batch_size),
        measure=lambda predicted: measure(np.stack(depths), predicted),
    )
    rows, shown = comparison.compare(compared, edge_loss, args)
    comparison.write_rows(args.output / "depth.csv", rows)
    logger.info(comparison.report(compared, rows))
    page = draw_page(val_pairs, shown, compared.trainings, args.output / "depth.png")
    logger.info(f"Pictures: {page}")


def build_network(image_size: int, width: int, seed: int) -> Any:
    """The U-Net of `unet.py` with a sigmoid: images [B, H, W, 3] -> depth from 0 to 1."""
    import keras

    network = unet.build_unet(image_size, width, seed)
    return keras.Model(network.input, keras.layers.Activation("sigmoid")(network.output))


def depth_loss(edge_loss: Any = None) -> Callable[[Any, Any], Any]:
    """The mean absolute error, and the edge agreement of the maps added to it: [B]."""
    from keras import ops

    def loss(y_true: Any, y_pred: Any) -> Any:
        error = ops.mean(ops.abs(y_true - y_pred), axis=(1, 2, 3))
        return error if edge_loss is None else error + edge_loss.call(y_true, y_pred)

    return loss


def measure(depths: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The metrics of some maps [N, H, W], over all their pixels together."""
    true, found = (np.maximum(x, LEAST_DEPTH) for x in (depths, predicted))
    border = np.stack([near_jumps(depth) for depth in depths])
    errors = (predicted - depths)[border]
    return {
        "abs_rel": float(np.mean(np.abs(found - true) / true)),
        "delta": float(np.mean(np.maximum(found / true, true / found) < DELTA)),
        "border_rmse": float(np.sqrt(np.mean(errors**2))) if errors.size else 0.0,
    }


def near_jumps(depth: np.ndarray) -> np.ndarray:
    """The pixels within `BORDER_PIXELS` of a jump of the depth, bool [H, W]."""
    from scipy.ndimage import binary_dilation

    jumps = np.zeros(depth.shape, bool)
    jumps[:, 1:] |= np.abs(np.diff(depth, axis=1)) > JUMP
    jumps[1:] |= np.abs(np.diff(depth, axis=0)) > JUMP
    return binary_dilation(jumps, iterations=BORDER_PIXELS)


def draw_page(
    pairs: Sequence[Pair],
    predictions: Sequence[np.ndarray],
    trainings: Sequence[str],
    path: Path,
    count: int = 4,
) -> Path:
    """Save a PNG with a row for each of `count` scenes: image, true depth, and each prediction.

    Args:
        pairs: images and their depths.
        predictions: of each training, [N, H, W].
        trainings: their names.
        path: the PNG.
        count: scenes to draw, the first ones.
    """
    from matplotlib.figure import Figure

    count = min(count, len(pairs))
    titles = ("image", "true depth", *trainings)
    figure = Figure(figsize=(2.5 * len(titles), 2.7 * count + 0.4), dpi=120)
    for number, line in enumerate(figure.subplots(count, len(titles), squeeze=False)):
        image, depth = pairs[number]
        line[0].imshow(image)
        for ax, shown in zip(line[1:], (depth, *(p[number] for p in predictions)), strict=True):
            ax.imshow(shown, vmin=0, vmax=1, cmap="magma_r")
        for ax, title in zip(line, titles, strict=True):
            ax.set_axis_off()
            if number == 0:
                ax.set_title(title, fontsize=9, pad=3)
    figure.text(0.5, 0.005, "light: near · dark: far, the wall at 1", ha="center", size=8)
    figure.tight_layout(rect=(0, 0.02, 1, 1), pad=0.4)
    figure.savefig(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
