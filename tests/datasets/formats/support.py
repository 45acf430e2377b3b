"""Pictures and checks that the tests of the formats share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.datasets.coco import CocoDataset

HEIGHT, WIDTH = 40, 60


def picture(path: Path, height: int = HEIGHT, width: int = WIDTH, **save: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(path.name)) % 2**32)
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path, **save)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def load(folder: Path, subset: str = "train", **options: Any) -> CocoDataset:
    return CocoDataset.of(folder, subset, **options)


def masks_of(dataset: CocoDataset, name: str) -> dict[str, list[np.ndarray]]:
    """The masks of a picture by class."""
    image_id = next(
        i for i in dataset.image_ids if Path(dataset.image_info[i]["path"]).name == name
    )
    masks, class_ids = dataset.load_mask(image_id)
    found: dict[str, list[np.ndarray]] = {}
    for i, class_id in enumerate(class_ids):
        found.setdefault(dataset.class_names[class_id], []).append(masks[..., i])
    return found


def box_mask(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = (HEIGHT, WIDTH)):
    mask = np.zeros(size, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def ellipse_mask(cx, cy, rx, ry, degrees=0.0, size=(HEIGHT, WIDTH)):
    """The pixels whose centers lie in an ellipse."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    turn = np.radians(degrees)
    along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    across = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
    return (along / rx) ** 2 + (across / ry) ** 2 <= 1
