"""Feature pyramid (Lin et al. 2017): strong features at every resolution."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from mrcnn.layers.batch_norm import NormSettings
from mrcnn.layers.folded_norm import FoldingConv2D
from mrcnn.ops.tensor import Tensor


def fpn_graph(
    stages: Sequence[Tensor], filters: int, norm: NormSettings | None = None
) -> list[Tensor]:
    """Build P2 … P6 on top of C2 … C5.

    Args:
        stages: C2 … C5 as [B, H/4, W/4, ·] … [B, H/32, W/32, ·].
        filters: channels of every level.
        norm: of every convolution, in layers with "_bn" behind its name; None: there is none.

    Returns:
        [P2, P3, P4, P5, P6]; P6 is P5 at every other cell, and serves the RPN only.
    """
    c2, c3, c4, c5 = stages
    p5 = _convolution(c5, filters, 1, "fpn_c5p5", norm)
    p4 = _merge(p5, _convolution(c4, filters, 1, "fpn_c4p4", norm), "fpn_p5upsampled", "fpn_p4add")
    p3 = _merge(p4, _convolution(c3, filters, 1, "fpn_c3p3", norm), "fpn_p4upsampled", "fpn_p3add")
    p2 = _merge(p3, _convolution(c2, filters, 1, "fpn_c2p2", norm), "fpn_p3upsampled", "fpn_p2add")
    # The 3x3 convolutions remove the aliasing of the upsampling.
    p2, p3, p4, p5 = (
        _convolution(features, filters, 3, f"fpn_p{level}", norm)
        for level, features in zip((2, 3, 4, 5), (p2, p3, p4, p5), strict=True)
    )
    p6 = layers.MaxPooling2D((1, 1), strides=2, name="fpn_p6")(p5)
    return [p2, p3, p4, p5, p6]


def _convolution(
    x: Tensor, filters: int, size: int, name: str, norm: NormSettings | None
) -> Tensor:
    padding = "same" if size > 1 else "valid"
    if norm is None:
        return layers.Conv2D(filters, size, padding=padding, name=name)(x)
    x = FoldingConv2D(filters, size, padding=padding, use_bias=norm.conv_bias, name=name)(x)
    return norm(x, f"{name}_bn")


def _merge(top: Tensor, side: Tensor, up: str, add: str) -> Tensor:
    return layers.Add(name=add)([layers.UpSampling2D((2, 2), name=up)(top), side])
