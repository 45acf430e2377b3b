"""Weights for scripts that load some: untrained ones, in Matterport's layout.

    python -m benchmarks.corpus.weights OUT.h5 '{"NUM_CLASSES": 81}' [backbone]

With `backbone` only the layers of the backbone are written, as in a file of ImageNet weights.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import h5py

BACKBONE_LAYERS = re.compile(r"conv1|bn_conv1|res\d|bn\d")


def main() -> int:
    """Write the file. Returns 0."""
    from benchmarks.corpus import outside
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN

    path = Path(sys.argv[1])
    settings = {**outside.CAPS, **json.loads(sys.argv[2]), "NAME": "corpus", "VALIDATION_STEPS": 1}
    config = type("CorpusConfig", (Config,), settings)()
    model = MaskRCNN("inference", config, str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name("part-" + path.name)
    model.keras_model.save_weights(str(part))
    if sys.argv[3:] == ["backbone"]:
        keep_backbone(part)
    part.replace(path)
    return 0


def keep_backbone(path: Path) -> None:
    """Drop every layer of a file of weights that is not the backbone's."""
    with h5py.File(path, "r+") as file:
        names = [name for name in file if BACKBONE_LAYERS.match(name)]
        for name in set(file) - set(names):
            del file[name]
        file.attrs["layer_names"] = [name.encode() for name in names]


if __name__ == "__main__":
    sys.exit(main())
