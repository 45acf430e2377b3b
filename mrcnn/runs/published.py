"""Weights that others publish, by short names: downloaded when asked for, converted, and kept.

The name of a file holds the beginning of its checksum, which is what a download is checked by:
eight digits of its SHA-256 in torchvision's, six of its MD5 in Detectron2's. Each is converted once
(`mrcnn.runs.conversion`), into Keras's own cache.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mrcnn.files.download import download
from mrcnn.logger import logger
from mrcnn.weights import pretrained

_TORCHVISION = "https://download.pytorch.org/models/"
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"
_COCO, _IMAGENET, _CITYSCAPES = "COCO 2017", "ImageNet-1k", "Cityscapes"
LICENSES = {
    "torchvision": (
        "License: torchvision is under BSD-3-Clause; its maintainers say that weights may come "
        "under terms of the data that they were trained on ({data}), and that it is up to you to "
        "find out whether you may use them."
    ),
    "Detectron2": (
        "License: the models of Detectron2's model zoo are under CC BY-SA 3.0, "
        "https://creativecommons.org/licenses/by-sa/3.0/; they were trained on {data}, which has "
        "terms of its own."
    ),
}
# Of Cityscapes' classes with instances, in the order of their ids.
_CITYSCAPES_CLASSES = (
    *("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)


class Published(NamedTuple):
    """Weights that can be had by name."""

    file: str  # below the address of their publisher; its name ends in the checksum's beginning
    data: str  # what it was trained on
    score: str  # as its publisher states it
    publisher: str = "torchvision"
    class_names: Sequence[str] | None = None  # without the background; None: those of `convert`
    settings: Mapping[str, Any] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return (_DETECTRON2 if self.publisher == "Detectron2" else _TORCHVISION) + self.file

    @property
    def checksum(self) -> dict[str, str]:
        """The beginning of its checksum, by the algorithm's name."""
        digest = re.split("[-_]", self.file)[-1].partition(".")[0]
        return {"md5" if self.publisher == "Detectron2" else "sha256": digest}


def _of_detectron2(file: str, score: str) -> Published:
    return Published(file, _COCO, score, "Detectron2")


PUBLISHED = {
    "torchvision": Published(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", _COCO, "mask AP 34.6, box AP 37.9"
    ),
    "torchvision-v2": Published(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", _COCO, "mask AP 41.8, box AP 47.4"
    ),
    "detectron2": _of_detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl",
        "mask AP 37.2, box AP 41.0",
    ),
    "detectron2-1x": _of_detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl",
        "mask AP 35.2, box AP 38.6",
    ),
    "detectron2-resnet101": _of_detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl",
        "mask AP 38.6, box AP 42.9",
    ),
    "detectron2-resnext101": _of_detectron2(
        "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x/139653917/model_final_2d9806.pkl",
        "mask AP 39.5, box AP 44.3",
    ),
    "detectron2-lsj": _of_detectron2(
        "new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ/42019571/model_final_14d201.pkl",
        "mask AP 42.5, box AP 47.4",
    ),
    "detectron2-resnet101-lsj": _of_detectron2(
        "new_baselines/mask_rcnn_R_101_FPN_400ep_LSJ/42073830/model_final_f96b26.pkl",
        "mask AP 43.7, box AP 48.9",
    ),
    "detectron2-cityscapes": Published(
        "Cityscapes/mask_rcnn_R_50_FPN/142423278/model_final_af9cf5.pkl",
        _CITYSCAPES,
        "mask AP 36.5",
        "Detectron2",
        _CITYSCAPES_CLASSES,
        {"IMAGE_MIN_DIM": 1024, "IMAGE_MAX_DIM": 2048},
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
    url, publisher = published.url, published.publisher
    logger.info(f"{name}: {published.data}, {published.score} by {publisher}'s own account. {url}")
    logger.info(LICENSES[publisher].format(data=published.data))
    checksum = published.checksum
    source = download(
        *(url, folder / Path(published.file).name),
        sha256=checksum.get("sha256"),
        md5=checksum.get("md5"),
    )
    # The folder appears whole or not at all.
    unfinished = folder / f"{name}.{os.getpid()}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        done = convert(
            source,
            unfinished / weights.name,
            class_names=published.class_names,
            settings=published.settings,
        )
        logger.info(str(done))
        shutil.rmtree(weights.parent, ignore_errors=True)
        os.replace(unfinished, weights.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    Path(source).unlink()
    return str(weights)
