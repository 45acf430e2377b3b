"""Matterport's `mrcnn.model`: the network under the names that scripts know.

A door: each concept lives in its own room (`mrcnn.network`, `mrcnn.training.session`,
`mrcnn.weights.matterport`, `mrcnn.inference.detector`, `mrcnn.matterport.inspection`,
`mrcnn.data`); this file only lets people in.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import multiprocessing
import os
import random
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import keras
import keras.backend as K
import keras.layers as KL
import keras.models as KM
import numpy as np

from mrcnn import network, precision, utils
from mrcnn.checkpoints import folders
from mrcnn.config import Config
from mrcnn.data import molding, unmolding
from mrcnn.data.boxes import norm_boxes
from mrcnn.data.dataset import Dataset
from mrcnn.data.molding import compose_image_meta, mold_image, parse_image_meta, unmold_image
from mrcnn.data.random_rois import generate_random_rois
from mrcnn.data.resize import detection_mode
from mrcnn.inference import model as inference_model
from mrcnn.inference.detector import Detector
from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.edge_agreement import EdgeAgreementHead
from mrcnn.layers.resnet import conv_block, identity_block, resnet_graph
from mrcnn.layers.rpn import build_rpn_model, rpn_graph
from mrcnn.logger import logger
from mrcnn.matterport import inspection
from mrcnn.matterport.checkpoint_path import CheckpointPath
from mrcnn.matterport.generator import DataGenerator, data_generator, load_image_gt
from mrcnn.matterport.graphs import (
    apply_box_deltas_graph,
    batch_pack_graph,
    build_fpn_mask_graph,
    clip_boxes_graph,
    compute_backbone_shapes,
    denorm_boxes_graph,
    detection_targets_graph,
    fpn_classifier_graph,
    log2_graph,
    mrcnn_bbox_loss_graph,
    mrcnn_class_loss_graph,
    mrcnn_mask_edge_loss_graph,
    mrcnn_mask_loss_graph,
    norm_boxes_graph,
    overlaps_graph,
    parse_image_meta_graph,
    refine_detections_graph,
    rpn_bbox_loss_graph,
    rpn_class_loss_graph,
    smooth_l1_loss,
    trim_zeros_graph,
)
from mrcnn.matterport.inspection import Inspector, log
from mrcnn.matterport.layers import (
    DetectionLayer,
    DetectionTargetLayer,
    ProposalLayer,
    PyramidROIAlign,
)
from mrcnn.matterport.module_names import skimage, tf
from mrcnn.matterport.targets import build_detection_targets, build_rpn_targets
from mrcnn.process import keep_freed_memory, seeded_initializers
from mrcnn.tensorflow_backend.symbolic import let_identity_take_symbolic_tensors
from mrcnn.training import compile as training_compile
from mrcnn.training import devices
from mrcnn.training import model as training_model
from mrcnn.training.batches import TrainingData
from mrcnn.training.session import Session
from mrcnn.training.stages import Stage
from mrcnn.weights import pretrained
from mrcnn.weights.matterport import load_weights, save_weights
from mrcnn.weights.report import WeightsReport

if TYPE_CHECKING:
    from mrcnn.export.exporting import Exported
    from mrcnn.prediction.stream import Predictions

__all__ = [
    "BatchNorm",
    "DataGenerator",
    "DetectionLayer",
    "DetectionTargetLayer",
    "EdgeAgreementHead",
    "MaskRCNN",
    "ProposalLayer",
    "PyramidROIAlign",
    "apply_box_deltas_graph",
    "batch_pack_graph",
    "build_detection_targets",
    "build_fpn_mask_graph",
    "build_rpn_model",
    "build_rpn_targets",
    "clip_boxes_graph",
    "compose_image_meta",
    "compute_backbone_shapes",
    "conv_block",
    "data_generator",
    "denorm_boxes_graph",
    "detection_targets_graph",
    "fpn_classifier_graph",
    "generate_random_rois",
    "identity_block",
    "load_image_gt",
    "log",
    "log2_graph",
    "mold_image",
    "mrcnn_bbox_loss_graph",
    "mrcnn_class_loss_graph",
    "mrcnn_mask_edge_loss_graph",
    "mrcnn_mask_loss_graph",
    "norm_boxes_graph",
    "overlaps_graph",
    "parse_image_meta",
    "parse_image_meta_graph",
    "refine_detections_graph",
    "resnet_graph",
    "rpn_bbox_loss_graph",
    "rpn_class_loss_graph",
    "rpn_graph",
    "smooth_l1_loss",
    "trim_zeros_graph",
    "unmold_image",
]
# Modules that scripts take from here, as from Matterport's.
__all__ += ["K", "KE", "KL", "KM", "OrderedDict", "datetime", "keras", "logging", "math"]
__all__ += ["multiprocessing", "np", "os", "random", "re", "skimage", "tf", "utils"]

# Keras 3 has no `keras.engine`; scripts subclass its layer.
KE = SimpleNamespace(
    Input=keras.Input, InputSpec=keras.InputSpec, Layer=keras.Layer, Model=keras.Model
)


class MaskRCNN:
    """Mask R-CNN for training or for inference.

    Args:
        mode: "training" or "inference".
        config: settings. Those of one SEED have equal weights at first.
        model_dir: folder of the log folders. Nothing is written there before training starts, or
            a script asks for `log_dir`.

    Attributes:
        keras_model: the Keras model, with Matterport's layer names.
        epoch: epochs trained so far.
        log_dir: folder of this run.
        checkpoint_path: of its weights files, with "{epoch:04d}" for the epoch.
        schedule_start: epochs done when the schedule began that is under way, or None.
        class_names: of the run that `mrcnn.load` opened, background first; otherwise None.
    """

    class_names: list[str] | None = None

    def __init__(self, mode: str, config: Config, model_dir: str | os.PathLike[str]) -> None:
        if mode not in ("training", "inference"):
            raise ValueError(f"mode: expected 'training' or 'inference'; received {mode!r}.")
        self.mode = mode
        self.config = config
        precision.settle(config)
        self.model_dir = os.fspath(model_dir)
        if mode == "inference":
            self._say_if_whole_images()
        with seeded_initializers(config.SEED):
            self.keras_model = self.build(mode=mode, config=config)
        self.set_log_dir()

    # Subclasses of scripts have constructors of their own, which know Matterport's attributes only
    # and may set another `keras_model` later: what else is needed is made when it is asked for.

    @cached_property
    def _session(self) -> Session:
        return Session()

    @cached_property
    def _anchors(self) -> dict[tuple[int, ...], np.ndarray]:
        return {}

    @cached_property
    def _last_shape(self) -> tuple[int, ...]:
        return tuple(int(side) for side in self.config.IMAGE_SHAPE[:2])

    @property
    def _detector(self) -> Detector:
        return self._made_for_model(Detector)

    @property
    def _inspector(self) -> Inspector:
        return self._made_for_model(Inspector)

    def _made_for_model(self, kind: Callable[[keras.Model, Config], Any]) -> Any:
        """The one of its kind for the present `keras_model`."""
        made = self.__dict__.setdefault("_made", {})
        if kind not in made or made[kind].model is not self.keras_model:
            made[kind] = kind(self.keras_model, self.config)
        return made[kind]

    def build(self, mode: str, config: Config) -> keras.Model:
        """Build the graph of a mode; see `mrcnn.network`."""
        if config.KEEP_FREED_MEMORY:
            keep_freed_memory()
        let_identity_take_symbolic_tensors()  # in the lists that `run_graph` is given
        # Here too, for subclasses that call it themselves.
        with seeded_initializers(config.SEED):
            if mode == "training":
                with devices.spread(config):
                    return training_model.build(config)
            return inference_model.build(config)

    # --- Weights and logs ---------------------------------------------------------

    def find_last(self) -> CheckpointPath:
        """Path of the newest checkpoint of this configuration.

        It can be taken apart into (folder, path) too, as what Matterport 2.0 returned.

        Raises:
            FileNotFoundError: there is none; the message says where it was looked for.
        """
        last = folders.find_last(self.model_dir, self.config.NAME, self.config.RUN_NAME)
        return CheckpointPath(last)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        by_name: bool = False,
        exclude: Sequence[str] | None = None,
    ) -> WeightsReport:
        """Load weights in Matterport's layout.

        Training continues in the log folder and epoch of the newest checkpoint of this
        configuration (`find_last`); any other weights begin a new run, in a folder of its own.
        To overwrite what followed an older checkpoint, pass its path to `set_log_dir`.

        Args:
            filepath: an `.h5` file.
            by_name: load the layers that the file and the model share; otherwise all
                must agree. `exclude` implies it.
            exclude: names of layers that keep their weights.

        Returns:
            What was loaded, skipped and missing. It is logged too.
        """
        report = load_weights(
            self.keras_model,
            filepath,
            exclude=exclude or (),
            by_name=by_name or bool(exclude),
        )
        logger.info(report)
        path = os.fspath(filepath)
        if self.mode == "training":
            self._session.start_from(self, path, whole=not exclude)
        else:
            self.set_log_dir(path)
        return report

    def resume(self, allow_changed: bool = False) -> None:
        """Continue with the newest run of this configuration, at the exact step it has reached.

        The weights, statistics and random states are loaded now; the optimizer follows in the
        next `train`, which must train the stage that was under way. A damaged state is named,
        and the one before it used. A run without states (of an older version) continues with the
        weights of its last epoch.

        Args:
            allow_changed: continue even if settings, data, annotations, augmentation or stage have
                changed. What has is logged; otherwise the next `train` refuses it.

        Raises:
            FileNotFoundError: there is no run; the message says where it was looked for.
            StateError: all states of the run are damaged, or of another network.
            FolderTakenError: another process continues with it.
        """
        if self.mode != "training":
            raise RuntimeError('resume() needs a model made with mode="training".')
        self._session.resume(self, allow_changed)

    def save_weights(self, filepath: str | os.PathLike[str]) -> str:
        """Write the weights in Matterport's layout."""
        return save_weights(self.keras_model, filepath)

    def get_imagenet_weights(self) -> str:
        """Path of the ImageNet weights of ResNet-50, downloaded when they are not there."""
        return pretrained.imagenet_weights_path()

    def set_log_dir(self, model_path: str | None = None) -> None:
        """Choose the log folder: that of a checkpoint to continue from, or a new one.

        Creates nothing; see `log_dir`.
        """
        self._session.set_log_dir(self, model_path)

    def claim_log_dir(self) -> str:
        """Make the log folder, and keep it for this model as long as it and the process live.

        `train` does it too. When another run has taken the folder of a new run, as one that
        started in the same minute, the new run gets another one.

        Returns:
            The folder, which `log_dir` is now.

        Raises:
            FolderTakenError: another process writes into the folder that training continues in.
        """
        self._session.claim_log_dir(self)
        return self.log_dir

    @property
    def epoch(self) -> int:
        return self._session.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._session.epoch = value

    @property
    def session(self) -> Session:
        """What is kept between calls of `train`: how far the run is, and what it continues with."""
        return self._session

    @property
    def planned_epoch(self) -> int:
        """`epoch`, and the epochs that callbacks left out by ending stages early."""
        return self._session.planned_epoch

    @property
    def log_dir(self) -> str:
        """Folder of this run.

        In training mode it is there when a script asks for it, so that the script can write into
        it before `train`. It goes again if nothing is written into it.
        """
        if self.mode == "training":
            self._session.open_log_dir(self)
        return self._session.log_dir

    @log_dir.setter
    def log_dir(self, value: str) -> None:
        self._session.log_dir = value

    @property
    def checkpoint_path(self) -> str:
        """Path of the weights files of this run, with "{epoch:04d}"; see `log_dir`."""
        if self.mode == "training":
            self._session.open_log_dir(self)
        return self._session.checkpoint_path

    @checkpoint_path.setter
    def checkpoint_path(self, value: str) -> None:
        self._session.checkpoint_path = value

    @property
    def schedule_start(self) -> int | None:
        return self._session.schedule_start

    @schedule_start.setter
    def schedule_start(self, value: int | None) -> None:
        self._session.schedule_start = value

    # --- Training ---------------------------------------------------------------------

    def compile(self, learning_rate: float, momentum: float, steps: int | None = None) -> None:
        """Give the model a new optimizer; see `mrcnn.training.compile.compile_model`.

        In a subclass's `compile(self, learning_rate, momentum)`, the stage under way has the steps.
        """
        steps = self._session.steps if steps is None else steps
        with devices.spread(self.config):
            training_compile.compile_model(
                self.keras_model, self.config, learning_rate, momentum, steps
            )

    def set_trainable(
        self,
        layer_regex: str,
        keras_model: keras.Model | None = None,
        indent: int = 0,
        verbose: int = 1,
    ) -> None:
        """Let exactly the layers learn that a group or regular expression names."""
        names = training_compile.set_trainable(keras_model or self.keras_model, layer_regex)
        if verbose > 0:
            logger.info(f"{' ' * indent}{len(names)} trainable layers: {_shorten(names)}")

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
        resume: bool = False,
        allow_changed: bool = False,
        losses: str = "all",
    ) -> keras.callbacks.History | None:
        """Train until `epochs` epochs are done, counted from the first call on.

        Args:
            train_dataset, val_dataset: prepared data sets; without a validation set,
                pass None.
            learning_rate: of SGD.
            epochs: number of the last epoch: 40 and then 120 trains 80 more.
            layers: "heads", "3+", "4+", "5+", "all", or a regular expression on layer names.
            augmentation: see `mrcnn.data.augment`; None or False for none.
            custom_callbacks: more Keras callbacks.
            no_augmentation_sources: sources whose images are not augmented.
            resume: continue with the newest run of this configuration if there is one (see
                `resume`), at the exact step; a new run otherwise. Of effect in the first call,
                and in the first after a call that was stopped.
            allow_changed: see `resume`.
            losses: that the layers learn from: "all"; "rpn" or "branches" (class, box and mask),
                as alternating training does; or a regular expression on their names.

        A stage that a callback such as `EarlyStopping` ends counts as done, here and when the run
        is resumed; the next one is as long as it would have been.

        Returns:
            Keras's history, or None when `epochs` are done already.
        """
        if self.mode != "training":
            raise RuntimeError('train() needs a model made with mode="training".')
        if resume:
            self._session.resume_once(self, allow_changed)
        if augmentation is False:  # as scripts write for none
            augmentation = None
        stage = self._session.next_stage(self.config, layers, learning_rate, epochs, losses)
        data = TrainingData(train_dataset, val_dataset, augmentation, no_augmentation_sources)
        if epochs <= self.planned_epoch:
            if self._session.stage_steps is None:  # a stage of a schedule is passed over silently
                logger.info(
                    f"Nothing to train: {self.planned_epoch} epochs are done, {epochs} were asked "
                    "for."
                )
            self._session.pass_over(self, stage, epochs, data)
            return None
        return self._session.train(self, stage, data, custom_callbacks or ())

    def train_stages(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        stages: Sequence[Stage],
        start: int = 0,
        **options: Any,
    ) -> None:
        """Train stage after stage, each exactly its steps; stages that are done are passed over.

        The last epoch of a stage has what is left of its steps.

        Args:
            train_dataset, val_dataset: as in `train`.
            stages: see `mrcnn.training.stages`.
            start: the epoch at which the first stage begins.
            options: as in `train`, such as `augmentation`.
        """
        schedule = self._session.schedule(stages, self.config.STEPS_PER_EPOCH, start)
        with contextlib.closing(schedule):
            for stage, end in schedule:
                # A subclass's own `train` may not know the argument.
                own = options if stage.losses == "all" else {**options, "losses": stage.losses}
                self.train(
                    train_dataset, val_dataset, stage.learning_rate, end, stage.layers, **own
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
        window: tuple[int, int, int, int] | np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The network's detections to (boxes, class ids, scores, masks) in image pixels."""
        return unmolding.unmold_detections(
            detections, mrcnn_mask, original_image_shape, image_shape, window, self.config
        )

    def detect(self, images: Sequence[np.ndarray], verbose: int = 0) -> list[dict[str, Any]]:
        """Find the objects in images.

        Args:
            images: any number of arrays [H, W, channels] of any sizes: uint8, or any finite
                values in the units of MEAN_PIXEL.
            verbose: 1 prints the images' shapes.

        Returns:
            One dict an image: "rois" int32 [N, 4] pixel boxes, "class_ids" int32 [N],
            "scores" float32 [N], "masks" bool [H, W, N].
        """
        self._expect_inference("detect")
        molding.check_images(images, self.config.IMAGE_CHANNEL_COUNT)
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
        results = self._detector.detect(images)
        self._last_shape = self._detector.image_shape
        return results

    def predict(
        self,
        sources: Any,
        *,
        min_score: float | None = None,
        classes: Sequence[str] | None = None,
        max_detections: int | None = None,
        keep_images: bool = True,
    ) -> Predictions:
        """Find the objects in pictures, folders of pictures, videos or arrays.

        Nothing is computed before it is asked for, and one prediction is held at a time::

            model.predict("image.jpg")[0].show()
            for prediction in model.predict("photos", keep_images=False):
                print(prediction.name, prediction.names, prediction.rois)

        Args:
            sources: one or several paths, patterns or arrays; see
                `mrcnn.prediction.sources.find_sources`.
            min_score: detections below are left out. The network gives none below
                DETECTION_MIN_CONFIDENCE.
            classes: names of those that are kept; None: all.
            max_detections: the surest so many of a picture; None: all.
            keep_images: let each prediction have its picture, which drawing it needs.

        Returns:
            An iterable of `mrcnn.prediction.prediction.Prediction`, which takes an index too.

        Raises:
            OSError, ValueError: there is no such source; while predicting, a file cannot be read.
        """
        from mrcnn.prediction import stream

        self._expect_inference("predict")
        selection = stream.Selection(
            min_score, None if classes is None else tuple(classes), max_detections
        )
        return stream.predictions(
            self._detector,
            sources,
            class_names=self.class_names,
            selection=selection,
            keep_images=keep_images,
        )

    def export(
        self,
        output: str | os.PathLike[str],
        format: str,
        *,
        image_size: tuple[int, int] | None = None,
        weights: str = "float32",
        pasted: bool = False,
        pictures: Sequence[np.ndarray] | None = None,
    ) -> Exported:
        """Write the network into a file that other programs run, without this package.

        The file is opened in its own runtime and compared with the network; see `docs/export.md`.

        Args:
            output: the file, or the folder of a SavedModel.
            format: "savedmodel", "onnx", "openvino" or "litert".
            image_size: (H, W) of the pictures that it takes; None: of any size.
            weights: how they are kept: "float32", "float16" or "int8".
            pasted: it returns masks of the picture's size too.
            pictures: uint8 arrays [H, W, channels] to compare on; None: photographs of
                scikit-image.

        Returns:
            `mrcnn.export.exporting.Exported`: the path, and how file and network agree.

        Raises:
            ValueError: the network cannot be exported so, something is not installed, or the file
                finds other things than the network; then there is no file.
            FileExistsError: something else is in the place of the output.
        """
        from mrcnn.export import exporting

        self._expect_inference("export")
        settings = exporting.ExportSettings(format, image_size, weights, pasted)
        return exporting.export(self._detector, output, settings, pictures, self.class_names)

    @property
    def detector(self) -> Detector:
        """Detection in steps, and without masks as large as the image."""
        self._expect_inference("detector")
        return self._detector

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: np.ndarray, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Find the objects in molded images [B, H, W, channels]; boxes are in their pixels."""
        self._expect_inference("detect_molded")
        results = self._detector.detect_molded(molded_images, image_metas)
        self._last_shape = self._detector.image_shape
        return results

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Normalized anchors of an image shape: [A, 4] float32. `self.anchors` has the pixels."""
        shape = self._last_shape = tuple(int(side) for side in image_shape[:2])
        if shape not in self._anchors:
            self._anchors[shape] = norm_boxes(self.anchors, shape)
        return self._anchors[shape]

    @property
    def anchors(self) -> np.ndarray:
        """Anchors in pixels of the last molded image: [A, 4] float64."""
        return network.anchors_layer(self.config).of_shape(self._last_shape)

    def _say_if_whole_images(self) -> None:
        """Say it where detection does not resize as the configuration asks of training."""
        asked = self.config.IMAGE_RESIZE_MODE
        done = detection_mode(asked)
        if done != asked:
            logger.warning(
                f'IMAGE_RESIZE_MODE = "{asked}" takes a random window of each image, which is for '
                f'training: this model detects in whole images, as in the mode "{done}".'
            )

    def _expect_inference(self, name: str) -> None:
        if self.mode != "inference":
            raise RuntimeError(f'{name}() needs a model made with mode="inference".')

    # --- A look inside -----------------------------------------------------------------------

    def ancestor(self, tensor: Any, name: str, checked: Any = None) -> Any:
        """The symbolic tensor of a name among those that `tensor` is computed from, or None.

        The names are those of `mrcnn.matterport.inspection`: of layers, with or without what
        TensorFlow appended, and of steps such as "ROI/refined_anchors:0".

        Args:
            tensor: a symbolic tensor, such as `keras_model.get_layer("ROI").output`.
            name: a name or a regular expression.
            checked: accepted as in Matterport's package, where its recursion used it; of no effect.
        """
        return self._inspector.ancestor(tensor, name)

    def find_trainable_layer(self, layer: keras.Layer) -> keras.Layer:
        """The layer inside wrappers; other layers are returned as they are."""
        return inspection.find_trainable_layer(layer)

    def get_trainable_layers(self) -> list[keras.Layer]:
        """The layers that have weights, frozen or not; `rpn_model` is one of them."""
        return inspection.get_trainable_layers(self.keras_model)

    def run_graph(
        self,
        images: Sequence[np.ndarray],
        outputs: Sequence[tuple[str, Any]],
        image_metas: np.ndarray | None = None,
    ) -> OrderedDict[str, np.ndarray]:
        """Compute any tensors of the graph for images, and print their shapes and ranges.

        Args:
            images: images of any size that are molded to one shape; or, with `image_metas`,
                molded images [B, H, W, channels].
            outputs: (name, symbolic tensor) pairs, the tensors from `ancestor` or
                `keras_model.get_layer(name).output`.
            image_metas: [B, ·].

        Returns:
            The arrays under the names given, in order; see `mrcnn.matterport.inspection.Inspector`.
        """
        if image_metas is None:
            molded, image_metas, _ = self.mold_inputs(images)
        else:
            molded = np.asarray(images)
        self._last_shape = molded.shape[1:3]
        return self._inspector.run_graph(molded, image_metas, outputs)


def _shorten(names: Sequence[str], shown: int = 6) -> str:
    if len(names) <= shown:
        return ", ".join(names)
    return f"{', '.join(names[: shown // 2])}, …, {', '.join(names[-shown // 2 :])}"
