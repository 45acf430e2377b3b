"""Pictures whose depth is known: spheres and boxes on a checkered floor, before a wall.

A camera at the origin looks along z, x to the right and y down; the floor is the plane y =
`CAMERA_HEIGHT`, the wall z = `WALL`. Rays are intersected with every surface, the nearest one is
seen, and its z is the depth. What tells the depth in a single image is what tells it in
photographs: where an object stands on the floor, the perspective of the checkers, shading, and a
little haze.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from comparison import Pair

WALL = 10.0  # lengths; the camera is one length and a half above the floor
CAMERA_HEIGHT = 1.5
VIEW = 1.0  # half the width of the image at z = 1: an angle of 90 degrees
HORIZONS = (0.25, 0.45)  # of the image's height, from above
OBJECTS = (2, 6)  # fewest and most
SIZES = (0.4, 1.1)  # half a side, or a radius
NEAREST = 2.0
CHECKER = 1.0  # side of a square of the floor
AMBIENT, HAZE, GRAIN = 0.35, 0.25, 4.0
SUBSETS = ("train", "val")


class Hit(NamedTuple):
    """What the rays meet of one surface.

    Attributes:
        z: [H, W], infinite where the surface is not met.
        normal: [H, W, 3], of unit length.
        color: [3] or [H, W, 3], from 0 to 1.
    """

    z: np.ndarray
    normal: np.ndarray
    color: np.ndarray


def draw_scenes(subset: str, count: int, size: int) -> list[Pair]:
    """The first scenes of "train" or "val": pure, and none is in both."""
    return [draw_scene(subset, number, size) for number in range(count)]


def draw_scene(subset: str, number: int, size: int) -> Pair:
    """One scene: uint8 [size, size, 3], and its depth in parts of `WALL`, float32 [size, size]."""
    rng = np.random.default_rng([SUBSETS.index(subset), number])
    rays = _rays(size, rng.uniform(*HORIZONS))
    hits = [_floor(rays, rng), _wall(rays, rng)]
    for _ in range(int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))):
        extent = rng.uniform(*SIZES)
        z = rng.uniform(NEAREST + extent, WALL - extent)
        center = np.array([rng.uniform(-0.8, 0.8) * VIEW * z, CAMERA_HEIGHT - extent, z])
        color = rng.uniform(0.15, 1, 3)
        hits.append((_sphere, _box)[int(rng.integers(2))](rays, center, extent, color))
    depth = np.stack([hit.z for hit in hits])
    nearest = depth.argmin(axis=0)
    image = np.zeros((size, size, 3))
    light = _unit(np.array([rng.uniform(-1, 1), -1.5, rng.uniform(-1, 0)]))
    for number_of_hit, hit in enumerate(hits):
        seen = nearest == number_of_hit
        shade = AMBIENT + (1 - AMBIENT) * np.maximum(hit.normal @ light, 0)
        image[seen] = (np.broadcast_to(hit.color, image.shape) * shade[..., None])[seen]
    depth = depth.min(axis=0)
    haze = HAZE * (depth / WALL)[..., None]
    image = 255 * ((1 - haze) * image + haze * 0.8) + rng.normal(0, GRAIN, image.shape)
    return image.clip(0, 255).astype(np.uint8), (depth / WALL).astype(np.float32)


def _rays(size: int, horizon: float) -> np.ndarray:
    """The directions of the pixels' rays with z = 1, [size, size, 3]."""
    places = (np.arange(size) + 0.5) / size
    x = np.broadcast_to(2 * VIEW * (places - 0.5), (size, size))
    y = np.broadcast_to(2 * VIEW * (places - horizon)[:, None], (size, size))
    return np.stack([x, y, np.ones((size, size))], axis=-1)


def _floor(rays: np.ndarray, rng: np.random.Generator) -> Hit:
    with np.errstate(divide="ignore"):
        z = np.where(rays[..., 1] > 0, CAMERA_HEIGHT / rays[..., 1], np.inf)
    places = np.where(np.isfinite(z), z, 0)[..., None] * rays[..., ::2]
    odd = np.floor(places / CHECKER).sum(axis=-1) % 2 == 1
    dark, bright = np.sort(rng.uniform(0.2, 0.9, (2, 3)), axis=0)
    normal = np.broadcast_to(np.array([0.0, -1.0, 0.0]), rays.shape)
    return Hit(z, normal, np.where(odd[..., None], dark, bright))


def _wall(rays: np.ndarray, rng: np.random.Generator) -> Hit:
    normal = np.broadcast_to(np.array([0.0, 0.0, -1.0]), rays.shape)
    return Hit(np.full(rays.shape[:2], WALL), normal, rng.uniform(0.3, 0.9, 3))


def _sphere(rays: np.ndarray, center: np.ndarray, radius: float, color: np.ndarray) -> Hit:
    # |z * ray - center| = radius, solved for z.
    a = np.sum(rays**2, axis=-1)
    b = rays @ center
    root = b**2 - a * (center @ center - radius**2)
    z = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    surface = np.where(np.isfinite(z), z, 0)[..., None] * rays
    return Hit(z, _unit(surface - center), color)


def _box(rays: np.ndarray, center: np.ndarray, half: float, color: np.ndarray) -> Hit:
    """A cube whose sides are parallel to the axes, by the slabs between its opposite sides."""
    with np.errstate(divide="ignore"):
        one, other = (center - half) / rays, (center + half) / rays
    enters, leaves = np.minimum(one, other), np.maximum(one, other)
    side = enters.argmax(axis=-1)
    z = enters.max(axis=-1)
    met = z < leaves.min(axis=-1)
    direction = -np.sign(np.take_along_axis(rays, side[..., None], axis=-1))
    normal = np.eye(3)[side] * direction
    return Hit(np.where(met, z, np.inf), normal, color)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
