"""Pictures that resemble each other, in groups."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mrcnn.data.images import read_image
from mrcnn.doctor.image_files import thumbnail_of
from mrcnn.doctor.splits import BLOCK, FLAT, NEAR
from mrcnn.files.remote_image import local_image


def groups_of(paths: Sequence[str | Path], jobs: int = 1, progress: bool = True) -> list[int]:
    """Number the groups of pictures that are, or resemble, each other, as the doctor's check does.

    A picture belongs to the group of each that it resembles: frames of a film, of which only
    neighbours are alike, are one group.

    Args:
        paths: of N pictures. Those that cannot be read are groups of their own.
        jobs: threads.
        progress: show a progress bar.

    Returns:
        N numbers; a group has the number of its first picture.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(jobs) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of large pictures and odd metadata
        looks = list(
            tqdm(
                pool.map(_look, paths),
                desc="Compare pictures",
                total=len(paths),
                unit="image",
                disable=not progress or None,
            )
        )
    parents = list(range(len(paths)))
    first: dict[bytes, int] = {}
    for i, (digest, _) in enumerate(looks):
        if digest is not None:
            _join(parents, first.setdefault(digest, i), i)
    known = [i for i, (_, row) in enumerate(looks) if row is not None]
    rows = np.array([looks[i][1] for i in known], np.float32)
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        for other in range(0, start + 1, BLOCK):
            alike = part @ rows[other : other + BLOCK].T >= NEAR
            for a, b in np.argwhere(alike):
                _join(parents, known[start + a], known[other + b])
    return [_root(parents, i) for i in range(len(paths))]


def _look(path: str | Path) -> tuple[bytes | None, np.ndarray | None]:
    """A digest of the pixels; and, unless it is flat, the small grey picture, of length 1."""
    try:
        pixels = read_image(local_image(path))
    except (OSError, ValueError):
        return None, None
    shape = np.array(pixels.shape, np.int64).tobytes()
    digest = hashlib.blake2b(shape + pixels.tobytes(), digest_size=16).digest()
    values = thumbnail_of(pixels).astype(np.float32).ravel()
    if values.std() < FLAT:
        return digest, None
    values -= values.mean()
    return digest, values / np.linalg.norm(values)


def _root(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


def _join(parents: list[int], a: int, b: int) -> None:
    a, b = _root(parents, a), _root(parents, b)
    parents[max(a, b)] = min(a, b)
