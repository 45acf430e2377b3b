"""Feature pyramid (Lin et al. 2017): strong features at every resolution."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from mrcnn.ops.tensor import Tensor


def fpn_graph(stages: Sequence[Tensor], filters: int) -> list[Tensor]:
    """Build P2 … P6 on top of C2 … C5.

    Args:
        stages: C2 … C5 as [B, H/4, W/4, ·] … [B, H/32, W/32, ·].
        filters: channels of every level.

    Returns:
        [P2, P3, P4, P5, P6]; P6 is P5 at every other cell, and serves the RPN only.
    """
    c2, c3, c4, c5 = stages
    p5 = layers.Conv2D(filters, 1, name="fpn_c5p5")(c5)
    p4 = _merge(p5, c4, filters, "fpn_p5upsampled", "fpn_c4p4", "fpn_p4add")
    p3 = _merge(p4, c3, filters, "fpn_p4upsampled", "fpn_c3p3", "fpn_p3add")
    p2 = _merge(p3, c2, filters, "fpn_p3upsampled", "fpn_c2p2", "fpn_p2add")
    # The 3x3 convolutions remove the aliasing of the upsampling.
    p2, p3, p4, p5 = (
        layers.Conv2D(filters, 3, padding="same", name=f"fpn_p{level}")(features)
        for level, features in zip((2, 3, 4, 5), (p2, p3, p4, p5), strict=True)
    )
    p6 = layers.MaxPooling2D((1, 1), strides=2, name="fpn_p6")(p5)
    return [p2, p3, p4, p5, p6]


def _merge(top: Tensor, side: Tensor, filters: int, up: str, lateral: str, add: str) -> Tensor:
    top = layers.UpSampling2D((2, 2), name=up)(top)
    return layers.Add(name=add)([top, layers.Conv2D(filters, 1, name=lateral)(side)])
