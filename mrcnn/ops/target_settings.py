"""How targets are computed, as one value for each stage. Free of Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.ops.assignment import CROWD_IOU, ROI_POSITIVE_IOU, RPN_NEGATIVE_IOU, RPN_POSITIVE_IOU

# Divides the deltas: what the heads predict is then of about the size of 1.
STD_DEV = (0.1, 0.1, 0.2, 0.2)


@dataclasses.dataclass(frozen=True)
class RpnTargetSettings:
    """Settings of `mrcnn.ops.targets.rpn_targets`.

    Args:
        count: anchors of an image that take part in the loss, at most half of them positive.
        std_dev: four numbers that divide the deltas.
        positive_iou: an anchor is positive from this IoU with an object on.
        negative_iou: and negative below this one; neutral between the two.
        crowd_iou: an anchor with this IoU with a crowd is not negative.
        border_anchors: "ignore": anchors that cross the border of the image are neutral; "keep":
            they are labelled as all others.
    """

    count: int = 256
    std_dev: Sequence[float] | np.ndarray = STD_DEV
    positive_iou: float = RPN_POSITIVE_IOU
    negative_iou: float = RPN_NEGATIVE_IOU
    crowd_iou: float = CROWD_IOU
    border_anchors: str = "keep"

    def __post_init__(self) -> None:
        if self.border_anchors not in ("keep", "ignore"):
            raise ValueError(
                f"border_anchors: expected 'keep' or 'ignore'; received {self.border_anchors!r}."
            )
        object.__setattr__(self, "std_dev", tuple(float(value) for value in self.std_dev))


@dataclasses.dataclass(frozen=True)
class RoiTargetSettings:
    """Settings of `mrcnn.ops.targets.detection_targets`.

    Args:
        count: R, training RoIs of an image.
        positive_ratio: share of positives.
        std_dev: four numbers that divide the deltas.
        mask_shape: (height, width) of the mask targets.
        mini_masks: whether masks are crops of their boxes.
        positive_iou: a proposal is positive from this IoU with an object on, negative below.
        crowd_iou: a proposal with this IoU with a crowd is not negative.
        ground_truth: the boxes of the objects are among the proposals.
        fill_up: negatives take the places that positives leave; False: as many as the ratio asks
            for, none for an image without positives.
        pixel_boxes: boxes are in pixels, whose sides are y2 - y1; False: normalized.
        sampled_masks: targets of masks are those of `mrcnn.ops.mask_targets`; needs `pixel_boxes`.
        aligned: of these.
        rounded_masks: of these: zeros and ones, from a half on, as the others always are.

    >>> RoiTargetSettings(count=200, positive_ratio=0.33).positive_slots
    66
    """

    count: int = 200
    positive_ratio: float = 0.33
    std_dev: Sequence[float] | np.ndarray = STD_DEV
    mask_shape: tuple[int, int] = (28, 28)
    mini_masks: bool = True
    positive_iou: float = ROI_POSITIVE_IOU
    crowd_iou: float = CROWD_IOU
    ground_truth: bool = False
    fill_up: bool = False
    pixel_boxes: bool = False
    sampled_masks: bool = False
    aligned: bool = False
    rounded_masks: bool = False

    def __post_init__(self) -> None:
        if self.sampled_masks and not self.pixel_boxes:
            raise ValueError(
                "sampled_masks: expected pixel_boxes with it, in whose pixels the samples lie; "
                "received pixel_boxes = False."
            )
        height, width = self.mask_shape
        object.__setattr__(self, "std_dev", tuple(float(value) for value in self.std_dev))
        object.__setattr__(self, "mask_shape", (int(height), int(width)))

    @property
    def positive_slots(self) -> int:
        """P: the first slots of an image, which can hold positives."""
        return int(self.count * self.positive_ratio)
