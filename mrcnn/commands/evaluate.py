"""The command `mrcnn evaluate`: from weights, and the settings beside them, to metrics.

`evaluate_from_args` is shared with the samples, which differ in their data and their configuration.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mrcnn.commands import chosen, division, options
from mrcnn.config import Config
from mrcnn.data.class_order import order_classes
from mrcnn.evaluation.engines import ENGINES, PYCOCOTOOLS, check_engine
from mrcnn.files.addresses import location_of
from mrcnn.logger import logger
from mrcnn.runs.settings import derive_config, load_class_names

if TYPE_CHECKING:
    from mrcnn.evaluation.coco import Metrics
    from mrcnn.runs.results import Split

BOXES = ("detector", "ground-truth")
HELP = "evaluate weights with pycocotools"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn evaluate`."""
    parser.description = (
        "Evaluate trained weights on a subset with pycocotools, with the settings of their run."
    )
    options.add_options(
        parser,
        *("dataset", "subset", *options.ANNOTATIONS, *options.SPLIT, "seed", "limit"),
        *("trained_model", "name", "run_name", "logs", "output", *options.NETWORK),
        *(*options.LOOKS, "workers"),
        output="beside the weights",
        backbone="default: the run's",
        image_size="default: the run's",
    )
    parser.add_argument(
        "--coco-engine",
        choices=ENGINES,
        default=PYCOCOTOOLS,
        help="who computes the COCO metrics: pycocotools, or hotcoco, with the same numbers some "
        '15 times as fast (pip install "mrcnn[fast-eval]"; default: pycocotools)',
    )
    parser.add_argument(
        "--boxes",
        choices=BOXES,
        default=BOXES[0],
        help="where the masks are drawn: in the detector's boxes, or in those of the ground truth, "
        "with its classes, which evaluates the mask branch alone (default: detector)",
    )

    parser.add_argument(
        "--predictions",
        metavar="FOLDER",
        help="evaluate what mrcnn predict --save parquet, or --ray, has written there, in place of "
        "weights, some pictures at a time (default: weights are evaluated)",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate the weights on a subset."""
    from mrcnn.evaluation.ground_truth import Truth
    from mrcnn.runs.results import Split

    if args.predictions is not None:
        return _evaluate_results(args)
    if args.coco_engine != PYCOCOTOOLS and args.boxes == "ground-truth":
        raise ValueError(
            f"--coco-engine: expected {PYCOCOTOOLS} with --boxes ground-truth, whose metrics "
            f"come with what matched; received {args.coco_engine}."
        )
    if args.boxes == "ground-truth":
        _expect_one_look(args)
    check_engine(args.coco_engine)  # first: before the work
    subset = args.subset or "val"
    name = args.name or Path(chosen.dataset_of(args)).resolve().name.removesuffix(".json")
    base = derive_config(Config, {"NAME": name})
    weights = chosen.weights_from_args(base, args)
    if args.split is None and args.split_by is None:
        division.divide_as_run(args, weights, subset)
    else:
        _divide(args)
    dataset = chosen.load_subset(args, subset)
    split = Split(
        dataset,
        Truth.of(dataset.ground_truth, args.coco_engine),
        f"{Path(subset.removesuffix('.json')).name}{args.year or ''}",
        args.limit,
    )
    evaluate_from_args(base, args, weights, split)
    return 0


def _divide(args: argparse.Namespace) -> None:
    division.divide(args, chosen.settings_from_args(args).get("SEED", Config.SEED))


def evaluate_from_args(
    base: type[Config], args: argparse.Namespace, weights: str | Path, split: Split
) -> Metrics:
    """Evaluate weights with the settings beside them, which the options change.

    Args:
        base: the configuration, where the weights have no settings beside them; its NUM_CLASSES
            is the data's then.
        args: of the options of `mrcnn.commands.options` that are named NETWORK, perhaps with
            `output`, the folder of the results; they go beside the weights without it; and with
            `boxes`, one of BOXES.
        weights: a weights file.
        split: the images.
    """
    from mrcnn.runs import given_boxes, results, trained

    _order_classes(split, weights)
    config = trained.inference_config(
        weights,
        derive_config(base, {"NUM_CLASSES": split.dataset.num_classes}),
        chosen.settings_from_args(args),
        every_detection=True,
    )
    logger.info(results.describe_run(config))
    model = trained.load_detector(config, weights)
    folder = getattr(args, "output", None) or Path(weights).resolve().parent
    if getattr(args, "boxes", BOXES[0]) == "ground-truth":
        return given_boxes.evaluate_run_on_ground_truth_boxes(model, split, folder)
    detector = chosen.detector_from_args(model, args)
    return results.evaluate_run(
        *(model, split, folder), detector=detector, run_folder=Path(weights).resolve().parent
    )


def _evaluate_results(args: argparse.Namespace) -> int:
    """Evaluate predictions that are tables; their pictures and classes are known by names."""
    from mrcnn.evaluation import coco
    from mrcnn.evaluation.ground_truth import Truth
    from mrcnn.evaluation.in_parts import InParts
    from mrcnn.prediction.parquet import read_tables

    usual = {"boxes": BOXES[0], "coco_engine": PYCOCOTOOLS, "set": []}
    of_networks = [name for name in options.NETWORK if name != "set"]
    for name in ("model", "run_name", *options.LOOKS, "workers", *of_networks, *usual):
        if getattr(args, name, None) not in (None, usual.get(name)):
            raise ValueError(
                f"--predictions: expected no --{name.replace('_', '-')}, because no network is "
                f"used, and pycocotools evaluates; received {getattr(args, name)}."
            )
    _divide(args)
    dataset = chosen.load_subset(args, args.subset or "val")
    pictures = _Pictures(dataset, args.limit)
    categories = {info["name"]: info["id"] for info in dataset.class_info[1:]}
    evaluation = InParts(Truth.of(dataset.ground_truth))
    others = 0
    for names, rows in read_tables(args.predictions):
        ids = {name: found for name in names if (found := pictures.id_of(name)) is not None}
        others += len(names) - len(ids)
        results = [
            {
                "image_id": ids[row["file_name"]],
                "category_id": _category(categories, row["class"], args.predictions),
                "score": row["score"],
                "bbox": [row[side] for side in ("x", "y", "width", "height")],
                "segmentation": {
                    "size": [row["image_height"], row["image_width"]],
                    "counts": row["rle"],
                },
            }
            for row in rows
            if row["file_name"] in ids
        ]
        evaluation.add(ids.values(), results)
    if not evaluation.images:
        raise ValueError(
            f"--predictions {args.predictions}: expected pictures of the subset, such as "
            f"{pictures.example!r}; it has {others} others. Are they of another subset?"
        )
    missing = pictures.left
    if missing:
        evaluation.add(missing, [])
        logger.warning(
            f"{len(missing)} images of the subset are not among the predictions, such as id "
            f"{missing[0]!r}; nothing counts as found in them."
        )
    if others:
        logger.info(f"{others} pictures of the predictions are not in the subset, and left out.")
    metrics = evaluation.metrics()
    logger.info(coco.format_table(metrics))
    subset = Path((args.subset or "val").removesuffix(".json")).name
    table = Path(args.output or args.predictions, f"coco_{subset}{args.year or ''}.csv")
    table.parent.mkdir(parents=True, exist_ok=True)
    coco.write_csv(table, metrics)
    logger.info(f"{evaluation.images} images. Metrics: {table}")
    return 0


class _Pictures:
    """The images of a subset, by the names of their files."""

    def __init__(self, dataset: Any, limit: int) -> None:
        from mrcnn.evaluation.coco import choose_images

        self._by_name: dict[str, list[tuple[str, Any]]] = {}
        self._left: dict[Any, None] = {}
        self.example = ""
        for image_id in choose_images(dataset, None, limit):
            info = dataset.image_info[image_id]
            path = PurePath(location_of(info["path"] or "")).as_posix()
            self.example = self.example or PurePath(path).name
            self._by_name.setdefault(PurePath(path).name, []).append((path, info["id"]))
            self._left[info["id"]] = None

    @property
    def left(self) -> list[Any]:
        """The ids that nobody has asked for."""
        return list(self._left)

    def id_of(self, name: str) -> Any:
        """The id of the image whose path ends like the name of a picture; None: there is none.

        Raises:
            ValueError: there are several.
        """
        found = [
            id
            for path, id in self._by_name.get(PurePath(name).name, ())
            if path == name or path.endswith(f"/{name}")
        ]
        if len(found) > 1:
            raise ValueError(
                f"{name}: expected the name of one image; {len(found)} end like it. Predict on the "
                "folder that holds them all, so that their names have its subfolders."
            )
        if not found:
            return None
        self._left.pop(found[0], None)
        return found[0]


def _category(categories: Mapping[str, Any], name: str, folder: str) -> Any:
    if name not in categories:
        raise ValueError(
            f"{folder}: expected classes of the data, {', '.join(categories)}; received {name!r}."
        )
    return categories[name]


def _expect_one_look(args: argparse.Namespace) -> None:
    given = [name for name in options.LOOKS if getattr(args, name, None) is not None]
    if given:
        raise ValueError(
            f"--{given[0]}: expected the detector's boxes; received --boxes ground-truth, for "
            "which the mask branch looks once."
        )


def _order_classes(split: Split, weights: str | Path) -> None:
    """Let the data have the classes of the weights, in their order, where these are known.

    Raises:
        ValueError: the data have others.
    """
    trained_on = load_class_names(weights)
    if trained_on is None:
        return
    try:
        changed = order_classes(split.dataset, trained_on)
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    if changed:
        logger.info(f"Classes are told apart by name: {', '.join(trained_on[1:])}.")
