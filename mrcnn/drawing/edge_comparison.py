"""How much the edges of predicted masks differ from those of the true ones, pixel by pixel.

Every number comes from `mrcnn.ops.edges`, so the mean of an error map is the loss that training
would see. Shape letters: N pairs of masks, H, W height and width of a mask, D edge channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from keras import ops

from mrcnn.ops import edges
from mrcnn.ops.edge_settings import EdgeSettings

# What is smoothed with the Gaussian before the filters: (ground truth, prediction).
SMOOTHING = {
    "none": (False, False),
    "groundtruth": (True, False),
    "predictions": (False, True),
    "both": (True, True),
}


@dataclass(frozen=True)
class ErrorMeasure:
    """What the error of a pixel is.

    Attributes:
        norm: the exponent p, see `mrcnn.ops.edge_filters.parse_norm`.
        magnitude: compare the gradient magnitude of each x/y pair of filters too, or it alone
            ("only").
    """

    norm: str | float = "l2"
    magnitude: bool | str = False


PLAIN_ERROR = ErrorMeasure()


class EdgeComparison(NamedTuple):
    """The edges of N pairs of masks, and their disagreement."""

    predicted: np.ndarray  # [N, H, W, D] responses of the filters
    target: np.ndarray  # [N, H, W, D]
    error: np.ndarray  # [N, H, W], the mean over the channels of |predicted - target|**p
    loss: np.ndarray  # [N], as `mrcnn.ops.edges.roi_edge_agreement` computes it


def compare_edges(
    predicted: np.ndarray,
    target: np.ndarray,
    filters: str | Sequence[str] = "sobel",
    measure: ErrorMeasure = PLAIN_ERROR,
    smoothing: str = "none",
) -> EdgeComparison:
    """Compute the edges of predicted and true masks and the error of each pixel.

    Args:
        predicted: [N, H, W], probabilities.
        target: [N, H, W], {0, 1} or probabilities.
        filters: see `mrcnn.ops.edge_filters.resolve_filters`.
        measure: what the error of a pixel is.
        smoothing: a key of SMOOTHING.

    Raises:
        ValueError: the shapes differ, or an argument is not valid.
    """
    predicted, target = check_masks(predicted, target)
    smoothing_gt, smoothing_predictions = SMOOTHING[_check_smoothing(smoothing)]
    settings = EdgeSettings(
        filters,
        measure.norm,
        smoothing_gt=smoothing_gt,
        smoothing_predictions=smoothing_predictions,
        magnitude=measure.magnitude,
    )
    loss = edges.roi_edge_agreement(predicted, target, settings)
    predicted = edges.smooth(predicted) if smoothing_predictions else predicted
    target = edges.smooth(target) if smoothing_gt else target
    predicted_edges = edges.edge_maps(predicted, filters, measure.magnitude)
    target_edges = edges.edge_maps(target, filters, measure.magnitude)
    distance = edges.lp_distance(predicted_edges, target_edges, settings.exponent)
    error = ops.mean(distance, axis=-1)
    return EdgeComparison(*map(ops.convert_to_numpy, (predicted_edges, target_edges, error, loss)))


def check_masks(
    predicted: np.ndarray, target: np.ndarray, dimensions: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    predicted, target = np.asarray(predicted, np.float32), np.asarray(target, np.float32)
    if predicted.shape != target.shape or predicted.ndim != dimensions or not predicted.size:
        expected = "[N, height, width]" if dimensions == 3 else "[height, width]"
        raise ValueError(
            f"Predicted and true masks: expected two arrays {expected} of one shape, with at least "
            f"one pixel; received {predicted.shape} and {target.shape}."
        )
    return predicted, target


def _check_smoothing(smoothing: str) -> str:
    if smoothing not in SMOOTHING:
        raise ValueError(
            f"smoothing: expected one of {', '.join(SMOOTHING)}; received {smoothing!r}."
        )
    return smoothing
