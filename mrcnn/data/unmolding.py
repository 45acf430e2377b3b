"""From the network's detections to boxes and masks in the pixels of the original image.

What the network is taught to answer for an object of the pixel rows [y1, y2) of a molded image of
H rows is y1 / (H - 1) and (y2 - 1) / (H - 1): the first and the last of its rows, not its edges.
DETECTION_BOXES says how an answer is read:

- "exact": as the edges that were taught, y1 and y2, which are moved to the original image as its
  pixels were. The masks lie where the targets of training were sampled.
- "matterport": as that package does, which moves the first and the last row instead, and adds the
  last row's width in pixels of the original image. Where that image was shrunk by a scale s, the
  box comes out 1 / s - 1 pixels too short on each axis. Masks fill the rounded boxes.

Shape letters: N detections, C classes, H height, W width; h, w the mask head's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.data.boxes import denorm_boxes, norm_boxes
from mrcnn.data.images import Box
from mrcnn.data.masks import paste_masks, pixels_within

# Sides of at most so many pixels of the network's input are none: those of an empty box, which has
# been normalized and back.
ROUNDING = 1e-3


class Located(NamedTuple):
    """The detections of an image as boxes in its pixels, their masks not pasted yet.

    `mask_areas`, `box_masks` and `mask_corners` are what `mrcnn.data.masks.paste_masks` and
    `mrcnn.data.rle.encode_in_boxes` take.
    """

    rois: np.ndarray  # int32 [N, 4], pixels of the original image
    class_ids: np.ndarray  # int32 [N]
    scores: np.ndarray  # float32 [N], as the network ordered them
    box_masks: np.ndarray  # float [N, h, w], probabilities within the boxes
    boxes: np.ndarray  # [N, 4], as `rois` before rounding, or `rois` themselves
    mask_areas: np.ndarray  # [N, 4], within which masks have pixels; with most networks `boxes`
    mask_corners: np.ndarray | None  # float64 [N, 4], or None: the masks fill the boxes


class Unmolded(NamedTuple):
    """The detections of an image, in Matterport's order."""

    boxes: np.ndarray  # int32 [N, 4], pixels of the original image
    class_ids: np.ndarray  # int32 [N]
    scores: np.ndarray  # float32 [N], as the network ordered them
    masks: np.ndarray  # bool [H, W, N]


def unmold_detections(
    detections: np.ndarray,
    mrcnn_mask: np.ndarray,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Box | np.ndarray,
    config: Config,
) -> Unmolded:
    """Move an image's detections to the original image, and paste their masks.

    Args, and which detections are left out: see `locate_detections`.

    Returns:
        Boxes, class ids, scores and masks; masks are (H, W, 0) when nothing is left.
    """
    found = locate_detections(
        detections, mrcnn_mask, original_image_shape, image_shape, window, config
    )
    masks = paste_masks(found.box_masks, found.mask_areas, original_image_shape, found.mask_corners)
    return Unmolded(found.rois, found.class_ids, found.scores, masks)


def locate_detections(
    detections: np.ndarray,
    mrcnn_mask: np.ndarray,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Box | np.ndarray,
    config: Config,
) -> Located:
    """Move an image's detections from the molded image to the original one.

    Rows from the first of class 0 on are padding. Boxes without an area are left out (`ROUNDING`).

    Args:
        detections: float [N, (y1, x1, y2, x2, class id, score)], boxes normalized.
        mrcnn_mask: float [N, h, w, C], a probability mask for each class.
        original_image_shape: (H, W, C) before resizing.
        image_shape: (H, W, C) of the molded image.
        window: (y1, x1, y2, x2) of the image in the molded one, in pixels.
        config: for DETECTION_BOXES, for the form of the mask targets in training, and for the
            architecture's way to paste masks.

    Returns:
        Boxes, class ids, scores, and for each detection a copy of its class's mask.
    """
    class_ids = detections[:, 4].astype(np.int32)
    padding = np.flatnonzero(class_ids == 0)
    count = padding[0] if padding.size else len(class_ids)
    frame = _Frame(original_image_shape[:2], image_shape[:2], np.asarray(window))
    if config.DETECTION_BOXES == "matterport":
        exact = boxes = rois = frame.matterport_boxes(detections[:count, :4])
        kept = np.flatnonzero((rois[:, 2:] > rois[:, :2]).all(axis=1))
        corners = None
    else:
        edges = frame.edges(detections[:count, :4])
        boxes = np.clip(edges, 0, [*frame.original_size, *frame.original_size])
        sides = (boxes[:, 2:] - boxes[:, :2]) * frame.scale
        kept = np.flatnonzero((sides > ROUNDING).all(axis=1))
        corners = frame.mask_corners(edges, mrcnn_mask.shape[1:3], config)[kept]
        exact, boxes = boxes, _at_least_a_pixel(boxes)
        rois = pixels_within(boxes)
    class_ids = class_ids[kept]
    masks = mrcnn_mask[kept, :, :, class_ids]
    areas = boxes[kept]
    pasting = config.architecture().mask_pasting
    if pasting != "box":
        boxes = exact
        in_whole_pixels = pasting == "whole pixels"
        masks, areas, corners = with_border(
            masks, exact[kept], frame.original_size, in_whole_pixels
        )
    return Located(rois[kept], class_ids, detections[kept, 5], masks, boxes[kept], areas, corners)


def with_border(
    masks: np.ndarray, boxes: np.ndarray, image_size: Sequence[int], in_whole_pixels: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks as torchvision and Detectron2 paste them: with a border of one sample of 0.

    In whole pixels, the box grows around its center as the mask does by the border, and its corners
    lose their fractions; the mask fills it and the pixel behind it
    (torchvision `models/detection/roi_heads.py`, `paste_masks_in_image`). Otherwise the samples
    stay in their places, the centers of equal parts of the box
    (Detectron2 `layers/mask_ops.py`, `_do_paste_mask`).

    Args:
        masks: [N, h, w] of equal sides.
        boxes: [N, 4] in pixels.
        image_size: (H, W).
        in_whole_pixels: which of the two.

    Returns:
        The masks [N, h + 2, w + 2]; the areas in which they have pixels, [N, 4] inside the image;
        and the places of their first and last samples [N, 4].
    """
    side = masks.shape[-1]
    masks = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    if not in_whole_pixels:
        boxes = np.asarray(boxes, np.float64)
        half = (boxes[:, 2:] - boxes[:, :2]) * (0.5 / side)
        corners = np.concatenate([boxes[:, :2] - half, boxes[:, 2:] + half], axis=1)
        return masks, np.clip(corners, 0, [*image_size, *image_size]), corners
    # As there, in float32: a rounding decides whether a corner loses a pixel or not.
    boxes = np.asarray(boxes, np.float32)
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((side + 2) / side)
    center = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    whole = np.trunc(np.concatenate([center - half, center + half], axis=1)).astype(np.float64)
    whole[:, 2:] = np.maximum(whole[:, 2:], whole[:, :2]) + 1
    sample = (whole[:, 2:] - whole[:, :2]) / (side + 2)
    corners = np.concatenate([whole[:, :2] + 0.5 * sample, whole[:, 2:] - 0.5 * sample], axis=1)
    return masks, np.clip(whole, 0, [*image_size, *image_size]), corners


def boxes_of_network(
    boxes: np.ndarray,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Box | np.ndarray,
    config: Config,
) -> np.ndarray:
    """The answer of the network that `locate_detections` would read as some boxes: its inverse.

    Args:
        boxes: [N, 4] pixels of the original image.
        original_image_shape, image_shape, window, config: see `locate_detections`.

    Returns:
        float32 [N, 4] normalized boxes of the molded image.
    """
    frame = _Frame(original_image_shape[:2], image_shape[:2], np.asarray(window))
    if config.DETECTION_BOXES == "matterport":
        return frame.from_matterport_boxes(boxes).astype(np.float32)
    return frame.from_edges(boxes).astype(np.float32)


class _Frame(NamedTuple):
    """Where an image lies in the molded one."""

    original_size: Sequence[int]  # (H, W)
    molded_size: Sequence[int]  # (H, W)
    window: np.ndarray  # (y1, x1, y2, x2) in pixels of the molded image

    @property
    def scale(self) -> np.ndarray:
        """Of the sides (y, x): molded pixels in a pixel of the original image."""
        return (self.window[2:] - self.window[:2]) / np.asarray(self.original_size)

    @property
    def last(self) -> np.ndarray:
        """The last row and column of the molded image, twice: [4]."""
        return np.array([side - 1 for side in self.molded_size] * 2)

    def edges(self, boxes: np.ndarray) -> np.ndarray:
        """Normalized boxes [N, 4] to the edges that they were taught, in the original image."""
        molded = np.asarray(boxes, np.float64) * self.last + [0, 0, 1, 1]
        return (molded - np.tile(self.window[:2], 2)) / np.tile(self.scale, 2)

    def from_edges(self, edges: np.ndarray) -> np.ndarray:
        """The inverse of `edges`."""
        molded = np.asarray(edges) * np.tile(self.scale, 2) + np.tile(self.window[:2], 2)
        return (molded - [0, 0, 1, 1]) / self.last

    def matterport_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Normalized boxes [N, 4] to Matterport's in the original image, int32."""
        corner, size = self._matterport_window()
        return denorm_boxes((boxes - corner) / size, self.original_size)

    def from_matterport_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """The inverse of `matterport_boxes`."""
        corner, size = self._matterport_window()
        return norm_boxes(boxes, self.original_size) * size + corner

    def _matterport_window(self) -> tuple[np.ndarray, np.ndarray]:
        """The first corner of the window and its sides, normalized, each twice: [4]."""
        y1, x1, y2, x2 = norm_boxes(self.window, self.molded_size)
        size = np.array([y2 - y1, x2 - x1, y2 - y1, x2 - x1])
        size[size == 0] = 1  # a window of one row or column, from a very long image
        return np.array([y1, x1, y1, x1]), size

    def mask_corners(
        self, edges: np.ndarray, mask_size: Sequence[int], config: Config
    ) -> np.ndarray:
        """Where the first and the last sample of each mask lie, [N, 4] in the original image.

        A target of training is sampled from corner to corner of what it is cut from, a mini mask
        or the whole mask: from the center of the first pixel to the center of the last one.
        """
        length = edges[:, 2:] - edges[:, :2]
        if config.USE_MINI_MASK:
            margin = 0.5 * length / np.asarray(config.MINI_MASK_SHAPE[:2])
        else:
            margin = np.minimum(0.5 / self.scale, 0.5 * length)
        return np.concatenate([edges[:, :2] + margin, edges[:, 2:] - margin], axis=1)


def _at_least_a_pixel(boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 4], where those in which no pixel's center lies get the pixel of their own.

    It takes an image that was enlarged, and then either axis by itself.
    """
    rois = pixels_within(boxes)
    missed = rois[:, 2:] <= rois[:, :2]
    pixel = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2)
    start = np.where(missed, pixel, boxes[:, :2])
    end = np.where(missed, pixel + 1, boxes[:, 2:])
    return np.concatenate([start, end], axis=1)
