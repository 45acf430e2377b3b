"""What the samples of `EdgeAgreementLoss` share: the same training with it and without it.

For each seed a network is trained twice, from the same weights and on the same batches.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.logger import logger

ROOT = Path(__file__).resolve().parent.parent.parent
FIELDS = ("seed", "training", "epoch", "step", "loss")

Pair = tuple[np.ndarray, np.ndarray]  # image uint8 [H, W, 3], target [H, W]
Batch = tuple[np.ndarray, np.ndarray]  # images uint8 [B, H, W, 3], targets float32 [B, H, W, 1]
Row = dict[str, Any]  # a line of the CSV
Loss = Callable[[Any, Any], Any]  # targets, predictions [B, H, W, 1] -> [B]


@dataclass(frozen=True)
class Comparison:
    """A network and what it learns.

    Attributes:
        plain: name of the training without the edge agreement loss.
        metrics: titles of the columns by name, in the order of the report.
        build: from the size of the images, a width and a seed to the network.
        loss: from an `EdgeAgreementLoss` or None to the loss of each image.
        batch: from seed and step to the batch.
        predict: from the network to its predictions of the validation images.
        measure: from those to the metrics by name.
    """

    plain: str
    metrics: Mapping[str, str]
    build: Callable[[int, int, int], Any]
    loss: Callable[[Any], Loss]
    batch: Callable[[int, int], Batch]
    predict: Callable[[Any], np.ndarray]
    measure: Callable[[np.ndarray], dict[str, float]]

    @property
    def trainings(self) -> tuple[str, str]:
        """The names of the two trainings."""
        return self.plain, "with edge agreement"


def add_options(parser: argparse.ArgumentParser, output: str, steps: int = 400) -> None:
    """Add the options of the training and of the edge agreement loss."""
    parser.add_argument("--steps", type=positive, default=steps, help=f"of each training ({steps})")
    parser.add_argument("--steps-per-epoch", type=positive, default=20, metavar="N")
    parser.add_argument("--image-size", type=positive, default=128, help="of the images (128)")
    parser.add_argument("--batch-size", type=positive, default=4, metavar="IMAGES")
    parser.add_argument("--width", type=positive, default=16, help="channels of the first level")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED")
    parser.add_argument("--edge-loss-filters", nargs="+", default=["sobel"], metavar="FILTER")
    parser.add_argument("--edge-loss-norm", default="l2", metavar="P")
    parser.add_argument("--edge-loss-weight-factor", type=float, default=1.0, metavar="ALPHA")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "logs" / output, help="folder of the results"
    )


def positive(text: str) -> int:
    """A whole number above 0, for an option."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0; received {text!r}")
    return int(text)


def check_options(args: argparse.Namespace, multiple: int, groups: int) -> None:
    """Check what a network asks of the options.

    Args:
        args: of `add_options`.
        multiple: of which the size of the images has to be.
        groups: of which the width has to be a multiple.

    Raises:
        ValueError: an option does not fit.
    """
    if args.image_size % multiple:
        raise ValueError(
            f"--image-size: expected a multiple of {multiple}, because the network halves its "
            f"maps; received {args.image_size}."
        )
    if args.width % groups:
        raise ValueError(f"--width: expected a multiple of {groups}; received {args.width}.")
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise ValueError(f"--seeds: expected different numbers from 0 up; received {args.seeds}.")


def edge_loss_of(args: argparse.Namespace, from_logits: bool) -> Any:
    """The `EdgeAgreementLoss` that the options ask for.

    Raises:
        ValueError: a filter or the norm is unknown.
    """
    from mrcnn.edge_loss import EdgeAgreementLoss

    return EdgeAgreementLoss(
        filters=args.edge_loss_filters,
        norm=args.edge_loss_norm,
        weight_factor=args.edge_loss_weight_factor,
        from_logits=from_logits,
    )


def compare(
    comparison: Comparison, edge_loss: Any, args: argparse.Namespace
) -> tuple[list[Row], list[np.ndarray]]:
    """Train with each seed twice.

    Returns:
        A line of the CSV for each epoch, and the last predictions of the first seed's two
        trainings.
    """
    rows: list[Row] = []
    shown: list[np.ndarray] = []
    for seed in args.seeds:
        weights = None
        for training in comparison.trainings:
            model = comparison.build(args.image_size, args.width, seed)
            if weights is None:
                weights = model.get_weights()
            model.set_weights(weights)
            loss = comparison.loss(edge_loss if training != comparison.plain else None)
            compile_model(model, loss, args.learning_rate)
            history, predicted = train(model, comparison, args, seed, training)
            rows += history
            if seed == args.seeds[0]:
                shown.append(predicted)
    return rows, shown


def compile_model(model: Any, loss: Loss, learning_rate: float) -> None:
    """Compile with Adam; by XLA where that is faster."""
    import keras

    from mrcnn.tensorflow_backend.compilation import default_jit_compile

    model.compile(keras.optimizers.Adam(learning_rate), loss, jit_compile=default_jit_compile(None))


def train(
    model: Any, comparison: Comparison, args: argparse.Namespace, seed: int, training: str
) -> tuple[list[Row], np.ndarray]:
    """Train and evaluate after each epoch.

    Returns:
        A line of the CSV for each epoch, and the last predictions.
    """
    from tqdm import tqdm

    rows: list[Row] = []
    losses: list[float] = []
    predicted = np.zeros(0)
    with tqdm(total=args.steps, desc=f"Seed {seed}, {training}", unit="step") as bar:
        for step in range(1, args.steps + 1):
            # train_on_batch gives the mean since the last reset; this is the batch's own.
            model.reset_metrics()
            losses.append(float(model.train_on_batch(*comparison.batch(seed, step))))
            bar.update()
            if step % args.steps_per_epoch and step < args.steps:
                continue
            predicted = comparison.predict(model)
            metrics = comparison.measure(predicted)
            row = {
                **{"seed": seed, "training": training, "epoch": len(rows) + 1, "step": step},
                "loss": float(np.mean(losses)),
                **metrics,
            }
            bar.set_postfix({name: f"{value:.3f}" for name, value in metrics.items()})
            rows.append(row)
            losses = []
    return rows, predicted


def predict_maps(model: Any, images: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """The network's maps of some images, float32 [N, H, W]."""
    found = []
    for first in range(0, len(images), batch_size):
        batch = list(images[first : first + batch_size])
        count = len(batch)
        batch += batch[-1:] * (batch_size - count)  # one shape, so one compilation
        found.append(np.asarray(model.predict_on_batch(np.stack(batch)))[:count, :, :, 0])
    return np.concatenate(found)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the CSV, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    logger.info(f"Metrics: {path}")


def report(comparison: Comparison, rows: Sequence[Row]) -> str:
    """The metrics after the last step, as mean and range over the seeds."""
    last = max(row["step"] for row in rows)
    head = "".join(f"{title:>28}" for title in comparison.metrics.values())
    lines = [f"{'after the last step':<22}{head}"]
    values: dict[tuple[str, str], list[float]] = {}
    for training in comparison.trainings:
        line = f"{training:<22}"
        for field in comparison.metrics:
            found = [r[field] for r in rows if r["training"] == training and r["step"] == last]
            values[training, field] = found
            line += f"{_mean_and_range(found):>28}"
        lines.append(line)
    seeds = len({row["seed"] for row in rows})
    if seeds == 1:
        return "\n".join([*lines, "One seed says little: give several."])
    line = f"{'seed by seed':<22}"
    for field in comparison.metrics:
        plain, with_edges = (values[training, field] for training in comparison.trainings)
        line += f"{_difference(np.subtract(with_edges, plain)):>28}"
    return "\n".join(
        [
            *lines,
            line,
            f"Mean and range of {seeds} seeds; seed by seed, the mean difference and its 95 % "
            "confidence interval.",
        ]
    )


def _mean_and_range(values: Sequence[float]) -> str:
    text = f"{np.mean(values):.4f}"
    return text if len(values) == 1 else f"{text} ({min(values):.4f} to {max(values):.4f})"


def _difference(differences: np.ndarray) -> str:
    from scipy import stats

    count = len(differences)
    half = stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count)
    mean = differences.mean()
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
