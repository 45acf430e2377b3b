"""Handwritten digits, placed on backgrounds: ten classes, found and outlined one by one.

    pip install "mrcnn[digits]"    # scikit-learn, which brings the digits

    # Train a small network from a random start, and evaluate it; some minutes on a CPU.
    python samples/digits/digits.py

    # The same with the Edge Agreement Head.
    python samples/digits/digits.py --edge-loss-filters sobel --run-name sobel

The digits are the 1797 of scikit-learn (8 x 8 pixels and 17 shades, from the UCI repository). Each
is enlarged, turned and inked over a background of another color; its mask is where the ink covers
at least half of what lies below. Every fifth digit of a class is kept for validation, so that no
digit that the network is judged by was ever in a training image.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mrcnn import utils
from mrcnn.config import Config

DEFAULT_STEPS = 1000
TRAIN_IMAGES, VAL_IMAGES = 800, 80

SOURCE = "digits"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SUBSETS = ("train", "val")
VAL_PERIOD = 5  # every fifth digit of a class
MAX_SHADE = 16  # of scikit-learn's digits

DIGITS_AN_IMAGE = (3, 7)  # fewest and most
SIZES = (0.24, 0.42)  # side of a digit in parts of the image's shorter side
MAX_TURN = 15  # degrees
MAX_OVERLAP = 0.1  # IoU of the boxes of two digits
ATTEMPTS = 30  # at a free place
MIN_OPACITY = 0.5  # of a mask's pixels
SHARPNESS = 3.0  # of the ink's borders: of 8 x 8 pixels enlarged, they are soft
MIN_CONTRAST = 150.0  # RGB distance between the ink and the background's mean color
SHADING, GRAIN = 15.0, 6.0  # of the background: deviation of smooth changes, and of single pixels
SHADING_CELLS = 5  # places of the smooth changes along a side


class DigitsConfig(Config):
    """128 x 128 images, ten classes, small anchors."""

    NAME = "digits"
    IMAGES_PER_GPU = 8
    NUM_CLASSES = 1 + len(NAMES)
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 48
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 5


class SmallDigitsConfig(DigitsConfig):
    """A network that learns the digits from a random start on a CPU."""

    BACKBONE = "resnet10"
    IMAGES_PER_GPU = 4
    TRAIN_BN = None  # nothing is pretrained, so batch statistics have to be learned
    OPTIMIZER = "adam"
    TOP_DOWN_PYRAMID_SIZE = 64
    RPN_CONV_FILTERS = 64
    MASK_CONV_FILTERS = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    PRE_NMS_LIMIT = 600
    POST_NMS_ROIS_TRAINING = 200
    POST_NMS_ROIS_INFERENCE = 100
    MAX_GT_INSTANCES = 10
    DETECTION_MAX_INSTANCES = 30


class DigitImages(NamedTuple):
    """Handwritten digits: shades [N, 8, 8] from 0 to 1 (ink), and int [N] what they are."""

    shades: np.ndarray
    values: np.ndarray


class PlacedDigit(NamedTuple):
    """A digit of a scene: its number in `DigitImages`, and how it lies in the image."""

    index: int
    value: int
    left: int  # pixels
    top: int
    size: int
    turn: float  # degrees
    ink: tuple[int, int, int]


@cache
def digit_images(subset: str) -> DigitImages:
    """The digits of "train" or "val"; none is in both.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: there is no such subset.
    """
    if subset not in SUBSETS:
        raise ValueError(f"subset: expected one of {SUBSETS}; received {subset!r}.")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            f"The handwritten digits come with scikit-learn, which cannot be imported ({error}). "
            'Install it: pip install "mrcnn[digits]".'
        ) from error
    shades, values = load_digits(return_X_y=True)
    # The number of a digit among those of its class.
    ranks = np.array([np.sum(values[:k] == value) for k, value in enumerate(values)])
    chosen = (ranks % VAL_PERIOD == VAL_PERIOD - 1) == (subset == "val")
    return DigitImages(shades[chosen].reshape(-1, 8, 8) / MAX_SHADE, values[chosen])


class DigitsDataset(utils.Dataset):
    """Scenes of handwritten digits; only their descriptions are kept.

    `image_info[i]` holds `width`, `height`, `background` (a mean color and the seed of its
    texture) and `digits`: a list of `PlacedDigit`, later ones in front.

    Args:
        subset: whose digits are used, "train" or "val".
        seed: of the scenes. Scene k depends on the subset, the seed, its size and k alone.
    """

    def __init__(self, subset: str = "train", seed: int = 0) -> None:
        super().__init__()
        self.subset, self.seed = subset, seed

    def load_digits(self, count: int, height: int, width: int) -> None:
        """Make up `count` scenes of `height` x `width` pixels.

        Raises:
            ImportError: scikit-learn is not installed.
            ValueError: the scenes would be too small for a digit.
        """
        if min(height, width) < 64:
            raise ValueError(
                f"height, width: expected at least 64 pixels; received {height} and {width}."
            )
        known = digit_images(self.subset)
        for class_id, name in enumerate(NAMES, start=1):
            self.add_class(SOURCE, class_id, name)
        for _ in range(count):
            number = len(self.image_info)
            rng = np.random.default_rng([self.seed, SUBSETS.index(self.subset), number])
            color = _random_color(rng)
            self.add_image(
                SOURCE,
                image_id=number,
                path=None,
                width=width,
                height=height,
                background=(color, int(rng.integers(2**31))),
                digits=_place_digits(known, color, (height, width), rng),
            )

    def load_image(self, image_id: int) -> np.ndarray:
        """Draw a scene: uint8 [H, W, 3]."""
        info = self.image_info[image_id]
        size = info["height"], info["width"]
        image = _draw_background(*info["background"], size)
        for digit in info["digits"]:
            opacity = self._opacity(digit, size)[..., None]
            image += opacity * (np.asarray(digit.ink, np.float32) - image)
        return image.clip(0, 255).round().astype(np.uint8)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The visible ink of each digit: bool [H, W, N], int32 [N] class ids."""
        info = self.image_info[image_id]
        digits: list[PlacedDigit] = info["digits"]
        size = info["height"], info["width"]
        masks = np.zeros((len(digits), *size), bool)
        for index, digit in enumerate(digits):
            masks[index] = self._opacity(digit, size) >= MIN_OPACITY
            masks[:index] &= ~masks[index]
        class_ids = [self.map_source_class_id(f"{SOURCE}.{digit.value + 1}") for digit in digits]
        return masks.transpose(1, 2, 0), np.array(class_ids, np.int32)

    def image_reference(self, image_id: int) -> Any:
        """The digits of a scene."""
        return self.image_info[image_id]["digits"]

    def summary(self) -> str:
        """One sentence: how many scenes and digits there are."""
        counts = Counter(digit.value for info in self.image_info for digit in info["digits"])
        digits = ", ".join(f"{counts[value]} x {value}" for value in range(len(NAMES)))
        return (
            f"{len(self.image_info)} images with {digits}, of "
            f"{len(digit_images(self.subset).values)} handwritten ones."
        )

    def _opacity(self, digit: PlacedDigit, size: tuple[int, int]) -> np.ndarray:
        """How much a digit covers of each pixel, float32 [H, W] from 0 to 1."""
        shades = digit_images(self.subset).shades[digit.index]
        small = Image.fromarray((shades * 255).astype(np.uint8))
        large = small.resize((digit.size, digit.size), Image.Resampling.BICUBIC)
        canvas = Image.new("L", size[::-1])
        canvas.paste(
            large.rotate(digit.turn, Image.Resampling.BICUBIC, expand=False),
            (digit.left, digit.top),
        )
        return ((np.asarray(canvas, np.float32) / 255 - 0.5) * SHARPNESS + 0.5).clip(0, 1)


def _place_digits(
    known: DigitImages,
    background: tuple[int, int, int],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> list[PlacedDigit]:
    """Choose digits and places for them; those without a free place are left out."""
    height, width = size
    placed: list[PlacedDigit] = []
    boxes = np.zeros((0, 4), np.int32)
    for _ in range(int(rng.integers(DIGITS_AN_IMAGE[0], DIGITS_AN_IMAGE[1] + 1))):
        index = int(rng.integers(len(known.values)))
        side = int(min(size) * rng.uniform(*SIZES))
        turn, ink = float(rng.uniform(-MAX_TURN, MAX_TURN)), _contrasting_color(background, rng)
        for _ in range(ATTEMPTS):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            box = np.array([[top, left, top + side, left + side]], np.int32)
            if not len(boxes) or utils.compute_overlaps(box, boxes).max() <= MAX_OVERLAP:
                boxes = np.concatenate([boxes, box])
                value = int(known.values[index])
                placed.append(PlacedDigit(index, value, left, top, side, turn, ink))
                break
    return placed


def _draw_background(color: tuple[int, int, int], seed: int, size: tuple[int, int]) -> np.ndarray:
    """A color that changes smoothly over the image, with grain: float32 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, SHADING, (SHADING_CELLS, SHADING_CELLS, 3)).astype(np.float32)
    layers = [
        np.asarray(Image.fromarray(layer).resize(size[::-1], Image.Resampling.BICUBIC))
        for layer in coarse.transpose(2, 0, 1)
    ]
    grain = rng.normal(0, GRAIN, (*size, 1))
    return (np.asarray(color) + np.stack(layers, axis=-1) + grain).astype(np.float32)


def _random_color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _contrasting_color(
    background: tuple[int, int, int], rng: np.random.Generator
) -> tuple[int, int, int]:
    """A color that can be told from the background's. There always is one: a corner of RGB."""
    while True:
        color = _random_color(rng)
        if np.linalg.norm(np.subtract(color, background)) >= MIN_CONTRAST:
            return color


def draw(config: Config, subset: str, count: int) -> DigitsDataset:
    """The scenes of a subset, "train" or "val"."""
    dataset = DigitsDataset(subset, seed=config.SEED)
    height, width = config.IMAGE_SHAPE[:2].tolist()
    dataset.load_digits(count, height, width)
    dataset.prepare()
    return dataset


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import drawn_sample

    sample = drawn_sample.DrawnSample(
        *("digits.py", __doc__ or "", DigitsConfig, SmallDigitsConfig, draw, DEFAULT_STEPS),
        train_images=TRAIN_IMAGES,
        val_images=VAL_IMAGES,
    )
    return drawn_sample.main(sample, argv)


if __name__ == "__main__":
    sys.exit(main())
