"""Names and sizes that settings choose from."""

from __future__ import annotations

BACKBONES = (
    *("resnet50", "resnet101", "resnet10", "resnet18", "resnet34", "resnet152"),
    *("resnext50", "resnext101"),
)
OPTIMIZERS = ("sgd", "adam")
MIXED_PRECISIONS = ("auto", "bfloat16", "float16")
EXIF_ORIENTATIONS = ("auto", "apply", "ignore")
DETECTION_BOXES = ("exact", "matterport")
BORDER_ANCHORS = ("keep", "ignore")
ROI_POOLINGS = ("align", "pool")
RESIZE_MODES = ("none", "square", "pad64", "pad32", "crop")
MASK_SIZES = (28, 56)  # sides of MASK_SHAPE with Matterport's MASK_POOL_SIZE of 14
LOSS_NAMES = (
    "rpn_class_loss",
    "rpn_bbox_loss",
    "mrcnn_class_loss",
    "mrcnn_bbox_loss",
    "mrcnn_mask_loss",
    "mrcnn_mask_edge_loss",
)
# Pixels of the image that a cell of P2 … P6 covers.
PYRAMID_STRIDES = (4, 8, 16, 32, 64)
# The FPN halves the resolution six times.
IMAGE_SIDE_MULTIPLE = PYRAMID_STRIDES[-1]
# To which the mode "pad32" pads: the levels that heads read then halve it evenly.
PAD32_MULTIPLE = PYRAMID_STRIDES[-2]
# NumPy's global generator takes seeds below 2^32; SEED + 1 is used too.
LARGEST_SEED = 2**32 - 2


def block_letter(number: int) -> str:
    """What the layers of a stage's blocks are called by: "a" to "z", then "aa", "ab", ….

    >>> block_letter(22), block_letter(35)
    ('w', 'aj')
    """
    first, last = divmod(number, 26)
    return ("" if first == 0 else chr(ord("a") + first - 1)) + chr(ord("a") + last)
