"""The features that both heads see of a RoI: the one place that knows the ways to read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mrcnn.layers.roi_align import RoiAlign
from mrcnn.layers.roi_pool import RoiPool
from mrcnn.layers.sampled_roi_align import SampledRoiAlign
from mrcnn.ops.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class RoiFeatureSettings:
    """How a head reads the features of its RoIs.

    Args:
        pool_size: side of what it reads.
        pooling: "align" (RoIAlign) or "pool" (RoIPool).
        use_tf_kernels: see `mrcnn.tensorflow_backend`; of RoIAlign only.
        samples: RoIAlign averages so many samples a bin and axis (`mrcnn.ops.sampled_roi_align`);
            0: it takes one, as `mrcnn.ops.crops`.
        aligned: of effect with `samples`.

    Raises:
        ValueError: `pooling` is neither.
    """

    pool_size: int
    pooling: str = "align"
    use_tf_kernels: bool = False
    samples: int = 0
    aligned: bool = False

    def __post_init__(self) -> None:
        if self.pooling not in ("align", "pool"):
            raise ValueError(f"pooling: expected 'align' or 'pool'; received {self.pooling!r}.")


def roi_features(
    rois: Tensor,
    feature_maps: Sequence[Tensor],
    image_area: Tensor,
    settings: RoiFeatureSettings,
    name: str,
    used: Tensor | None = None,
) -> Tensor:
    """Read each RoI from the level of the pyramid that suits its size.

    Args:
        rois: [B, R, 4] normalized.
        feature_maps: [P2, P3, P4, P5].
        image_area: pixels of the image, a scalar.
        settings: how.
        name: of the layer; Matterport's, whichever way is taken.
        used: how many leading RoIs matter, a scalar; see `mrcnn.layers.roi_align`. RoIPool, and
            RoIAlign with several samples a bin, read all of them.

    Returns:
        [B, R, pool_size, pool_size, channels] float32.
    """
    shape = (settings.pool_size, settings.pool_size)
    if settings.pooling == "pool":
        return RoiPool(shape, name=name)([rois, image_area, *feature_maps])
    if settings.samples:
        sampled = SampledRoiAlign(
            shape,
            settings.samples,
            settings.aligned,
            use_tf_kernels=settings.use_tf_kernels,
            name=name,
        )
        return sampled([rois, image_area, *feature_maps])
    layer = RoiAlign(shape, use_tf_kernels=settings.use_tf_kernels, name=name)
    return layer([rois, image_area, *feature_maps], used=used)
