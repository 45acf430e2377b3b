"""Pictures to compare networks on."""

from __future__ import annotations

import numpy as np


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of colors with noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (-(-height // 16), -(-width // 16), 3))
    picture = np.kron(coarse, np.ones((16, 16, 1), int))[:height, :width]
    return (picture + rng.integers(0, 56, picture.shape)).astype(np.uint8)
