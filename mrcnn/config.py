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

import math
from collections.abc import Callable, Sequence
from numbers import Real
from os import PathLike
from typing import Any, TextIO

import numpy as np

from mrcnn import batch
from mrcnn.ops import assignment, edge_filters
from mrcnn.ops.edge_settings import EdgeSettings

BACKBONES = ("resnet50", "resnet101", "resnet10", "resnet18")
OPTIMIZERS = ("sgd", "adam")
MIXED_PRECISIONS = ("bfloat16", "float16")
RESIZE_MODES = ("none", "square", "pad64", "crop")
LOSS_NAMES = (
    "rpn_class_loss",
    "rpn_bbox_loss",
    "mrcnn_class_loss",
    "mrcnn_bbox_loss",
    "mrcnn_mask_loss",
    "mrcnn_mask_edge_loss",
)
# The FPN halves the resolution six times (P6 has stride 64).
IMAGE_SIDE_MULTIPLE = 64
# Shorter over longer side of most photographs: IMAGE_SHAPE_GROUPS = "auto" has a shape for each.
PHOTOGRAPH_RATIOS = (2 / 3, 3 / 4)


class Config:
    """Base settings: Matterport's defaults, and the Edge Agreement Head's.

    Shapes are (height, width). Thresholds are IoU values or probabilities in [0, 1].
    """

    # --- Run ---------------------------------------------------------------------
    NAME: str | None = None  # names the log folder; set it in the subclass
    RUN_NAME: str | None = None  # optional second part of the log folder's name
    SEED: int = 0  # of weights, batches and target sampling

    # --- Devices and steps -------------------------------------------------------
    GPU_COUNT: int = 1  # kept for Matterport: a factor of the batch size
    IMAGES_PER_GPU: int = 2
    STEPS_PER_EPOCH: int = 1000
    VALIDATION_STEPS: int = 50
    # Compile the whole step with XLA. None: yes on an accelerator, no on a CPU,
    # whose oneDNN convolutions are faster than XLA's (docs/architecture.md).
    JIT_COMPILE: bool | None = None
    # Detect single images a tenth faster on a CPU, for up to 1 GB more memory and some seconds
    # whenever weights changed: `mrcnn.inference.frozen_graph`. With XLA, JAX or batches it warns.
    FREEZE_GRAPH: bool = False
    # "bfloat16" or "float16" (with loss scaling): what the convolutions compute in. Weights, boxes,
    # suppression and losses stay float32. None: Keras's global policy, float32 unless changed.
    MIXED_PRECISION: str | None = None

    # --- Backbone and feature pyramid ----------------------------------------------
    # A name of BACKBONES, or a callable that maps the image tensor to [C1, …, C5]
    # (C1 may be None), as Matterport's.
    BACKBONE: str | Callable[..., Any] = "resnet101"
    # Only for a callable BACKBONE: maps the image shape to the feature map shapes.
    COMPUTE_BACKBONE_SHAPE: Callable[..., Any] | None = None
    BACKBONE_STRIDES: Sequence[int] = [4, 8, 16, 32, 64]
    TOP_DOWN_PYRAMID_SIZE: int = 256
    TRAIN_BN: bool | None = False  # False: frozen statistics; None: as Keras does

    # --- Region proposal network -----------------------------------------------------
    RPN_ANCHOR_SCALES: tuple[float, ...] = (32, 64, 128, 256, 512)  # pixels, one a level
    RPN_ANCHOR_RATIOS: Sequence[float] = [0.5, 1, 2]  # width / height
    RPN_ANCHOR_STRIDE: int = 1
    RPN_NMS_THRESHOLD: float = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE: int = 256
    # An anchor is an object's from this IoU on, background below the second, neither in between.
    RPN_POSITIVE_IOU: float = assignment.RPN_POSITIVE_IOU
    RPN_NEGATIVE_IOU: float = assignment.RPN_NEGATIVE_IOU
    ROI_POSITIVE_IOU: float = assignment.ROI_POSITIVE_IOU  # a RoI is an object's from here on
    CROWD_IOU: float = (
        assignment.CROWD_IOU
    )  # a crowd takes what overlaps it more out of the negatives
    RPN_CONV_FILTERS: int = 512
    RPN_BBOX_STD_DEV: Any = np.array([0.1, 0.1, 0.2, 0.2])
    PRE_NMS_LIMIT: int = 6000
    POST_NMS_ROIS_TRAINING: int = 2000
    POST_NMS_ROIS_INFERENCE: int = 1000

    # --- Images ----------------------------------------------------------------------
    # "square": scale to at least MIN_DIM, at most MAX_DIM, pad to MAX_DIM x MAX_DIM.
    # "pad64": scale to at least MIN_DIM, pad each side to a multiple of 64.
    # "crop": scale to at least MIN_DIM, take a random MIN_DIM x MIN_DIM window.
    # "none": leave as it is.
    IMAGE_RESIZE_MODE: str = "square"
    IMAGE_MIN_DIM: int = 800
    IMAGE_MAX_DIM: int = 1024
    IMAGE_MIN_SCALE: float = 0  # 0: no lower bound on the scale
    IMAGE_CHANNEL_COUNT: int = 3
    # Shapes (height, width) beside the square, in the mode "square": an image, scaled as ever, is
    # padded to the smallest that holds it, and batches hold images of one shape. "auto": for
    # photographs of 3:2 and 4:3, upright and lying. None: the square alone, as Matterport's.
    IMAGE_SHAPE_GROUPS: Any = None
    # Training has one static shape. In the modes "pad64" and "none", images are
    # padded to this (height, width); None: IMAGE_MAX_DIM x IMAGE_MAX_DIM.
    IMAGE_PAD_SHAPE: tuple[int, int] | None = None
    MEAN_PIXEL: Any = np.array([123.7, 116.8, 103.9])  # per channel, subtracted

    # --- Ground truth ------------------------------------------------------------------
    USE_MINI_MASK: bool = True  # keep masks as small crops of their boxes
    MINI_MASK_SHAPE: tuple[int, int] = (56, 56)
    MAX_GT_INSTANCES: int = 100

    # --- Second stage --------------------------------------------------------------------
    TRAIN_ROIS_PER_IMAGE: int = 200
    ROI_POSITIVE_RATIO: float = 0.33
    USE_RPN_ROIS: bool = True  # False: RoIs come with the batch, not from the RPN
    POOL_SIZE: int = 7
    MASK_POOL_SIZE: int = 14
    MASK_SHAPE: Any = [28, 28]  # or [56, 56]
    MASK_CONV_FILTERS: int = 256
    FPN_CLASSIF_FC_LAYERS_SIZE: int = 1024
    NUM_CLASSES: int = 1  # background included
    BBOX_STD_DEV: Any = np.array([0.1, 0.1, 0.2, 0.2])

    # --- Detections -------------------------------------------------------------------------
    DETECTION_MAX_INSTANCES: int = 100
    DETECTION_MIN_CONFIDENCE: float = 0.7
    DETECTION_NMS_THRESHOLD: float = 0.3

    # --- Optimisation --------------------------------------------------------------------------
    # "sgd", "adam", or a function of the learning rate that returns a Keras optimizer.
    OPTIMIZER: Any = "sgd"
    LEARNING_RATE: float = 0.001
    LEARNING_MOMENTUM: float = 0.9  # "sgd" only
    WEIGHT_DECAY: float = 0.0001
    GRADIENT_CLIP_NORM: float = 5.0  # of the global norm; "sgd" and "adam" only
    # "cosine": the rate falls to 0 over each stage (a call of `train`). None: it stays.
    LEARNING_RATE_SCHEDULE: str | None = None
    WARMUP_STEPS: int = 0  # of each stage, in which the rate rises from 0
    # One update of the weights for the mean gradient of so many steps: a larger batch in the
    # memory of a small one.
    GRADIENT_ACCUMULATION_STEPS: int = 1
    # Keep a moving average of the weights, and write that into the weights files. E.g. 0.999.
    EMA_MOMENTUM: float | None = None
    LOSS_WEIGHTS: dict[str, float] = {name: 1.0 for name in LOSS_NAMES}

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

    # --- Memory ----------------------------------------------------------------------------------
    KEEP_FREED_MEMORY: bool = True  # for the whole process; see `mrcnn.process`

    # --- Edge Agreement Head (arXiv 1809.07069) -------------------------------------------------
    EDGE_LOSS_FILTERS: Any = []  # empty: plain Mask R-CNN. E.g. ["sobel-x", "sobel-y"]
    EDGE_LOSS_NORM: str | float = "l2"  # the exponent p: "l1" … "l5", or a number from 1 to 100
    EDGE_LOSS_WEIGHT_FACTOR: float = 1.0  # the paper's alpha
    EDGE_LOSS_SMOOTHING_GT: bool = False
    EDGE_LOSS_SMOOTHING_PREDICTIONS: bool = False
    # Weight the mask cross entropy by the edge error: True or "exp", "product", or False.
    EDGE_LOSS_WEIGHT_ENTROPY: bool | str = False
    EDGE_LOSS_ENTROPY_DIVISOR: float = 16.0  # of the exponent in "exp"; 4 in the paper
    EDGE_LOSS_MAGNITUDE: bool = False  # compare the gradient magnitude too (section 5.6.3)
    # Learn the weight of each loss (Kendall et al. 2018; section 5.6.2), on top of LOSS_WEIGHTS.
    UNCERTAINTY_WEIGHTING: bool = False

    # Attributes below are derived in __init__.
    BATCH_SIZE: int
    IMAGE_SHAPE: np.ndarray
    IMAGE_META_SIZE: int

    def __init__(self) -> None:
        try:
            self.validate()
        except (TypeError, AttributeError, OverflowError) as error:  # from a comparison, say
            raise ValueError(
                f"{type(self).__name__}: a setting is of another type than Config's: {error}."
            ) from error
        self.BATCH_SIZE = self.IMAGES_PER_GPU * self.GPU_COUNT
        self.IMAGE_SHAPE = np.array([*self._image_size(), self.IMAGE_CHANNEL_COUNT])
        # image_id, original shape, molded shape, window, scale, one flag a class
        self.IMAGE_META_SIZE = batch.meta_size(self.NUM_CLASSES)

    def _image_size(self) -> tuple[int, int]:
        if self.IMAGE_RESIZE_MODE == "crop":
            return self.IMAGE_MIN_DIM, self.IMAGE_MIN_DIM
        if self.IMAGE_RESIZE_MODE in ("pad64", "none") and self.IMAGE_PAD_SHAPE is not None:
            return tuple(self.IMAGE_PAD_SHAPE)
        return self.IMAGE_MAX_DIM, self.IMAGE_MAX_DIM

    @property
    def POSITIVE_ROIS_PER_IMAGE(self) -> int:
        """Slots that can hold positive RoIs: the mask branch trains on these only."""
        return int(self.TRAIN_ROIS_PER_IMAGE * self.ROI_POSITIVE_RATIO)

    @property
    def INPUT_SHAPES(self) -> tuple[tuple[int, int], ...] | None:
        """The (height, width) that IMAGE_SHAPE_GROUPS allows, the smallest first; or None."""
        groups = self.IMAGE_SHAPE_GROUPS
        if groups is None:
            return None
        side = self.IMAGE_MAX_DIM
        if isinstance(groups, str):
            shorter = [_next_multiple(side * ratio) for ratio in PHOTOGRAPH_RATIOS]
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
        """Check every setting.

        Raises:
            ValueError: with the name of the setting, what was expected and what was received.
        """
        if isinstance(self.BACKBONE, str):
            self._expect("BACKBONE", self.BACKBONE in BACKBONES, f"one of {list(BACKBONES)}")
        else:
            self._expect("BACKBONE", callable(self.BACKBONE), "a name or a callable")
            self._expect(
                "COMPUTE_BACKBONE_SHAPE",
                callable(self.COMPUTE_BACKBONE_SHAPE),
                "a callable, because BACKBONE is one",
            )
        self._expect(
            "OPTIMIZER",
            self.OPTIMIZER in OPTIMIZERS or callable(self.OPTIMIZER),
            f"one of {list(OPTIMIZERS)} or a function of the learning rate",
        )
        self._expect(
            "MIXED_PRECISION",
            self.MIXED_PRECISION is None or self.MIXED_PRECISION in MIXED_PRECISIONS,
            f"None or one of {list(MIXED_PRECISIONS)}",
        )
        self._expect(
            "LEARNING_RATE_SCHEDULE",
            self.LEARNING_RATE_SCHEDULE in (None, "cosine"),
            "None or 'cosine'",
        )
        self._expect(
            "WARMUP_STEPS",
            _is_integer(self.WARMUP_STEPS) and self.WARMUP_STEPS >= 0,
            "an integer of at least 0",
        )
        self._expect(
            "EMA_MOMENTUM",
            self.EMA_MOMENTUM is None
            or (_is_number(self.EMA_MOMENTUM) and 0 <= self.EMA_MOMENTUM < 1),
            "None or a number from 0 to below 1, such as 0.999",
        )
        self._expect(
            "IMAGE_RESIZE_MODE",
            self.IMAGE_RESIZE_MODE in RESIZE_MODES,
            f"one of {list(RESIZE_MODES)}",
        )
        for name in (
            *("GPU_COUNT", "IMAGES_PER_GPU", "STEPS_PER_EPOCH", "NUM_CLASSES"),
            *("TOP_DOWN_PYRAMID_SIZE", "RPN_ANCHOR_STRIDE", "RPN_TRAIN_ANCHORS_PER_IMAGE"),
            *("RPN_CONV_FILTERS", "PRE_NMS_LIMIT", "POST_NMS_ROIS_TRAINING"),
            *("POST_NMS_ROIS_INFERENCE", "IMAGE_CHANNEL_COUNT", "MAX_GT_INSTANCES"),
            *("TRAIN_ROIS_PER_IMAGE", "POOL_SIZE", "MASK_POOL_SIZE", "MASK_CONV_FILTERS"),
            *("FPN_CLASSIF_FC_LAYERS_SIZE", "GRADIENT_ACCUMULATION_STEPS"),
            *("DETECTION_MAX_INSTANCES", "LOADER_PREFETCH"),
        ):
            value = getattr(self, name)
            self._expect(name, _is_integer(value) and value >= 1, "an integer of at least 1")
        for name in (
            *("RPN_NMS_THRESHOLD", "ROI_POSITIVE_RATIO"),
            *("DETECTION_MIN_CONFIDENCE", "DETECTION_NMS_THRESHOLD", "LOADER_MAX_BAD_SHARE"),
        ):
            value = getattr(self, name)
            valid = isinstance(value, Real) and 0 <= value <= 1
            self._expect(name, valid, "a number from 0 to 1")
        for name in ("WEIGHT_DECAY", "GRADIENT_CLIP_NORM", "LEARNING_MOMENTUM", "IMAGE_MIN_SCALE"):
            value = getattr(self, name)
            valid = value is None or (isinstance(value, Real) and value >= 0)
            self._expect(name, valid, "a number of at least 0")
        restarts, timeout = self.LOADER_MAX_RESTARTS, self.LOADER_TIMEOUT
        self._expect(
            "LOADER_MAX_RESTARTS", _is_integer(restarts) and restarts >= 0, "an integer from 0 up"
        )
        self._expect(
            "LOADER_TIMEOUT", _is_number(timeout) and timeout > 0, "a number of seconds above 0"
        )
        self._expect(
            "MASK_SHAPE",
            len(self.MASK_SHAPE) == 2
            and self.MASK_SHAPE[0] == self.MASK_SHAPE[1]
            and self.MASK_SHAPE[0] in (2 * self.MASK_POOL_SIZE, 4 * self.MASK_POOL_SIZE),
            f"twice or four times MASK_POOL_SIZE ({self.MASK_POOL_SIZE}), such as (28, 28)",
        )
        self._expect(
            "MEAN_PIXEL",
            np.size(self.MEAN_PIXEL) in (1, self.IMAGE_CHANNEL_COUNT),
            f"one value for each of IMAGE_CHANNEL_COUNT = {self.IMAGE_CHANNEL_COUNT} channels",
        )
        self._expect(
            "RPN_ANCHOR_SCALES",
            len(self.RPN_ANCHOR_SCALES) == len(self.BACKBONE_STRIDES),
            f"one scale for each of the {len(self.BACKBONE_STRIDES)} BACKBONE_STRIDES",
        )
        cache = self.LOADER_CACHE
        self._expect(
            "LOADER_CACHE",
            cache is None or (isinstance(cache, (str, PathLike)) and str(cache) != ""),
            'None, "ram" or the path of a folder',
        )
        size = self.LOADER_CACHE_GB
        self._expect("LOADER_CACHE_GB", _is_number(size) and size > 0, "a number above 0")
        self._validate_checkpoints()
        unknown = sorted(set(self.LOSS_WEIGHTS) - set(LOSS_NAMES))
        self._expect("LOSS_WEIGHTS", not unknown, f"keys among {list(LOSS_NAMES)}")
        self._validate_edge_loss()
        self._validate_image_size()

    def _validate_checkpoints(self) -> None:
        steps, kept, metric = self.CHECKPOINT_STEPS, self.CHECKPOINTS_KEPT, self.CHECKPOINT_METRIC
        self._expect(
            "CHECKPOINT_STEPS",
            steps is None or (_is_integer(steps) and steps >= 1),
            "None or an integer of at least 1",
        )
        self._expect("CHECKPOINTS_KEPT", _is_integer(kept) and kept >= 1, "an integer from 1 on")
        for name in ("CHECKPOINT_MINUTES", "CHECKPOINT_DISK_BUDGET"):
            value = getattr(self, name)
            valid = value is None or (_is_number(value) and value > 0)
            self._expect(name, valid, "None or a number above 0")
        self._expect(
            "CHECKPOINT_METRIC",
            metric is None or (isinstance(metric, str) and metric),
            "None or the name of a loss or metric, such as 'val_loss'",
        )
        factor = self.LOSS_SPIKE_FACTOR
        self._expect(
            "LOSS_SPIKE_FACTOR",
            factor is None or (_is_number(factor) and factor > 1),
            "None or a number above 1",
        )

    def _validate_edge_loss(self) -> None:
        def check(setting: str, parse: Callable[[Any], Any], value: Any) -> None:
            try:
                parse(value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{type(self).__name__}.{setting}: {error}.") from None

        for setting in (
            *("EDGE_LOSS_SMOOTHING_GT", "EDGE_LOSS_SMOOTHING_PREDICTIONS", "EDGE_LOSS_MAGNITUDE"),
            "UNCERTAINTY_WEIGHTING",
        ):
            value = getattr(self, setting)
            self._expect(setting, value in (True, False), "True or False")
        check("EDGE_LOSS_NORM", edge_filters.parse_norm, self.EDGE_LOSS_NORM)
        weighting = self.EDGE_LOSS_WEIGHT_ENTROPY
        check("EDGE_LOSS_WEIGHT_ENTROPY", edge_filters.parse_weight_entropy, weighting)
        filters = self.EDGE_LOSS_FILTERS
        if len(filters):
            check("EDGE_LOSS_FILTERS", edge_filters.resolve_filters, filters)
            if self.EDGE_LOSS_MAGNITUDE:
                check("EDGE_LOSS_MAGNITUDE", edge_filters.gradient_pairs, filters)
        for setting in ("EDGE_LOSS_WEIGHT_FACTOR", "EDGE_LOSS_ENTROPY_DIVISOR"):
            value = getattr(self, setting)
            self._expect(setting, _is_number(value) and value >= 0, "a number of at least 0")
        self._expect(
            "EDGE_LOSS_ENTROPY_DIVISOR", self.EDGE_LOSS_ENTROPY_DIVISOR > 0, "a number above 0"
        )

    def _validate_image_size(self) -> None:
        height, width = self._image_size()
        source = {"crop": "IMAGE_MIN_DIM", "square": "IMAGE_MAX_DIM"}.get(
            self.IMAGE_RESIZE_MODE, "IMAGE_PAD_SHAPE"
        )
        if source == "IMAGE_PAD_SHAPE" and self.IMAGE_PAD_SHAPE is None:
            source = "IMAGE_MAX_DIM"
        for side in (height, width):
            self._expect(
                source,
                _is_side(side),
                f"sides that divide by {IMAGE_SIDE_MULTIPLE}, such as {_next_multiple(side)}: "
                "the feature pyramid halves the image six times",
            )
        self._validate_shape_groups()

    def _validate_shape_groups(self) -> None:
        groups = self.IMAGE_SHAPE_GROUPS
        if groups is None:
            return
        self._expect(
            "IMAGE_RESIZE_MODE",
            self.IMAGE_RESIZE_MODE == "square",
            '"square", because there are IMAGE_SHAPE_GROUPS',
        )
        valid = (isinstance(groups, str) and groups == "auto") or (
            isinstance(groups, (list, tuple))
            and all(isinstance(shape, (list, tuple)) and len(shape) == 2 for shape in groups)
            and all(_is_side(side) and side <= self.IMAGE_MAX_DIM for s in groups for side in s)
        )
        self._expect(
            "IMAGE_SHAPE_GROUPS",
            valid,
            f'None, "auto", or a list of (height, width) that divide by {IMAGE_SIDE_MULTIPLE} and '
            f"are at most IMAGE_MAX_DIM = {self.IMAGE_MAX_DIM}",
        )

    def _expect(self, name: str, valid: Any, expected: str) -> None:
        if not valid:
            raise ValueError(
                f"{type(self).__name__}.{name}: expected {expected}; "
                f"received {getattr(self, name)!r}."
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
        """Print every setting, to `file` or to the standard output."""
        print("\nConfigurations:", file=file)
        for name, value in self.to_dict().items():
            print(f"{name:30} {value}", file=file)
        print(file=file)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_integer(value) and value > 0 and value % IMAGE_SIDE_MULTIPLE == 0


def _next_multiple(side: float) -> int:
    """The least side of an image that is not below `side`."""
    return IMAGE_SIDE_MULTIPLE * max(1, math.ceil(side / IMAGE_SIDE_MULTIPLE))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
