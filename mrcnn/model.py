"""Matterport's `mrcnn.model`: the network under the names that scripts know.

A door: each concept lives in its own room (`mrcnn.network`, `mrcnn.trainer`,
`mrcnn.weights`, `mrcnn.data`); this file only lets people in.
"""

from __future__ import annotations

import datetime
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn import checkpoints, downloads, network, trainer
from mrcnn.config import Config
from mrcnn.data import molding
from mrcnn.data.boxes import norm_boxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.molding import (
    compose_image_meta,
    mold_image,
    parse_image_meta,
    unmold_image,
)
from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.resnet import conv_block, identity_block, resnet_graph
from mrcnn.layers.rpn import build_rpn_model, rpn_graph
from mrcnn.stages import Stage
from mrcnn.stages import epochs as stage_epochs
from mrcnn.weights import WeightsReport, load_weights, save_weights

__all__ = [
    "BatchNorm",
    "MaskRCNN",
    "build_rpn_model",
    "compose_image_meta",
    "conv_block",
    "identity_block",
    "mold_image",
    "parse_image_meta",
    "resnet_graph",
    "rpn_graph",
    "unmold_image",
]

# Inference graphs kept, one for each image shape that `detect` has met.
MAX_STATIC_SHAPES = 16

_RESULT_KEYS = ("rois", "class_ids", "scores", "masks")


class MaskRCNN:
    """Mask R-CNN for training or for inference.

    Args:
        mode: "training" or "inference".
        config: settings.
        model_dir: folder of the log folders. Nothing is written before training starts.

    Attributes:
        keras_model: the Keras model, with Matterport's layer names.
        epoch: epochs trained so far.
        log_dir: folder of this run.
    """

    def __init__(self, mode: str, config: Config, model_dir: str | os.PathLike[str]) -> None:
        if mode not in ("training", "inference"):
            raise ValueError(f"mode: expected 'training' or 'inference'; received {mode!r}.")
        self.mode = mode
        self.config = config
        self.model_dir = os.fspath(model_dir)
        self.keras_model = self.build(mode=mode, config=config)
        self._static: OrderedDict[tuple, keras.Model] = OrderedDict()
        self._anchors: dict[tuple[int, ...], np.ndarray] = {}
        self.set_log_dir()

    def build(self, mode: str, config: Config) -> keras.Model:
        """Build the graph of a mode; see `mrcnn.network`."""
        build = network.build_training if mode == "training" else network.build_inference
        return build(config)

    # --- Weights and logs ---------------------------------------------------------

    def find_last(self) -> str:
        """Path of the newest checkpoint of this configuration.

        Raises:
            FileNotFoundError: there is none; the message says where it was looked for.
        """
        return checkpoints.find_last(self.model_dir, self.config.NAME, self.config.RUN_NAME)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        by_name: bool = False,
        exclude: Sequence[str] | None = None,
    ) -> WeightsReport:
        """Load weights in Matterport's layout, and go on in their log folder and epoch.

        Args:
            filepath: an `.h5` file.
            by_name: load the layers that the file and the model share; otherwise all
                must agree. `exclude` implies it.
            exclude: names of layers that keep their weights.

        Returns:
            What was loaded, skipped and missing. It is printed too.
        """
        report = load_weights(
            self.keras_model,
            filepath,
            exclude=exclude or (),
            by_name=by_name or bool(exclude),
        )
        print(report)
        self.set_log_dir(os.fspath(filepath))
        return report

    def save_weights(self, filepath: str | os.PathLike[str]) -> str:
        """Write the weights in Matterport's layout."""
        return save_weights(self.keras_model, filepath)

    def get_imagenet_weights(self) -> str:
        """Path of the ImageNet weights of ResNet-50, downloaded when they are not there."""
        return downloads.imagenet_weights_path()

    def set_log_dir(self, model_path: str | None = None) -> None:
        """Choose the log folder: that of a checkpoint to go on from, or a new one.

        Creates nothing.
        """
        parsed = checkpoints.parse_checkpoint_path(model_path) if model_path else None
        if parsed is None:
            self.epoch = 0
            self.log_dir = checkpoints.new_log_dir(
                self.model_dir, self.config.NAME, self.config.RUN_NAME, datetime.datetime.now()
            )
        else:
            self.log_dir, self.epoch, _ = parsed
            print(f"Going on from epoch {self.epoch} in {self.log_dir}")

    # --- Training ---------------------------------------------------------------------

    def compile(self, learning_rate: float, momentum: float) -> None:
        """Give the model a new optimizer; see `mrcnn.trainer.compile_model`."""
        trainer.compile_model(self.keras_model, self.config, learning_rate, momentum)

    def set_trainable(
        self,
        layer_regex: str,
        keras_model: keras.Model | None = None,
        indent: int = 0,
        verbose: int = 1,
    ) -> None:
        """Let exactly the layers learn that a group or regular expression names."""
        names = trainer.set_trainable(keras_model or self.keras_model, layer_regex)
        if verbose > 0:
            print(f"{' ' * indent}{len(names)} layers learn: {_shorten(names)}")

    def train(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        learning_rate: float,
        epochs: int,
        layers: str,
        augmentation: Any = None,
        custom_callbacks: Sequence[keras.callbacks.Callback] | None = None,
        no_augmentation_sources: Sequence[str] | None = None,
    ) -> keras.callbacks.History | None:
        """Train until `epochs` epochs are done, counted from the first call on.

        Args:
            train_dataset, val_dataset: prepared data sets; without a validation set,
                pass None.
            learning_rate: of SGD.
            epochs: number of the last epoch: 40 and then 120 trains 80 more.
            layers: "heads", "3+", "4+", "5+", "all", or a regular expression on layer names.
            augmentation: see `mrcnn.data.augment`.
            custom_callbacks: more Keras callbacks.
            no_augmentation_sources: sources whose images are not augmented.

        Returns:
            Keras's history, or None when `epochs` are done already.
        """
        if self.mode != "training":
            raise RuntimeError('train() needs a model made with mode="training".')
        if epochs <= self.epoch:
            print(f"Nothing to train: {self.epoch} epochs are done, {epochs} were asked for.")
            return None
        print(f"\nEpochs {self.epoch + 1} to {epochs}, learning rate {learning_rate}")
        print(f"Weights and logs: {self.log_dir}")
        self.set_trainable(layers)
        self.compile(learning_rate, self.config.LEARNING_MOMENTUM)
        history = trainer.fit(
            self.keras_model,
            self.config,
            train_dataset,
            val_dataset,
            log_dir=self.log_dir,
            first_epoch=self.epoch,
            epochs=epochs,
            augmentation=augmentation,
            no_augmentation_sources=no_augmentation_sources,
            callbacks=custom_callbacks or (),
        )
        self.epoch = epochs
        return history

    def train_stages(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        stages: Sequence[Stage],
        start: int = 0,
        **options: Any,
    ) -> None:
        """Train stage after stage; stages whose epochs are done are passed over.

        Args:
            train_dataset, val_dataset: as in `train`.
            stages: see `mrcnn.stages`.
            start: the epoch at which the first stage begins.
            options: as in `train`, such as `augmentation`.
        """
        ends = stage_epochs(stages, self.config.STEPS_PER_EPOCH, start)
        for stage, end in zip(stages, ends, strict=True):
            self.train(
                train_dataset, val_dataset, stage.learning_rate, end, stage.layers, **options
            )

    # --- Inference -----------------------------------------------------------------------

    def mold_inputs(
        self, images: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images of any size to (molded images, metas, windows)."""
        return molding.mold_inputs(images, self.config)

    def unmold_detections(
        self,
        detections: np.ndarray,
        mrcnn_mask: np.ndarray,
        original_image_shape: Sequence[int],
        image_shape: Sequence[int],
        window: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The network's detections to (boxes, class ids, scores, masks) in image pixels."""
        return molding.unmold_detections(
            detections, mrcnn_mask, original_image_shape, image_shape, window
        )

    def detect(self, images: Sequence[np.ndarray], verbose: int = 0) -> list[dict[str, Any]]:
        """Find the objects in images.

        Args:
            images: any number of uint8 arrays [H, W, channels] of any sizes.
            verbose: 1 prints the images' shapes.

        Returns:
            One dict an image: "rois" int32 [N, 4] pixel boxes, "class_ids" int32 [N],
            "scores" float32 [N], "masks" bool [H, W, N].
        """
        self._expect_inference("detect")
        molding.check_images(images, self.config.IMAGE_CHANNEL_COUNT)
        if verbose:
            print(f"Processing {len(images)} images")
            for image in images:
                print(f"image: {image.shape} {image.dtype}, {image.min()} to {image.max()}")
        results: list[dict[str, Any]] = []
        # Neighbours of one network shape share a batch.
        for batch in _batches(images, self.config):
            outputs = self._run(
                np.stack([resized for _, resized, _ in batch]),
                np.stack([meta for _, _, meta in batch]),
                molded=False,
            )
            for k, (image, resized, meta) in enumerate(batch):
                window = parse_image_meta(meta[None])["window"][0]
                found = self.unmold_detections(
                    outputs[0][k], outputs[3][k], image.shape, resized.shape, window
                )
                results.append(dict(zip(_RESULT_KEYS, found, strict=True)))
        return results

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: np.ndarray, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Find the objects in molded images [B, H, W, channels]; boxes are in their pixels."""
        self._expect_inference("detect_molded")
        if len(molded_images) == 0 or len(molded_images) != len(image_metas):
            raise ValueError(
                "molded_images: expected at least one, with one row of image_metas each; "
                f"received {len(molded_images)} and {len(image_metas)}."
            )
        results = []
        size = self.config.BATCH_SIZE
        for first in range(0, len(molded_images), size):
            images = np.asarray(molded_images[first : first + size], np.float32)
            metas = np.asarray(image_metas[first : first + size])
            outputs = self._run(images, metas, molded=True)
            for detections, masks, image in zip(outputs[0], outputs[3], images, strict=False):
                whole = (0, 0, *image.shape[:2])
                found = self.unmold_detections(detections, masks, image.shape, image.shape, whole)
                results.append(dict(zip(_RESULT_KEYS, found, strict=True)))
        return results

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Normalized anchors of an image shape: [A, 4] float32. `self.anchors` has the pixels."""
        shape = tuple(int(side) for side in image_shape[:2])
        self.anchors = network.anchors_layer(self.config).of_shape(shape)
        if shape not in self._anchors:
            self._anchors[shape] = norm_boxes(self.anchors, shape)
        return self._anchors[shape]

    def _expect_inference(self, name: str) -> None:
        if self.mode != "inference":
            raise RuntimeError(f'{name}() needs a model made with mode="inference".')

    def _run(self, images: np.ndarray, metas: np.ndarray, molded: bool) -> list[np.ndarray]:
        """Run the inference graph on up to BATCH_SIZE images of one shape."""
        size = self.config.BATCH_SIZE
        key = (images.shape[1:], molded)
        if key not in self._static:
            self._static[key] = network.with_static_shape(
                self.keras_model, images.shape[1:], size, self.config, molded
            )
            if len(self._static) > MAX_STATIC_SHAPES:
                self._static.popitem(last=False)
        self._static.move_to_end(key)
        missing = size - len(images)
        if missing:  # the graph has one batch size: fill up with the last image
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
            metas = np.concatenate([metas, np.repeat(metas[-1:], missing, axis=0)])
        outputs = self._static[key].predict_on_batch([images, metas.astype(np.float32)])
        return [output[: len(output) - missing] for output in outputs]


def _batches(
    images: Sequence[np.ndarray], config: Config
) -> Iterator[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Resize images one after the other and group neighbours of one shape.

    Yields:
        Up to BATCH_SIZE tuples (image, resized image, meta).
    """
    batch: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for image in images:
        resized, meta = molding.resize_to_input(image, config)
        if batch and (len(batch) == config.BATCH_SIZE or resized.shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append((image, resized, meta))
    yield batch


def _shorten(names: Sequence[str], shown: int = 6) -> str:
    if len(names) <= shown:
        return ", ".join(names)
    return f"{', '.join(names[: shown // 2])}, …, {', '.join(names[-shown // 2 :])}"
