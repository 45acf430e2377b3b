"""What the exports of annotation tools show: every picture has one nut and one fig.

The other modules of this folder write one tool's exports each, in the form that its exporter
writes: which fields there are, in which order, from which number ids count, what is left empty,
what the files and folders are called. Objects are masks where the tool can write such, and boxes
where it is about boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
NUT = (4, 6, 20, 14)  # x, y, width, height of the pixels
FIG = (36, 20, 16, 24)
BOXES = {"nut": NUT, "fig": FIG}

Json = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """A picture and its number, from 0."""

    index: int

    @property
    def name(self) -> str:
        return f"{self.index}.jpg"

    def save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(self.index)
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        small.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST).save(path, quality=95)
        return path


def pictures(count: int, first: int = 0) -> list[Picture]:
    return [Picture(index) for index in range(first, first + count)]


def objects(shown: Sequence[Picture]) -> Iterator[tuple[int, int, Picture, str]]:
    """(number, number of the picture, picture, name) of each object, from 0."""
    number = 0
    for position, picture in enumerate(shown):
        for name in BOXES:
            yield number, position, picture, name
            number += 1


def corners(name: str, number: type = float) -> list[Any]:
    """A polygon around the pixels of an object."""
    x, y, width, height = map(number, BOXES[name])
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def box(name: str, number: type = float) -> list[Any]:
    return [number(side) for side in BOXES[name]]


def area(name: str) -> int:
    return BOXES[name][2] * BOXES[name][3]


def run_lengths(name: str) -> Json:
    """Uncompressed, column by column."""
    x, y, width, height = BOXES[name]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    flat = mask.ravel(order="F")
    changes = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    return {"counts": np.diff(changes).tolist(), "size": [HEIGHT, WIDTH]}


def dump(path: Path, content: Json, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, **options), encoding="utf-8")
