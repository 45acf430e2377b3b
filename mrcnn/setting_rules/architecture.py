"""What differs between the Mask R-CNNs that weights exist for, as data.

An `Architecture` describes the network and its arithmetic by plain fields; code branches on the
fields, never on the name. `Config.ARCHITECTURE` names one of `ARCHITECTURES`, or is one's own.
What is a setting of `Config` already, such as a threshold, stays one: `Architecture.settings` holds
the values that the published weights expect, and they hold where a configuration does not set
others.

The fields' values of torchvision 0.29 come from its files `models/detection/mask_rcnn.py`
(`maskrcnn_resnet50_fpn`, `maskrcnn_resnet50_fpn_v2`), `faster_rcnn.py`, `rpn.py`, `roi_heads.py`,
`transform.py`, `anchor_utils.py`, `_utils.py` and `ops/poolers.py`; each field says where. Those of
Detectron2 come from its defaults (`config/defaults.py`), from
`configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml` and its base, and from the code that
they steer, named by "D2".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

BOX_VOTES = ("best class", "every class")
MASK_PASTING = ("box", "whole pixels", "samples")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A Mask R-CNN with a ResNet and a feature pyramid; the defaults are Matterport's.

    Attributes:
        name: for messages and reports only.
        stride_in_3x3: a bottleneck's stride is in its 3x3 convolution, not in the first 1x1
            (torchvision `models/resnet.py`, `Bottleneck`; D2 `modeling/backbone/resnet.py`,
            `STRIDE_IN_1X1`).
        conv_bias: convolutions in front of a normalization have a bias.
        norm_epsilon: added to the variance by every normalization. torchvision's is 1e-5, but 0
            in its first COCO weights (`maskrcnn_resnet50_fpn`, `overwrite_eps`).
        norm_momentum: of the moving statistics.
        symmetric_padding: strided convolutions and the stem's max-pooling are padded alike on all
            sides; TensorFlow's "same" pads more below and to the right.
        pyramid_norm: the convolutions of the feature pyramid are normalized
            (`ops/feature_pyramid_network.py`, `norm_layer`).
        rpn_convolutions: 3x3 convolutions of the RPN (`rpn.py`, `RPNHead`, `conv_depth`).
        rpn_logits: 2, background and object under a softmax, or 1, the object's under a sigmoid.
        rounded_anchors: half sides of anchors are whole pixels (`anchor_utils.py`,
            `generate_anchors`).
        anchor_steps_from_cells: the distance of anchors is the image's side by the number of
            cells, rounded down, so less than the stride where a level's side is odd
            (`anchor_utils.py`, `AnchorGenerator.forward`).
        pixel_boxes: deltas, clipping and overlaps are those of boxes in pixels, whose sides are
            y2 - y1; False: of normalized boxes. Boxes between the layers are always normalized.
        proposals_per_level: PRE_NMS_LIMIT and suppression hold for each level by itself, and the
            image's padding bears no proposals (`rpn.py`, `filter_proposals`).
        largest_log_growth: of a side by a delta (`_utils.py`, `BoxCoder.bbox_xform_clip`).
        least_proposal_side, least_detection_side: in pixels; what is smaller is left out
            (`rpn.py`, `min_size`; `roi_heads.py`, `postprocess_detections`). Proposals without an
            area always are.
        roi_samples: RoIAlign averages so many samples a bin and axis (`sampling_ratio`); -1: as
            many as the bin has cells (D2 `layers/roi_align.py`); 0: it takes one, with the grid's
            corners in the RoI's corners, as `crop_and_resize`.
        roi_aligned: the center of a map's first cell is at 0.5, not at 0; of effect with
            `roi_samples`.
        roi_levels_round_down: a RoI's level is floor(4 + log2(side / 224) + 1e-6)
            (`ops/poolers.py`, `LevelMapper`), with the side in pixels; False: rounded, and
            relative to the image's side. Only with `roi_samples`.
        box_convolutions, box_dense_layers: of the box head, in this order (`faster_rcnn.py`,
            `TwoMLPHead`, `FastRCNNConvFCHead`).
        box_convolution_norm, box_dense_norm: whether these are normalized.
        mask_norm: the convolutions of the mask head are normalized.
        box_votes: "best class": a RoI is a detection of its likeliest class; "every class": of
            each class that is likely enough (`roi_heads.py`, `postprocess_detections`).
        mask_pasting: "box": masks are stretched over their boxes, and outside them is nothing;
            "whole pixels": with a border of one sample of 0, into boxes of whole pixels that grow
            along (`roi_heads.py`, `paste_masks_in_image`); "samples": with such a border, each
            sample in its place (D2 `layers/mask_ops.py`, `_do_paste_mask`).
        antialiased_resizing: in the resize mode "pad32", bytes are averaged where an image shrinks
            (`mrcnn.data.antialiased_resize`); False: fractions are interpolated.
        ground_truth_rois: the boxes of the objects are among the RoIs that training draws from
            (`roi_heads.py`, `add_gt_proposals`).
        negatives_fill_up: where there are few positive RoIs, negatives take their places; False:
            there are so many that positives keep their share (`_utils.py`,
            `BalancedPositiveNegativeSampler`).
        smooth_l1_beta: where the losses of boxes turn from squares into lengths (`rpn.py`,
            `compute_loss`; `roi_heads.py`, `fastrcnn_loss`: 1/9).
        box_losses_over_all: these are sums over the coordinates of positives, by the number of all
            drawn anchors or RoIs; False: means over the positives' coordinates.
        rpn_losses_by_limit: those of the RPN are sums by the number of anchors that may be drawn,
            which is more where there are fewer (D2 `modeling/proposal_generator/rpn.py`, `losses`).
        sampled_mask_targets: targets of masks are averages of samples
            (`mrcnn.ops.mask_targets`; `roi_heads.py`, `project_masks_on_boxes`); False: a sample.
        rounded_mask_targets: targets of masks are zeros and ones, from a half on (D2
            `structures/masks.py`, `BitMasks.crop_and_resize`).
        mask_loss_of_logits: the loss of masks is computed from logits, so that it has a gradient
            however sure the network is (`roi_heads.py`, `maskrcnn_loss`).
        settings: values of settings of `Config`, by name.

    Raises:
        ValueError: a field has a value that it cannot have.
    """

    name: str
    stride_in_3x3: bool = False
    conv_bias: bool = True
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    symmetric_padding: bool = False
    pyramid_norm: bool = False
    rpn_convolutions: int = 1
    rpn_logits: int = 2
    rounded_anchors: bool = False
    anchor_steps_from_cells: bool = False
    pixel_boxes: bool = False
    proposals_per_level: bool = False
    largest_log_growth: float = 60.0
    least_proposal_side: float = 0.0
    least_detection_side: float = 0.0
    roi_samples: int = 0
    roi_aligned: bool = False
    roi_levels_round_down: bool = False
    box_convolutions: int = 0
    box_dense_layers: int = 2
    box_convolution_norm: bool = False
    box_dense_norm: bool = True
    mask_norm: bool = True
    box_votes: str = "best class"
    mask_pasting: str = "box"
    antialiased_resizing: bool = False
    ground_truth_rois: bool = False
    negatives_fill_up: bool = False
    smooth_l1_beta: float = 1.0
    box_losses_over_all: bool = False
    rpn_losses_by_limit: bool = False
    sampled_mask_targets: bool = False
    rounded_mask_targets: bool = True
    mask_loss_of_logits: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("rpn_logits", self.rpn_logits in (1, 2), "1 or 2"),
            ("rpn_convolutions", self.rpn_convolutions >= 1, "an integer of at least 1"),
            ("box_dense_layers", self.box_dense_layers >= 1, "an integer of at least 1"),
            ("box_votes", self.box_votes in BOX_VOTES, f"one of {list(BOX_VOTES)}"),
            (
                "roi_samples",
                self.roi_samples >= 0 or (self.roi_samples == -1 and self.roi_aligned),
                "a number of samples, 0, or -1 together with roi_aligned",
            ),
            ("mask_pasting", self.mask_pasting in MASK_PASTING, f"one of {list(MASK_PASTING)}"),
            (
                "rounded_mask_targets",
                self.rounded_mask_targets or self.sampled_mask_targets,
                "False only together with sampled_mask_targets",
            ),
            ("norm_epsilon", self.norm_epsilon >= 0, "a number of at least 0"),
            ("smooth_l1_beta", self.smooth_l1_beta >= 0, "a number of at least 0"),
            (
                "sampled_mask_targets",
                self.pixel_boxes or not self.sampled_mask_targets,
                "True only together with pixel_boxes",
            ),
            (
                "proposals_per_level",
                self.proposals_per_level == self.pixel_boxes == (self.rpn_logits == 1),
                "True together with pixel_boxes and one rpn_logits, or False without either",
            ),
            (
                "box_votes",
                (self.box_votes == "every class") == self.pixel_boxes,
                "'every class' together with pixel_boxes, or 'best class' without",
            ),
        ):
            if not right:
                raise ValueError(
                    f"Architecture {self.name!r}: {name}: expected {expected}; received "
                    f"{getattr(self, name)!r}."
                )

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON has them; `resolve` takes them again."""
        return dataclasses.asdict(self)


# ImageNet's mean and deviation in [0, 1] (`faster_rcnn.py`), in grey levels.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_TORCHVISION_SETTINGS = {
    "BACKBONE": "resnet50",
    # Width by height; torchvision's are height by width.
    "RPN_ANCHOR_RATIOS": [2, 1, 0.5],
    "RPN_CONV_FILTERS": 256,
    "RPN_BBOX_STD_DEV": [1.0, 1.0, 1.0, 1.0],
    "RPN_NMS_THRESHOLD": 0.7,
    "PRE_NMS_LIMIT": 1000,
    "PRE_NMS_LIMIT_TRAINING": 2000,
    "POST_NMS_ROIS_INFERENCE": 1000,
    "POST_NMS_ROIS_TRAINING": 2000,
    "TRAIN_ROIS_PER_IMAGE": 512,
    "ROI_POSITIVE_RATIO": 0.25,
    "BBOX_STD_DEV": [0.1, 0.1, 0.2, 0.2],
    "IMAGE_RESIZE_MODE": "pad32",
    "IMAGE_MIN_DIM": 800,
    "IMAGE_MAX_DIM": 1333,
    "MEAN_PIXEL": [255 * value for value in _MEAN],
    "STD_PIXEL": [255 * value for value in _DEVIATION],
    "DETECTION_MIN_CONFIDENCE": 0.05,
    "DETECTION_NMS_THRESHOLD": 0.5,
    "DETECTION_MAX_INSTANCES": 100,
}

MATTERPORT = Architecture("matterport")
TORCHVISION = Architecture(
    "torchvision",
    stride_in_3x3=True,
    conv_bias=False,
    norm_epsilon=1e-5,
    norm_momentum=0.9,
    symmetric_padding=True,
    rpn_logits=1,
    rounded_anchors=True,
    anchor_steps_from_cells=True,
    pixel_boxes=True,
    proposals_per_level=True,
    largest_log_growth=math.log(1000 / 16),
    least_proposal_side=1e-3,
    least_detection_side=1e-2,
    roi_samples=2,
    roi_levels_round_down=True,
    box_dense_norm=False,
    mask_norm=False,
    box_votes="every class",
    mask_pasting="whole pixels",
    ground_truth_rois=True,
    negatives_fill_up=True,
    smooth_l1_beta=1 / 9,
    box_losses_over_all=True,
    sampled_mask_targets=True,
    rounded_mask_targets=False,
    mask_loss_of_logits=True,
    settings=_TORCHVISION_SETTINGS,
)
TORCHVISION_V2 = dataclasses.replace(
    TORCHVISION,
    name="torchvision_v2",
    pyramid_norm=True,
    rpn_convolutions=2,
    box_convolutions=4,
    box_dense_layers=1,
    box_convolution_norm=True,
    mask_norm=True,
)
DETECTRON2 = dataclasses.replace(
    TORCHVISION,
    name="detectron2",
    stride_in_3x3=False,
    rounded_anchors=False,
    anchor_steps_from_cells=False,
    least_proposal_side=0.0,
    least_detection_side=0.0,
    roi_samples=-1,
    roi_aligned=True,
    mask_pasting="samples",
    antialiased_resizing=True,
    smooth_l1_beta=0.0,
    rpn_losses_by_limit=True,
    rounded_mask_targets=True,
    settings={
        **_TORCHVISION_SETTINGS,
        "POST_NMS_ROIS_TRAINING": 1000,
        # ImageNet's mean of the blue, green and red that its backbones were trained on, by its
        # place in RGB, in grey levels that no deviation divides.
        "MEAN_PIXEL": [123.675, 116.28, 103.53],
        "STD_PIXEL": [1.0, 1.0, 1.0],
    },
)
ARCHITECTURES = {one.name: one for one in (MATTERPORT, TORCHVISION, TORCHVISION_V2, DETECTRON2)}


def resolve(value: str | Architecture | Mapping[str, Any]) -> Architecture:
    """The architecture that a setting means: a name, one itself, or its fields.

    Raises:
        ValueError: none has that name, or the fields are not those of an architecture.

    >>> resolve("torchvision_v2").rpn_convolutions
    2
    """
    if isinstance(value, Architecture):
        return value
    if isinstance(value, Mapping):
        try:
            return Architecture(**value)
        except TypeError as error:
            raise ValueError(f"Architecture: expected its fields; {error}.") from error
    if not isinstance(value, str) or value not in ARCHITECTURES:
        raise ValueError(
            f"ARCHITECTURE: expected one of {list(ARCHITECTURES)}, or an Architecture; received "
            f"{value!r}."
        )
    return ARCHITECTURES[value]
