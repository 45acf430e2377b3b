"""Weights for scripts that load some, in Matterport's layout.

    python -m benchmarks.corpus.weights OUT.h5 '{"NUM_CLASSES": 81}' [--backbone] [--steps 200]

With `--backbone` only the layers of the backbone are written, as in a file of ImageNet weights.
With `--steps` the network learns the corpus's pictures first, for the scripts that measure.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

BACKBONE_LAYERS = re.compile(r"conv1|bn_conv1|res\d|bn\d")


def main() -> int:
    """Write the file. Returns 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--backbone", action="store_true")
    parser.add_argument("--steps", type=int, default=0)
    options = parser.parse_args()
    options.path.parent.mkdir(parents=True, exist_ok=True)
    part = options.path.with_name("part-" + options.path.name)
    write(part, options.settings, options.steps)
    if options.backbone:
        keep_backbone(part)
    part.replace(options.path)
    return 0


def write(path: Path, settings: dict[str, Any], steps: int) -> None:
    """A network with these settings, after so many steps of training."""
    from benchmarks.corpus import outside, scenes
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN
    from mrcnn.utils import Dataset

    class Pictures(Dataset):
        def load_image(self, image_id: int) -> np.ndarray:
            return scenes.draw(int(image_id), self.num_classes - 1).image

        def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
            scene = scenes.draw(int(image_id), self.num_classes - 1)
            kinds = [outline.kind + 1 for outline in scene.outlines]
            return np.stack(scene.visible_masks(), axis=-1), np.array(kinds, np.int32)

    fixed = {"NAME": "corpus", "VALIDATION_STEPS": 1, "STEPS_PER_EPOCH": max(1, steps)}
    learning = {"TRAIN_BN": None, "OPTIMIZER": "adam"} if steps else {}
    every = {**outside.CAPS, **settings, **fixed, **learning}
    config = type("CorpusConfig", (Config,), every)()
    with tempfile.TemporaryDirectory() as logs:
        if steps:
            pictures = Pictures()
            for kind in range(1, config.NUM_CLASSES):
                pictures.add_class("corpus", kind, str(kind))
            for seed in range(1000, 1200):  # none of the pictures that the scripts see
                pictures.add_image("corpus", seed, None)
            pictures.prepare()
            model = MaskRCNN("training", config, logs)
            model.train(pictures, None, learning_rate=1e-3, epochs=1, layers="all")
        else:
            model = MaskRCNN("inference", config, logs)
        model.keras_model.save_weights(str(path))


def keep_backbone(path: Path) -> None:
    """Drop every layer of a file of weights that is not the backbone's."""
    with h5py.File(path, "r+") as file:
        names = [name for name in file if BACKBONE_LAYERS.match(name)]
        for name in set(file) - set(names):
            del file[name]
        file.attrs["layer_names"] = [name.encode() for name in names]


if __name__ == "__main__":
    sys.exit(main())
