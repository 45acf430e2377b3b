"""The options of all commands and samples, each declared once.

A command names the options that it has; so an option is spelt the same, means the same and has the
same default wherever it occurs. What the given ones mean is in `mrcnn.commands.chosen`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrcnn.commands.config_file import CONFIG_OPTIONS
from mrcnn.config import BACKBONES, MIXED_PRECISIONS, Config
from mrcnn.data.augment import AUGMENTATIONS
from mrcnn.ops.edge_filters import FILTERS, NORMS, SHORTHANDS
from mrcnn.setting_rules.names import MASK_SIZES
from mrcnn.training import stages


@dataclass(frozen=True)
class Option:
    """An option as argparse takes it.

    Attributes:
        flags: its spellings, the first the one that messages use.
        group: under which the help lists it.
        help: with "{default}" where the default differs from command to command.
        details: the rest of what `add_argument` takes.
        positional: may also be given without a flag, as the first argument.
    """

    flags: tuple[str, ...]
    group: str
    help: str
    details: Mapping[str, Any] = field(default_factory=dict)
    positional: bool = False


def _option(*flags: str, group: str, help: str, positional: bool = False, **details: Any) -> Option:
    return Option(flags, group, help, details, positional)


_DATA, _WEIGHTS, _OUTPUT = "data", "weights", "output"
_NETWORK, _TRAINING = "network", "training"
_FIRST = "what matters most"
_FILE = "options from a file"
_LOOKS = "how pictures are looked at"
_HOSTS = "several machines, or processes of one"
_SCHEDULE = "length and rate"
_STATES = "exact states (docs/reliability.md)"
_EVALUATION = "metrics while training"
_EDGES = "Edge Agreement Head (arXiv 1809.07069)"
TO_STANDARD_OUTPUT = "-"  # in place of the name of a file
_FLAG: dict[str, Any] = {"action": "store_true", "default": None}


def _default(name: str) -> str:
    return f"(default: {getattr(Config, name)})"


OPTIONS: dict[str, Option] = {
    # --- Data
    "dataset": _option(
        "--dataset",
        group=_DATA,
        positional=True,
        metavar="DATASET",
        help="the folder of the data set: {default}",
    ),
    "train_subset": _option(
        "--train-subset", group=_DATA, metavar="SUBSET", help="to train on (default: train)"
    ),
    "val_subset": _option(
        "--val-subset",
        group=_DATA,
        metavar="SUBSET",
        help='to validate on; "" for none (default: val)',
    ),
    "subset": _option(
        "--subset", group=_DATA, metavar="SUBSET", help="the images to use (default: {default})"
    ),
    "year": _option(
        "--year", group=_DATA, help="part of the data set's file names (default: {default})"
    ),
    "box_only": _option(
        "--box-only",
        group=_DATA,
        **_FLAG,
        help="accept annotations without a segmentation: they train boxes and classes, no masks",
    ),
    "skip_invalid": _option(
        "--skip-invalid",
        group=_DATA,
        **_FLAG,
        help="leave out annotations that cannot be used, and count them by kind",
    ),
    "image_dir": _option(
        "--image-dir",
        group=_DATA,
        metavar="PLACE",
        help="where the images of a COCO json are, if elsewhere: a folder, an address such as "
        "s3://bucket/{{subset}}, or tar files such as shards/{{subset}}-*.tar, with the name of "
        "the subset in place of {{subset}} (default: beside the json)",
    ),
    "split": _option(
        "--split",
        group=_DATA,
        type=float,
        metavar="SHARE",
        help="of a data set without a validation set: this share of the images trains, such as "
        "0.8; --seed decides which (default: the data set's own subsets)",
    ),
    "split_by": _option(
        "--split-by",
        group=_DATA,
        metavar="FIELD",
        help="with --split: keep images together that have the same value of this field of their "
        "entries, are in the same folder (folder), or resemble each other (near-duplicates)",
    ),
    "limit": _option(
        "--limit",
        group=_DATA,
        type=int,
        default=0,
        metavar="IMAGES",
        help="use only the first so many images (default: 0, all)",
    ),
    "train_images": _option(
        "--train-images",
        group=_DATA,
        type=int,
        metavar="N",
        help="images to draw for training (default: {default})",
    ),
    "val_images": _option(
        "--val-images",
        group=_DATA,
        type=int,
        metavar="N",
        help="images to draw for validation (default: {default})",
    ),
    # --- Weights and folders
    "start_model": _option(
        "--model",
        "--weights",
        group=_WEIGHTS,
        dest="model",
        help="what training starts from: none (random weights), imagenet (ResNet-50), coco "
        "(Matterport's weights), torchvision, torchvision-v2, detectron2 (theirs on COCO), "
        "torchvision-resnet50 and the like (its backbones), last (continue with the newest run), "
        "or a weights file (default: {default})",
    ),
    "trained_model": _option(
        "--model",
        "--weights",
        group=_WEIGHTS,
        dest="model",
        help="trained weights: last (the newest run's), coco (Matterport's), torchvision, "
        "torchvision-v2 or detectron2 (theirs), a weights file, or the folder of a run; its "
        "settings are read from there (default: {default})",
    ),
    "exclude": _option(
        "--exclude",
        group=_WEIGHTS,
        nargs="+",
        default=[],
        metavar="LAYERS",
        help="layers to leave out of the start weights: heads, or regular expressions on layer "
        "names, such as mrcnn_mask.*",
    ),
    "allow_changed": _option(
        "--allow-changed",
        group=_WEIGHTS,
        action="store_true",
        help="with --model last: continue although settings, data or augmentation have changed",
    ),
    "name": _option(
        "--name",
        group=_OUTPUT,
        help="first part of the log folder's name (default: the name of the data set's folder)",
    ),
    "run_name": _option(
        "--run-name",
        group=_OUTPUT,
        metavar="NAME",
        help="second part of the log folder's name (default: none)",
    ),
    "logs": _option(
        "--logs",
        group=_OUTPUT,
        default="logs",
        metavar="FOLDER",
        help="where runs have their log folders (default: logs)",
    ),
    "output": _option(
        "--output",
        group=_OUTPUT,
        metavar="FOLDER",
        help="where the results are written (default: {default})",
    ),
    "json": _option(
        "--json",
        group=_OUTPUT,
        nargs="?",
        const=TO_STANDARD_OUTPUT,
        metavar="FILE",
        help="write all that is found to this file as JSON; without a name, to the standard "
        "output in place of the text",
    ),
    # --- Settings of the network
    "backbone": _option(
        "--backbone", group=_NETWORK, choices=BACKBONES, help="the feature extractor ({default})"
    ),
    "image_size": _option(
        "--image-size",
        group=_NETWORK,
        type=int,
        metavar="PIXELS",
        help="side of the network's square input, a multiple of 64 ({default})",
    ),
    "mask_size": _option(
        "--mask-size",
        group=_NETWORK,
        type=int,
        choices=MASK_SIZES,
        help=f"side of the predicted masks in pixels (default: {Config.MASK_SHAPE[0]})",
    ),
    "batch_size": _option(
        "--batch-size",
        group=_NETWORK,
        type=int,
        metavar="IMAGES",
        help="images that the network takes at a time, on all devices together "
        + _default("IMAGES_PER_GPU"),
    ),
    "devices": _option(
        "--devices",
        group=_NETWORK,
        metavar="N",
        help="devices of this machine that share each step's images, or all; on TensorFlow "
        "and JAX (docs/training.md) " + _default("GPU_COUNT"),
    ),
    "coordinator": _option(
        "--coordinator",
        group=_HOSTS,
        metavar="HOST:PORT",
        help="where process 0 listens; on JAX (docs/training.md). Slurm and torchrun need none of "
        "these options",
    ),
    "processes": _option(
        "--processes",
        group=_HOSTS,
        type=int,
        metavar="N",
        help="how many train together, each started with this command (default: this one alone)",
    ),
    "process_id": _option(
        "--process-id",
        group=_HOSTS,
        type=int,
        metavar="I",
        help="which of them this is, from 0; process 0 writes (default: it is alone)",
    ),
    "mixed_precision": _option(
        "--mixed-precision",
        group=_NETWORK,
        choices=MIXED_PRECISIONS,
        help="compute in this, with weights in float32; auto: bfloat16 where the device computes "
        "it natively, otherwise float32 (default: all in float32)",
    ),
    "tile": _option(
        "--tile",
        group=_LOOKS,
        type=int,
        metavar="PIXELS",
        help="look at large pictures in square tiles of this side (default: the whole picture)",
    ),
    "overlap": _option(
        "--overlap",
        group=_LOOKS,
        type=int,
        metavar="PIXELS",
        help="of neighbouring tiles; at least as large as the objects (default: an eighth of "
        "--tile)",
    ),
    "tta": _option(
        "--tta",
        group=_LOOKS,
        nargs="*",
        type=float,
        metavar="SCALE",
        help="test-time augmentation: look at each picture at these scales of its usual size, as "
        "it is and mirrored, and put together what is found; slower, and usually more exact; "
        "without a number: 1 (default: one look)",
    ),
    "config": _option(
        "--config",
        group=_FILE,
        metavar="FILE",
        help="options and settings from a YAML or JSON file, or from the config.json of a run; the "
        "command line wins (default: none)",
    ),
    "set": _option(
        "--set",
        group=_NETWORK,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of mrcnn.config.Config, such as TRAIN_BN=None; may be repeated",
    ),
    # --- Training
    "augment": _option(
        "--augment",
        group=_TRAINING,
        nargs="*",
        choices=AUGMENTATIONS,
        help="random changes of the training images: mirrored left-right (flip), upside down "
        "(updown), turned by quarters (rotate); none if nothing follows (default: flip)",
    ),
    "rois": _option(
        "--rois",
        group=_TRAINING,
        type=int,
        metavar="N",
        help="regions of interest that train the heads, an image "
        + _default("TRAIN_ROIS_PER_IMAGE"),
    ),
    "seed": _option(
        "--seed",
        group=_TRAINING,
        type=int,
        help="decides random weights, the order of images and every random choice "
        + _default("SEED"),
    ),
    "workers": _option(
        "--workers",
        group=_TRAINING,
        type=int,
        metavar="N",
        help="threads that read files (default: the number of cores, at most 8)",
    ),
    "uncertainty_weighting": _option(
        "--uncertainty-weighting",
        group=_TRAINING,
        **_FLAG,
        help="learn the weights of the losses (default: they are fixed)",
    ),
    "no_check": _option(
        "--no-check",
        group=_TRAINING,
        action="store_true",
        help="train without the quick check of the data set",
    ),
    # --- Length and rate
    "schedule": _option(
        "--schedule",
        group=_SCHEDULE,
        choices=tuple(stages.SCHEDULES),
        help="stages of layers and rates (default: {default})",
    ),
    "training_mode": _option(
        "--training-mode",
        group=_SCHEDULE,
        choices=stages.MODES,
        help="full: all stages; base: all but the last; fine: the last (default: full)",
    ),
    "steps": _option(
        "--steps",
        group=_SCHEDULE,
        type=int,
        metavar="N",
        help="length of the training in steps (batches) in all (default: {default})",
    ),
    "scale": _option(
        "--scale",
        group=_SCHEDULE,
        type=float,
        metavar="FACTOR",
        help="in place of --steps: a factor of every stage's length (default: 1)",
    ),
    "steps_per_epoch": _option(
        "--steps-per-epoch",
        group=_SCHEDULE,
        type=int,
        metavar="N",
        help="steps after which weights are saved and validation is run (default: {default})",
    ),
    "validation_steps": _option(
        "--validation-steps",
        group=_SCHEDULE,
        type=int,
        metavar="N",
        help="batches of a validation (default: {default})",
    ),
    "learning_rate": _option(
        "--learning-rate",
        group=_SCHEDULE,
        type=float,
        metavar="RATE",
        help="of the stage with the highest rate; the others in proportion (default: the "
        "schedule's)",
    ),
    # --- States
    "checkpoint_steps": _option(
        "--checkpoint-steps",
        group=_STATES,
        type=int,
        metavar="N",
        help="write the exact state after every N steps (default: not by steps)",
    ),
    "checkpoint_minutes": _option(
        "--checkpoint-minutes",
        group=_STATES,
        type=float,
        metavar="MINUTES",
        help="write the exact state after so many minutes " + _default("CHECKPOINT_MINUTES"),
    ),
    "checkpoints_kept": _option(
        "--checkpoints-kept",
        group=_STATES,
        type=int,
        metavar="N",
        help="newest states that are kept beside the best " + _default("CHECKPOINTS_KEPT"),
    ),
    "checkpoint_disk_budget": _option(
        "--checkpoint-disk-budget",
        group=_STATES,
        type=float,
        metavar="GB",
        help="disk space for the states of a run in GB (default: no limit)",
    ),
    "checkpoint_metric": _option(
        "--checkpoint-metric",
        group=_STATES,
        metavar="NAME",
        help="loss or metric that says which state is the best (default: val_loss; loss without "
        "validation)",
    ),
    "evaluation_epochs": _option(
        "--eval-epochs",
        group=_EVALUATION,
        type=int,
        metavar="N",
        help="COCO metrics of the validation set after every N epochs: val_segm_AP, val_segm_AP50, "
        "val_bbox_AP and val_boundary_AP in losses.csv; --checkpoint-metric val_segm_AP keeps the "
        "best weights by them (default: never)",
    ),
    "evaluation_images": _option(
        "--eval-images",
        group=_EVALUATION,
        type=int,
        metavar="N",
        help="of the validation set, spread over it (default: all)",
    ),
    "patience": _option(
        "--patience",
        group=_EVALUATION,
        type=int,
        metavar="N",
        help="end a stage after N evaluations without a better value of --checkpoint-metric (a "
        "loss is evaluated every epoch); the next stage follows (default: train all steps)",
    ),
    # --- Edge Agreement Head
    "edge_loss_filters": _option(
        "--edge-loss-filters",
        "--filters",
        group=_EDGES,
        nargs="+",
        metavar="FILTER",
        help=f"edge filters, of {', '.join([*FILTERS, *SHORTHANDS])} (default: {{default}})",
    ),
    "edge_loss_norm": _option(
        "--edge-loss-norm",
        "--norm",
        group=_EDGES,
        metavar="P",
        help=f"exponent of the edge loss: {', '.join(NORMS)}, or a number (default: l2)",
    ),
    "edge_loss_magnitude": _option(
        "--edge-loss-magnitude",
        "--magnitude",
        group=_EDGES,
        **_FLAG,
        help="compare gradient magnitudes too (default: the filters' responses alone)",
    ),
    "edge_loss_magnitude_only": _option(
        "--edge-loss-magnitude-only",
        "--magnitude-only",
        group=_EDGES,
        action="store_const",
        const="only",
        dest="edge_loss_magnitude",
        help="compare gradient magnitudes and nothing else",
    ),
    "edge_loss_weight_factor": _option(
        "--edge-loss-weight-factor",
        group=_EDGES,
        type=float,
        metavar="ALPHA",
        help="factor of the edge loss " + _default("EDGE_LOSS_WEIGHT_FACTOR"),
    ),
    "edge_loss_smoothing_groundtruth": _option(
        "--edge-loss-smoothing-groundtruth",
        group=_EDGES,
        **_FLAG,
        help="smooth the ground truth before its edges are found (default: it is not)",
    ),
    "edge_loss_smoothing_predictions": _option(
        "--edge-loss-smoothing-predictions",
        group=_EDGES,
        **_FLAG,
        help="smooth the predictions before their edges are found (default: they are not)",
    ),
    "edge_loss_weight_entropy": _option(
        "--edge-loss-weight-entropy",
        group=_EDGES,
        nargs="?",
        const="exp",
        choices=("exp", "product"),
        help="weight the cross entropy of the masks by the edge error, through exp or as a "
        "product; exp if nothing follows (default: off)",
    ),
    "edge_loss_entropy_divisor": _option(
        "--edge-loss-entropy-divisor",
        group=_EDGES,
        type=float,
        metavar="D",
        help="divisor of the edge error inside exp " + _default("EDGE_LOSS_ENTROPY_DIVISOR"),
    ),
}

# Names of options that occur together.
LOOKS = ("tile", "overlap", "tta")
SUBSETS = ("train_subset", "val_subset")
ANNOTATIONS = ("year", "box_only", "skip_invalid", "image_dir")
SPLIT = ("split", "split_by")
NETWORK = ("backbone", "image_size", "mask_size", "batch_size", "mixed_precision", "set")
SCHEDULE = (
    *("schedule", "training_mode", "steps", "scale", "learning_rate"),
    *("steps_per_epoch", "validation_steps"),
)
STATES = (
    *("checkpoint_steps", "checkpoint_minutes", "checkpoints_kept", "checkpoint_disk_budget"),
    "checkpoint_metric",
)
EDGE_LOSS = tuple(name for name in OPTIONS if name.startswith("edge_loss_"))
HOSTS = ("coordinator", "processes", "process_id")
EVALUATION = ("evaluation_epochs", "evaluation_images", "patience")
TRAINING = ("rois", "workers", "devices", "uncertainty_weighting", *EVALUATION, *STATES, *EDGE_LOSS)
# Of `mrcnn train`: what most trainings are started with.
TRAIN_FIRST = (
    *("dataset", "start_model", "split", "steps", "image_size", "batch_size", "backbone"),
    *("learning_rate", "evaluation_epochs", "logs"),
)

# Words for the defaults that `mrcnn.runs.defaults` chooses.
CHOSEN_DEFAULTS = {
    "backbone": "default: by the start weights; from random ones resnet18 on a CPU, resnet50 on "
    "a GPU",
    "image_size": "default: that of the images, at most 320 on a CPU, 1024 on a GPU",
    "schedule": "scratch from random weights, otherwise paper-160k",
    "steps": "by the number of images",
    "steps_per_epoch": "a pass over the images, or a twentieth of the training if that is longer",
    "validation_steps": "all images, at most 50 batches",
}

# Words for "{default}" where a command says nothing else.
_DEFAULTS = {
    "dataset": "annotations/instances_SUBSET.json with the images in SUBSET/, or any of the "
    "formats of docs/formats.md: labelme, YOLO, CVAT, Label Studio, VIA, Pascal VOC, masks, ...",
    "subset": "val",
    "year": "none",
    "start_model": "COCO or ImageNet weights if they are on this machine, otherwise none",
    "trained_model": "last",
    "backbone": f"default: {Config.BACKBONE}",
    "image_size": f"default: {Config.IMAGE_MAX_DIM}",
    "schedule": "scratch",
    "steps": "the schedule's",
    "steps_per_epoch": str(Config.STEPS_PER_EPOCH),
    "validation_steps": str(Config.VALIDATION_STEPS),
    "edge_loss_filters": "off",
}


def add_options(
    parser: argparse.ArgumentParser, *names: str, first: Sequence[str] = (), **defaults: str
) -> None:
    """Add options of `OPTIONS`, by name, grouped.

    Args:
        parser: of the command.
        names: of the options.
        first: those of them that the help lists first, in a group of their own.
        defaults: words for an option's default where it is the command's own; the value is the
            command's business, and that of an option that is not given is None.
    """
    groups: dict[str, Any] = {}
    parser.set_defaults(options_parser=parser)
    rest = (name for name in (*names, "config") if name not in first)
    for name in (*first, *rest):
        option = OPTIONS[name]
        title = _FIRST if name in first else option.group
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        group = groups[title]
        words = {**_DEFAULTS, **defaults}.get(name, "")
        text = option.help.format(default=words).replace("%", "%%")
        if option.positional:
            # Without a value it must not undo what the flag has set.
            group.add_argument(
                *(name,), nargs="?", default=argparse.SUPPRESS, help=text, action=_Once
            )
            details = {**option.details, "help": argparse.SUPPRESS, "action": _Once, "dest": name}
            group.add_argument(*option.flags, **details)
            continue
        details = {"dest": name, **option.details, "help": text}
        group.add_argument(*option.flags, **details)


class _Once(argparse.Action):
    """A value that may be given as the first argument or behind a flag, but not both."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        of_file = getattr(namespace, CONFIG_OPTIONS, {}).get(self.dest)
        if before not in (None, of_file, values):
            parser.error(f"{self.dest}: expected one; received {before!r} and {values!r}")
        setattr(namespace, self.dest, values)


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for `mrcnn.commands.backend_messages.without_backend_messages`."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show TensorFlow's own messages too"
    )
