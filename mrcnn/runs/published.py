"""Weights that others publish, by short names: downloaded when asked for, converted, and kept.

torchvision names its files by the first eight digits of their SHA-256, which is what a download is
checked by. Each is converted once (`mrcnn.runs.conversion`), into Keras's own cache.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from mrcnn.files.download import download
from mrcnn.logger import logger
from mrcnn.weights import pretrained

_TORCHVISION = "https://download.pytorch.org/models/"
LICENSE = (
    "License: torchvision is under BSD-3-Clause; its maintainers say that weights may come under "
    "terms of the data that they were trained on ({data}), and that it is up to you to find out "
    "whether you may use them."
)
_COCO, _IMAGENET = "COCO 2017", "ImageNet-1k"


class Published(NamedTuple):
    """Weights that can be had by name."""

    file: str  # in torchvision's store; its name ends in the beginning of its SHA-256
    data: str  # what it was trained on
    score: str  # as torchvision states it


PUBLISHED = {
    "torchvision": Published(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", _COCO, "mask AP 34.6, box AP 37.9"
    ),
    "torchvision-v2": Published(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", _COCO, "mask AP 41.8, box AP 47.4"
    ),
    "torchvision-resnet18": Published("resnet18-f37072fd.pth", _IMAGENET, "accuracy 69.8 %"),
    "torchvision-resnet34": Published("resnet34-b627a593.pth", _IMAGENET, "accuracy 73.3 %"),
    "torchvision-resnet50": Published("resnet50-11ad3fa6.pth", _IMAGENET, "accuracy 80.9 %"),
    "torchvision-resnet101": Published("resnet101-cd907fc2.pth", _IMAGENET, "accuracy 81.9 %"),
    "torchvision-resnet152": Published("resnet152-f82ba261.pth", _IMAGENET, "accuracy 82.3 %"),
    "torchvision-resnext50": Published(
        "resnext50_32x4d-1a0047aa.pth", _IMAGENET, "accuracy 81.2 %"
    ),
    "torchvision-resnext101": Published(
        "resnext101_32x8d-110c445d.pth", _IMAGENET, "accuracy 82.8 %"
    ),
}


def resolve(name: str) -> str:
    """The weights file that a name of `PUBLISHED` means; any other name as it is.

    Raises:
        DownloadError: an `OSError`: it could not be had, or is not the published file.
        ValueError: it takes PyTorch to read it, which is not installed.
    """
    found = PUBLISHED.get(str(name).lower().replace("_", "-"))
    return name if found is None else _weights(str(name).lower().replace("_", "-"), found)


def _weights(name: str, published: Published) -> str:
    from mrcnn.runs.conversion import convert

    folder = pretrained.cache_folder() / "mrcnn"
    weights = folder / name / "weights.h5"
    if weights.is_file():
        return str(weights)
    url = _TORCHVISION + published.file
    logger.info(f"{name}: {published.data}, {published.score} by torchvision's own account. {url}")
    logger.info(LICENSE.format(data=published.data))
    digest = published.file.rpartition("-")[2].partition(".")[0]
    source = download(url, folder / published.file, sha256=digest)
    # The folder appears whole or not at all.
    unfinished = folder / f"{name}.{os.getpid()}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        logger.info(str(convert(source, unfinished / weights.name)))
        shutil.rmtree(weights.parent, ignore_errors=True)
        os.replace(unfinished, weights.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    Path(source).unlink()
    return str(weights)
