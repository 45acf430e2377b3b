"""Second-stage head that classifies RoIs and refines their boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras import layers

from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.per_roi import RoiConv2D
from mrcnn.layers.roi_features import RoiFeatureSettings, roi_features
from mrcnn.ops.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class BoxHeadSettings:
    """Sizes of the class and box head.

    Args:
        pool_size: side of the features that are read of a RoI.
        num_classes: C, background included.
        train_bn: see `mrcnn.layers.batch_norm`.
        fc_layers_size: width of the two hidden layers.
        use_tf_kernels: see `mrcnn.tensorflow_backend`.
        roi_pooling: see `mrcnn.layers.roi_features`.
    """

    pool_size: int
    num_classes: int
    train_bn: bool | None = True
    fc_layers_size: int = 1024
    use_tf_kernels: bool = False
    roi_pooling: str = "align"

    @property
    def roi_features(self) -> RoiFeatureSettings:
        """How the features of a RoI are read."""
        return RoiFeatureSettings(self.pool_size, self.roi_pooling, self.use_tf_kernels)


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
    pool_size, num_classes = settings.pool_size, settings.num_classes
    train_bn, fc_layers_size = settings.train_bn, settings.fc_layers_size
    reading = settings.roi_features
    x = roi_features(rois, feature_maps, image_area, reading, "roi_align_classifier", used)
    # Two fully connected layers, written as convolutions as in Matterport's weights.
    x = RoiConv2D(fc_layers_size, pool_size, name="mrcnn_class_conv1")(x, used=used)
    x = BatchNorm(name="mrcnn_class_bn1")(x, training=train_bn)
    x = layers.Activation("relu")(x)
    x = RoiConv2D(fc_layers_size, 1, name="mrcnn_class_conv2")(x, used=used)
    x = BatchNorm(name="mrcnn_class_bn2")(x, training=train_bn)
    x = layers.Activation("relu")(x)
    shared = layers.Reshape((-1, fc_layers_size), name="pool_squeeze")(x)

    logits = layers.Dense(num_classes, name="mrcnn_class_logits", dtype="float32")(shared)
    probabilities = layers.Activation("softmax", name="mrcnn_class", dtype="float32")(logits)
    deltas = layers.Dense(4 * num_classes, name="mrcnn_bbox_fc", dtype="float32")(shared)
    deltas = layers.Reshape((-1, num_classes, 4), name="mrcnn_bbox", dtype="float32")(deltas)
    return logits, probabilities, deltas
