"""Second-stage head that draws the masks of each RoI."""

from __future__ import annotations

from keras import layers

from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.class_masks import ClassMasks
from mrcnn.layers.per_roi import RoiConv2D, RoiConv2DTranspose
from mrcnn.layers.roi_align import RoiAlign
from mrcnn.ops.tensor import Tensor


def mask_head_graph(
    rois: Tensor,
    feature_maps: list[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
    mask_shape: tuple[int, int] = (28, 28),
    filters: int = 256,
    native: bool = False,
    class_ids: Tensor | None = None,
) -> Tensor:
    """Build the mask head.

    Args:
        rois: [B, R, 4] normalized.
        feature_maps: [P2, P3, P4, P5].
        image_meta: [B, ·].
        pool_size: side of the RoIAlign crops.
        num_classes: C, background included.
        train_bn: see `mrcnn.layers.batch_norm`.
        mask_shape: twice the pool size, or four times: then with one more
            transposed convolution, `mrcnn_mask_deconv2`.
        filters: channels of the convolutions.
        native: see `mrcnn.ops.crops`.
        class_ids: [B, R] int, the class of which each RoI's mask is asked for; None: all.

    Returns:
        Mask probabilities [B, R, *mask_shape, C], or [B, R, *mask_shape] given class ids;
        float32.
    """
    x = RoiAlign((pool_size, pool_size), native=native, name="roi_align_mask")(
        [rois, image_meta, *feature_maps]
    )
    for number in range(1, 5):
        x = RoiConv2D(filters, 3, padding="same", name=f"mrcnn_mask_conv{number}")(x)
        x = BatchNorm(name=f"mrcnn_mask_bn{number}")(x, training=train_bn)
        x = layers.Activation("relu")(x)
    x = _double(x, filters, "mrcnn_mask_deconv")
    if mask_shape[0] == 4 * pool_size:
        x = _double(x, filters, "mrcnn_mask_deconv2")
    if mask_shape[0] not in (2 * pool_size, 4 * pool_size):
        raise ValueError(
            f"mask_shape: expected twice or four times the pool size {pool_size}; "
            f"received {tuple(mask_shape)}."
        )
    return ClassMasks(num_classes, name="mrcnn_mask")(x, class_ids=class_ids)


def _double(x: Tensor, filters: int, name: str) -> Tensor:
    return RoiConv2DTranspose(filters, 2, strides=2, activation="relu", name=name)(x)
