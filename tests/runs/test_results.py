"""What a run shows before it starts, and the images that its results show."""

from __future__ import annotations

import pytest

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.runs import results
from mrcnn.runs.settings import configure
from mrcnn.training.stages import Stage


def test_the_edge_head_is_described():
    settings = {
        "EDGE_LOSS_FILTERS": ("roberts-x", "roberts-y", "laplace-4"),
        "EDGE_LOSS_NORM": "12.5",
        "EDGE_LOSS_MAGNITUDE": True,
        "UNCERTAINTY_WEIGHTING": True,
    }
    described = results.describe_run(configure(Config, settings))
    assert "edge agreement: roberts-x, roberts-y, laplace-4; 12.5, factor 1.0" in described
    assert "EDGE_LOSS_MAGNITUDE=True" in described and "loss is learned" in described


def test_edge_settings_without_a_filter_are_said_to_do_nothing():
    config = configure(Config, {"EDGE_LOSS_NORM": "l1"})
    described = results.describe_run(config)
    assert "edge agreement: off; without effect: EDGE_LOSS_NORM=l1" in described
    assert results.describe_run(Config()).endswith("edge agreement: off")


def test_the_stages_are_described():
    described = results.describe_run(Config(), [Stage("heads", 1e-3, 4), Stage("all", 1e-4, 3)])
    assert described.endswith(
        "stage 1: layers heads, 4 steps at 0.001\nstage 2: layers all, 3 steps at 0.0001"
    )


@pytest.mark.parametrize(
    ("limit", "count", "expected"),
    [(0, 3, [0, 3, 6]), (4, 2, [0, 2]), (0, 20, list(range(10))), (2, 1, [0])],
)
def test_the_pictures_are_spread_over_the_images_that_count(limit, count, expected):
    dataset = Dataset()
    for number in range(10):
        dataset.add_image("drawn", image_id=number, path=None)
    dataset.prepare()
    split = results.Split(dataset, ground_truth=None, limit=limit)
    assert len(split.image_ids) == (limit or 10)
    assert split.sample_ids(count) == expected


def test_a_run_without_losses_has_no_curves(tmp_path):
    assert results.draw_loss_curves(tmp_path) is None
    (tmp_path / "losses.csv").write_text("epoch,loss,val_loss\n0,2.0,3.0\n1,1.0,2.0\n")
    assert results.draw_loss_curves(tmp_path, [1]) == tmp_path / "losses.png"
    assert results.draw_loss_curves(tmp_path, [1], tmp_path / "a.png").stat().st_size > 1000
