"""Train and evaluate as a command does: options to a run, and a run to its results.

`mrcnn train`, `mrcnn evaluate` and the samples differ in their data and their configuration;
the rest is here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcnn.checkpoints import folders
from mrcnn.commands import options as commands_options
from mrcnn.config import Config
from mrcnn.datasets.coco import CocoDataset
from mrcnn.model import MaskRCNN
from mrcnn.process import set_random_seed
from mrcnn.runs import results, start_weights
from mrcnn.runs import settings as runs_settings
from mrcnn.training import stages


def train(
    base: type[Config],
    args: argparse.Namespace,
    train_set: CocoDataset,
    val_set: CocoDataset,
    **options: Any,
) -> str:
    """Train as the options say, and draw the loss curves.

    Args:
        base: the configuration that the options change; its NUM_CLASSES becomes the data's.
        args: of `recipe.add_settings_options` and `add_schedule_options`, with `model` and
            `logs`.
        train_set, val_set: prepared data sets.
        options: for `MaskRCNN.train`, such as `augmentation`.

    Returns:
        The last weights file.
    """
    settings = {"NUM_CLASSES": train_set.num_classes, **commands_options.settings_of(args)}
    if str(args.model).lower() == "last":  # with its settings, where no option changes them
        run_name = settings.get("RUN_NAME", base.RUN_NAME)
        run = folders.find_last_run(args.logs, base.NAME, run_name)
        settings = runs_settings.load_settings(Path(run, runs_settings.SETTINGS_FILE)) | settings
    config = runs_settings.configure(base, settings)
    chosen = commands_options.stages_of(args)
    for name, dataset in (("training", train_set), ("validation", val_set)):
        print(f"{name} data: {dataset.summary()}")
    print(results.describe(config, chosen))

    set_random_seed(config.SEED)
    model = MaskRCNN("training", config, args.logs)
    start_weights.load_start_weights(model, args.model)
    print(f"Settings: {runs_settings.save_settings(config, model.log_dir)}")
    # The last stage alone is trained on top of what the weights have seen.
    start = 0
    if args.training_mode == "fine":
        start = model.epoch if model.schedule_start is None else model.schedule_start
    model.train_stages(train_set, val_set, chosen, start=start, **options)
    ends = stages.epochs(chosen, config.STEPS_PER_EPOCH, start)
    print(f"Loss curves: {results.report_losses(model.log_dir, ends)}")
    weights = model.find_last()
    print(f"Weights: {weights}")
    return weights
