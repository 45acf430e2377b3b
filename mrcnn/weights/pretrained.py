"""Published weights: Matterport's on COCO, and ResNet-50's on ImageNet."""

from __future__ import annotations

import os
from pathlib import Path

from mrcnn.files.download import download
from mrcnn.logger import logger

# Matterport's weights for COCO, 81 classes, ResNet-101. Their checksum was never published;
# the size is the one that the server reports.
COCO_WEIGHTS_URL = (
    "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
)
COCO_WEIGHTS_BYTES = 257_557_808
# ResNet-50 without its classifier, trained on ImageNet; the checksum is keras-applications'.
IMAGENET_WEIGHTS_URL = (
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
COCO_WEIGHTS_FILE = "mask_rcnn_coco.h5"  # in the current folder, as Matterport's samples have it
IMAGENET_WEIGHTS_MD5 = "a268eb855778b3df3c7506639542a6af"


def download_trained_weights(coco_model_path: str | os.PathLike[str], verbose: int = 1) -> str:
    """Download Matterport's COCO weights (246 MB) to a path unless they are there."""
    if verbose > 0:
        logger.info(f"COCO weights: {coco_model_path}")
    return download(
        COCO_WEIGHTS_URL, coco_model_path, size=COCO_WEIGHTS_BYTES, progress=verbose > 0
    )


def imagenet_weights_path(
    folder: str | os.PathLike[str] | None = None, progress: bool = True
) -> str:
    """Return the path of the ImageNet weights of ResNet-50 (90 MB), downloaded if need be.

    Args:
        folder: where they are kept; by default Keras's own cache, `~/.keras/models`.
        progress: show a bar.
    """
    path = _imagenet_file(folder)
    return download(IMAGENET_WEIGHTS_URL, path, md5=IMAGENET_WEIGHTS_MD5, progress=progress)


def coco_weights_at_hand() -> str | None:
    """The path of Matterport's COCO weights if they were downloaded into the current folder."""
    path = Path(COCO_WEIGHTS_FILE)
    whole = path.is_file() and path.stat().st_size == COCO_WEIGHTS_BYTES
    return str(path) if whole else None


def imagenet_weights_at_hand() -> str | None:
    """The path of the ImageNet weights if they were downloaded before."""
    path = _imagenet_file()
    return str(path) if path.is_file() else None


def _imagenet_file(folder: str | os.PathLike[str] | None = None) -> Path:
    folder = cache_folder() if folder is None else Path(folder)
    return folder / IMAGENET_WEIGHTS_URL.rpartition("/")[2]


def cache_folder() -> Path:
    """Where Keras keeps what it downloads: `~/.keras/models`, or in the place of KERAS_HOME."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
