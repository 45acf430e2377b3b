"""The shapes of Matterport's tutorial: squares, circles and triangles, drawn when needed.

    # Train a small network from a random start, and evaluate it; some minutes on a CPU.
    python samples/shapes/shapes.py

    # The same with the Edge Agreement Head; or from the weights of COCO, as in the tutorial.
    python samples/shapes/shapes.py --edge-loss-filters sobel --run-name sobel
    python samples/shapes/shapes.py --model coco --schedule paper-160k --steps 300

For shapes on disk, in COCO's format, with textures, crowds and run lengths, see
`mrcnn.datasets.shapes` and the command `mrcnn demo`.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mrcnn import utils
from mrcnn.config import Config

DEFAULT_STEPS = 700

SOURCE = "shapes"
NAMES = ("square", "circle", "triangle")
MAX_SHAPES = 4
MARGIN = 20  # pixels from a shape's center to the border, at least
MAX_OVERLAP = 0.3  # IoU of the boxes of two shapes

Color = tuple[int, int, int]
Dimensions = tuple[int, int, int]  # center x, center y, half the side, in pixels
Shape = tuple[str, Color, Dimensions]


class ShapesConfig(Config):
    """The tutorial's settings: 128 x 128 images, three classes, small anchors."""

    NAME = "shapes"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 8
    NUM_CLASSES = 1 + len(NAMES)
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 5


class SmallShapesConfig(ShapesConfig):
    """A network that learns the shapes from a random start on a CPU."""

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


class ShapesDataset(utils.Dataset):
    """Images of shapes on a plain background; only their descriptions are kept.

    `image_info[i]` holds `width`, `height`, `bg_color` and `shapes`: a list of (name, color,
    (x, y, s)), later ones in front. Shapes may lie partly behind others.

    Args:
        class_map: as in `utils.Dataset`.
        seed: of the descriptions; None: different ones each time.
    """

    def __init__(self, class_map: Any = None, seed: int | None = None) -> None:
        super().__init__(class_map)
        self._rng = np.random.default_rng(seed)

    def load_shapes(self, count: int, height: int, width: int) -> None:
        """Make up `count` images of `height` x `width` pixels."""
        if min(height, width) <= 2 * MARGIN:
            raise ValueError(
                f"height, width: expected more than {2 * MARGIN} pixels; "
                f"received {height} and {width}."
            )
        for class_id, name in enumerate(NAMES, start=1):
            self.add_class(SOURCE, class_id, name)
        for _ in range(count):
            bg_color, shapes = self.random_image(height, width)
            self.add_image(
                SOURCE,
                image_id=len(self.image_info),
                path=None,
                width=width,
                height=height,
                bg_color=bg_color,
                shapes=shapes,
            )

    def load_image(self, image_id: int) -> np.ndarray:
        """Draw an image: uint8 [H, W, 3]."""
        info = self.image_info[image_id]
        image = np.empty((info["height"], info["width"], 3), np.uint8)
        image[:] = info["bg_color"]
        for shape, color, dims in info["shapes"]:
            image = self.draw_shape(image, shape, dims, color)
        return image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """The visible parts of the shapes: bool [H, W, N], int32 [N] class ids."""
        info = self.image_info[image_id]
        if info["source"] != SOURCE:
            return super().load_mask(image_id)
        shapes = info["shapes"]
        masks = np.zeros((len(shapes), info["height"], info["width"]), bool)
        for mask, (shape, _, dims) in zip(masks, shapes, strict=True):
            mask[:] = self.draw_shape(mask.astype(np.uint8), shape, dims, 1)
        for index in range(len(shapes) - 1):
            masks[index] &= ~masks[index + 1 :].any(axis=0)
        class_ids = [self.map_source_class_id(f"{SOURCE}.{_class_id(s)}") for s, _, _ in shapes]
        return masks.transpose(1, 2, 0), np.array(class_ids, np.int32)

    def image_reference(self, image_id: int) -> Any:
        """The shapes of an image."""
        info = self.image_info[image_id]
        return info["shapes"] if info["source"] == SOURCE else super().image_reference(image_id)

    def draw_shape(
        self, image: np.ndarray, shape: str, dims: Dimensions, color: Color | int
    ) -> np.ndarray:
        """Draw a shape over an image, uint8 [H, W, 3] or [H, W]; returns the new image."""
        x, y, s = dims
        canvas = Image.fromarray(image)
        draw = ImageDraw.Draw(canvas)
        if shape == "square":
            draw.rectangle([x - s, y - s, x + s, y + s], fill=color)
        elif shape == "circle":
            draw.ellipse([x - s, y - s, x + s, y + s], fill=color)
        elif shape == "triangle":
            half = s / math.sin(math.radians(60))
            draw.polygon([(x, y - s), (x - half, y + s), (x + half, y + s)], fill=color)
        else:
            raise ValueError(f"shape: expected one of {NAMES}; received {shape!r}.")
        return np.array(canvas)

    def random_shape(self, height: int, width: int) -> Shape:
        """Make up a shape; large ones may cross the border a little."""
        shape = str(self._rng.choice(NAMES))
        y = int(self._rng.integers(MARGIN, height - MARGIN))
        x = int(self._rng.integers(MARGIN, width - MARGIN))
        s = int(self._rng.integers(MARGIN, max(height // 4, MARGIN + 1)))
        return shape, self._random_color(), (x, y, s)

    def random_image(self, height: int, width: int) -> tuple[Color, list[Shape]]:
        """Make up an image: the color of its background, and one to four shapes.

        Of shapes that overlap much, the smaller ones are left out, so that all can be seen.
        """
        background = self._random_color()
        count = int(self._rng.integers(1, MAX_SHAPES + 1))
        shapes = [self.random_shape(height, width) for _ in range(count)]
        boxes = np.array([[y - s, x - s, y + s, x + s] for _, _, (x, y, s) in shapes])
        sizes = np.array([s for _, _, (_, _, s) in shapes])
        kept = utils.non_max_suppression(boxes, sizes, MAX_OVERLAP)
        return background, [shapes[index] for index in sorted(kept)]

    def summary(self) -> str:
        """One sentence: how many images and shapes there are."""
        counts = Counter(shape for info in self.image_info for shape, _, _ in info["shapes"])
        shapes = ", ".join(f"{counts[name]} {name}s" for name in NAMES)
        return f"{len(self.image_info)} images with {shapes}."

    def _random_color(self) -> Color:
        return tuple(self._rng.integers(0, 256, 3).tolist())


def _class_id(shape: str) -> int:
    return NAMES.index(shape) + 1


def draw(config: Config, subset: str, count: int) -> ShapesDataset:
    """The images of a subset, "train" or "val": never the same in both."""
    dataset = ShapesDataset(seed=config.SEED + (subset == "val"))
    height, width = config.IMAGE_SHAPE[:2].tolist()
    dataset.load_shapes(count, height, width)
    dataset.prepare()
    return dataset


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from mrcnn.commands import drawn_sample

    sample = drawn_sample.DrawnSample(
        *("shapes.py", __doc__ or "", ShapesConfig, SmallShapesConfig, draw, DEFAULT_STEPS)
    )
    return drawn_sample.main(sample, argv)


if __name__ == "__main__":
    sys.exit(main())
