"""Weights in eight bits, a scale for each output channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Smaller arrays are biases, anchors of small images and the like: they take no room.
LEAST_VALUES = 4096
LARGEST = 127


class Quantized(NamedTuple):
    """weights ≈ values · scales, along the axis of the output channels."""

    values: np.ndarray  # int8, of the weights' shape
    scales: np.ndarray  # float32, 1 but for that axis


def quantize(weights: np.ndarray, axis: int) -> Quantized:
    """Round weights to 255 steps between the largest magnitudes of each channel.

    Args:
        weights: float32 of any shape.
        axis: of the output channels.

    >>> found = quantize(np.array([[0.5, -1.27], [0.25, 0.635]], np.float32), axis=1)
    >>> found.values.tolist()
    [[127, -127], [64, 64]]
    """
    others = tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    values = np.clip(np.rint(weights / scales), -LARGEST, LARGEST).astype(np.int8)
    return Quantized(values, scales)
