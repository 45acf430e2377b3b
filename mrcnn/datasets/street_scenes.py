"""Drawn street scenes in the layout of Cityscapes: to try everything on without the real data.

Roads with houses, trees and signs, and on them people and vehicles that grow and cover each
other towards the viewer. The files hold what real ones hold: groups, license plates, deleted
objects, objects that nothing is left of, images without any instance.

Shape letters: H, W height and width of an image.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mrcnn.datasets.cityscapes import (
    ANNOTATIONS,
    IMAGE_SUFFIX,
    INSTANCE_FACTOR,
    LABEL_IDS,
    NEVER_PAINTED,
    WITH_INSTANCES,
    parse_label,
)

CITIES = {"train": ("adorf", "bestadt", "cehausen"), "val": ("demuend", "efurt")}
FRAME = 19  # of each sequence, as in Cityscapes
MIN_HEIGHT = 64

# What is special about image k, by k modulo the period.
PERIOD = 8
GROUP_IMAGE, EMPTY_IMAGE, HIDDEN_IMAGE = 1, 3, 5
MAX_OBJECTS = 9
HORIZON = (0.36, 0.46)  # in parts of the height
NEAREST, FARTHEST = 1.0, 0.3  # sizes of objects, in parts of the nearest ones
# (height, width / height) of the nearest objects, in parts of the image's height.
SIZES = {
    "person": (0.52, 0.36),
    "bicycle": (0.34, 1.6),
    "motorcycle": (0.34, 1.5),
    "car": (0.34, 2.1),
    "truck": (0.55, 1.6),
    "bus": (0.6, 2.0),
    "train": (0.6, 3.0),
    "caravan": (0.45, 1.5),
    "trailer": (0.3, 1.7),
}
KINDS = tuple(SIZES)
# How often each kind appears in a scene, besides the one that the image's number asks for.
FREQUENCIES = np.array([8, 3, 2, 9, 1, 1, 0.5, 0.5, 0.5])

# Outlines of objects that stand on (0, 0) to (1, 0): points (x, y), y up, clockwise.
OUTLINES = {
    "person": "0.1,0 0.16,.45 0,.5 .1,.8 .36,.84 .34,.96 .5,1 .66,.96 .64,.84 .9,.8 1,.5 .84,.45 "
    ".9,0 .62,0 .5,.4 .38,0",
    "rider": "0.3,0 0.2,.35 .2,.8 .42,.84 .4,.97 .6,1 .7,.86 .62,.8 .9,.5 .8,.4 .6,.5 .7,.2 .6,0",
    "bicycle": "0,.3 .06,.55 .2,.62 .24,.9 .2,1 .36,1 .34,.92 .32,.7 .6,.7 .58,.88 .5,.95 .74,.95 "
    ".7,.66 .9,.6 1,.35 .95,.1 .8,0 .62,.1 .56,.36 .44,.36 .38,.1 .22,0 .06,.08",
    "motorcycle": "0,.25 .04,.5 .2,.55 .16,.9 .3,1 .36,.75 .5,.85 .75,.7 1,.75 .9,.5 1,.3 .95,.06 "
    ".8,0 .66,.15 .36,.15 .24,0 .06,.05",
    "car": "0,.15 .01,.5 .06,.58 .2,.62 .34,.96 .42,1 .72,1 .8,.94 .92,.6 1,.5 1,.15 .94,.1 .9,0 "
    ".76,0 .72,.12 .28,.12 .24,0 .1,0 .06,.12",
    "truck": "0,.1 0,.5 .06,.8 .24,.82 .26,1 1,1 1,.1 .9,.1 .88,0 .74,0 .72,.1 .26,.1 .24,0 .1,0 "
    ".08,.1",
    "bus": "0,.08 0,.92 .04,1 .97,1 1,.94 1,.08 .88,.08 .86,0 .74,0 .72,.08 .26,.08 .24,0 .12,0 "
    ".1,.08",
    "train": "0,.05 .02,.5 .1,.96 .16,1 1,1 1,.05 .8,.05 .8,0 .2,0 .2,.05",
    "caravan": "0,.15 0,.9 .1,1 .9,1 1,.6 1,.15 .6,.15 .58,0 .42,0 .4,.15",
    "trailer": "0,.2 0,1 .85,1 .85,.4 1,.36 1,.3 .85,.3 .85,.2 .6,.2 .58,0 .4,0 .38,.2",
}
# Boxes (x1, y1, x2, y2) in the outline that are drawn on it: windows, and wheels below.
WINDOWS = {
    "car": ((0.26, 0.64, 0.5, 0.9), (0.54, 0.64, 0.8, 0.9)),
    "truck": ((0.03, 0.5, 0.16, 0.74),),
    "bus": tuple((x, 0.5, x + 0.13, 0.88) for x in (0.04, 0.2, 0.36, 0.52, 0.68, 0.84)),
    "train": tuple((x, 0.5, x + 0.1, 0.85) for x in (0.2, 0.34, 0.48, 0.62, 0.76)),
    "caravan": ((0.2, 0.55, 0.7, 0.85),),
}
WHEELED = ("car", "truck", "bus")
SKIN, TIRE, GLASS = (206, 160, 130), (25, 25, 28), (60, 78, 92)


def write_lookalike(
    folder: str | os.PathLike[str],
    train: int,
    val: int,
    image_size: tuple[int, int] = (128, 256),
    seed: int = 0,
) -> None:
    """Write a data set: `leftImg8bit` and `gtFine` with polygons, instance ids and label ids.

    The same arguments write the same bytes, and image k of a split depends on nothing but
    the image size, the seed, the split and k.

    Args:
        folder: where to; made when missing. Files of the same names are overwritten.
        train: number of training images.
        val: number of validation images.
        image_size: (height, width) in pixels; Cityscapes' own are (1024, 2048).
        seed: a number from 0 up.

    Raises:
        ValueError: the folder holds other cities, or an argument is out of range.
    """
    for split, count in (("train", train), ("val", val)):
        if count < 0:
            raise ValueError(f"{split}: expected a number of images from 0 up; received {count}.")
        images = Path(folder, "leftImg8bit", split)
        others = {path.name for path in images.glob("*") if path.is_dir()} - set(CITIES[split])
        if others:
            raise ValueError(
                f"{images}: expected a folder without other images than drawn ones; it holds "
                f"{', '.join(sorted(others))}. Choose another folder."
            )
        for k in range(count):
            cities = CITIES[split]
            city = cities[k % len(cities)]
            name = f"{city}_{k // len(cities):06d}_{FRAME:06d}"
            pixels, polygons, ids = draw_scene(image_size, seed, split, k)
            truth = Path(folder, "gtFine", split, city)
            for place in (images / city, truth):
                place.mkdir(parents=True, exist_ok=True)
            start = f"{name}_gtFine_"
            Image.fromarray(pixels).save(images / city / (name + IMAGE_SUFFIX))
            Image.fromarray(ids.astype(np.uint16)).save(truth / (start + ANNOTATIONS["instances"]))
            labels = np.where(ids < INSTANCE_FACTOR, ids, ids // INSTANCE_FACTOR)
            Image.fromarray(labels.astype(np.uint8)).save(truth / f"{start}labelIds.png")
            text = json.dumps(polygons, indent=1)
            (truth / (start + ANNOTATIONS["polygons"])).write_text(text, encoding="utf-8")


def draw_scene(
    image_size: tuple[int, int], seed: int, split: str, k: int
) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Draw image k of a split: a pure function.

    Args:
        image_size: (height, width) in pixels.
        seed: of the data set.
        split: "train" or "val".
        k: number of the image in its split, from 0 up.

    Returns:
        The image, uint8 [H, W, 3], the content of its polygons' json, and its instance ids,
        int32 [H, W].
    """
    height, width = image_size
    if height < MIN_HEIGHT or width < height:
        raise ValueError(
            f"image_size: expected a height of at least {MIN_HEIGHT} pixels and no smaller width; "
            f"received {image_size}."
        )
    scene = _Scene(height, width, np.random.default_rng([seed, tuple(CITIES).index(split), k]))
    _draw_street(scene)
    kind = k % PERIOD
    if kind != EMPTY_IMAGE:
        _draw_traffic(scene, first=KINDS[k % len(KINDS)], group=kind == GROUP_IMAGE)
    if kind == HIDDEN_IMAGE:
        _draw_hidden_person(scene)
    _draw_border(scene)
    return scene.photograph(), scene.polygons(), np.array(scene.ids, np.int32)


class _Scene:
    """A picture and its annotations, painted together: object by object, far to near."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.height, self.width, self.rng = height, width, rng
        self.horizon = rng.uniform(*HORIZON) * height
        self.picture = Image.new("RGB", (width, height))
        self.ids = Image.new("I", (width, height), LABEL_IDS["unlabeled"])
        self.objects: list[dict[str, Any]] = []
        self.instances: Counter[int] = Counter()
        self._paint = ImageDraw.Draw(self.picture)
        self._annotate = ImageDraw.Draw(self.ids)

    def add(self, name: str, points: Any, color: Any, **fields: Any) -> None:
        """Paint and annotate an object; points (x, y) in pixels. Deleted ones are not there."""
        polygon = np.rint(points).astype(int).tolist()
        self.objects.append({"label": name, "polygon": polygon, **fields})
        if fields.get("deleted"):
            return
        self.decorate(polygon, color)
        parsed = parse_label(name)
        if parsed is None:
            raise ValueError(f"{name!r} is not a label of Cityscapes.")
        label, group = parsed
        value = label
        if label in WITH_INSTANCES and not group:
            value = INSTANCE_FACTOR * label + self.instances[label]
            self.instances[label] += 1
        if value != NEVER_PAINTED:
            self._annotate.polygon([tuple(point) for point in polygon], fill=value)

    def decorate(self, points: Any, color: Any) -> None:
        """Paint what has no annotation of its own."""
        polygon = [tuple(point) for point in np.rint(points).astype(int).tolist()]
        self._paint.polygon(polygon, fill=tuple(int(c) for c in np.clip(color, 0, 255)))

    def photograph(self) -> np.ndarray:
        """The picture in the light of the day, with the camera's noise: uint8 [H, W, 3]."""
        light = self.rng.normal(1, 0.12, (4, 8)).astype(np.float32)
        size = (self.width, self.height)
        light = np.asarray(Image.fromarray(light).resize(size, Image.Resampling.BICUBIC))
        pixels = np.asarray(self.picture) * light[..., None] * self.rng.uniform(0.75, 1.1)
        pixels += self.rng.normal(0, self.rng.uniform(1, 6), pixels.shape)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def polygons(self) -> dict[str, Any]:
        """The content of the json file."""
        return {"imgHeight": self.height, "imgWidth": self.width, "objects": self.objects}

    def color(self, *mean: float, spread: float = 22) -> np.ndarray:
        """A color near a mean one."""
        return np.array(mean) + self.rng.normal(0, spread, 3)


def _rectangle(x1: float, y1: float, x2: float, y2: float) -> list[tuple[float, float]]:
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def _blob(rng: np.random.Generator, x: float, y: float, radius: float) -> np.ndarray:
    angles = np.arange(14) * 2 * np.pi / 14
    reach = radius * rng.uniform(0.75, 1.1, len(angles))
    return np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)


def _draw_street(scene: _Scene) -> None:
    """Sky, ground, road, houses, trees, poles with lights and signs."""
    rng, height, width, horizon = scene.rng, scene.height, scene.width, scene.horizon
    scene.add("sky", _rectangle(0, 0, width, horizon), scene.color(150, 185, 215))
    # The ground stays unlabeled: what nothing covers of it has no polygon.
    scene.decorate(_rectangle(0, horizon, width, height), scene.color(110, 105, 95))
    middle = width * rng.uniform(0.4, 0.6)
    for side in (0, width):
        corner = [(side, height), (side, horizon + 0.15 * height)]
        scene.add("sidewalk", [(middle, horizon), *corner], scene.color(150, 140, 145, spread=8))
    near = width * rng.uniform(0.1, 0.2), width * rng.uniform(0.8, 0.9)
    road = [(middle - 0.02 * width, horizon), (middle + 0.02 * width, horizon)]
    road += [(near[1], height), (near[0], height)]
    scene.add("road", road, scene.color(88, 86, 90, spread=8))
    for part in (0.15, 0.4, 0.75):  # dashes of the middle line
        y, x = horizon + part * (height - horizon), middle + part * (width / 2 - middle)
        thick = 0.01 * part * width
        dash = _rectangle(x - thick, y, x + thick, y + 0.1 * part * height)
        scene.decorate(dash, (215, 215, 210))
    x = -rng.uniform(0, 0.1) * width
    while x < width:
        wide, roof = rng.uniform(0.1, 0.22) * width, rng.uniform(0.05, 0.8) * horizon
        foot = horizon + rng.uniform(0.02, 0.08) * height
        if rng.random() < 0.75:
            _draw_house(scene, x, roof, x + wide, foot)
        else:
            tree = _blob(rng, x + wide / 2, (roof + foot) / 2, max(wide, foot - roof) / 2)
            scene.add("vegetation", tree, scene.color(75, 105, 55))
        x += wide * rng.uniform(0.85, 1.3)
    for _ in range(rng.integers(1, 4)):
        x, top = rng.uniform(0, width), rng.uniform(0.3, 0.9) * horizon
        thick = max(1, 0.006 * width)
        pole = _rectangle(x, top, x + thick, horizon + 0.12 * height)
        scene.add("pole", pole, scene.color(120, 120, 120))
        plate = np.array(_rectangle(-1, 0, 2, 3)) * 1.6 * thick + (x, top)
        if rng.random() < 0.5:
            scene.add("traffic sign", plate, scene.color(200, 190, 60))
        else:
            scene.add("traffic light", plate * (1, 1) + (0, thick), (45, 45, 45))


def _draw_house(scene: _Scene, x1: float, y1: float, x2: float, y2: float) -> None:
    scene.add("building", _rectangle(x1, y1, x2, y2), scene.color(140, 120, 105))
    step = 0.08 * scene.height
    for y in np.arange(y1 + 0.3 * step, y2 - step, step):
        for x in np.arange(x1 + 0.3 * step, x2 - 0.6 * step, step):
            scene.decorate(_rectangle(x, y, x + 0.5 * step, y + 0.6 * step), GLASS)


def _draw_traffic(scene: _Scene, first: str, group: bool) -> None:
    """People and vehicles, far to near; one of the kind `first` in the middle distance."""
    rng = scene.rng
    count = 2 + rng.integers(MAX_OBJECTS - 1)
    kinds = rng.choice(KINDS, count, p=FREQUENCIES / FREQUENCIES.sum())
    sizes = rng.uniform(FARTHEST, NEAREST, count)
    kinds[0], sizes[0] = first, rng.uniform(0.5, 0.8)
    if group:
        _draw_group(scene, rng.choice(["person", "car", "bicycle"]))
    for index in np.argsort(sizes):
        _draw_object(scene, str(kinds[index]), rng.uniform(0.02, 0.85), sizes[index])
    cancelled = np.array(OUTLINE_POINTS["person"]) * (20, -40) + (0.5 * scene.width, scene.height)
    scene.add("person", cancelled, (0, 0, 0), deleted=1)


def _draw_group(scene: _Scene, kind: str) -> None:
    """Small objects side by side, one polygon around all of them."""
    rng, size = scene.rng, FARTHEST
    tall = SIZES[kind][0] * size * scene.height
    wide = tall * SIZES[kind][1]
    foot = scene.horizon + size * 0.6 * (scene.height - scene.horizon)
    left = rng.uniform(0, scene.width - 3 * wide)
    around = _rectangle(left, foot - tall, left + 3 * wide, foot)
    color = scene.color(110, 105, 100, spread=8)
    scene.add(f"{kind}group", around, color)
    for x in np.arange(left, left + 2.2 * wide, 0.6 * wide):
        points = np.array(OUTLINE_POINTS[kind]) * (wide, -tall) + (x, foot)
        scene.decorate(points, scene.color(120, 90, 90, spread=50))


def _draw_object(scene: _Scene, kind: str, place: float, size: float) -> None:
    """One object. `place`: of its left side, in the width; `size`: in parts of the nearest."""
    rng = scene.rng
    tall = SIZES[kind][0] * size * scene.height
    wide = tall * SIZES[kind][1] * rng.uniform(0.85, 1.15)
    foot = scene.horizon + size * rng.uniform(0.8, 1) * (scene.height - scene.horizon)
    mirrored = rng.random() < 0.5
    x = place * scene.width

    def at(points: Any) -> np.ndarray:
        points = np.array(points, float)
        if mirrored:
            points = points * (-1, 1) + (1, 0)
        return points * (wide, -tall) + (x, foot)

    color = scene.color(120, 105, 110, spread=55)
    # Some bicycles and motorcycles are ridden; the rider is behind the handlebar.
    if kind in ("bicycle", "motorcycle") and rng.random() < 0.6:
        rider = np.array(OUTLINE_POINTS["rider"]) * (0.55, 1.3) + (0.22, 0.5)
        scene.add("rider", at(rider), scene.color(120, 100, 90, spread=50))
        scene.decorate(at(_rectangle(0.44, 1.6, 0.55, 1.75)), SKIN)
    scene.add(kind, at(OUTLINE_POINTS[kind]), color)
    for window in WINDOWS.get(kind, ()):
        scene.decorate(at(_rectangle(*window)), GLASS)
    if kind == "person":
        scene.decorate(at(_rectangle(0.38, 0.86, 0.62, 0.96)), SKIN)
        scene.decorate(at(_rectangle(0.2, 0.46, 0.8, 0.5)), 0.6 * color)
    if kind in WHEELED:
        for left in (0.1, 0.76):
            scene.decorate(at(_rectangle(left, 0, left + 0.13, 0.2)), TIRE)
    if kind == "car":
        scene.add("license plate", at(_rectangle(0.02, 0.2, 0.1, 0.3)), (235, 235, 225))


def _draw_hidden_person(scene: _Scene) -> None:
    """A person whom a bus covers wholly: annotated, but not a pixel is left."""
    height, width = scene.height, scene.width
    person = np.array(OUTLINE_POINTS["person"]) * (0.05 * height, -0.15 * height)
    scene.add("person", person + (0.3 * width, 0.75 * height), scene.color(150, 80, 80))
    bus = np.array(OUTLINE_POINTS["bus"]) * (0.4 * width, -0.45 * height)
    scene.add("bus", bus + (0.2 * width, 0.85 * height), scene.color(170, 60, 50))


def _draw_border(scene: _Scene) -> None:
    """The hood of the car that carries the camera, and the border that has no data."""
    height, width = scene.height, scene.width
    hood = [(0.2 * width, height), (0.3 * width, 0.95 * height), (0.7 * width, 0.95 * height)]
    scene.add("ego vehicle", [*hood, (0.8 * width, height)], (30, 32, 36))
    edge = max(1, 0.005 * height)
    scene.add("out of roi", _rectangle(0, 0, edge, height), (0, 0, 0))
    scene.add("rectification border", _rectangle(0, 0, width, edge), (0, 0, 0))


OUTLINE_POINTS = {
    name: [tuple(map(float, point.split(","))) for point in text.split()]
    for name, text in OUTLINES.items()
}
