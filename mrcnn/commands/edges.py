"""The command `mrcnn edges`: draw what the Edge Agreement Head sees of predictions.

Predictions come as two mask images, as COCO results, or from a network. Each is matched to its
ground truth, cropped to its box as the mask branch sees it, and drawn: kernels, pages of
instances, a page for each pair; a CSV holds the loss of every pair.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.ops.edge_filters import (
    FILTERS,
    NORMS,
    SHORTHANDS,
    gradient_pairs,
    parse_norm,
    resolve_filters,
)
from mrcnn.setting_rules import MASK_SIZES

if TYPE_CHECKING:
    from mrcnn.commands.edge_pairs import Pair
    from mrcnn.datasets.coco import CocoDataset

SMOOTHINGS = ("none", "groundtruth", "predictions", "both")
LOSSES_FILE = "losses.csv"
# Pairs compared in one go; bounds the memory.
CHUNK = 512
SOURCES = (
    "expected --prediction and --truth (two mask images), --dataset and --results (COCO results), "
    "or --dataset and --model (a network's weights)"
)


# --- Command line ------------------------------------------------------------------------


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `edges` to the commands of `mrcnn`."""
    parser = subparsers.add_parser("edges", help="draw the edge agreement of predictions")
    _add_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command by itself. Returns the exit status: 0, or 2 for unusable input."""
    parser = argparse.ArgumentParser(
        prog="mrcnn edges", description="Draw the edge agreement of predictions."
    )
    _add_options(parser)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (OSError, ValueError) as error:
        print(f"mrcnn edges: {error}", file=sys.stderr)
        return 2
    return 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_run)
    group = parser.add_argument_group("two masks", "grey images, 0 to 255 for probability 0 to 1")
    group.add_argument("--prediction", metavar="FILE")
    group.add_argument("--truth", metavar="FILE")
    group = parser.add_argument_group("predictions on a data set in COCO's layout")
    group.add_argument("--dataset", metavar="FOLDER")
    group.add_argument("--subset", default="val")
    group.add_argument("--year", default="", help="in the data set's file names")
    group.add_argument("--results", metavar="JSON", help="masks in COCO's result format")
    group.add_argument("--model", metavar="WEIGHTS", help="weights; their settings lie beside them")
    group.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the network"
    )
    group.add_argument("--limit", type=int, default=0, help="number of images (default: all)")
    group.add_argument("--min-iou", type=float, default=0.5, help="of masks that match (0.5)")
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--filters",
        nargs="+",
        metavar="FILTER",
        help=f"a loss each; of {', '.join([*FILTERS, *SHORTHANDS])} "
        f"(default: those that the paper compares)",
    )
    group.add_argument("--norm", default="l2", metavar="P", help=f"{', '.join(NORMS)}, or a number")
    group.add_argument("--smoothing", choices=(*SMOOTHINGS, "all"), default="none")
    group.add_argument("--magnitude", action="store_true", help="compare gradient magnitudes too")
    group.add_argument(
        "--mask-size",
        type=int,
        choices=MASK_SIZES,
        help="crop to the prediction's box at this size (default: two masks as they are, results "
        "at 28, a network's at its own)",
    )
    parser.add_argument("--count", type=int, default=6, help="number of pairs to draw (6)")
    parser.add_argument("--output", default="edges_output", metavar="FOLDER")


def _run(args: argparse.Namespace) -> None:
    options = {name: value for name, value in vars(args).items() if name not in ("run", "set")}
    run(**options, settings=args.set)


def run(
    output: str | Path,
    *,
    prediction: str | None = None,
    truth: str | None = None,
    dataset: str | None = None,
    subset: str = "val",
    year: str = "",
    results: str | None = None,
    model: str | None = None,
    settings: Sequence[str] = (),
    limit: int = 0,
    min_iou: float = 0.5,
    filters: Sequence[str] | None = None,
    norm: str | float = "l2",
    smoothing: str = "none",
    magnitude: bool = False,
    mask_size: int | None = None,
    count: int = 6,
) -> list[Path]:
    """Compare predictions with their ground truth; write the pictures and the losses.

    Args:
        output: folder of everything that is written.
        prediction, truth: two mask images of one size.
        dataset, subset, year: a data set in COCO's layout.
        results: a json file of COCO results with masks.
        model: a weights file.
        settings: NAME=VALUE for the network, over those beside the weights.
        limit: number of images; 0: all.
        min_iou: least IoU of two masks that match.
        filters: names of filters or of sets of filters, a loss each.
        norm: the exponent, see `mrcnn.ops.edge_filters.parse_norm`.
        smoothing: one of SMOOTHINGS, or "all".
        magnitude: see `mrcnn.drawing.edges.compare_edges`.
        mask_size: crop to the prediction's box at this size. None: two masks as they are,
            results at 28, a network's masks at its own size.
        count: pairs to draw, evenly from the best IoU to the worst.

    Returns:
        The files written.

    Raises:
        OSError, ValueError: a file or an option cannot be used, or nothing matches.
    """
    from mrcnn.commands import edge_pairs
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.drawing import edges

    if count < 1 or limit < 0 or not 0 < min_iou <= 1:
        raise ValueError(
            f"expected --count of at least 1, --limit of at least 0 and --min-iou above 0 and at "
            f"most 1; received {count}, {limit} and {min_iou}."
        )
    if smoothing not in (*SMOOTHINGS, "all"):
        raise ValueError(
            f"smoothing: expected {', '.join(SMOOTHINGS)} or all; received {smoothing!r}."
        )
    parse_norm(norm)
    filters = _filter_sets(filters or edges.FILTER_SETS, magnitude, bool(filters))
    kinds = SMOOTHINGS if smoothing == "all" else (smoothing,)
    options = {"norm": norm, "magnitude": magnitude}

    given = {
        name
        for name, value in (
            *(("prediction", prediction), ("truth", truth), ("dataset", dataset)),
            *(("results", results), ("model", model)),
        )
        if value is not None
    }
    data = None
    if given == {"prediction", "truth"}:
        pairs = [edge_pairs.file_pair(prediction, truth, mask_size)]
    elif given in ({"dataset", "results"}, {"dataset", "model"}):
        data = CocoDataset.of(dataset, subset, year, ground_truth=False)
        if results is not None:
            found = edge_pairs.results_pairs(
                data, results, mask_size or MASK_SIZES[0], limit, min_iou
            )
        else:
            found = edge_pairs.network_pairs(data, model, settings, mask_size, limit, min_iou)
        pairs = sorted(found, key=lambda pair: -pair.iou)
    else:
        options_given = ", ".join(f"--{name}" for name in sorted(given)) or "none of them"
        raise ValueError(f"{SOURCES}; received {options_given}.")
    if not pairs:
        raise ValueError(
            f"no prediction matches an object of its class with a mask IoU of {min_iou:g} or more. "
            f"Lower --min-iou, or check that the predictions belong to this data set and subset."
        )
    return _write(Path(output), pairs, data, filters, kinds, count, options)


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


def _write(
    folder: Path,
    pairs: Sequence[Pair],
    data: CocoDataset | None,
    filters: Sequence[str],
    kinds: Sequence[str],
    count: int,
    options: Mapping[str, Any],
) -> list[Path]:
    """Write the losses of all pairs and the pictures of some."""
    from mrcnn.drawing import edges

    table = _write_losses(folder / LOSSES_FILE, pairs, filters, kinds, options)
    print(f"Losses of {len(pairs)} pairs: {table}")
    names = dict.fromkeys(filter_name for name in filters for filter_name in resolve_filters(name))
    kernels = edges.save(edges.kernels_figure(tuple(names)), folder / "kernels.png")
    print(f"Filters: {kernels}")
    written = [table, kernels]

    numbers = np.unique(np.linspace(0, len(pairs) - 1, count).round().astype(int)).tolist()
    drawn = [pairs[number] for number in numbers]
    crops = None if data is None else [_image_crop(data, pair) for pair in drawn]
    for kind in kinds:
        page = edges.instances_figure(
            np.stack([pair.predicted for pair in drawn]),
            np.stack([pair.target for pair in drawn]),
            filters,
            smoothing=kind,
            images=crops,
            titles=[pair.title() for pair in drawn],
            **options,
        )
        written.append(edges.save(page, folder / f"instances_{kind}.png"))
        print(f"Instances: {written[-1]}")
    for position, (number, pair) in enumerate(zip(numbers, drawn, strict=True)):
        page = edges.pair_figure(
            pair.predicted,
            pair.target,
            filters,
            smoothing=kinds,
            image=None if crops is None else crops[position],
            title=pair.title().replace("\n", ", "),
            **options,
        )
        written.append(edges.save(page, folder / f"pair_{number + 1:04d}.png"))
        print(f"Pair {number + 1}: {written[-1]}")
    return written


def _write_losses(
    path: Path,
    pairs: Sequence[Pair],
    filters: Sequence[str],
    kinds: Sequence[str],
    options: Mapping[str, Any],
) -> Path:
    """Write a line for each pair and kind of smoothing, with the loss of each filter set."""
    from mrcnn.drawing.edges import compare_edges

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["pair", "image", "class", "score", "iou", "smoothing", *filters])
        for first in range(0, len(pairs), CHUNK):
            chunk = pairs[first : first + CHUNK]
            predicted = np.stack([pair.predicted for pair in chunk])
            target = np.stack([pair.target for pair in chunk])
            losses = {
                (kind, name): compare_edges(predicted, target, name, smoothing=kind, **options).loss
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


def _image_crop(data: CocoDataset, pair: Pair) -> np.ndarray:
    y1, x1, y2, x2 = pair.box
    return data.load_image(pair.image_id)[y1:y2, x1:x2]


if __name__ == "__main__":
    sys.exit(main())
