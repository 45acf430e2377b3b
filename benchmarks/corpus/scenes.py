"""Pictures of polygons on noise, from which the corpus's data sets are written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from skimage.draw import polygon

SIZE = (128, 160)  # height and width of a picture, in pixels


class Outline(NamedTuple):
    """One object: its corners in pixels, and which of the classes it is (from 0)."""

    x: list[int]
    y: list[int]
    kind: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom; right and bottom are the first pixels outside."""
        return min(self.x), min(self.y), max(self.x) + 1, max(self.y) + 1

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """The object's pixels, bool [height, width]."""
        pixels = np.zeros(size, bool)
        pixels[polygon(self.y, self.x, size)] = True
        return pixels


class Scene(NamedTuple):
    """A picture, uint8 [height, width, 3], and what is in it, from back to front."""

    image: np.ndarray
    outlines: list[Outline]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def visible_masks(self) -> list[np.ndarray]:
        """The pixels of each object that no later one covers, each bool [height, width]."""
        covered = np.zeros(self.size, bool)
        masks = []
        for outline in reversed(self.outlines):
            whole = outline.mask(self.size)
            masks.append(whole & ~covered)
            covered |= whole
        return masks[::-1]

    def instances(self) -> np.ndarray:
        """Object 1, 2, … and background 0 as one image, uint8 [height, width]."""
        found = np.zeros(self.size, np.uint8)
        for number, outline in enumerate(self.outlines, 1):
            found[outline.mask(self.size)] = number
        return found


def draw(
    seed: int, kinds: int = 1, objects: int = 3, size: tuple[int, int] = SIZE, side: int = 44
) -> Scene:
    """A picture of polygons in columns of its own, so that none hides another.

    Args:
        seed: of noise, places and colours.
        kinds: number of classes; each has its own number of corners and its own colour.
        objects: how many polygons.
        size: height and width, in pixels.
        side: diameter of a polygon, in pixels, where the columns are wide enough.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    image = rng.integers(40, 90, (height, width, 3)).astype(np.uint8)
    outlines = []
    column = width // objects
    for index in range(objects):
        kind = (index + seed) % kinds
        radius = min(side, column - 2, height - 2) / 2
        x = index * column + column / 2
        y = rng.uniform(radius + 1, height - radius - 1)
        angles = np.linspace(0, 2 * np.pi, 4 + kind % 5, endpoint=False) + rng.uniform(0, 1)
        outline = Outline(
            [int(value) for value in x + radius * np.cos(angles)],
            [int(value) for value in y + radius * np.sin(angles)],
            kind,
        )
        colour = np.array([230, (60 + 70 * kind) % 256, (20 + 110 * kind) % 256])
        image[outline.mask(size)] = colour
        outlines.append(outline)
    return Scene(image, outlines)
