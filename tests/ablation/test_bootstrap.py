"""Intervals that count the images in."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.ablation.bootstrap import ImageResamples
from mrcnn.evaluation.matches import Matches


def of_recalls(found: np.ndarray) -> Matches:
    """Matches of images with one object each, of which some are found: bool [I]."""
    images = np.flatnonzero(found).astype(np.int32)
    count = len(images)
    return Matches(
        scores=np.linspace(1, 0.5, count),
        images=images,
        categories=np.zeros(count, np.int32),
        true=np.ones((1, count), bool),
        ignored=np.zeros((1, count), bool),
        objects=np.ones((len(found), 1), np.int32),
        thresholds=np.array([0.5]),
    )


def test_the_same_samples_for_every_run_cancel():
    """A run compared with itself differs in no sample, whatever the images."""
    rng = np.random.default_rng(0)
    arm = {seed: of_recalls(rng.random(40) < 0.6) for seed in range(4)}
    found = ImageResamples({"a": arm, "b": arm}, 200).interval("a", "b")
    assert found == (0, 0)


def test_few_images_make_the_interval_wider_where_the_seeds_agree():
    """All seeds find the same objects: that is all the seeds can tell."""
    widths = []
    for images in (20, 320):
        rng = np.random.default_rng(1)
        mine, other = rng.random(images) < 0.8, rng.random(images) < 0.5
        runs = {
            "a": dict.fromkeys(range(3), of_recalls(mine)),
            "b": dict.fromkeys(range(3), of_recalls(other)),
        }
        found = ImageResamples(runs, 400).interval("a", "b")
        difference = mine.mean() - other.mean()
        assert found.low < difference < found.high
        # The AP of perfect detections is their recall, whose difference has a known deviation.
        values = mine.astype(float) - other
        expected = 2 * 1.96 * values.std(ddof=1) / np.sqrt(images)
        assert found.high - found.low == pytest.approx(expected, rel=0.2)
        widths.append(found.high - found.low)
    assert widths[1] < 0.5 * widths[0]


def test_the_spread_of_the_seeds_is_in_it():
    """Every image says the same of a run, so that only the seeds differ."""
    images = 400
    recalls = [0.5, 0.6, 0.7, 0.8, 0.55, 0.75]
    rng = np.random.default_rng(2)
    runs = {
        "a": {seed: of_recalls(rng.random(images) < r) for seed, r in enumerate(recalls)},
        "b": {seed: of_recalls(np.ones(images, bool)) for seed in range(len(recalls))},
    }
    found = ImageResamples(runs, 600).interval("a", "b")
    differences = np.array([runs["a"][s].average_precision() - 1 for s in range(len(recalls))])
    expected = 2 * 1.96 * differences.std(ddof=1) / np.sqrt(len(recalls))
    assert found.high - found.low == pytest.approx(expected, rel=0.15)


def test_a_seed_gives_one_interval_and_one_run_gives_none():
    rng = np.random.default_rng(3)
    runs = {arm: {s: of_recalls(rng.random(30) < 0.6) for s in range(3)} for arm in "ab"}
    first, second = (ImageResamples(runs, 100, seed=7).interval("a", "b") for _ in range(2))
    assert first == second and first != ImageResamples(runs, 100, seed=8).interval("a", "b")
    single = {arm: {0: runs[arm][0]} for arm in "ab"}
    assert np.isnan(ImageResamples(single, 100).interval("a", "b").low)
    assert np.isnan(ImageResamples({"a": {}}, 100).interval("a", "b").low)


def test_runs_of_different_images_are_refused():
    runs = {"a": {0: of_recalls(np.ones(5, bool))}, "b": {0: of_recalls(np.ones(6, bool))}}
    with pytest.raises(ValueError, match="same images"):
        ImageResamples(runs, 10)
