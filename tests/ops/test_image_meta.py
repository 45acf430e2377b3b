"""The row of numbers that travels with each image."""

from __future__ import annotations

import numpy as np
from keras import ops

from mrcnn.ops import image_meta
from tests.support import compiled

META = np.array(
    [
        [7, 100, 150, 3, 128, 192, 3, 14, 0, 114, 192, 1.28, 1, 0, 1, 1],
        [8, 128, 192, 3, 128, 192, 3, 0, 0, 128, 192, 1.0, 1, 1, 0, 0],
    ],
    np.float32,
)


def test_parts_and_window_on_every_variant():
    def everything(meta):
        derived = {
            "normal": image_meta.normalized_window(meta),
            "area": image_meta.image_area(meta),
        }
        return image_meta.parse_image_meta(meta) | derived

    expected = {
        "area": 128 * 192,
        "image_id": [7, 8],
        "original_image_shape": [[100, 150, 3], [128, 192, 3]],
        "image_shape": [[128, 192, 3]] * 2,
        "window": [[14, 0, 114, 192], [0, 0, 128, 192]],
        "scale": [1.28, 1],
        "active_class_ids": [[1, 0, 1, 1], [1, 1, 0, 0]],
        # y2 and x2 are outside the window: its last row is 113.
        "normal": [[14 / 127, 0, 113 / 127, 1], [0, 0, 1, 1]],
    }
    for name, run in compiled(everything):
        got = run(META)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-6, err_msg=f"{name} {key}")


def test_parity(fixtures):
    vectors = np.load(fixtures / "util_vectors.npz")
    parts = image_meta.parse_image_meta(vectors["meta"][None].astype(np.float32))
    for key, value in parts.items():
        expected = vectors[f"meta_{key}"]
        assert tuple(value.shape) == expected.shape
        np.testing.assert_allclose(ops.convert_to_numpy(value), expected, rtol=1e-6, err_msg=key)
