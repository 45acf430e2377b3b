"""Evaluate as a command does: weights and the settings beside them to metrics."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcnn.commands import options as commands_options
from mrcnn.config import Config
from mrcnn.datasets.coco import CocoDataset
from mrcnn.model import MaskRCNN
from mrcnn.runs import results
from mrcnn.runs import settings as runs_settings


def evaluate(
    base: type[Config],
    args: argparse.Namespace,
    weights: str | Path,
    dataset: CocoDataset,
    ground_truth: Any,
    subset: str,
) -> None:
    """Evaluate weights with the settings beside them.

    Args:
        base: the configuration, where the weights have no settings beside them.
        args: of `recipe.add_settings_options`, with `logs`, `limit` and perhaps `output`.
        weights: a weights file.
        dataset, ground_truth: prepared data set, and its annotations for pycocotools.
        subset: names the files of the results.
    """
    settings = {"NUM_CLASSES": dataset.num_classes, **runs_settings.load_settings(weights)}
    settings |= runs_settings.inference_settings(runs_settings.configure(base, settings))
    config = runs_settings.configure(base, settings | commands_options.settings_of(args))
    print(results.describe(config))
    model = MaskRCNN("inference", config, args.logs)
    model.load_weights(weights, by_name=True)
    folder = getattr(args, "output", None) or Path(weights).resolve().parent
    results.evaluate(model, dataset, ground_truth, folder, subset, args.limit)
