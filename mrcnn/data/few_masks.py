"""Training with the masks of some objects: the others are taken as boxes alone.

It answers how many hand-drawn masks a data set needs beside its boxes (`mrcnn ablate
--mask-share`).
"""

from __future__ import annotations

import zlib

import numpy as np


def without_mask(name: str, count: int, share: float, seed: int) -> np.ndarray:
    """Which of an image's objects are taken as boxes without a mask.

    Each object is drawn by itself, so that the share is met on average. What has a mask with a
    small share has one with every larger share, too.

    Args:
        name: of the image, which with the seed decides the draw.
        count: N, its objects.
        share: of the objects that keep their mask, from 0 to 1.
        seed: SEED.

    Returns:
        bool [N].

    >>> without_mask("coco 7", 4, 0.0, seed=0)
    array([ True,  True,  True,  True])
    >>> without_mask("coco 7", 4, 1.0, seed=0)
    array([False, False, False, False])
    """
    draws = np.random.default_rng([seed, zlib.crc32(name.encode())]).random(count)
    return draws >= share
