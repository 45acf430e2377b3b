"""What a run shows before it starts, and the images that its results show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mrcnn.checkpoints.identity import StageRun
from mrcnn.checkpoints.stages_file import TrainedStage, record_stage
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
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


def test_a_balance_of_the_losses_is_said():
    described = results.describe_run(configure(Config, {"GRADNORM_ALPHA": 1.5}))
    assert described.endswith("the losses are balanced by GradNorm, alpha 1.5")


def test_few_masks_are_said():
    described = results.describe_run(configure(Config, {"MASK_SHARE": 0.25}))
    assert described.endswith("masks of 25 % of the objects; boxes of all")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "images 1024x1024x3 (square), batch 2"),
        ({"IMAGE_MIN_DIM_RANGE": (640, 1024)}, "(square, shorter side drawn from 640 to 1024)"),
        ({"IMAGE_SCALE_RANGE": [0.1, 2]}, "(square, size drawn from 0.1 to 2 of it)"),
    ],
)
def test_scale_jitter_is_described(settings, words):
    assert words in results.describe_run(configure(Config, settings))


def test_the_stages_are_described():
    described = results.describe_run(Config(), [Stage("heads", 1e-3, 4), Stage("all", 1e-4, 3)])
    assert described.endswith(
        "stage 1: layers heads, 4 steps at 0.001\nstage 2: layers all, 3 steps at 0.0001"
    )
    described = results.describe_run(Config(), [Stage("rpn", 1e-3, 4, losses="rpn")])
    assert described.endswith("stage 1: layers rpn, 4 steps at 0.001, losses rpn")


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
    assert results.draw_loss_curves(tmp_path) == tmp_path / "losses.png"
    assert results.draw_loss_curves(tmp_path, tmp_path / "a.png").stat().st_size > 1000


def test_the_curves_show_the_stages_that_were_trained(tmp_path, monkeypatch):
    """Whatever command trains last: a run may be resumed with another schedule."""
    (tmp_path / "losses.csv").write_text("epoch,loss\n0,2.0\n1,1.0\n2,0.5\n")
    (tmp_path / "config.json").write_text('{"STEPS_PER_EPOCH": 40}')
    for layers, first, last in (("heads", 0, 2), ("all", 2, 3)):
        record_stage(tmp_path, StageRun(layers, 0.1, 0.9, first, last))
    given = {}
    monkeypatch.setattr(
        results.loss_curves, "plot_losses", lambda log, path, **options: given.update(options)
    )
    results.draw_loss_curves(tmp_path)
    assert given["steps_per_epoch"] == 40
    assert given["stages"] == [TrainedStage(1, 2, "heads", 0.1), TrainedStage(3, 3, "all", 0.1)]


def test_a_page_names_the_files_and_leaves_out_unsure_detections(tmp_path, monkeypatch):
    write_shapes(tmp_path, train=1, val=2, image_size=(64, 64))
    dataset = CocoDataset.of(tmp_path, "val")
    given = {}
    monkeypatch.setattr(
        results.pages,
        "detections_page",
        lambda images, *_, **options: given.update(options, count=len(images)),
    )
    split = results.Split(dataset, dataset.ground_truth)
    model = SimpleNamespace(config=Config(), detect=lambda images: [{}] * len(images))
    results.draw_page(model, split, tmp_path / "page.png", results.Page(2, min_score=0.25))
    names = [Path(info["path"]).name for info in dataset.image_info]
    assert given == {"titles": names, "min_score": 0.25, "count": 2}
    assert all(name.endswith(".png") for name in names)
    # An image that is drawn when it is needed has no file.
    dataset.image_info[0]["path"] = None
    assert results.image_name(dataset, 0) == f"image {dataset.image_info[0]['id']}"
