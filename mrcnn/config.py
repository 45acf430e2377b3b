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
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

BACKBONES = ("resnet50", "resnet101", "resnet10", "resnet18")
RESIZE_MODES = ("none", "square", "pad64", "crop")
MASK_SIZES = (28, 56)
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

    # --- Backbone and feature pyramid ----------------------------------------------
    # A name of BACKBONES, or a callable that maps the image tensor to [C1, …, C5]
    # (C1 may be None), as Matterport's.
    BACKBONE: str | Callable[..., Any] = "resnet101"
    # Only for a callable BACKBONE: maps the image shape to the feature map shapes.
    COMPUTE_BACKBONE_SHAPE: Callable[..., Any] | None = None
    BACKBONE_STRIDES: tuple[int, ...] = (4, 8, 16, 32, 64)
    TOP_DOWN_PYRAMID_SIZE: int = 256
    TRAIN_BN: bool | None = False  # False: frozen statistics; None: as Keras does

    # --- Region proposal network -----------------------------------------------------
    RPN_ANCHOR_SCALES: tuple[float, ...] = (32, 64, 128, 256, 512)  # pixels, one a level
    RPN_ANCHOR_RATIOS: tuple[float, ...] = (0.5, 1, 2)  # width / height
    RPN_ANCHOR_STRIDE: int = 1
    RPN_NMS_THRESHOLD: float = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE: int = 256
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
    MASK_SHAPE: Any = (28, 28)  # (28, 28) or (56, 56)
    MASK_CONV_FILTERS: int = 256
    FPN_CLASSIF_FC_LAYERS_SIZE: int = 1024
    NUM_CLASSES: int = 1  # background included
    BBOX_STD_DEV: Any = np.array([0.1, 0.1, 0.2, 0.2])

    # --- Detections -------------------------------------------------------------------------
    DETECTION_MAX_INSTANCES: int = 100
    DETECTION_MIN_CONFIDENCE: float = 0.7
    DETECTION_NMS_THRESHOLD: float = 0.3

    # --- Optimisation --------------------------------------------------------------------------
    LEARNING_RATE: float = 0.001
    LEARNING_MOMENTUM: float = 0.9
    WEIGHT_DECAY: float = 0.0001
    GRADIENT_CLIP_NORM: float = 5.0  # of the global norm
    LOSS_WEIGHTS: dict[str, float] = {name: 1.0 for name in LOSS_NAMES}

    # --- Loader ----------------------------------------------------------------------------------
    LOADER_WORKERS: int | None = None  # None: the number of cores, at most 8
    LOADER_PROCESSES: bool = False  # threads by default; processes for Python-heavy augmentation
    LOADER_PREFETCH: int = 4  # batches

    # --- Edge Agreement Head (arXiv 1809.07069) -------------------------------------------------
    EDGE_LOSS_FILTERS: Any = ()  # empty: plain Mask R-CNN. E.g. ["sobel-x", "sobel-y"]
    EDGE_LOSS_NORM: str | float = "l2"  # the exponent p: "l1" … "l5", or a number from 1 to 10
    EDGE_LOSS_WEIGHT_FACTOR: float = 1.0  # the paper's alpha
    EDGE_LOSS_SMOOTHING_GT: bool = False
    EDGE_LOSS_SMOOTHING_PREDICTIONS: bool = False
    # Weight the mask cross entropy by the edge error: True or "exp", "product", or False.
    EDGE_LOSS_WEIGHT_ENTROPY: bool | str = False

    # Attributes below are derived in __init__.
    BATCH_SIZE: int
    IMAGE_SHAPE: np.ndarray
    IMAGE_META_SIZE: int

    def __init__(self) -> None:
        self.validate()
        self.BATCH_SIZE = self.IMAGES_PER_GPU * self.GPU_COUNT
        self.IMAGE_SHAPE = np.array([*self._image_size(), self.IMAGE_CHANNEL_COUNT])
        # image_id, original shape, molded shape, window, scale, one flag a class
        self.IMAGE_META_SIZE = 1 + 3 + 3 + 4 + 1 + self.NUM_CLASSES

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
            *("FPN_CLASSIF_FC_LAYERS_SIZE", "DETECTION_MAX_INSTANCES", "LOADER_PREFETCH"),
        ):
            value = getattr(self, name)
            self._expect(name, _is_integer(value) and value >= 1, "an integer of at least 1")
        for name in (
            *("RPN_NMS_THRESHOLD", "ROI_POSITIVE_RATIO"),
            *("DETECTION_MIN_CONFIDENCE", "DETECTION_NMS_THRESHOLD"),
        ):
            value = getattr(self, name)
            self._expect(name, 0 <= value <= 1, "a number from 0 to 1")
        for name in ("WEIGHT_DECAY", "GRADIENT_CLIP_NORM", "LEARNING_MOMENTUM", "IMAGE_MIN_SCALE"):
            value = getattr(self, name)
            self._expect(name, value is None or value >= 0, "a number of at least 0")
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
        unknown = sorted(set(self.LOSS_WEIGHTS) - set(LOSS_NAMES))
        self._expect("LOSS_WEIGHTS", not unknown, f"keys among {list(LOSS_NAMES)}")
        self._validate_image_size()

    def _validate_image_size(self) -> None:
        height, width = self._image_size()
        source = {"crop": "IMAGE_MIN_DIM", "square": "IMAGE_MAX_DIM"}.get(
            self.IMAGE_RESIZE_MODE, "IMAGE_PAD_SHAPE"
        )
        if source == "IMAGE_PAD_SHAPE" and self.IMAGE_PAD_SHAPE is None:
            source = "IMAGE_MAX_DIM"
        for side in (height, width):
            multiple = max(64, 64 * math.ceil(side / IMAGE_SIDE_MULTIPLE))
            self._expect(
                source,
                _is_integer(side) and side > 0 and side % IMAGE_SIDE_MULTIPLE == 0,
                f"sides that divide by {IMAGE_SIDE_MULTIPLE}, such as {multiple}: "
                "the feature pyramid halves the image six times",
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
