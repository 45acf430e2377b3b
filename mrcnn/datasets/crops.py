"""Crops of a data set in COCO's format, to pretrain a backbone on: objects, and empty windows.

Each image of a `CropDataset` is a square window of an image of another data set: one around each
object, and some that hold no object, which are of the class "no object". Windows are cut when they
are asked for; no file is written.

Boxes and windows are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mrcnn.data.dataset import Dataset
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.segmentation import Annotation, annotation_to_image_rle

# How much larger than its object a window is.
CONTEXT = 0.25
# Objects whose longer side is shorter show nothing that could be learned.
LEAST_SIDE = 4
# A window is empty where no object has more than this share of itself in it, nor covers more of it.
MOST_COVERED = 0.1
TRIES = 50  # for each empty window

Window = tuple[int, int, int, int]


class CropDataset(Dataset):
    """Windows of the images of a `CocoDataset`, each with one object of its own, or none.

    The classes are those of the other data set. `image_info[i]` holds the id of the image in it
    ("of"), the window and the class id; 0: an empty window. `left_out` counts the objects that are
    no crops, by reason.

    Args:
        source: prepared.
        seed: of the places of the empty windows.
        context: how much larger than its object a window is, in parts of it.
        empty: how many empty windows there are; None: as many as objects of an average class.

    Raises:
        ValueError: the data set has no object to cut out.
    """

    def __init__(
        self,
        source: CocoDataset,
        seed: int = 0,
        context: float = CONTEXT,
        empty: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= context < math.inf:
            raise ValueError(f"context: expected a number of at least 0; received {context!r}.")
        self.source = source
        self.left_out: Counter[str] = Counter()
        for info in source.class_info[1:]:
            self.add_class(info["source"], info["id"], info["name"])
        boxes = [self._add_objects(int(i), context) for i in source.image_ids]
        objects = len(self.image_info)
        if not objects:
            raise ValueError(
                f"expected objects to cut out; the {len(source.image_ids)} images have "
                f"{_counted(self.left_out) or 'none'}."
            )
        if empty is None:
            empty = round(objects / max(1, source.num_classes - 1))
        self._add_empty(boxes, empty, np.random.default_rng(np.random.SeedSequence([seed, 1])))
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        """The pixels of a window."""
        info = self.image_info[image_id]
        y1, x1, y2, x2 = info["window"]
        return self.source.load_image(info["of"])[y1:y2, x1:x2]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """One mask of the whole window, of the object's class; none of an empty window."""
        info = self.image_info[image_id]
        count = int(info["class_id"] > 0)
        return (
            np.ones((info["height"], info["width"], count), bool),
            np.full(count, info["class_id"], np.int32),
        )

    def summary(self) -> str:
        """How many crops of which class there are, and what was left out."""
        return describe_classes(self, "empty windows", self.left_out)

    def _add_objects(self, of: int, context: float) -> np.ndarray:
        """Add the windows of an image's objects. Returns all boxes, of crowds too: [N, 4]."""
        info = self.source.image_info[of]
        size = info["height"], info["width"]
        boxes = np.zeros((len(info["annotations"]), 4))
        for box, annotation in zip(boxes, info["annotations"], strict=True):
            box[:] = box_of(annotation, size, info["annotation_file"])
            if annotation.get("iscrowd"):
                self.left_out["crowds"] += 1
            elif max(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE:
                self.left_out[f"objects under {LEAST_SIDE} pixels"] += 1
            else:
                source_class = f"{info['source']}.{annotation['category_id']}"
                class_id = self.source.map_source_class_id(source_class)
                self._add(of, window_around(box, size, context), class_id)
        return boxes

    def _add_empty(self, boxes: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> None:
        """Add windows of the objects' sizes that hold no object, at random places."""
        windows = np.array([info["window"] for info in self.image_info])
        sides = (windows[:, 2:] - windows[:, :2]).max(axis=1)
        found = 0
        for _ in range(TRIES * count):
            if found == count:
                return
            of = int(rng.integers(len(boxes)))
            side = int(rng.choice(sides))
            info = self.source.image_info[of]
            height, width = min(side, info["height"]), min(side, info["width"])
            y = int(rng.integers(info["height"] - height, endpoint=True))
            x = int(rng.integers(info["width"] - width, endpoint=True))
            window = (y, x, y + height, x + width)
            if is_empty(window, boxes[of]):
                self._add(of, window, 0)
                found += 1
        self.left_out["empty windows for which there was no room"] += count - found

    def _add(self, of: int, window: Window, class_id: int) -> None:
        info = self.source.image_info[of]
        self.add_image(
            info["source"],
            image_id=f"{info['id']} {window}",
            path=None,  # of a file, a cache would take all windows for the same image
            of=of,
            window=window,
            class_id=class_id,
            height=window[2] - window[0],
            width=window[3] - window[1],
        )


def box_of(annotation: Annotation, size: tuple[int, int], file: str) -> np.ndarray:
    """The box of an annotation in an image of size (height, width): float [4]."""
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        box = mask_api.toBbox(annotation_to_image_rle(annotation, *size, file))
    x, y, width, height = (float(value) for value in box)
    return np.array([y, x, y + height, x + width])


def window_around(box: np.ndarray, size: tuple[int, int], context: float) -> Window:
    """The square around a box, moved into the image; cut to it where it is larger.

    >>> window_around(np.array([10.0, 10.0, 30.0, 20.0]), (100, 40), context=0.5)
    (5, 0, 35, 30)
    """
    side = max(1, math.ceil((1 + context) * max(box[2] - box[0], box[3] - box[1])))
    window = []
    for low, high, full in zip(box[:2], box[2:], size, strict=True):
        kept = min(side, full)
        start = min(max(round((low + high - kept) / 2), 0), full - kept)
        window.append((start, start + kept))
    (y1, y2), (x1, x2) = window
    return y1, x1, y2, x2


def is_empty(window: Window, boxes: np.ndarray) -> bool:
    """Whether a window holds no object: see `MOST_COVERED`.

    Args:
        window: in the image.
        boxes: [N, 4] of the image's objects.
    """
    place = np.asarray(window, float)
    sides = np.minimum(place[2:], boxes[:, 2:]) - np.maximum(place[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    smaller = np.minimum(np.prod(place[2:] - place[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], 1))
    return bool(np.all(shared <= MOST_COVERED * smaller))


def describe_classes(
    dataset: Dataset, of_no_object: str, left_out: Counter[str] | None = None
) -> str:
    """How many images of each class a data set has whose entries hold a "class_id".

    Args:
        dataset: prepared.
        of_no_object: what those of the class 0 are called.
        left_out: how many are none, by reason.
    """
    counts: Counter[int] = Counter(info["class_id"] for info in dataset.image_info)
    names: dict[int, Any] = dict(enumerate(dataset.class_names))
    parts = Counter({names[i]: counts[i] for i in sorted(names) if i})
    text = f"{len(dataset.image_info)} images: {_counted(parts)}, {counts[0]} {of_no_object}"
    rest = _counted(left_out or Counter())
    return f"{text}; left out: {rest or 'nothing'}."


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
