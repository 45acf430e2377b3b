"""Pictures that resemble each other form a group, in a chain too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage.filters import gaussian

from mrcnn.doctor.near_duplicates import groups_of


def smooth(seed: int, width: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(64, width, 3))
    values = gaussian(noise, 6, channel_axis=-1)
    return (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray, **options) -> Path:
    path = folder / name
    Image.fromarray(pixels).save(path, **options)
    return path


def test_groups(tmp_path):
    a, b = smooth(1), smooth(2)
    flat = np.full((64, 64, 3), 90, np.uint8)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = [
        save(tmp_path, "b.png", b),
        save(tmp_path, "a.png", a),
        save(tmp_path, "a_small.png", a[::2, ::2]),
        save(tmp_path, "a.jpg", a, quality=50),
        save(tmp_path, "a_dark.png", a // 2),
        save(tmp_path, "flat.png", flat),
        save(tmp_path, "flat_too.png", flat + 1),
        save(tmp_path, "flat_same.png", flat),
        broken,
    ]
    assert groups_of(paths, progress=False) == [0, 1, 1, 1, 1, 5, 6, 5, 8]
    assert groups_of([], progress=False) == []


def test_a_chain_of_frames_is_one_group(tmp_path):
    wide = smooth(3, width=124)
    frames = [save(tmp_path, f"{i}.png", wide[:, i : i + 64]) for i in range(60)]
    first, last = groups_of([frames[0], frames[-1]], progress=False)
    assert first != last
    assert set(groups_of(frames, jobs=2, progress=False)) == {0}
