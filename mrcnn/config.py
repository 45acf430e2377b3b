"""Every setting of the network, the data and the training, in one class.

Subclass it and override what differs, as with Matterport's package::

    class BalloonConfig(Config):
        NAME = "balloon"
        NUM_CLASSES = 1 + 1  # background + balloon
        STEPS_PER_EPOCH = 100

Settings are checked when the object is made; a wrong one is a `ValueError` that
says what was expected. Attributes that are not settings may be added freely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TextIO
from weakref import WeakSet

import numpy as np

from mrcnn import batch
from mrcnn.logger import logger
from mrcnn.ops import assignment
from mrcnn.ops.edge_settings import EdgeSettings
from mrcnn.setting_rules.architecture import Architecture, resolve
from mrcnn.setting_rules.check import check_settings
from mrcnn.setting_rules.counts import settle_counts
from mrcnn.setting_rules.misspelt import misspelt_setting
from mrcnn.setting_rules.names import (
    BACKBONES,
    IMAGE_SIDE_MULTIPLE,
    LOSS_NAMES,
    MIXED_PRECISIONS,
    OPTIMIZERS,
    PAD32_MULTIPLE,
    PYRAMID_STRIDES,
    RESIZE_MODES,
)
from mrcnn.setting_rules.relations import side_setting
from mrcnn.setting_rules.values import is_sequence, next_side

__all__ = [
    "BACKBONES",
    "DERIVED_SETTINGS",
    "IMAGE_SIDE_MULTIPLE",
    "LOSS_NAMES",
    "MIXED_PRECISIONS",
    "OPTIMIZERS",
    "PAD32_MULTIPLE",
    "PYRAMID_STRIDES",
    "PHOTOGRAPH_RATIOS",
    "RESIZE_MODES",
    "Config",
    "np",  # scripts take it from here, as from Matterport's
]

# Shorter over longer side of most photographs: IMAGE_SHAPE_GROUPS = "auto" has a shape for each.
PHOTOGRAPH_RATIOS = (2 / 3, 3 / 4)
# What a configuration works out from its settings: it cannot be given, and no file holds it.
DERIVED_SETTINGS = (
    *("BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE", "INPUT_SHAPES"),
    "POSITIVE_ROIS_PER_IMAGE",
)
# Those whose attributes have been compared with the settings.
_classes_looked_at: WeakSet[type] = WeakSet()


class Config:
    """Base settings: Matterport's defaults, and the Edge Agreement Head's.

    Shapes are (height, width). Thresholds are IoU values or probabilities in [0, 1].
    """

    # --- Run ---------------------------------------------------------------------
    NAME: str | None = None  # names the log folder; set it in the subclass
    RUN_NAME: str | None = None  # optional second part of the log folder's name
    SEED: int = 0  # of weights, batches and target sampling

    # --- Devices and steps -------------------------------------------------------
    GPU_COUNT: int = 1  # devices that share the images of a step (mrcnn.training.devices)
    IMAGES_PER_GPU: int = 2
    STEPS_PER_EPOCH: int = 1000
    VALIDATION_STEPS: int = 50
    # Compile the whole step with XLA. None: yes on an accelerator, no on a CPU,
    # whose oneDNN convolutions are faster than XLA's (docs/architecture.md).
    JIT_COMPILE: bool | None = None
    # How a CPU detects. None: one graph for images of all shapes (`mrcnn.inference.open_graph`).
    # False: Keras's graph, made for each image shape. True: with constants (`frozen_graph`), for up
    # to 1 GB more memory and some seconds whenever weights changed; of effect on TensorFlow only.
    FREEZE_GRAPH: bool | None = None
    # "bfloat16" or "float16" (with loss scaling): what the convolutions compute in. Weights, boxes,
    # suppression and losses stay float32. "auto": bfloat16 where the device computes it natively,
    # otherwise None (`mrcnn.precision`). None: Keras's global policy, float32 unless changed.
    MIXED_PRECISION: str | None = None

    # --- Backbone and feature pyramid ----------------------------------------------
    # The network's structure and arithmetic: a name of ARCHITECTURES, or an `Architecture`, both of
    # `mrcnn.setting_rules.architecture`. Settings that a configuration leaves alone get its values.
    ARCHITECTURE: str | Architecture | Mapping[str, Any] = "matterport"
    # A name of BACKBONES, or a callable that maps the image tensor to [C1, …, C5]
    # (C1 may be None), as Matterport's.
    BACKBONE: str | Callable[..., Any] = "resnet101"
    # Only for a callable BACKBONE: maps the image shape to the feature map shapes.
    COMPUTE_BACKBONE_SHAPE: Callable[..., Any] | None = None
    BACKBONE_STRIDES: Sequence[int] = [4, 8, 16, 32, 64]
    TOP_DOWN_PYRAMID_SIZE: int = 256
    TRAIN_BN: bool | None = False  # False: frozen statistics; None: as Keras does

    # --- Region proposal network -----------------------------------------------------
    # Pixels, one a level of the pyramid from the finest on; with fewer, the RPN leaves levels out.
    RPN_ANCHOR_SCALES: Sequence[float] = (32, 64, 128, 256, 512)
    RPN_ANCHOR_RATIOS: Sequence[float] = [0.5, 1, 2]  # width / height
    RPN_ANCHOR_STRIDE: int = 1
    RPN_NMS_THRESHOLD: float = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE: int = 256
    # An anchor is an object's from this IoU on, background below the second, neither in between.
    RPN_POSITIVE_IOU: float = assignment.RPN_POSITIVE_IOU
    RPN_NEGATIVE_IOU: float = assignment.RPN_NEGATIVE_IOU
    ROI_POSITIVE_IOU: float = assignment.ROI_POSITIVE_IOU  # a RoI is an object's from here on
    # Anchors that cross the border of the image, padding left out of it, in the RPN's training:
    # "keep" them, as Matterport's, or "ignore" them, as Faster R-CNN (section 3.3): neutral.
    RPN_BORDER_ANCHORS: str = "keep"
    # A crowd takes what overlaps it by more than this out of the negatives.
    CROWD_IOU: float = assignment.CROWD_IOU
    RPN_CONV_FILTERS: int = 512
    RPN_BBOX_STD_DEV: np.ndarray | Sequence[float] = np.array([0.1, 0.1, 0.2, 0.2])
    PRE_NMS_LIMIT: int = 6000
    PRE_NMS_LIMIT_TRAINING: int | None = None  # None: PRE_NMS_LIMIT, as Matterport's
    POST_NMS_ROIS_TRAINING: int = 2000
    POST_NMS_ROIS_INFERENCE: int = 1000

    # --- Images ----------------------------------------------------------------------
    # "square": scale to at least MIN_DIM, at most MAX_DIM, pad to MAX_DIM x MAX_DIM.
    # "pad64": scale to at least MIN_DIM, pad each side to a multiple of 64.
    # "crop": scale to at least MIN_DIM, take a random MIN_DIM x MIN_DIM window.
    # "pad32": scale to MIN_DIM, the longer side at most MAX_DIM; values stay fractions; pad below
    # and to the right to multiples of 32, as torchvision; in training to MIN_DIM x MAX_DIM, upright
    # or lying.
    # "none": leave as it is.
    IMAGE_RESIZE_MODE: str = "square"
    IMAGE_MIN_DIM: int | None = 800
    IMAGE_MAX_DIM: int = 1024
    IMAGE_MIN_SCALE: float | None = 0  # 0: no lower bound on the scale
    # Scale jitter of training images, one of the two (mrcnn.data.scale_jitter). Detection and
    # validation scale as the settings above say; IMAGE_SHAPE stays the same.
    # Pixels, such as (800, 1024): the shorter side is drawn from them, IMAGE_MIN_DIM's place.
    IMAGE_MIN_DIM_RANGE: Sequence[int] | None = None
    # Factors, such as (0.1, 2.0): how large the image is drawn to be, 1 filling IMAGE_SHAPE. What
    # is larger is cut at a random place, what is smaller padded ("large-scale jitter").
    IMAGE_SCALE_RANGE: Sequence[float] | None = None
    IMAGE_CHANNEL_COUNT: int = 3
    # Photographs with an orientation in their EXIF data: "apply" turns them, "ignore" takes the
    # stored pixels, "auto" does what the size that the data set states tells, and says where it
    # cannot know (mrcnn.data.orientation).
    EXIF_ORIENTATION: str = "auto"
    # Bits of the values of grey images above 8 bits, 8 to 16, or {source of a data set: bits}.
    # None: what the largest value needs; training finds it in its images, and keeps it here and
    # in config.json for others. What a file says of itself goes first (mrcnn.data.bit_depth).
    GREY_BIT_DEPTH: int | Mapping[str, int] | None = None
    # Shapes (height, width) beside the square, in the mode "square": an image, scaled as ever, is
    # padded to the smallest that holds it, and batches hold images of one shape. "auto": for
    # photographs of 3:2 and 4:3, upright and lying. None: the square alone, as Matterport's.
    IMAGE_SHAPE_GROUPS: str | Sequence[Sequence[int]] | None = None
    # Training has one static shape. In the modes "pad64" and "none", images are
    # padded to this (height, width); None: IMAGE_MAX_DIM x IMAGE_MAX_DIM.
    IMAGE_PAD_SHAPE: Sequence[int] | None = None
    MEAN_PIXEL: np.ndarray | Sequence[float] | float = np.array(
        [123.7, 116.8, 103.9]
    )  # per channel, subtracted
    # Per channel, or one number: what the rest is divided by. None: it is not, as Matterport's.
    STD_PIXEL: np.ndarray | Sequence[float] | float | None = None

    # --- Ground truth ------------------------------------------------------------------
    USE_MINI_MASK: bool = True  # keep masks as small crops of their boxes
    MINI_MASK_SHAPE: Sequence[int] = (56, 56)
    MAX_GT_INSTANCES: int = 100

    # --- Second stage --------------------------------------------------------------------
    TRAIN_ROIS_PER_IMAGE: int = 200
    ROI_POSITIVE_RATIO: float = 0.33
    USE_RPN_ROIS: bool = True  # False: RoIs come with the batch, not from the RPN
    # How both heads read a RoI's features: "align" samples them between the cells; "pool" rounds
    # the RoI to whole cells and takes the largest of each bin, as Fast R-CNN (docs/roi_pooling.md).
    ROI_POOLING: str = "align"
    POOL_SIZE: int = 7
    MASK_POOL_SIZE: int = 14
    MASK_SHAPE: Any = [28, 28]  # or [56, 56]
    MASK_CONV_FILTERS: int = 256
    FPN_CLASSIF_FC_LAYERS_SIZE: int = 1024
    NUM_CLASSES: int = 1  # background included
    BBOX_STD_DEV: np.ndarray | Sequence[float] = np.array([0.1, 0.1, 0.2, 0.2])

    # --- Detections -------------------------------------------------------------------------
    DETECTION_MAX_INSTANCES: int = 100
    DETECTION_MIN_CONFIDENCE: float = 0.7
    DETECTION_NMS_THRESHOLD: float = 0.3
    # How boxes and masks are moved to the original image (mrcnn.data.unmolding). "exact": as what
    # training taught, to a fraction of a pixel. "matterport": as that package, where boxes come
    # out smaller than the objects if images were shrunk.
    DETECTION_BOXES: str = "exact"

    # --- Optimisation --------------------------------------------------------------------------
    # "sgd", "adam", or a function of the learning rate that returns a Keras optimizer.
    OPTIMIZER: str | Callable[..., Any] = "sgd"
    LEARNING_RATE: float = 0.001
    LEARNING_MOMENTUM: float = 0.9  # "sgd" only
    WEIGHT_DECAY: float = 0.0001
    GRADIENT_CLIP_NORM: float | None = 5.0  # of the global norm; "sgd" and "adam" only
    # "cosine": the rate falls to 0 over each stage (a call of `train`). None: it stays.
    LEARNING_RATE_SCHEDULE: str | None = None
    WARMUP_STEPS: int = 0  # of each stage, in which the rate rises from 0
    # One update of the weights for the mean gradient of so many steps: a larger batch in the
    # memory of a small one.
    GRADIENT_ACCUMULATION_STEPS: int = 1
    # Keep a moving average of the weights, and write that into the weights files. E.g. 0.999.
    EMA_MOMENTUM: float | None = None
    LOSS_WEIGHTS: Mapping[str, float] = {name: 1.0 for name in LOSS_NAMES}

    # --- Checkpoints (docs/reliability.md) -------------------------------------------------------
    # The exact state of training is written after every epoch and, between, every so many steps
    # and every so many minutes; None: not for that reason.
    CHECKPOINT_STEPS: int | None = None
    CHECKPOINT_MINUTES: float | None = 10
    CHECKPOINTS_KEPT: int = 2  # the newest states, beside the best one
    # GB (10^9 bytes) that the states of a run may take, with the one being written. None: no limit.
    CHECKPOINT_DISK_BUDGET: float | None = None
    # A loss or metric of an epoch that says which state is the best: the lowest when its name ends
    # in "loss", else the highest. None: "val_loss", or "loss" without validation.
    CHECKPOINT_METRIC: str | None = None
    # COCO's metrics of the validation set after every so many epochs: val_segm_AP, val_segm_AP50,
    # val_bbox_AP and val_boundary_AP, in losses.csv and for CHECKPOINT_METRIC. None: never.
    EVALUATION_EPOCHS: int | None = None
    EVALUATION_IMAGES: int = 0  # of the validation set, spread over it; 0: all
    # End a stage after so many evaluations (epochs, for a loss) in which CHECKPOINT_METRIC has not
    # become better; the next stage follows. None: do not.
    PATIENCE: int | None = None
    # Log a step whose loss is above this many times the median of the last 100. None: do not.
    LOSS_SPIKE_FACTOR: float | None = 10

    # --- Loader ----------------------------------------------------------------------------------
    LOADER_WORKERS: int | None = None  # None: the number of cores, at most 8
    LOADER_PROCESSES: bool = False  # threads by default; processes for Python-heavy augmentation
    LOADER_PREFETCH: int = 4  # batches
    # Keep decoded and scaled images, before anything random: None, "ram" (for each loader anew)
    # or a folder, which later runs find again. Batches are the same with and without.
    LOADER_CACHE: str | PathLike[str] | None = None
    LOADER_CACHE_GB: float = 4.0  # at most, in 10^9 bytes; 3 MB an image of 1024 x 1024
    # Share of the images that may be unreadable; they are replaced (a few are always allowed).
    # 0: the first one is an error.
    LOADER_MAX_BAD_SHARE: float = 0.01
    LOADER_MAX_RESTARTS: int = 10  # of worker processes that died
    # Seconds after which an image at work is named in a warning; after ten times it is an error.
    LOADER_TIMEOUT: float = 60.0

    # Share of the objects whose masks train; the others, drawn by SEED, train boxes and classes.
    MASK_SHARE: float = 1.0

    # --- Memory ----------------------------------------------------------------------------------
    KEEP_FREED_MEMORY: bool = True  # for the whole process; see `mrcnn.process`

    # --- Edge Agreement Head (arXiv 1809.07069) -------------------------------------------------
    EDGE_LOSS_FILTERS: (
        str | Sequence[str]
    ) = []  # empty: plain Mask R-CNN. E.g. ["sobel-x", "sobel-y"]
    EDGE_LOSS_NORM: str | float = "l2"  # the exponent p: "l1" … "l5", or a number from 1 to 100
    EDGE_LOSS_WEIGHT_FACTOR: float = 1.0  # the paper's alpha
    EDGE_LOSS_SMOOTHING_GT: bool = False
    EDGE_LOSS_SMOOTHING_PREDICTIONS: bool = False
    # Weight the mask cross entropy by the edge error: True or "exp", "product", or False.
    EDGE_LOSS_WEIGHT_ENTROPY: bool | str = False
    EDGE_LOSS_ENTROPY_DIVISOR: float = 16.0  # of the exponent in "exp"; 4 in the paper
    # Compare the gradient magnitude too (True; section 5.6.3), or it alone ("only"; Figure 3).
    EDGE_LOSS_MAGNITUDE: bool | str = False
    # Learn the weight of each loss (Kendall et al. 2018; section 5.6.2), on top of LOSS_WEIGHTS.
    UNCERTAINTY_WEIGHTING: bool = False

    # --- Balance of the losses ---------------------------------------------------------------
    # GradNorm (Chen et al. 2018; `mrcnn.ops.gradnorm`), on top of LOSS_WEIGHTS: the exponent alpha,
    # such as 1.5; None: off. With 0 the gradients of all losses become equally long; the larger it
    # is, the more a loss that falls slowly gains. Each step takes longer (docs/architecture.md).
    GRADNORM_ALPHA: float | None = None
    GRADNORM_RATE: float = 0.025  # how much of itself the weight of a loss moves in a step

    # Attributes below are derived in __init__.
    BATCH_SIZE: int
    IMAGE_SHAPE: np.ndarray
    IMAGE_META_SIZE: int

    def __init__(self) -> None:
        self._take_settings_of_architecture()
        self.validate()
        self._warn_of_misspelt_names()
        self.BATCH_SIZE = self.IMAGES_PER_GPU * self.GPU_COUNT
        self.IMAGE_SHAPE = np.array([*self._image_size(), self.IMAGE_CHANNEL_COUNT])
        # image_id, original shape, molded shape, window, scale, one flag a class
        self.IMAGE_META_SIZE = batch.meta_size(self.NUM_CLASSES)

    # A method, because properties are listed among the settings.
    def architecture(self) -> Architecture:
        """The architecture that ARCHITECTURE means."""
        return resolve(self.ARCHITECTURE)

    def _take_settings_of_architecture(self) -> None:
        """Give the settings that neither a class nor the object sets the architecture's values."""
        try:
            settings = self.architecture().settings
        except (ValueError, TypeError):  # `validate` says what is wrong with it
            return
        own = [vars(owner) for owner in type(self).__mro__ if owner not in (Config, object)]
        for name, value in settings.items():
            if not any(name in attributes for attributes in [*own, vars(self)]):
                setattr(self, name, value)

    def _image_size(self) -> tuple[int, int]:
        sides = getattr(self, side_setting(self))
        height, width = sides if is_sequence(sides) else (sides, sides)
        if self.IMAGE_RESIZE_MODE == "pad32":  # the largest image that there can be
            height, width = (side + -side % PAD32_MULTIPLE for side in (height, width))
        return int(height), int(width)

    @property
    def POSITIVE_ROIS_PER_IMAGE(self) -> int:
        """Slots that can hold positive RoIs: the mask branch trains on these only."""
        return int(self.TRAIN_ROIS_PER_IMAGE * self.ROI_POSITIVE_RATIO)

    @property
    def INPUT_SHAPES(self) -> tuple[tuple[int, int], ...] | None:
        """The (height, width) that training pads to, the smallest first; None: IMAGE_SHAPE alone.

        They are those of IMAGE_SHAPE_GROUPS, and in the mode "pad32" an upright and a lying one.
        """
        if self.IMAGE_RESIZE_MODE == "pad32":
            height, width = (
                side + -side % PAD32_MULTIPLE
                for side in (int(self.IMAGE_MIN_DIM or 0), self.IMAGE_MAX_DIM)
            )
            return None if height == width else ((height, width), (width, height))
        groups = self.IMAGE_SHAPE_GROUPS
        if groups is None:
            return None
        side = self.IMAGE_MAX_DIM
        if isinstance(groups, str):
            shorter = [next_side(side * ratio) for ratio in PHOTOGRAPH_RATIOS]
            groups = [shape for short in shorter for shape in ((short, side), (side, short))]
        shapes = {(int(height), int(width)) for height, width in groups} | {(side, side)}
        return tuple(sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape)))

    # A method, because properties are listed among the settings.
    def edge_settings(self) -> EdgeSettings | None:
        """The EDGE_LOSS_ settings as one value; None without filters: plain Mask R-CNN."""
        if not len(self.EDGE_LOSS_FILTERS):
            return None
        return EdgeSettings(
            filters=self.EDGE_LOSS_FILTERS,
            norm=self.EDGE_LOSS_NORM,
            weight_factor=self.EDGE_LOSS_WEIGHT_FACTOR,
            smoothing_gt=self.EDGE_LOSS_SMOOTHING_GT,
            smoothing_predictions=self.EDGE_LOSS_SMOOTHING_PREDICTIONS,
            weight_entropy=self.EDGE_LOSS_WEIGHT_ENTROPY,
            entropy_divisor=self.EDGE_LOSS_ENTROPY_DIVISOR,
            magnitude=self.EDGE_LOSS_MAGNITUDE,
        )

    def validate(self) -> None:
        """Check every setting by the tables of `mrcnn.setting_rules`.

        Whole floats become integers where those are expected, and fractions of steps are rounded
        up.

        Raises:
            ValueError: with the name of the setting, what was expected and what was received.
        """
        settle_counts(self)
        check_settings(self)

    def _warn_of_misspelt_names(self) -> None:
        """Warn of attributes whose names are nearly those of settings, once for each class."""
        for owner in type(self).__mro__:
            if owner not in (Config, object) and owner not in _classes_looked_at:
                _classes_looked_at.add(owner)
                self._warn_of_those_in(vars(owner))
        self._warn_of_those_in(vars(self))

    def _warn_of_those_in(self, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            meant = None if hasattr(Config, name) else misspelt_setting(name, value)
            if meant is not None:
                logger.warning(
                    f"{type(self).__name__}.{name} is no setting and has no effect. Is it meant "
                    f"to be {meant}?"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return every setting by its name, sorted."""
        return {
            name: getattr(self, name)
            for name in sorted(dir(self))
            if not name.startswith("__") and not callable(getattr(type(self), name, None))
            if not name.startswith("_")
        }

    def display(self, file: TextIO | None = None) -> None:
        """Print every setting: to `file`, or through the logger to the standard output."""
        lines = [f"{name:30} {value}" for name, value in self.to_dict().items()]
        text = "\n".join(["", "Configurations:", *lines, ""])
        if file is None:
            logger.info(text)
        else:
            print(text, file=file)


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """A configuration like another one, those of its settings included that were set on the object.

    Args:
        config: it stays as it is.
        settings: those that differ.

    Raises:
        ValueError: a setting is not valid.
    """
    own = {
        name: value
        for name, value in vars(config).items()
        if name.isupper() and name not in DERIVED_SETTINGS
    }
    return type(type(config).__name__, (type(config),), {**own, **settings})()
