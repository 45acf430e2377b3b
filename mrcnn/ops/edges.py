"""Edge agreement: fixed filters, smoothing, edge maps, and the loss between two sets of masks.

After Zimmermann & Siems, *Faster Training of Mask R-CNN by Focusing on Instance Boundaries*
(arXiv 1809.07069). Nothing here is trained. Masks are [N, H, W] with one mask a RoI; the RoIs
are the batch of one convolution, so that masks of different RoIs never touch. Everything is
float32 with static shapes.

Shape letters: N RoIs, H W, D edge channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from mrcnn.ops.edge_filters import (
    FILTERS,
    GAUSSIAN,
    gradient_pairs,
    parse_magnitude,
    resolve_filters,
)
from mrcnn.ops.edge_settings import DEFAULT_EDGE_SETTINGS, EdgeSettings
from mrcnn.ops.indexing import masked_mean
from mrcnn.ops.losses import binary_cross_entropy
from mrcnn.ops.tensor import Tensor

# exp(20) = 4.9e8 leaves room for the squared gradients that clipping by the global norm sums
# in float32; one infinity there turns every weight into NaN.
EXPONENT_LIMIT = 20.0
# Responses of masks differ by at most 24 (Kayyali), and 24**10 = 6e13 is far inside float32. With a
# larger p a pixel's |difference|**p grows to this, and passes no gradient beyond it.
LARGEST_SAFE_NORM = 10.0
LARGEST_POWER = 1e15
# Under the root of the magnitude: the slope of sqrt is infinite at 0, where most pixels are.
MAGNITUDE_EPSILON = 1e-6


def edge_kernel(names: str | Sequence[str]) -> np.ndarray:
    """The filters as one convolution kernel, float32 [3, 3, 1, D]."""
    kernels = [np.array(FILTERS[name], np.float32) for name in resolve_filters(names)]
    return np.stack(kernels, axis=-1)[:, :, None, :]


def gaussian_kernel() -> np.ndarray:
    """The smoothing kernel, float32 [3, 3]; its sum is 1 within 3e-6."""
    return np.array(GAUSSIAN, np.float32)


def smooth(masks: Tensor) -> Tensor:
    """Convolve masks [N, H, W] with the Gaussian, zeros outside -> [N, H, W]."""
    return _correlate(masks, gaussian_kernel()[:, :, None, None])[..., 0]


def edge_maps(masks: Tensor, names: str | Sequence[str], magnitude: bool | str = False) -> Tensor:
    """Responses of the filters, stride 1, zeros outside the mask.

    Args:
        masks: [N, H, W], probabilities or {0, 1}.
        names: see `resolve_filters`.
        magnitude: append sqrt(gx² + gy² + MAGNITUDE_EPSILON) for each x/y pair (section 5.6.3);
            "only": leave the responses themselves out.

    Returns:
        [N, H, W, D]: one channel a filter in the order of the names, then the magnitudes.

    Raises:
        ValueError: a magnitude is asked for and `names` hold no x/y pair.
    """
    maps = _correlate(masks, edge_kernel(names))
    wanted = parse_magnitude(magnitude)
    if wanted is None:
        return maps
    magnitudes = [
        ops.sqrt(ops.square(maps[..., x]) + ops.square(maps[..., y]) + MAGNITUDE_EPSILON)
        for x, y in gradient_pairs(names)
    ]
    stacked = ops.stack(magnitudes, axis=-1)
    return stacked if wanted == "only" else ops.concatenate([maps, stacked], axis=-1)


def lp_distance(a: Tensor, b: Tensor, p: float) -> Tensor:
    """|a - b|**p of each element, no root taken; its gradient is finite, and 0 where a = b.

    Args:
        a, b: tensors of one shape.
        p: the exponent, at least 1, a Python number.

    Returns:
        The powers; with p above LARGEST_SAFE_NORM at most LARGEST_POWER.

    >>> ops.convert_to_numpy(lp_distance(ops.array([0.0, 3.0]), ops.array([0.0, 1.0]), 2)).tolist()
    [0.0, 4.0]
    """
    difference = ops.subtract(a, b)
    if p == 2:
        return ops.square(difference)
    # |x| with a slope of 0 at 0: that of `ops.abs` is 1 there on JAX.
    distance = difference * ops.sign(difference)
    if p == 1:
        return distance
    if p > LARGEST_SAFE_NORM:
        distance = ops.minimum(distance, LARGEST_POWER ** (1 / p))
    return ops.power(distance, float(p))


def roi_edge_agreement(
    predicted: Tensor,
    target: Tensor,
    settings: EdgeSettings = DEFAULT_EDGE_SETTINGS,
    *,
    roi_factors: Tensor | None = None,
    exponent_limit: float = EXPONENT_LIMIT,
) -> Tensor:
    """How much the edges of each predicted mask differ from those of its target.

    With E = weight_factor * mean over the channels of |edges - target edges|**p, and C the
    binary cross entropy of the (smoothed) masks, both of a pixel, the loss of a RoI is the
    mean over its pixels of

    - E, without entropy weighting;
    - C * E, for `"product"`;
    - C * exp(min(E / entropy_divisor, exponent_limit)), for `"exp"`.

    Args:
        predicted: [N, H, W], probabilities of each RoI's true class.
        target: [N, H, W], {0, 1} or probabilities.
        settings: the filters, p, and the names above.
        roi_factors: [N], a further factor of each RoI's E; None: 1.
        exponent_limit: keeps the exponential finite. A pixel beyond it keeps its largest
            weight and passes no gradient through the edges; one through C stays.

    Returns:
        [N] float32.
    """
    predicted = ops.cast(predicted, "float32")
    target = ops.cast(target, "float32")
    if settings.smoothing_predictions:
        predicted = smooth(predicted)
    if settings.smoothing_gt:
        target = smooth(target)
    edges = edge_maps(predicted, settings.filters, settings.magnitude)
    target_edges = edge_maps(target, settings.filters, settings.magnitude)
    distance = ops.mean(lp_distance(edges, target_edges, settings.exponent), axis=-1)
    error = settings.weight_factor * distance
    if roi_factors is not None:
        error = ops.reshape(roi_factors, (-1, 1, 1)) * error
    if settings.entropy_weighting == "product":
        error = binary_cross_entropy(target, predicted) * error
    elif settings.entropy_weighting == "exp":
        exponent = ops.minimum(error / settings.entropy_divisor, exponent_limit)
        error = binary_cross_entropy(target, predicted) * ops.exp(exponent)
    return ops.mean(error, axis=(1, 2))


def edge_agreement(
    predicted: Tensor,
    target: Tensor,
    valid: Tensor,
    settings: EdgeSettings = DEFAULT_EDGE_SETTINGS,
    *,
    exponent_limit: float = EXPONENT_LIMIT,
) -> Tensor:
    """The edge agreement loss: mean of `roi_edge_agreement` over the valid RoIs.

    Args:
        predicted: [N, H, W].
        target: [N, H, W].
        valid: [N] bool. The other RoIs may hold anything, NaN too: they reach neither the
            loss nor its gradient.
        settings, exponent_limit: see `roi_edge_agreement`.

    Returns:
        A float32 scalar; exactly 0, with a gradient of 0, when no RoI is valid.
    """
    # Masked on the way in as well: a gradient through NaN * 0 would be NaN.
    keep = valid[:, None, None]
    predicted = ops.where(keep, ops.cast(predicted, "float32"), 0.0)
    target = ops.where(keep, ops.cast(target, "float32"), 0.0)
    each = roi_edge_agreement(predicted, target, settings, exponent_limit=exponent_limit)
    return masked_mean(each, valid)


def _correlate(masks: Tensor, kernel: np.ndarray) -> Tensor:
    """Masks [N, H, W] with kernel [3, 3, 1, D], stride 1, zero SAME padding -> [N, H, W, D]."""
    images = ops.cast(masks, "float32")[..., None]
    if images.shape[0] == 0:  # TensorFlow's kernel on some CPUs returns one channel here
        return ops.zeros((*images.shape[:3], kernel.shape[-1]))
    return ops.conv(images, kernel, strides=1, padding="same", data_format="channels_last")
