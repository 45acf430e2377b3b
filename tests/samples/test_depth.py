"""The depth sample: scenes whose depth is known, measures, and the whole command."""

from __future__ import annotations

import csv
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mrcnn.edge_loss import EdgeAgreementLoss
from tests.samples.edge_samples import compile_eagerly, load


@pytest.fixture(scope="module")
def depth() -> ModuleType:
    return load("depth")


@pytest.fixture(scope="module")
def scenes() -> ModuleType:
    return load("scenes")


def test_scenes_are_pure_and_differ(scenes):
    (first, second), other = scenes.draw_scenes("train", 2, 48), scenes.draw_scenes("val", 1, 48)
    for image, depths in (first, second, *other):
        assert image.shape == (48, 48, 3) and image.dtype == np.uint8 and image.std() > 10
        assert depths.shape == (48, 48) and depths.dtype == np.float32
        assert 0 < depths.min() < 0.6 and depths.max() == 1  # the wall
    np.testing.assert_array_equal(scenes.draw_scene("train", 1, 48)[0], second[0])
    assert (first[0] != second[0]).any() and (first[0] != other[0][0]).any()


@pytest.mark.parametrize("kind", ["sphere", "box"])
def test_the_depth_is_where_a_ray_meets_the_surface(scenes, kind):
    """Against small steps along each ray, until it is inside."""
    rng = np.random.default_rng(0)
    rays = scenes._rays(12, 0.4)
    for _ in range(5):
        extent, z = rng.uniform(0.5, 1.0), rng.uniform(3, 6)
        center = np.array([rng.uniform(-1, 1), rng.uniform(-0.5, 0.8), z])
        hit = getattr(scenes, f"_{kind}")(rays, center, extent, np.ones(3))
        steps = np.arange(0, 8, 0.002)
        for y, x in np.ndindex(rays.shape[:2]):
            offsets = steps[:, None] * rays[y, x] - center
            distance = (
                np.linalg.norm(offsets, axis=1) if kind == "sphere" else np.abs(offsets).max(axis=1)
            )
            inside = np.flatnonzero(distance <= extent)
            if len(inside):
                assert hit.z[y, x] == pytest.approx(steps[inside[0]], abs=0.003)
                assert np.linalg.norm(hit.normal[y, x]) == pytest.approx(1)
                assert hit.normal[y, x] @ rays[y, x] < 0  # towards the camera
            else:
                assert hit.z[y, x] == np.inf
    assert np.isfinite(hit.z).any() and np.isinf(hit.z).any()


def test_the_floor_is_a_plane(scenes):
    rays = scenes._rays(32, 0.4)
    hit = scenes._floor(rays, np.random.default_rng(0))
    below = np.isfinite(hit.z)
    heights = (hit.z[..., None] * rays)[below][:, 1]
    np.testing.assert_allclose(heights, scenes.CAMERA_HEIGHT)
    assert not below[: int(0.4 * 32)].any() and below[int(0.4 * 32) + 1 :].all()


def test_measures(depth):
    true = np.full((2, 16, 16), 0.5, np.float32)
    true[0, :, 8:] = 0.8
    assert depth.measure(true, true) == {"abs_rel": 0, "delta": 1, "border_rmse": 0}
    near = depth.near_jumps(true[0])
    np.testing.assert_array_equal(near[3], np.isin(np.arange(16), [6, 7, 8, 9, 10]))
    found = true.copy()
    found[0][near] += 0.1
    found[1] *= 1.5
    measured = depth.measure(true, found)
    assert measured["border_rmse"] == pytest.approx(0.1, rel=1e-5)
    assert measured["delta"] == pytest.approx(1 - (256 + 0) / 512, abs=0.02)
    wrong = (16 * 2 * 0.1 / 0.5 + 16 * 3 * 0.1 / 0.8 + 256 * 0.5) / 512
    assert measured["abs_rel"] == pytest.approx(wrong, rel=1e-5)


def test_the_edge_agreement_is_added_to_the_error(depth):
    random = np.random.default_rng(0)
    true, found = random.random((2, 2, 6, 6, 1)).astype(np.float32)
    error = np.abs(true - found).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(depth.depth_loss()(true, found), error, rtol=1e-5)
    edge_loss = EdgeAgreementLoss()
    both = depth.depth_loss(edge_loss)(true, found)
    np.testing.assert_allclose(both - error, edge_loss.call(true, found), rtol=1e-4)


def test_the_whole_command(depth, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(load("comparison"), "compile_model", compile_eagerly)
    options = ["--image-size", "32", "--batch-size", "2", "--width", "4", "--seeds", "3"]
    options += ["--steps", "2", "--steps-per-epoch", "2", "--output", str(tmp_path)]
    assert depth.main(["--train-scenes", "3", "--val-scenes", "3", *options]) == 0
    assert "AbsRel" in capsys.readouterr().out
    with open(tmp_path / "depth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["training"] for row in rows] == ["absolute error", "with edge agreement"]
    assert all(0 < float(row["abs_rel"]) < 2 for row in rows)
    assert float(rows[1]["loss"]) > float(rows[0]["loss"])
    with Image.open(tmp_path / "depth.png") as page:
        assert page.width > 900 and np.asarray(page).std() > 10
    assert depth.main(["--image-size", "30"]) == 2
    assert "depth.py: --image-size: expected a multiple of 4" in capsys.readouterr().err
