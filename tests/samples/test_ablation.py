"""The recipes of the paper's experiments: what they hand to `mrcnn ablate`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mrcnn.ablation import grid as grids
from mrcnn.ablation import report as reports
from mrcnn.ablation.arms import ARMS, GRIDS
from mrcnn.commands import chosen
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.runs.settings import configure
from mrcnn.runs.trained import inference_config
from tests.conftest import REPOSITORY

FILE = REPOSITORY / "samples" / "edge_agreement" / "ablation.py"


@pytest.fixture
def start(monkeypatch):
    """Runs the script; the grid is taken down in place of being trained."""
    spec = importlib.util.spec_from_file_location("sample_ablation", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seen = {"reports": []}

    def run(grid, output, jobs):
        seen.update(grid=grid, output=output, jobs=jobs)
        return []

    def report(grid, output, options, folder=None):
        seen["reports"].append((list(grid.arms), folder and folder.name))

    images = Dataset()
    images.add_class("test", 1, "thing")
    images.add_image("test", 0, None, height=100, width=100)
    images.prepare()
    monkeypatch.setattr(chosen, "load_subset", lambda *args, **options: images)
    monkeypatch.setattr(grids, "run_grid", run)
    monkeypatch.setattr(reports, "write_report", report)

    def call(*arguments: str):
        assert module.main(list(arguments)) == 0
        return seen

    return call


def test_the_papers_experiments_share_their_runs(start):
    seen = start("paper", "coco", "--year", "2017", "--output", "o", "--jobs", "2")
    grid = seen["grid"]
    # "weighting" is the paper's future work.
    tried = {arm for name in GRIDS if name != "weighting" for arm in GRIDS[name]}
    assert set(grid.arms) == tried and len(grid.runs) == 3 * len(tried)
    assert {arm: dict(ARMS[arm]) for arm in tried} == grid.arms
    assert sum(stage.steps for stage in grid.stages) == 160_000 and grid.model == "imagenet"
    assert (grid.dataset, grid.year, seen["jobs"]) == ("coco", "2017", 2)
    settings = grid.settings
    assert settings["BACKBONE"] == "resnet101" and settings["IMAGES_PER_GPU"] == 2
    assert (settings["IMAGE_MIN_DIM"], settings["IMAGE_MAX_DIM"]) == (800, 1024)
    whole, *parts = seen["reports"]
    assert whole == (list(grid.arms), None)
    assert parts[0] == (list(GRIDS["filters"]), "filters") and len(parts) == 7


def test_later_options_win(start):
    grid = start("paper", "c", "--output", "o", "--grid", "short", "--schedule", "paper-320k")
    assert list(grid["grid"].arms) == list(GRIDS["short"]) and len(grid["reports"]) == 1
    assert sum(stage.steps for stage in grid["grid"].stages) == 320_000


def test_a_setting_beside_those_of_the_recipe(start):
    grid = start("small", "nuclei", "--output", "o", "--set", "MAX_GT_INSTANCES=8")["grid"]
    assert grid.settings["MAX_GT_INSTANCES"] == 8 and grid.settings["OPTIMIZER"] == "adam"
    assert grid.steps == 400


def test_cityscapes_have_finer_boundaries(start):
    grid = start("cityscapes", "streets", "--output", "o")["grid"]
    assert grid.dilation_ratio == 0.005 and grid.settings["IMAGES_PER_GPU"] == 4
    assert "sobel-l2-56" in grid.arms
    assert [(stage.steps, stage.learning_rate) for stage in grid.stages] == [
        (18_000, 0.01),
        (6_000, 0.001),
    ]
    config = configure(Config, {"NAME": "test", **grid.settings})
    assert config.IMAGE_SHAPE.tolist() == [1024, 2048, 3]
    assert config.IMAGE_MIN_DIM_RANGE == (800, 1024) and config.IMAGE_MIN_DIM == 1024
    assert inference_config("none.h5", overrides=grid.settings).IMAGE_MIN_DIM == 1024


def test_data_options_reach_the_runs(start):
    options = ("--augment", "updown", "rotate", "--skip-invalid", "--box-only")
    grid = start("small", "nuclei", "--output", "o", *options)["grid"]
    run = grid.run_spec("baseline", 0, Path("weights.h5"))
    assert list(run.augment) == ["updown", "rotate"] and run.skip_invalid and run.box_only
    plain = start("small", "nuclei", "--output", "o")["grid"].run_spec("baseline", 0, Path("w.h5"))
    assert list(plain.augment) == ["flip"] and not plain.skip_invalid
