"""COCO's metrics of the validation set while a network trains; an end when they rise no more.

`CocoEvaluation` puts `val_segm_AP` and the like among the logs of an epoch, as the losses are, so
that `losses.csv`, TensorBoard, CHECKPOINT_METRIC and Keras's own callbacks (`EarlyStopping`,
`ModelCheckpoint`, `ReduceLROnPlateau`, given after it) take them by name. `Patience` reads what
`losses.csv` holds, so that a resumed run counts from where it was stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from pycocotools.coco import COCO

from mrcnn.checkpoints.losses_file import read_losses_file
from mrcnn.config import Config, changed
from mrcnn.data.dataset import Dataset
from mrcnn.data.resize import whole_images
from mrcnn.evaluation.boundary import DILATION_RATIO
from mrcnn.evaluation.coco import IOU_TYPES, choose_images
from mrcnn.evaluation.detection import detect_images
from mrcnn.evaluation.ground_truth import Truth, coco_ground_truth
from mrcnn.evaluation.matches import BOUNDARY, evaluate_kinds
from mrcnn.inference import model as inference_model
from mrcnn.inference.detector import Detector
from mrcnn.logger import logger
from mrcnn.process import seeded_initializers
from mrcnn.training import devices, hosts
from mrcnn.training.callbacks import averaged_weights
from mrcnn.weights.layers import weighted_layers

KINDS = (*IOU_TYPES, BOUNDARY)
# The logs of an evaluated epoch, by the kind of overlap and COCO's name of the metric.
METRICS = {
    "val_segm_AP": ("segm", "AP"),
    "val_segm_AP50": ("segm", "AP50"),
    "val_bbox_AP": ("bbox", "AP"),
    "val_boundary_AP": (BOUNDARY, "AP"),
}

Logs = dict[str, Any] | None


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates the network by COCO's metrics after some epochs.

    The epochs in between have NaN in place of the metrics, as has a metric that is not defined
    because no object counts. Of a network with EMA_MOMENTUM, the averaged weights are evaluated.

    Args:
        dataset: the validation set, prepared.
        config: of the network that trains.
        every: epochs between two evaluations. The last epoch of a training is always evaluated.
        limit: of its images, spread over all of them; 0: all.

    Raises:
        ValueError: `every` is below 1, or `limit` below 0.
    """

    def __init__(self, dataset: Dataset, config: Config, every: int = 1, limit: int = 0) -> None:
        super().__init__()
        if every < 1 or limit < 0:
            raise ValueError(
                f"expected `every` of at least 1 and `limit` of at least 0; received {every} and "
                f"{limit}."
            )
        self._dataset = dataset
        self._every = every
        self._config = evaluation_config(config)
        count = min(limit or dataset.num_images, dataset.num_images)
        step = dataset.num_images / max(count, 1)
        spread = [int(dataset.image_ids[int(k * step)]) for k in range(count)]
        self._image_ids = choose_images(dataset, spread, 0)
        self._truth: Truth | None = None
        self._detector: Detector | None = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is None:
            return
        logs.update(dict.fromkeys(METRICS, math.nan))
        is_last = epoch + 1 >= self.params.get("epochs", 0) or self.model.stop_training
        if (epoch + 1) % self._every and not is_last:
            return
        found = self.evaluate()
        logs.update(found)
        shown = ", ".join(
            f"{name.removeprefix('val_')} {value:.3f}" for name, value in found.items()
        )
        logger.info(f"Epoch {epoch + 1}, {len(self._image_ids)} validation images: {shown}")

    def evaluate(self) -> dict[str, float]:
        """The metrics of `METRICS` of the network as it is now, which process 0 finds."""
        if hosts.is_first() and self._detector is None:
            self._truth = Truth.of(self._ground_truth())
            with devices.alone():
                self._detector = self._build()
        with averaged_weights(self.model):  # which all processes change together
            if self._detector is not None:
                copy_weights(self.model, self._detector.model)
        return hosts.of_first(self._evaluate)

    def _evaluate(self) -> dict[str, float]:
        truth, detector = self._truth, self._detector
        assert truth is not None and detector is not None
        with devices.alone():
            results, _ = detect_images(detector, self._dataset, self._image_ids, progress=False)
        source_ids = [self._dataset.image_info[image_id]["id"] for image_id in self._image_ids]
        metrics, _ = evaluate_kinds(truth, results, source_ids, KINDS, DILATION_RATIO)
        values = {name: metrics[kind][metric] for name, (kind, metric) in METRICS.items()}
        return {name: value if value >= 0 else math.nan for name, value in values.items()}

    def _ground_truth(self) -> COCO:
        """What the data set was read from, where it kept that; else described by its masks."""
        try:
            return self._dataset.ground_truth
        except (AttributeError, ValueError):
            return coco_ground_truth(self._dataset, self._image_ids, progress=False)

    def _build(self) -> Detector:
        with seeded_initializers(self._config.SEED):
            return Detector(inference_model.build(self._config), self._config)


class Patience(keras.callbacks.Callback):
    """Ends a stage when a metric has not become better for some evaluations.

    Given after what writes the losses of an epoch. It holds no state of its own: a resumed run
    continues the count.

    Args:
        losses_file: with the metric of every epoch.
        metric: its name; the lower the better if it ends in "loss", otherwise the higher.
        patience: evaluations without a better value.
        first_epoch: epochs done when the stage began, which do not count.

    Raises:
        ValueError: `patience` is below 1.
    """

    def __init__(
        self, losses_file: str | Path, metric: str, patience: int, first_epoch: int
    ) -> None:
        super().__init__()
        if patience < 1:
            raise ValueError(f"patience: expected at least 1; received {patience}.")
        self._file, self._metric = Path(losses_file), metric
        self._patience, self._first_epoch = patience, first_epoch

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        recorded = read_losses_file(self._file)
        if self._metric not in recorded:
            raise ValueError(
                f"PATIENCE: expected the metric {self._metric!r} (CHECKPOINT_METRIC) in "
                f"{self._file}; it has {', '.join(name for name in recorded if name != 'epoch')}."
            )
        pairs = zip(recorded["epoch"], recorded[self._metric], strict=True)
        values = [
            value for done, value in pairs if done > self._first_epoch and math.isfinite(value)
        ]
        without = evaluations_without_gain(values, lower=self._metric.endswith("loss"))
        if without >= self._patience:
            self.model.stop_training = True
            logger.info(
                f"{self._metric} has not become better for {without} evaluations (PATIENCE): the "
                "stage ends."
            )


def evaluations_without_gain(values: list[float], lower: bool) -> int:
    """How many of the last values are not better than the best before them.

    An AP of 0 at the beginning does not count: nothing is found yet.
    """
    begun = next((k for k, value in enumerate(values) if lower or value > 0), len(values))
    values = values[begun:]
    if not values:
        return 0
    best = min(values) if lower else max(values)
    return len(values) - 1 - values.index(best)


def evaluation_config(config: Config) -> Config:
    """The settings of a network that is evaluated, from those of the one that trains.

    Whole images of one scale, and detections of all scores, as COCO's metrics want them.
    """
    settings = whole_images(config.IMAGE_RESIZE_MODE)
    return changed(config, {**settings, "GPU_COUNT": 1, "DETECTION_MIN_CONFIDENCE": 0})


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give the layers of a network the weights of the layers of the same name.

    Raises:
        ValueError: the source lacks a layer, or its weights have other shapes.
    """
    layers = {layer.name: layer for layer, _ in weighted_layers(source)}
    for layer, _ in weighted_layers(target):
        if layer.name not in layers:
            raise ValueError(f"the network that trains has no layer {layer.name!r}.")
        weights = layers[layer.name].weights
        for variable, value in zip(layer.weights, weights, strict=True):
            # As an array, because the one may be spread over devices, and the other is not.
            variable.assign(keras.ops.convert_to_numpy(value))
