"""Matterport's `mrcnn.utils`: the names that data sets, notebooks and evaluation scripts import.

A door: most names live in `mrcnn.data`, `mrcnn.evaluation` and `mrcnn.matterport`; the few small
ones that have no other use are written here. Importing it loads no Keras. The two functions on
tensors, `batch_slice` and `box_refinement_graph`, load it when they are called.

Shape letters: N, M boxes; H height, W width; B images of a batch.
"""

from __future__ import annotations

import logging
import math
import os
import random
import shutil
import sys
import urllib.request
import warnings
import xml.etree.ElementTree  # noqa: F401 -- scripts import xml.etree; skimage loaded the rest
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.boxes import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    compute_overlaps_masks,
    denorm_boxes,
    extract_bboxes,
    non_max_suppression,
    norm_boxes,
)
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import resize
from mrcnn.data.masks import expand_mask, minimize_mask, resize_mask, unmold_mask
from mrcnn.data.resize import resize_image
from mrcnn.evaluation.average_precision import (
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_recall,
)
from mrcnn.matterport.anchors import generate_anchors, generate_pyramid_anchors
from mrcnn.matterport.module_names import scipy, skimage, tf
from mrcnn.ops.tensor import Tensor
from mrcnn.weights.pretrained import COCO_WEIGHTS_URL as COCO_MODEL_URL
from mrcnn.weights.pretrained import download_trained_weights

__all__ = [
    "COCO_MODEL_URL",
    "Dataset",
    "apply_box_deltas",
    "batch_slice",
    "box_refinement",
    "box_refinement_graph",
    "compute_ap",
    "compute_ap_range",
    "compute_iou",
    "compute_matches",
    "compute_overlaps",
    "compute_overlaps_masks",
    "compute_recall",
    "denorm_boxes",
    "download_trained_weights",
    "expand_mask",
    "extract_bboxes",
    "generate_anchors",
    "generate_pyramid_anchors",
    "minimize_mask",
    "mold_mask",
    "non_max_suppression",
    "norm_boxes",
    "resize",
    "resize_image",
    "resize_mask",
    "trim_zeros",
    "unmold_mask",
]
# Modules that scripts take from here, as from Matterport's.
__all__ += ["logging", "math", "np", "os", "random", "scipy", "shutil", "skimage", "sys", "tf"]
__all__ += ["urllib", "warnings"]


# --- NumPy -----------------------------------------------------------------------------------


def mold_mask(mask: np.ndarray, config: Config) -> np.ndarray:
    """Bring the masks of a resized image into the form that the network trains on.

    Matterport's package declares this function and leaves it empty.

    Args:
        mask: [H, W, N], nonzero inside; none of them empty.
        config: for `USE_MINI_MASK` and `MINI_MASK_SHAPE`.

    Returns:
        bool [h, w, N] mini masks; [H, W, N] without mini masks.
    """
    if not config.USE_MINI_MASK:
        return mask.astype(bool)
    return minimize_mask(extract_bboxes(mask), mask, config.MINI_MASK_SHAPE)


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """Return the rows of [rows, columns] that are not all zero, wherever they stand."""
    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"x: expected an array [rows, columns]; received the shape {x.shape}.")
    return x[np.any(x != 0, axis=1)]


# --- Tensors of the backend --------------------------------------------------------------------


def box_refinement_graph(box: Tensor, gt_box: Tensor) -> Tensor:
    """Deltas (dy, dx, log dh, log dw) that move `box` onto `gt_box`: `box_refinement` on tensors.

    Args:
        box, gt_box: [N, 4], paired. Pairs in which one has no area get zeros, not infinities.

    Returns:
        float32 [N, 4].
    """
    from keras import ops

    from mrcnn.ops.boxes import encode

    return encode(ops.cast(box, "float32"), ops.cast(gt_box, "float32"))


def batch_slice(
    inputs: Tensor | Sequence[Tensor],
    graph_fn: Callable[..., Any],
    batch_size: int,
    names: Sequence[str | None] | None = None,
) -> Any:
    """Apply a function of single images to each image of a batch, and stack what it returns.

    Args:
        inputs: a tensor [B, ...], or a list of them.
        graph_fn: takes the slice [...] of each input; returns a tensor, or a list of tensors,
            of one shape for every image.
        batch_size: B, or less: the images beyond it are left out.
        names: accepted for older scripts; tensors have no names in Keras 3.

    Returns:
        A tensor [B, ...], or a list of them where `graph_fn` returns several.
    """
    from keras import ops

    if not isinstance(inputs, (list, tuple)):
        inputs = [inputs]
    slices = [graph_fn(*(tensor[i] for tensor in inputs)) for i in range(batch_size)]
    if isinstance(slices[0], (list, tuple)):
        stacked = [ops.stack(parts, axis=0) for parts in zip(*slices, strict=True)]
        return stacked[0] if len(stacked) == 1 else stacked
    return ops.stack(slices, axis=0)
