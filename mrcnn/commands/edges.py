"""The command `mrcnn edges`: draw what the Edge Agreement Head sees of predictions.

Predictions come as two mask images, as COCO results, or from a network. Each is matched to its
ground truth, cropped to its box as the mask branch sees it, and drawn: kernels, pages of
instances, a page for each pair; a CSV holds the loss of every pair.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.commands import chosen, division, options
from mrcnn.commands.edge_files import (
    COLUMNS,
    KERNELS_FILE,
    LOSSES_FILE,
    MAKER,
    former_files,
    instances_file,
    pair_file,
    remove_former_files,
)
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.ops.edge_filters import (
    gradient_pairs,
    parse_norm,
    resolve_filters,
)
from mrcnn.runs.settings import derive_config
from mrcnn.setting_rules.names import MASK_SIZES

if TYPE_CHECKING:
    from mrcnn.commands.edge_pairs import Pair
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.drawing.edge_comparison import ErrorMeasure

HELP = "draw the edge agreement of predictions"
SMOOTHINGS = ("none", "groundtruth", "predictions", "both")
# Pairs compared in one go; bounds the memory.
CHUNK = 512
SOURCES = (
    "--prediction and --truth (two mask images), --dataset and --results (COCO results), "
    "or --dataset and --model (a network's weights)"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn edges`."""
    parser.description = (
        "Draw the edges that filters find in predicted and true masks, and the edge loss of each "
        f"pixel. Predictions: {SOURCES}. The smoothing and the mask size are those of the "
        "comparison, not of a network."
    )
    group = parser.add_argument_group("two masks", "grey images, 0 to 255 for probability 0 to 1")
    group.add_argument("--prediction", metavar="FILE", help="the predicted mask")
    group.add_argument("--truth", metavar="FILE", help="the true mask")
    options.add_options(
        parser,
        *("dataset", "subset", *options.ANNOTATIONS, "limit", "trained_model"),
        *("name", "run_name", "logs", "output", "mask_size", "set"),
        *("edge_loss_filters", "edge_loss_norm"),
        *("edge_loss_magnitude", "edge_loss_magnitude_only"),
        trained_model="none",
        output="edges_output",
        edge_loss_filters="those that the paper compares; a loss each",
    )
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--results", metavar="JSON", help="predicted masks in COCO's format of results"
    )
    group.add_argument(
        "--min-iou",
        type=float,
        default=0.5,
        metavar="IOU",
        help="mask IoU from which a prediction and an object are a pair (default: 0.5)",
    )
    group.add_argument(
        "--smoothing",
        choices=(*SMOOTHINGS, "all"),
        default="none",
        help="which masks are smoothed before their edges are found (default: none)",
    )
    group.add_argument(
        "--count", type=int, default=6, metavar="N", help="pairs to draw (default: 6)"
    )


def run(args: argparse.Namespace) -> int:
    """Compare predictions with their ground truth; write the losses and the pictures."""
    if args.count < 1 or args.limit < 0 or not 0 < args.min_iou <= 1:
        raise ValueError(
            f"expected --count of at least 1, --limit of at least 0 and --min-iou above 0 and at "
            f"most 1; received {args.count}, {args.limit} and {args.min_iou}."
        )
    comparison = _comparison_from_args(args)
    folder = Path(args.output or "edges_output")
    former_files(folder)  # before the work: they may be somebody else's
    pairs, dataset = _pairs_from_args(args)
    if not pairs:
        raise ValueError(
            f"no prediction matches an object of its class with a mask IoU of {args.min_iou:g} or "
            f"more. Lower --min-iou, or check that the predictions belong to this data set and "
            f"subset."
        )
    remove_former_files(folder)
    table = _write_losses(folder / LOSSES_FILE, pairs, comparison)
    logger.info(f"Losses of {len(pairs)} pairs: {table}")
    logger.info(f"Filters: {_draw_filters(folder / KERNELS_FILE, comparison)}")
    numbers = np.unique(np.linspace(0, len(pairs) - 1, args.count).round().astype(int)).tolist()
    drawn = {number: pairs[number] for number in numbers}
    crops = None if dataset is None else [_image_crop(dataset, pair) for pair in drawn.values()]
    _draw_instances(folder, list(drawn.values()), crops, comparison)
    _draw_pairs(folder, drawn, crops, comparison)
    return 0


# --- Options -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """How predictions are compared with their ground truth.

    Attributes:
        filters: names of filters or of sets of filters, a loss each.
        measure: what the error of a pixel is.
        smoothings: of SMOOTHINGS, a line of losses and a page each.
    """

    filters: tuple[str, ...]
    measure: ErrorMeasure
    smoothings: tuple[str, ...]


def _comparison_from_args(args: argparse.Namespace) -> Comparison:
    from mrcnn.drawing.edge_comparison import ErrorMeasure
    from mrcnn.drawing.edges import FILTER_SETS

    norm = args.edge_loss_norm or "l2"
    parse_norm(norm)
    return Comparison(
        filters=_filter_sets(
            args.edge_loss_filters or FILTER_SETS,
            bool(args.edge_loss_magnitude),
            bool(args.edge_loss_filters),
        ),
        measure=ErrorMeasure(norm, args.edge_loss_magnitude or False),
        smoothings=SMOOTHINGS if args.smoothing == "all" else (args.smoothing,),
    )


def _filter_sets(filters: Sequence[str], magnitude: bool, chosen: bool) -> tuple[str, ...]:
    """The filter sets, checked. Of the default ones, those that have what is asked for."""
    for name in filters:
        resolve_filters(name)
    if magnitude and not chosen:
        return tuple(name for name in filters if _has_gradient(name))
    for name in filters if magnitude else ():
        gradient_pairs(name)
    return tuple(dict.fromkeys(filters))


def _has_gradient(name: str) -> bool:
    try:
        return bool(gradient_pairs(name))
    except ValueError:
        return False


def _pairs_from_args(args: argparse.Namespace) -> tuple[list[Pair], CocoDataset | None]:
    """The pairs of the one source that the options name, the best IoU first.

    Returns:
        The pairs, and the data set that they belong to; two mask images have none.
    """
    from mrcnn.commands import edge_pairs

    sources = ("prediction", "truth", "dataset", "results", "model")
    given = {name for name in sources if getattr(args, name, None) is not None}
    if given == {"prediction", "truth"}:
        return [edge_pairs.file_pair(args.prediction, args.truth, args.mask_size)], None
    if given not in ({"dataset", "results"}, {"dataset", "model"}):
        received = ", ".join(f"--{name}" for name in sorted(given)) or "none of them"
        raise ValueError(f"expected {SOURCES}; received {received}.")
    subset = args.subset or "val"
    selection = edge_pairs.Selection(args.limit, args.min_iou)
    if "results" in given:
        division.divide_as_run(args, args.results, subset)  # they lie beside the weights
        dataset = chosen.load_subset(args, subset, ground_truth=False)
        mask_size = args.mask_size or MASK_SIZES[0]
        found = edge_pairs.results_pairs(dataset, args.results, mask_size, selection)
    else:
        name = args.name or Path(args.dataset).resolve().name.removesuffix(".json")
        weights = chosen.weights_from_args(derive_config(Config, {"NAME": name}), args)
        division.divide_as_run(args, weights, subset)
        dataset = chosen.load_subset(args, subset, ground_truth=False)
        config = edge_pairs.network_config(weights, dataset.num_classes, args.set)
        edge_pairs.expect_mask_size(config, args.mask_size, weights)
        found = edge_pairs.network_pairs(dataset, weights, config, selection)
    return sorted(found, key=lambda pair: -pair.iou), dataset


# --- Output ------------------------------------------------------------------------------


def _draw_filters(path: Path, comparison: Comparison) -> Path:
    """Draw the kernels of all filters."""
    from mrcnn.drawing import edges

    names = dict.fromkeys(name for group in comparison.filters for name in resolve_filters(group))
    return edges.save(edges.kernels_figure(tuple(names)), path, MAKER)


def _draw_instances(
    folder: Path, pairs: Sequence[Pair], crops: Sequence[np.ndarray] | None, comparison: Comparison
) -> None:
    """Draw a page of all pairs for each kind of smoothing."""
    from mrcnn.drawing import edges

    for kind in comparison.smoothings:
        page = edges.instances_figure(
            np.stack([pair.predicted for pair in pairs]),
            np.stack([pair.target for pair in pairs]),
            comparison.filters,
            measure=comparison.measure,
            smoothing=kind,
            images=crops,
            titles=[pair.title() for pair in pairs],
        )
        logger.info(f"Instances: {edges.save(page, folder / instances_file(kind), MAKER)}")


def _draw_pairs(
    folder: Path,
    pairs: Mapping[int, Pair],
    crops: Sequence[np.ndarray] | None,
    comparison: Comparison,
) -> None:
    """Draw a page of each pair, named by its number, which counts from 0."""
    from mrcnn.drawing import edges

    for position, (number, pair) in enumerate(pairs.items()):
        page = edges.pair_figure(
            pair.predicted,
            pair.target,
            comparison.filters,
            measure=comparison.measure,
            smoothing=comparison.smoothings,
            image=None if crops is None else crops[position],
            title=pair.title().replace("\n", ", "),
        )
        picture = edges.save(page, folder / pair_file(number), MAKER)
        logger.info(f"Pair {number + 1}: {picture}")


def _write_losses(path: Path, pairs: Sequence[Pair], comparison: Comparison) -> Path:
    """Write a line for each pair and kind of smoothing, with the loss of each filter set."""
    from mrcnn.drawing.edge_comparison import compare_edges

    filters, kinds = comparison.filters, comparison.smoothings
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *filters])
        for first in range(0, len(pairs), CHUNK):
            chunk = pairs[first : first + CHUNK]
            predicted = np.stack([pair.predicted for pair in chunk])
            target = np.stack([pair.target for pair in chunk])
            losses = {
                (kind, name): compare_edges(predicted, target, name, comparison.measure, kind).loss
                for kind in kinds
                for name in filters
            }
            for i, pair in enumerate(chunk):
                known = [first + i + 1, pair.image, pair.class_name]
                known += ["" if pair.score is None else repr(pair.score), repr(pair.iou)]
                for kind in kinds:
                    values = (repr(float(losses[kind, name][i])) for name in filters)
                    writer.writerow([*known, kind, *values])
    return path


def _image_crop(dataset: CocoDataset, pair: Pair) -> np.ndarray:
    """The part of its image that a pair shows."""
    if pair.place is None:
        raise ValueError(f"{pair.image}: expected the pair of an image of the data set.")
    y1, x1, y2, x2 = pair.place.box
    return dataset.load_image(pair.place.image_id)[y1:y2, x1:x2]
