"""Second-stage head that classifies RoIs and refines their boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras import layers

from mrcnn.layers.batch_norm import NormSettings
from mrcnn.layers.per_roi import RoiConv2D
from mrcnn.layers.roi_features import RoiFeatureSettings, roi_features
from mrcnn.ops.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class BoxHeadSettings:
    """Sizes of the class and box head.

    Args:
        num_classes: C, background included.
        roi_features: how the features of a RoI are read.
        norm: of the layers that are normalized.
        convolutions: 3x3 ones before the fully connected layers.
        convolution_filters: of these.
        convolution_norm: these are normalized.
        fc_layers: fully connected layers.
        fc_layers_size: width of these.
        fc_norm: these are normalized.
    """

    num_classes: int
    roi_features: RoiFeatureSettings
    norm: NormSettings = NormSettings()
    convolutions: int = 0
    convolution_filters: int = 256
    convolution_norm: bool = False
    fc_layers: int = 2
    fc_layers_size: int = 1024
    fc_norm: bool = True


def box_head_graph(
    rois: Tensor,
    feature_maps: Sequence[Tensor],
    image_area: Tensor,
    settings: BoxHeadSettings,
    used: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Build the class and box head.

    Args:
        rois: [B, R, 4] normalized.
        feature_maps: [P2, P3, P4, P5].
        image_area: pixels of the image, a scalar.
        settings: the head's sizes.
        used: how many leading RoIs matter, a scalar; None: all. See `mrcnn.ops.leading`.

    Returns:
        (logits [B, R, C], probabilities [B, R, C], deltas [B, R, C, 4]), float32.
    """
    num_classes, fc_layers_size = settings.num_classes, settings.fc_layers_size
    reading, norm = settings.roi_features, settings.norm
    x = roi_features(rois, feature_maps, image_area, reading, "roi_align_classifier", used)
    for number in range(1, settings.convolutions + 1):
        normalized = settings.convolution_norm
        bias = norm.conv_bias or not normalized
        filters, name = settings.convolution_filters, f"mrcnn_box_conv{number}"
        x = RoiConv2D(filters, 3, padding="same", use_bias=bias, name=name)(x, used=used)
        x = norm(x, f"mrcnn_box_bn{number}") if normalized else x
        x = layers.Activation("relu")(x)
    # The fully connected layers, written as convolutions as in Matterport's weights.
    for number in range(1, settings.fc_layers + 1):
        bias = norm.conv_bias or not settings.fc_norm
        size = reading.pool_size if number == 1 else 1
        name = f"mrcnn_class_conv{number}"
        x = RoiConv2D(fc_layers_size, size, use_bias=bias, name=name)(x, used=used)
        x = norm(x, f"mrcnn_class_bn{number}") if settings.fc_norm else x
        x = layers.Activation("relu")(x)
    shared = layers.Reshape((-1, fc_layers_size), name="pool_squeeze")(x)

    logits = layers.Dense(num_classes, name="mrcnn_class_logits", dtype="float32")(shared)
    probabilities = layers.Activation("softmax", name="mrcnn_class", dtype="float32")(logits)
    deltas = layers.Dense(4 * num_classes, name="mrcnn_bbox_fc", dtype="float32")(shared)
    deltas = layers.Reshape((-1, num_classes, 4), name="mrcnn_bbox", dtype="float32")(deltas)
    return logits, probabilities, deltas
