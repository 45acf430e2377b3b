"""The command `mrcnn train`: from options to a trained run.

`train_from_args` is shared with the samples, which differ in their data and their configuration.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.commands import check, chosen, division, options
from mrcnn.config import Config
from mrcnn.logger import logger
from mrcnn.runs import settings as run_settings
from mrcnn.screen import terminal

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.model import MaskRCNN
    from mrcnn.runs.plan import Plan

HELP = "train on a data set"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn train`."""
    parser.description = (
        "Train on a data set. What is not asked for is chosen to suit the data "
        "set, the weights on this machine and its processor, and shown before training starts. "
        "With --model last, everything that is not given is what the run was started with."
    )
    options.add_options(
        parser,
        *("dataset", *options.SUBSETS, *options.ANNOTATIONS, *options.SPLIT, *options.HOSTS),
        *("start_model", "exclude", "allow_changed", "name", "run_name", "logs"),
        *(*options.SCHEDULE, "augment", "seed", "no_check", *options.NETWORK, *options.TRAINING),
        first=options.TRAIN_FIRST,
        **options.CHOSEN_DEFAULTS,
    )


def run(args: argparse.Namespace) -> int:
    """Check the data set, train on it, and draw the loss curves."""
    from mrcnn.data import augment
    from mrcnn.runs import defaults

    join_processes(args)
    dataset = chosen.dataset_of(args)
    continues = goes_on(args)
    if args.allow_changed and not continues:
        raise ValueError(
            "--allow-changed: expected --model last; the option is for resuming a run."
        )
    name = args.name or Path(dataset).resolve().name.removesuffix(".json")
    base = run_settings.derive_config(Config, {"NAME": name})
    stored, settings = {}, {}
    if continues:
        last_run = settings_of_last_run(base, args)
        stored = run_settings.load_training(last_run)
        settings = run_settings.load_settings(last_run)
        _keep_images_of_a_step(args, settings)
    chosen.fill_data_options(args, stored)
    if not args.train_subset:
        raise ValueError("--train-subset: expected the name of a subset; received none.")
    given = chosen.settings_from_args(args)
    base = run_settings.derive_config(base, settings)
    config = run_settings.configure(base, given)
    if continues:
        division.divide_as_before(args, stored, last_run.parent)
    else:
        division.divide(args, config.SEED, args.train_subset)
    train_set, val_set = _load(args, config)
    if not continues:
        length = defaults.Length(args.schedule, args.steps, args.scale)
        choice = defaults.choose(train_set, val_set, given, args.model, length)
        base = run_settings.derive_config(base, choice.settings)
        if args.exclude and choice.model.lower() == "none":
            raise ValueError("--exclude: expected start weights to leave layers out of.")
        args.model, args.start_reason = choice.model, choice.reason
        args.default_schedule = choice.schedule
        if length == defaults.ASKED_FOR_NOTHING:
            args.steps = choice.steps
    if not args.no_check:
        coverage = check.check_before_training(args, run_settings.configure(base, given))
        fitting = defaults.anchor_settings(coverage, args.model, given)
        if coverage is not None and fitting and not continues:
            base = run_settings.derive_config(base, fitting)
            logger.info(coverage.describe_choice())
    train_from_args(base, args, train_set, val_set, augment.by_name(args.augment))
    return 0


def _load(args: argparse.Namespace, config: Config) -> tuple[Dataset, Dataset | None]:
    """The subsets that were given. Of one that cannot be read, the check says all that is wrong."""
    try:
        train_set = chosen.load_subset(args, args.train_subset)
        return train_set, chosen.load_subset(args, args.val_subset) if args.val_subset else None
    except ValueError:
        if not args.no_check:
            check.check_before_training(args, config)
        raise


@dataclass(frozen=True)
class Network:
    """What is trained, where it is not Mask R-CNN.

    Attributes:
        model: a subclass of `mrcnn.model.MaskRCNN`.
        describe: the settings that matter, in words.
        options: those that a run remembers, beside `chosen.DATA_OPTIONS`.
    """

    model: type[MaskRCNN]
    describe: Callable[[Config], str]
    options: tuple[str, ...] = ()


def train_from_args(
    base: type[Config],
    args: argparse.Namespace,
    train_set: Dataset,
    val_set: Dataset | None,
    augmentation: Any = None,
    network: Network | None = None,
) -> str:
    """Train as the options say, and draw the loss curves.

    Args:
        base: the configuration that the options change; its NUM_CLASSES becomes the data's.
        args: of the options of `mrcnn.commands.options` that are named SCHEDULE, NETWORK and
            TRAINING, with `model` and `logs`, and perhaps `default_schedule`.
        train_set, val_set: prepared data sets; `val_set` None: there is none.
        augmentation: see `MaskRCNN.train`.
        network: None: Mask R-CNN.

    Returns:
        The last weights file.
    """
    from mrcnn import precision
    from mrcnn.checkpoints import folders
    from mrcnn.model import MaskRCNN
    from mrcnn.process import set_random_seed
    from mrcnn.runs import plan as plans
    from mrcnn.runs import report, results, start_weights
    from mrcnn.training import hosts, stages

    network = network or Network(MaskRCNN, results.describe_run)
    settings: dict[str, Any] = {"NUM_CLASSES": train_set.num_classes}
    stored: Mapping[str, Any] = {}
    if goes_on(args):
        last_run = settings_of_last_run(base, args)
        before = run_settings.load_settings(last_run)
        _keep_images_of_a_step(args, before)
        settings = {**before, **settings}
        stored = run_settings.load_training(last_run)
    config = run_settings.configure(base, {**settings, **chosen.settings_from_args(args)})
    plan = _plan(args, config, stored)

    set_random_seed(config.SEED)
    model = network.model("training", config, args.logs)
    start_weights.load_start_weights(
        *(model, args.model or "none", getattr(args, "exclude", None) or ()),
        allow_changed=getattr(args, "allow_changed", False),
        class_names=[str(name) for name in train_set.class_names],
    )
    model.session.other_schedule = plan.start is None
    start = plan.start if plan.start is not None else 0
    if plan.start is not None:  # a run that continues
        ends = stages.epochs(plan.stages, config.STEPS_PER_EPOCH, start)
        finished, done = model.planned_epoch >= ends[-1], model.session.steps_done(config)
        plan = plans.of_length(plan, args.steps, finished, done)
    elif plan.options["training_mode"] == "fine":
        # The last stage alone is trained on top of what the weights have seen.
        start = model.planned_epoch if model.schedule_start is None else model.schedule_start
    weights = getattr(args, "start_reason", "") or _start_text(args, model)
    for name, dataset in (("training", train_set), ("validation", val_set)):
        logger.info(f"{name} data: {dataset.summary() if dataset is not None else 'none'}")
    logger.info(network.describe(config))
    logger.info(plans.describe(config, plan, train_set, val_set, weights))
    if hint := precision.hint(config):
        logger.info(hint)
    planned = stages.epochs(plan.stages, config.STEPS_PER_EPOCH, start)
    if model.planned_epoch >= planned[-1]:
        logger.info(
            f"Nothing to train: the run has all of its {plan.steps} steps. --steps N makes it "
            "longer."
        )
    else:
        logger.info(f"Settings: {Path(model.claim_log_dir(), run_settings.SETTINGS_FILE)}")
        remembered = (*chosen.DATA_OPTIONS, *network.options)
        details = {name: getattr(args, name, None) for name in remembered}
        details |= division.remembered(args)
        if hosts.is_first() and (divided := division.division_of(args)) is not None:
            logger.info(f"Split: {divided.write(model.log_dir)}")
        own = model.session.details.get(run_settings.TRAINING, {})
        model.session.details = {run_settings.TRAINING: {**own, **details, **plan.as_json(start)}}
        model.train_stages(
            *(train_set, val_set, plan.stages),
            start=start,
            augmentation=augmentation,
            custom_callbacks=_pace(model.session.steps_left(config, plan.stages, start)),
        )
    if not hosts.is_first():
        return folders.checkpoint_path(model.log_dir, config.NAME, model.epoch)
    logger.info(f"Loss curves: {results.draw_loss_curves(model.log_dir)}")
    if written := report.write_report(model.log_dir):
        logger.info(f"Report: {written}")
    last = folders.last_checkpoint(model.log_dir)
    logger.info(f"Weights: {last}")
    if best := results.describe_best(model.log_dir, config):
        logger.info(f"Best: {best}")
    return last


def join_processes(args: argparse.Namespace) -> None:
    """Train together with other processes, where options or variables say so; first of all.

    Then all devices of all of them share each step.
    """
    from mrcnn.training import hosts

    place = hosts.find_place(args.coordinator, args.processes, args.process_id)
    hosts.join(place)
    if place is not None and args.devices is None:
        args.devices = "all"


def _keep_images_of_a_step(args: argparse.Namespace, before: Mapping[str, Any]) -> None:
    """A run that continues has the same images a step, by however many devices they are shared."""
    if getattr(args, "devices", None) is not None and args.batch_size is None:
        args.batch_size = before["IMAGES_PER_GPU"] * before.get("GPU_COUNT", 1)


def _pace(steps: int) -> list[Any]:
    """What says how long it takes, where no bar does."""
    from mrcnn.training.pace import Pace

    return [] if terminal.is_terminal(sys.stdout) else [Pace(steps)]


def goes_on(args: argparse.Namespace) -> bool:
    """Whether the options ask to continue with the newest run."""
    return str(args.model).lower() == "last"


def _plan(args: argparse.Namespace, config: Config, stored: Mapping[str, Any]) -> Plan:
    """The stages that the options ask for, or those of the run that continues."""
    from mrcnn.runs import plan as plans

    given = {name: getattr(args, name, None) for name in plans.SCHEDULE_OPTIONS}
    before = plans.stored_plan(stored)
    if before is not None:
        plan = plans.continued(before, given)
        if plan is not None:
            return plan
    default = getattr(args, "default_schedule", None)
    if goes_on(args) and before is None and not (default or args.schedule):
        raise ValueError(
            f"--model last: expected a run that says by which schedule it was trained; the "
            f"{run_settings.SETTINGS_FILE} of the newest one does not. Say it: --schedule NAME, "
            "with --steps or --scale."
        )
    default = default or "scratch"
    merged = {"schedule": default, "training_mode": "full"}
    if before is not None:
        merged |= {name: value for name, value in before.options.items() if value is not None}
        if given["steps"] is not None or given["scale"] is not None:
            merged = {k: v for k, v in merged.items() if k not in ("steps", "scale")}
    merged |= {name: value for name, value in given.items() if value is not None}
    wanted = {name: merged.get(name) for name in plans.SCHEDULE_OPTIONS}
    found = chosen.stages_from_args(argparse.Namespace(**wanted), config.OPTIMIZER)
    if before is not None:
        logger.info(
            f"The schedule changes as the options say. Before: "
            f"{plans.describe_stages(before.stages)}. Now: {plans.describe_stages(found)}."
        )
    return plans.Plan(found, None, wanted)


def _start_text(args: argparse.Namespace, model: Any) -> str:
    """What training starts from, in words."""
    if goes_on(args):
        return f"continues with {model.log_dir} at epoch {model.epoch + 1}"
    weights = str(args.model or "none")
    known = {
        "none": "random weights",
        "coco": "Matterport's COCO weights",
        "imagenet": "ImageNet weights of ResNet-50",
    }
    return known.get(weights.lower(), weights)


def settings_of_last_run(base: type[Config], args: argparse.Namespace) -> Path:
    """The settings file of the newest run of a configuration whose RUN_NAME may be changed."""
    from mrcnn.checkpoints import folders

    run_name = chosen.settings_from_args(args).get("RUN_NAME", base.RUN_NAME)
    folder = folders.find_last_run(args.logs, base.NAME, run_name)
    return Path(folder, run_settings.SETTINGS_FILE)
