"""The weights that a run starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.checkpoints import folders
from mrcnn.checkpoints.settings_file import BACKBONE_ALONE, NETWORK
from mrcnn.config import BACKBONES, Config
from mrcnn.logger import logger
from mrcnn.runs import published
from mrcnn.runs.settings import load_class_names, load_settings, load_training
from mrcnn.training import stages
from mrcnn.weights import pretrained
from mrcnn.weights.class_rows import load_class_rows
from mrcnn.weights.mismatch import CLASS_LAYERS

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

COCO_CLASSES = 81
NAMED = ("none", "imagenet", "coco", "last")  # what `--model` knows beside files


def weights_path(name: str, logs: str | Path, config: Config) -> str:
    """The file that a `--model` option means.

    Args:
        name: "imagenet" (ResNet-50) or "coco" (Matterport's release), both downloaded when
            they are not there; "last", the newest checkpoint of the configuration; a name of
            `mrcnn.runs.published`, likewise downloaded; a file; or the folder of a run, whose
            newest checkpoint is meant.
        logs: folder of the log folders.
        config: for its name, run name and backbone.

    Raises:
        FileNotFoundError: there is no checkpoint for "last".
        ValueError: "imagenet" for another backbone.
    """
    kind = str(name).lower()
    if kind == "imagenet":
        if config.BACKBONE not in ("resnet50", "resnet101"):
            raise ValueError(
                f"--model imagenet: the weights are those of ResNet-50; the backbone is "
                f"{config.BACKBONE!r}. Choose --backbone resnet50, or --model none."
            )
        return pretrained.imagenet_weights_path()
    if kind == "coco":
        return pretrained.download_trained_weights(pretrained.COCO_WEIGHTS_FILE)
    if kind == "last":
        return folders.find_last(logs, config.NAME, config.RUN_NAME)
    return folders.weights_of(published.resolve(name))


def settings_beside(name: str) -> dict[str, Any]:
    """The settings beside the weights that a `--model` option means; empty: none are known.

    Weights that are not there are told of when they are loaded.

    Args:
        name: as for `weights_path`.
    """
    if str(name).lower() in NAMED:
        return {}
    try:
        return load_settings(folders.weights_of(published.resolve(name)))
    except FileNotFoundError:
        return {}


def starts_untrained(name: str) -> bool:
    """Whether the heads of a start are random, and were trained with no backbone like it.

    So they are of random weights, and beside a backbone that was pretrained alone
    (`mrcnn.runs.pretraining`): then everything has to learn, with settings that suit the data.

    Args:
        name: as for `weights_path`.
    """
    if str(name).lower() in NAMED:
        return str(name).lower() == "none"
    try:
        training = load_training(folders.weights_of(published.resolve(name)))
    except FileNotFoundError:
        return False
    return training.get(NETWORK) == BACKBONE_ALONE


def load_start_weights(
    model: MaskRCNN,
    name: str,
    exclude: Sequence[str] = (),
    allow_changed: bool = False,
    class_names: Sequence[str] | None = None,
) -> None:
    """Load the weights that a run starts from.

    Only "last" continues with a run; of a file, even one in a log folder, a new run begins. Where
    the run of a file had other classes, or the same ones in another order, the heads' weights go to
    the classes of the same names; those of new classes stay random.

    Args:
        model: for training.
        name: "none" for Glorot initialisation; "last" to continue with the newest run at its exact
            step (`MaskRCNN.resume`); or as for `weights_path`. Of "coco", the layers that depend
            on the classes are left out when the number of classes differs.
        exclude: layers that keep their random start, groups or regular expressions as in
            `mrcnn.training.stages.layer_regex`.
        allow_changed: for "last", see `MaskRCNN.resume`.
        class_names: of the data to train on, the background first; None: heads are loaded as they
            are.

    Raises:
        ValueError: an expression of `exclude` names no layer.
    """
    kind = str(name).lower()
    if kind == "none":
        return
    if kind == "last":
        model.resume(allow_changed)
        return
    other_classes = kind == "coco" and model.config.NUM_CLASSES != COCO_CLASSES
    path = weights_path(name, model.model_dir, model.config)
    left_out = [
        layer.name
        for pattern in exclude
        for layer in stages.matching_layers(model.keras_model, pattern)
    ]
    theirs = None if starts_untrained(name) else load_class_names(path)
    by_class = class_names is not None and theirs is not None and theirs != list(class_names)
    _compare_backbones(path, model.config)
    heads = CLASS_LAYERS if other_classes or by_class else ()
    model.load_weights(path, by_name=True, exclude=[*left_out, *heads])
    if by_class:
        assert class_names is not None and theirs is not None
        shared = load_class_rows(model.keras_model, path, theirs, class_names, left_out)
        new = [name for name in class_names[1:] if name not in shared]
        logger.info(
            f"{path}: its heads know {_listed(theirs[1:])}. Taken by name: {_listed(shared)}; new "
            f"and random: {_listed(new)}."
        )
    model.set_log_dir()


def _listed(names: Sequence[str], most: int = 10) -> str:
    if not names:
        return "none"
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _compare_backbones(path: str, config: Config) -> None:
    """Say it where weights are those of another backbone, whose layers have some of the names."""
    theirs, own = load_settings(path).get("BACKBONE"), config.BACKBONE
    if theirs in BACKBONES and own in BACKBONES and theirs != own:
        logger.warning(
            f"{path}: its config.json says BACKBONE = {theirs!r}; the network to train has "
            f"{own!r}. Layers that the file lacks stay random. To take all: --backbone {theirs}."
        )
