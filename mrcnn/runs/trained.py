"""A trained run, opened again: its weights and the settings beside them make a detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrcnn.checkpoints import folders
from mrcnn.checkpoints.settings_file import BACKBONE_ALONE, CLASSIFIER_BACKBONE, NETWORK
from mrcnn.config import Config
from mrcnn.data.resize import whole_images
from mrcnn.model import MaskRCNN
from mrcnn.runs import published
from mrcnn.runs.settings import configure, load_class_names, load_settings, load_training


def open_run(
    weights: str | Path,
    base: type[Config] = Config,
    overrides: Mapping[str, Any] | None = None,
    *,
    every_detection: bool = False,
) -> MaskRCNN:
    """The network of a trained run, ready to detect.

    Args:
        weights: a weights file, beside which training writes the run's settings; the folder of a
            run, whose newest weights are taken; or a name of `mrcnn.runs.published`, whose weights
            are downloaded the first time.
        base, overrides, every_detection: see `inference_config`.

    Raises:
        OSError, ValueError: the weights or their settings cannot be used.
    """
    path = folders.weights_of(published.resolve(str(weights)))
    config = inference_config(path, base, overrides, every_detection=every_detection)
    return load_detector(config, path)


def inference_config(
    weights: str | Path,
    base: type[Config] = Config,
    overrides: Mapping[str, Any] | None = None,
    *,
    every_detection: bool = False,
) -> Config:
    """The configuration that detects with the weights of a run.

    As many images at a time as one GPU trains on, and whole images of one scale where training
    takes random windows and scales.

    Args:
        weights: a weights file; without settings beside it, those of `base` hold.
        base: gives the settings that no file holds, such as a BACKBONE that is a function.
        overrides: settings that win over those of the run.
        every_detection: keep detections of all scores, as COCO's metrics want them, in place of
            those from the run's DETECTION_MIN_CONFIDENCE on.

    Raises:
        ValueError: the file beside the weights does not hold settings, or one is not valid.
    """
    settings = load_settings(weights)
    settings["GPU_COUNT"] = 1
    mode = settings.get("IMAGE_RESIZE_MODE", base.IMAGE_RESIZE_MODE)
    settings |= whole_images(mode)
    if every_detection:
        settings["DETECTION_MIN_CONFIDENCE"] = 0
    return configure(base, {**settings, **(overrides or {})})


def load_detector(config: Config, weights: str | Path) -> MaskRCNN:
    """A network for inference, with the weights of a file.

    Args:
        config: of the network, see `inference_config`.
        weights: the file; layers that it and the network share are loaded.

    Raises:
        ValueError: the file holds a backbone alone.
    """
    if load_training(weights).get(NETWORK) in (BACKBONE_ALONE, CLASSIFIER_BACKBONE):
        raise ValueError(
            f"{weights} holds a backbone alone, which detects nothing. Train a network from it: "
            f"mrcnn train DATA --model {weights}"
        )
    folder_of_runs = Path(weights).resolve().parent.parent
    model = MaskRCNN("inference", config, folder_of_runs)
    model.load_weights(weights, by_name=True)
    model.class_names = load_class_names(weights)
    return model
