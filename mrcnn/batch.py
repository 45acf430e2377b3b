"""The contract between the loader and the network, in plain Python: both sides read it here.

A batch is a dict with the names of the model's inputs. Shapes: B images, H x W pixels of the
network's input, C classes, G ground-truth slots (`MAX_GT_INSTANCES`), K given proposals.
"""

from __future__ import annotations

IMAGE = "input_image"  # [B, H, W, channels]: uint8, or float32 for values other than bytes
IMAGE_META = "input_image_meta"  # float32 [B, 12 + C], see META_COLUMNS
GT_CLASS_IDS = "input_gt_class_ids"  # int32 [B, G]: 0 an empty slot, negative a crowd
GT_BOXES = "input_gt_boxes"  # int32 [B, G, 4]: y1, x1, y2, x2 in pixels
GT_MASKS = "input_gt_masks"  # uint8 [B, G, h, w]: mini masks, or of the image's size
ROIS = "input_rois"  # int32 [B, K, 4] in pixels, only where USE_RPN_ROIS is off

# Inside the mask of an object that has a box and no mask, in place of 1.
BOX_ONLY_MASK = 2

# The row of numbers that travels with each image.
META_COLUMNS: dict[str, int | slice] = {
    "image_id": 0,
    "original_image_shape": slice(1, 4),  # height, width, channels of the file
    "image_shape": slice(4, 7),  # and as the network gets it
    "window": slice(7, 11),  # y1, x1, y2, x2 in pixels: the part that is not padding
    "scale": 11,
    "active_class_ids": slice(12, None),  # 1 for each class that the image's source knows
}


def meta_size(num_classes: int) -> int:
    """Columns of `image_meta`."""
    return 12 + num_classes
