"""The files in recipes/: each is one that `mrcnn train` takes, and says what it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcnn.commands import chosen, cli
from mrcnn.config import Config
from mrcnn.runs.settings import configure
from mrcnn.training import stages

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


def read(recipe: Path):
    """The options and the configuration of `mrcnn train DATA --config recipe`."""
    return cli._parser().parse_args(["train", "data", "--config", str(recipe)])


def test_they_are_there():
    assert len(RECIPES) >= 5


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_it_is_taken_as_it_stands(recipe: Path):
    args = read(recipe)
    config = configure(Config, chosen.settings_from_args(args))
    assert config.IMAGES_PER_GPU >= 1 and args.augment == ["flip"]
    text = recipe.read_text()
    for part in ("Starts from:", "Published of it:", "Run here:", f"recipes/{recipe.name}"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "images", "rate"),
    [
        ("coco_1x", 90_000 * 16, 0.02 / 16),
        ("coco_3x", 270_000 * 16, 0.02 / 16),
        ("coco_large_scale_jitter", 184_375 * 64, 0.1 / 64),
        ("cityscapes", 24_000 * 8, 0.01 / 8),
    ],
)
def test_it_sees_as_many_images_at_the_rate_as_published(name: str, images: int, rate: float):
    args = read(FOLDER / f"{name}.yaml")
    found = chosen.stages_from_args(args, "sgd")
    assert sum(stage.steps for stage in found) * args.batch_size == images
    highest = max(stage.learning_rate for stage in found)
    assert highest / args.batch_size == pytest.approx(rate)
    # Where the rate falls, the same share of the images was seen.
    published = stages.schedule(args.schedule)
    share = [s.steps / sum(x.steps for x in published) for s in published]
    np.testing.assert_allclose([s.steps / sum(x.steps for x in found) for s in found], share)
