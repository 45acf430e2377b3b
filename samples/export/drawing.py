"""What an exported network found, drawn onto the picture: NumPy, SciPy and Pillow only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates


def read_picture(path: str) -> np.ndarray:
    """A picture as exported networks take it: uint8 [1, H, W, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))[None]


def paste(mask: np.ndarray, corners: np.ndarray, area: np.ndarray, size: tuple) -> np.ndarray:
    """A mask [m, m] of probabilities as pixels of the picture, bool [H, W].

    Args:
        mask: probabilities at m x m points.
        corners: where the first and the last of the points lie: y, x, y, x in pixels.
        area: y1, x1, y2, x2 in pixels, within which the object is.
        size: (H, W); the center of the first pixel is (0.5, 0.5).
    """
    y, x = (np.arange(side) + 0.5 for side in size)
    rows = np.interp(y, corners[[0, 2]], [0, mask.shape[0] - 1])
    columns = np.interp(x, corners[[1, 3]], [0, mask.shape[1] - 1])
    inside = (y >= area[0])[:, None] & (y < area[2])[:, None] & (x >= area[1]) & (x < area[3])
    values = map_coordinates(mask, np.meshgrid(rows, columns, indexing="ij"), order=1)
    return (values >= 0.5) & inside


def draw(picture: np.ndarray, found: dict[str, np.ndarray], labels: list[str], path: str) -> None:
    """Write the picture with boxes, names and masks, and print a line for each object."""
    image = picture[0].copy()
    count = int(found["count"][0])
    names = ("masks", "mask_corners", "mask_areas", "boxes")
    masks, corners, areas, boxes = (found[name][0] for name in names)
    for i in range(count):
        inside = paste(masks[i], corners[i], areas[i], image.shape[:2])
        color = np.random.default_rng(i).integers(64, 256, 3)
        image[inside] = image[inside] // 2 + (color // 2).astype(np.uint8)
    drawn = Image.fromarray(image)
    pen = ImageDraw.Draw(drawn)
    for i in range(count):
        y1, x1, y2, x2 = boxes[i].tolist()
        name = f"{labels[found['class_ids'][0, i]]} {found['scores'][0, i]:.2f}"
        pen.rectangle((x1, y1, x2, y2), outline="white")
        pen.text((x1 + 2, y1 + 1), name, fill="white")
        print(f"{name}  box {y1:.0f} {x1:.0f} {y2:.0f} {x2:.0f}")
    drawn.save(path)
