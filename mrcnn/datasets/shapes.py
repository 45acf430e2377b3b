"""Synthetic shapes in COCO's layout: a small data set to try everything on.

Squares, circles and triangles, slightly turned, lie on textured backgrounds. Neither color
nor texture tells the class. The annotations show what real files hold: polygons, compressed
and uncompressed run lengths, crowds, images without objects.

Shape letters: H, W height and width of an image.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from mrcnn.data.rle import run_lengths

CLASS_NAMES = ("square", "circle", "triangle")
SPLITS = ("train", "val")
MIN_IMAGE_SIDE = 32

# What is special about image k, by k modulo the period.
PERIOD = 12
CROWD_IMAGE, EMPTY_IMAGE, LARGE_IMAGE = 1, 3, 5
MAX_SHAPES = 6
CROWD_MEMBERS = 14
# How far a shape leans from upright, in radians.
MAX_TURN = np.pi / 8
# Size of a shape: the radius of the circle of its area, in parts of the image's shorter side.
SMALL_RADIUS, USUAL_RADIUS, LARGE_RADIUS = (0.05, 0.08), (0.1, 0.19), (0.38, 0.44)
CROWD_MEMBER_RADIUS, CROWD_EXTENT = (0.025, 0.04), 0.22
MAX_COVERED = 0.3  # part of a shape that later ones may cover
MAX_CUT_OFF = 0.2  # part of a shape that may lie outside the image
MIN_PIXELS = 12  # a shape of which less remains visible is not annotated
MIN_CONTRAST = 75.0  # RGB distance between a shape's mean color and those of what it lies on
CIRCLE_POINTS = 40
SUPERSAMPLING = 4  # of anti-aliased edges
ATTEMPTS = 40  # at a place or color that satisfies the limits above
# Of the annotations in turn; polygons only of shapes that are wholly visible.
FORMATS = ("polygon", "compressed", "polygon", "uncompressed")
# Ids of the images of a split start here, so that they do not depend on the other's length.
FIRST_IMAGE_IDS = {"train": 1, "val": 1_000_001}
ANNOTATIONS_PER_IMAGE = 100  # room for annotation ids


def write_shapes(
    folder: str | os.PathLike[str],
    train: int,
    val: int,
    image_size: tuple[int, int] = (128, 128),
    seed: int = 0,
) -> None:
    """Write a data set: `{train,val}/*.png` and `annotations/instances_{train,val}.json`.

    The same arguments write the same bytes, and image k of a split depends on nothing but
    the image size, the seed, the split and k.

    Args:
        folder: where to; made when missing. Files of the same names are overwritten.
        train: number of training images.
        val: number of validation images.
        image_size: (height, width) in pixels, at least 32.
        seed: a number from 0 up.
    """
    for split, count in zip(SPLITS, (train, val), strict=True):
        if count < 0:
            raise ValueError(f"{split}: expected a number of images from 0 up; received {count}.")
        image_folder = Path(folder, split)
        image_folder.mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for k in range(count):
            pixels, found = draw_image(image_size, seed, split, k)
            image_id, name = FIRST_IMAGE_IDS[split] + k, f"{k:06d}.png"
            # Not compressed: noise would shrink by half, and be read three times slower.
            Image.fromarray(pixels).save(image_folder / name, compress_level=0)
            height, width = image_size
            images.append({"id": image_id, "file_name": name, "height": height, "width": width})
            annotations += found
        content = {
            "info": {"description": "Synthetic shapes", "seed": seed},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": "shape"}
                for number, name in enumerate(CLASS_NAMES, start=1)
            ],
        }
        # Last, so that a folder with this file is complete.
        json_file = Path(folder, "annotations", f"instances_{split}.json")
        json_file.parent.mkdir(exist_ok=True)
        json_file.write_text(json.dumps(content), encoding="utf-8")


def draw_image(
    image_size: tuple[int, int], seed: int, split: str, k: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw image k of a split: a pure function.

    Args:
        image_size: (height, width) in pixels.
        seed: of the data set.
        split: "train" or "val".
        k: number of the image in its split, from 0 up.

    Returns:
        The image, uint8 [H, W, 3], and its annotations in COCO's format. They describe what
        is visible: later shapes cover earlier ones.
    """
    height, width = image_size
    if min(height, width) < MIN_IMAGE_SIDE:
        raise ValueError(
            f"image_size: expected a height and width of at least {MIN_IMAGE_SIDE} pixels; "
            f"received {image_size}."
        )
    rng = np.random.default_rng([seed, SPLITS.index(split), k])
    background = rng.uniform(40, 215, 3)
    canvas = background + _texture(rng, height, width)
    anti_aliased = bool(rng.integers(2))
    shapes: list[_Shape] = []
    kind = k % PERIOD
    if kind == CROWD_IMAGE:
        shapes.append(_paint_crowd(rng, canvas, background, anti_aliased))
    radii = [LARGE_RADIUS] if kind == LARGE_IMAGE else []
    if kind != EMPTY_IMAGE:
        radii += [USUAL_RADIUS]
        radii += [(USUAL_RADIUS, SMALL_RADIUS)[n] for n in rng.integers(2, size=MAX_SHAPES - 1)]
    for radius_range in radii[: 2 + rng.integers(MAX_SHAPES - 1)]:
        shape = _place_shape(rng, shapes, radius_range, height, width)
        if shape is not None:
            _paint(rng, canvas, background, shape, shapes, anti_aliased)
            shapes.append(shape)
    canvas += rng.normal(0, rng.uniform(1, 5), canvas.shape)  # the camera's noise
    pixels = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return pixels, _annotate(shapes, FIRST_IMAGE_IDS[split] + k)


@dataclass
class _Shape:
    """A shape, or a crowd of them, as it was painted."""

    category: int
    center: np.ndarray  # (x, y)
    radius: float
    polygons: list[np.ndarray]  # [points, 2] each, (x, y) in pixels; several in a crowd
    mask: np.ndarray  # bool [H, W], as if nothing covered it
    visible: np.ndarray  # bool [H, W], what later shapes left of it
    crowd: bool = False
    color: np.ndarray = field(default_factory=lambda: np.zeros(3))


def _outline(rng: np.random.Generator, category: int, center: np.ndarray, radius: float):
    """The corners of a slightly turned shape with the area of a circle of that radius."""
    points = {"square": 4, "circle": CIRCLE_POINTS, "triangle": 3}[CLASS_NAMES[category - 1]]
    # A regular polygon of n corners at distance r has the area n / 2 * sin(2 pi / n) * r².
    reach = radius * np.sqrt(np.pi / (points / 2 * np.sin(2 * np.pi / points)))
    # Upright is a square on its side and a triangle on its base; y points down.
    upright = np.pi / 4 if points == 4 else -np.pi / 2
    turn = rng.uniform(-MAX_TURN, MAX_TURN)
    angles = upright + turn + np.arange(points) * 2 * np.pi / points
    corners = center + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.round(corners, 2)  # as the json holds them


def _place_shape(
    rng: np.random.Generator,
    shapes: list[_Shape],
    radius_range: tuple[float, float],
    height: int,
    width: int,
) -> _Shape | None:
    """Find a place for one more shape, often next to another; None when there is none."""
    size = np.array([width, height])
    for _ in range(ATTEMPTS):
        category = int(rng.integers(len(CLASS_NAMES))) + 1
        radius = rng.uniform(*radius_range) * size.min()
        center = rng.uniform(0.8 * radius, size - 0.8 * radius)
        if shapes and rng.random() < 0.4:
            neighbor = shapes[rng.integers(len(shapes))]
            angle, gap = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.1)
            direction = np.array([np.cos(angle), np.sin(angle)])
            center = neighbor.center + gap * (neighbor.radius + radius) * direction
        outline = _outline(rng, category, center, radius)
        mask = _rasterize([outline], height, width)
        if mask.sum() < max((1 - MAX_CUT_OFF) * np.pi * radius**2, MIN_PIXELS):
            continue
        left = [(shape.visible & ~mask).sum() / shape.mask.sum() for shape in shapes]
        if min(left, default=1) >= 1 - MAX_COVERED:
            return _Shape(category, center, radius, [outline], mask, mask.copy())
    return None


def _paint_crowd(
    rng: np.random.Generator, canvas: np.ndarray, background: np.ndarray, anti_aliased: bool
) -> _Shape:
    """Paint a heap of tiny shapes of one class."""
    height, width = canvas.shape[:2]
    side = min(height, width)
    extent = CROWD_EXTENT * side
    category = int(rng.integers(len(CLASS_NAMES))) + 1
    middle = rng.uniform(extent, np.array([width, height]) - extent)
    members: list[_Shape] = []
    for _ in range(CROWD_MEMBERS):
        radius = rng.uniform(*CROWD_MEMBER_RADIUS) * side
        angle, distance = rng.uniform(0, 2 * np.pi), extent * np.sqrt(rng.random())
        center = middle + distance * np.array([np.cos(angle), np.sin(angle)])
        outline = _outline(rng, category, center, radius)
        mask = _rasterize([outline], height, width)
        member = _Shape(category, center, radius, [outline], mask, mask.copy())
        _paint(rng, canvas, background, member, members, anti_aliased)
        members.append(member)
    polygons = [polygon for member in members for polygon in member.polygons]
    union = np.any([member.mask for member in members], axis=0)
    return _Shape(category, middle, extent, polygons, union, union.copy(), crowd=True)


def _paint(
    rng: np.random.Generator,
    canvas: np.ndarray,
    background: np.ndarray,
    shape: _Shape,
    shapes: list[_Shape],
    anti_aliased: bool,
) -> None:
    """Paint a shape over the others, in a color of its own, and note what it covers."""
    height, width = canvas.shape[:2]
    near = [s.color for s in shapes if not s.crowd and _are_near(s, shape)]
    shape.color = _contrasting_color(rng, np.array([background, *near]))
    coverage = shape.mask
    if anti_aliased:
        fine = [SUPERSAMPLING * polygon for polygon in shape.polygons]
        fine_mask = _rasterize(fine, SUPERSAMPLING * height, SUPERSAMPLING * width)
        blocks = fine_mask.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING)
        coverage = blocks.mean(axis=(1, 3))
    alpha = coverage[:, :, None]
    filling = shape.color + _texture(rng, height, width)
    canvas[:] = alpha * filling + (1 - alpha) * canvas
    for other in shapes:
        other.visible &= ~shape.mask


def _are_near(shape: _Shape, other: _Shape) -> bool:
    # The corners of a triangle reach 1.6 times as far as the circle of its area.
    distance = float(np.linalg.norm(shape.center - other.center))
    return distance < 1.6 * (shape.radius + other.radius)


def _contrasting_color(rng: np.random.Generator, colors: np.ndarray) -> np.ndarray:
    """A random color at a distance from the given ones [n, 3]."""
    candidates = rng.uniform(20, 235, (ATTEMPTS, 3))
    distances = np.linalg.norm(candidates[:, None] - colors, axis=2).min(axis=1)
    enough = np.flatnonzero(distances >= MIN_CONTRAST)
    return candidates[enough[0] if enough.size else distances.argmax()]


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random texture, float [H, W, 3] around 0: a gradient, noise of several scales, lines."""
    y, x = np.mgrid[0:height, 0:width] / min(height, width)
    angle = rng.uniform(0, 2 * np.pi, 3)
    tint = 1 + rng.uniform(-0.4, 0.4, (3, 3))  # each part has a little color of its own

    slope = (x - x.mean()) * np.cos(angle[0]) + (y - y.mean()) * np.sin(angle[0])
    gradient = rng.uniform(0, 35) * slope
    noise = np.zeros((height, width))
    for cells in (4, 10, 24):
        noise += rng.uniform(0, 9) * _smooth_noise(rng, height, width, cells)
    wave = x * np.cos(angle[1]) + y * np.sin(angle[1])
    stripes = np.sin(2 * np.pi * rng.uniform(4, 16) * wave) * rng.choice([0, rng.uniform(3, 12)])
    parts = np.stack([gradient, noise, stripes], axis=2)
    texture = parts @ tint
    if rng.random() < 0.5:
        for _ in range(rng.integers(1, 5)):
            lean, offset = rng.uniform(0, np.pi), rng.uniform(0, 1)
            distance = np.abs(x * np.cos(lean) + y * np.sin(lean) - offset)
            texture[distance < rng.uniform(0.004, 0.012)] += rng.uniform(-35, 35, 3)
    return texture


def _smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Gaussian noise of standard deviation 1 on a coarse grid, interpolated to [H, W]."""
    grid = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float64)


def _rasterize(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The union of polygons as readers of the json will see it: bool [H, W]."""
    flat = [polygon.ravel().tolist() for polygon in polygons]
    return mask_api.decode(mask_api.merge(mask_api.frPyObjects(flat, height, width))).view(bool)


def _annotate(shapes: list[_Shape], image_id: int) -> list[dict[str, Any]]:
    """The annotations, in COCO's format, of what is visible of the shapes."""
    annotations = []
    for number, shape in enumerate(shapes):
        if shape.visible.sum() < MIN_PIXELS:
            continue
        rle = mask_api.encode(np.asfortranarray(shape.visible, np.uint8))
        form = "uncompressed" if shape.crowd else FORMATS[(image_id + number) % len(FORMATS)]
        segmentation: list[list[float]] | dict[str, Any]
        if form == "polygon" and _is_wholly_visible(shape):
            segmentation = [polygon.ravel().tolist() for polygon in shape.polygons]
        elif form == "uncompressed":
            segmentation = {"size": rle["size"], "counts": _counts(shape.visible)}
        else:
            segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
        annotations.append(
            {
                "id": image_id * ANNOTATIONS_PER_IMAGE + number,
                "image_id": image_id,
                "category_id": shape.category,
                "iscrowd": int(shape.crowd),
                "area": int(mask_api.area(rle)),
                "bbox": mask_api.toBbox(rle).tolist(),
                "segmentation": segmentation,
            }
        )
    return annotations


def _is_wholly_visible(shape: _Shape) -> bool:
    height, width = shape.mask.shape
    inside = all((p >= 0).all() and (p <= [width, height]).all() for p in shape.polygons)
    return inside and np.array_equal(shape.visible, shape.mask)


def _counts(mask: np.ndarray) -> list[int]:
    """The run lengths of bool [H, W], not compressed."""
    height, width = mask.shape
    return run_lengths(mask, (0, 0), (height, width)).tolist()
