"""A small data set without a fault."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn.config import Config

HEIGHT, WIDTH = 48, 64
SIDE = 12  # of the square objects


class DoctorConfig(Config):
    NAME = "doctor"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (12, 16, 24, 32, 48)
    MAX_GT_INSTANCES = 20


@dataclass
class Data:
    """A data set that is about to be written."""

    folder: Path
    content: dict[str, dict[str, Any]]  # of each subset

    @property
    def train(self) -> dict[str, Any]:
        return self.content["train"]

    @property
    def val(self) -> dict[str, Any]:
        return self.content["val"]

    def image(self, name: str = "0.png") -> Path:
        """A file of the training; there are 0.png and 1.png."""
        return self.folder / "train" / name

    def object(self, index: int = 0) -> dict[str, Any]:
        """An annotation of the training; its id is index + 1."""
        return self.train["annotations"][index]

    def save(self, picture: Image.Image, name: str = "0.png", **options: Any) -> None:
        """Replace an image file of the training."""
        picture.save(self.image(name), **options)

    def picture(self, name: str = "0.png") -> Image.Image:
        with Image.open(self.image(name)) as file:
            return file.copy()

    def write(self) -> None:
        for subset, content in self.content.items():
            file = self.folder / "annotations" / f"instances_{subset}.json"
            file.write_text(json.dumps(content), encoding="utf-8")


def noise(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Blocks of color, no two seeds alike."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.NEAREST)


def square(index: int, image_id: int, id: int) -> dict[str, Any]:
    """The index-th of twelve squares of an image, the first ten of two classes in turn."""
    x, y = 2 + 16 * (index % 4), 2 + 16 * (index // 4)
    return {
        "id": id,
        "image_id": image_id,
        "category_id": 3 if index % 2 else 7,
        "iscrowd": 0,
        "bbox": [x, y, SIDE, SIDE],
        "area": SIDE * SIDE,
        "segmentation": [[x, y, x + SIDE, y, x + SIDE, y + SIDE, x, y + SIDE]],
    }


def sound(folder: Path) -> Data:
    """Two training images and one of validation, ten objects each, five of a class."""
    (folder / "annotations").mkdir(parents=True)
    content = {}
    for subset, count, first in (("train", 2, 0), ("val", 1, 100)):
        (folder / subset).mkdir()
        images, annotations = [], []
        for index in range(count):
            id = first + index
            name = f"{index}.png"
            noise(id).save(folder / subset / name)
            images.append({"id": id, "file_name": name, "height": HEIGHT, "width": WIDTH})
            annotations += [square(i, id, first + 10 * index + i + 1) for i in range(10)]
        content[subset] = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 7, "name": "nut"}, {"id": 3, "name": "fig"}],
        }
    return Data(folder, content)


def rle(mask: np.ndarray) -> dict[str, Any]:
    encoded = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}
