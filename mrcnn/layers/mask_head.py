"""Second-stage head that draws the masks of each RoI."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras import layers

from mrcnn.layers.batch_norm import NormSettings
from mrcnn.layers.class_masks import ClassMasks
from mrcnn.layers.per_roi import RoiConv2D, RoiConv2DTranspose
from mrcnn.layers.roi_features import RoiFeatureSettings, roi_features
from mrcnn.ops.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class MaskHeadSettings:
    """Sizes of the mask head.

    Args:
        num_classes: C, background included.
        roi_features: how the features of a RoI are read.
        norm: of the 3x3 convolutions; see `normalized`.
        normalized: whether these are normalized.
        mask_shape: twice the pool size, or four times: then with one more
            transposed convolution, `mrcnn_mask_deconv2`.
        filters: channels of the convolutions.
        logits: return logits in place of probabilities.

    Raises:
        ValueError: `mask_shape` is neither.
    """

    num_classes: int
    roi_features: RoiFeatureSettings
    norm: NormSettings = NormSettings()
    normalized: bool = True
    mask_shape: Sequence[int] = (28, 28)
    filters: int = 256
    logits: bool = False

    def __post_init__(self) -> None:
        pool_size = self.roi_features.pool_size
        if self.mask_shape[0] not in (2 * pool_size, 4 * pool_size):
            raise ValueError(
                f"mask_shape: expected twice or four times the pool size {pool_size}; "
                f"received {tuple(self.mask_shape)}."
            )


def mask_head_graph(
    rois: Tensor,
    feature_maps: Sequence[Tensor],
    image_area: Tensor,
    settings: MaskHeadSettings,
    class_ids: Tensor | None = None,
    used: Tensor | None = None,
) -> Tensor:
    """Build the mask head.

    Args:
        rois: [B, R, 4] normalized.
        feature_maps: [P2, P3, P4, P5].
        image_area: pixels of the image, a scalar.
        settings: the head's sizes.
        class_ids: [B, R] int, the class of which each RoI's mask is asked for; None: all.
        used: how many leading RoIs matter, a scalar; None: all. See `mrcnn.ops.leading`.

    Returns:
        Mask probabilities [B, R, *mask_shape, C], or [B, R, *mask_shape] given class ids, or
        their logits; float32.
    """
    filters, reading, norm = settings.filters, settings.roi_features, settings.norm
    bias = norm.conv_bias or not settings.normalized
    x = roi_features(rois, feature_maps, image_area, reading, "roi_align_mask", used)
    for number in range(1, 5):
        name = f"mrcnn_mask_conv{number}"
        x = RoiConv2D(filters, 3, padding="same", use_bias=bias, name=name)(x, used=used)
        x = norm(x, f"mrcnn_mask_bn{number}") if settings.normalized else x
        x = layers.Activation("relu")(x)
    x = _double(x, filters, "mrcnn_mask_deconv", used)
    if settings.mask_shape[0] == 4 * reading.pool_size:
        x = _double(x, filters, "mrcnn_mask_deconv2", used)
    masks = ClassMasks(settings.num_classes, logits=settings.logits, name="mrcnn_mask")
    return masks(x, class_ids=class_ids, used=used)


def _double(x: Tensor, filters: int, name: str, used: Tensor | None) -> Tensor:
    return RoiConv2DTranspose(filters, 2, strides=2, activation="relu", name=name)(x, used=used)
