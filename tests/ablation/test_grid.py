"""A grid from start to report: resumed, extended, and honest about failures."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from mrcnn.ablation import grid as grids
from mrcnn.ablation.curves import read_losses
from mrcnn.ablation.run import ORPHAN_STATUS, WITH_PARENT
from mrcnn.commands import cli
from mrcnn.datasets.shapes import write_shapes
from mrcnn.runs.settings import load_settings
from mrcnn.training.stages import Stage

TINY = [
    *("--backbone", "resnet10", "--image-size", "64", "--batch-size", "2", "--rois", "8"),
    *("--steps", "2", "--steps-per-epoch", "1", "--validation-steps", "1", "--limit", "2"),
    *("--learning-rate", "0.0001", "--workers", "1"),
    *("--set", "TOP_DOWN_PYRAMID_SIZE=16", "MASK_CONV_FILTERS=8", "RPN_CONV_FILTERS=16"),
    *("FPN_CLASSIF_FC_LAYERS_SIZE=16", "PRE_NMS_LIMIT=50", "POST_NMS_ROIS_TRAINING=20"),
    *("POST_NMS_ROIS_INFERENCE=10", "RPN_TRAIN_ANCHORS_PER_IMAGE=4096"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, 4, 2, (64, 64))
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a grid of two arms and one seed."""
    output = tmp_path_factory.mktemp("grid")
    arms = ["--arms", "baseline", "sobel-l2", "--seeds", "3"]
    assert cli.main(["ablate", str(data), "--output", str(output), *arms, *TINY]) == 0
    return output


def first_losses(output, arm):
    with (output / arm / "seed-3" / "losses.csv").open() as file:
        return next(csv.DictReader(file))


def test_every_run_leaves_its_results(finished):
    for arm in ("baseline", "sobel-l2"):
        folder = finished / arm / "seed-3"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert {"segm/AP", "bbox/AP", "boundary/AP", "seconds/train"} <= metrics.keys()
        assert (folder / "detections.png").stat().st_size > 1000
        assert (folder / "weights.h5").is_file() and not (folder / "logs").exists()
        assert load_settings(folder / "weights.h5")["TOP_DOWN_PYRAMID_SIZE"] == 16
    report = (finished / "report.md").read_text()
    assert "2 of 2 runs" in report and "sobel-l2" in report and "Boundary AP" in report
    assert "all zero" in report.lower() and "CPU hours" in report and "from 0 to 1" in report
    assert "The paper's numbers" in report and "![arms.png](arms.png)" in report
    for name in ("tables.csv", "runs.csv", "summary.csv", "contrasts.csv", "paper_numbers.csv"):
        assert (finished / name).stat().st_size > 100
    for name in ("losses.png", "losses_validation.png", "arms.png"):
        assert (finished / name).stat().st_size > 1000


def test_the_arms_of_a_seed_start_from_the_same_weights_and_batches(finished):
    losses = [first_losses(finished, arm) for arm in ("baseline", "sobel-l2")]
    # The losses of the first step come from the initial weights and the first batch alone.
    for name in ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_mask_loss"):
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=1e-4)
        assert float(losses[0][name]) > 0 or name.startswith("mrcnn")
    assert "mrcnn_mask_edge_loss" in losses[1] and "mrcnn_mask_edge_loss" not in losses[0]


def test_the_trained_weights_differ_from_the_initial_ones(finished):
    with (
        h5py.File(finished / "initial" / "seed-3.h5") as initial,
        h5py.File(finished / "baseline" / "seed-3" / "weights.h5") as trained,
    ):
        name = "rpn_model/rpn_conv_shared/kernel:0"
        assert np.any(initial[name][()] != trained[name][()])


def test_finished_runs_are_kept_and_a_failed_run_is_named(finished, data, tmp_path, capfd):
    output = tmp_path / "grid"
    shutil.copytree(finished, output)
    kept = (output / "sobel-l2" / "seed-3" / "metrics.json").stat().st_mtime_ns
    # The run of the baseline was cut short, and its start weights are damaged now.
    (output / "baseline" / "seed-3" / "metrics.json").unlink()
    (output / "initial" / "seed-3.h5").write_bytes(b"no weights")
    arms = ["--arms", "baseline", "sobel-l2", "--seeds", "3"]
    assert cli.main(["ablate", str(data), "--output", str(output), *arms, *TINY]) == 1
    said = "".join(capfd.readouterr())
    assert "baseline, seed 3: ended with status" in said and "seed-3.h5" in said
    assert "1 of 2 runs failed" in said
    assert (output / "sobel-l2" / "seed-3" / "metrics.json").stat().st_mtime_ns == kept
    assert "1 of 2 runs" in (output / "report.md").read_text()


def test_a_run_ends_with_the_grid_that_started_it(tmp_path):
    """A killed grid closes the pipe; its runs must not write on beside those of the next one."""
    command = [sys.executable, "-m", "mrcnn.ablation.run", str(tmp_path), WITH_PARENT]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=120)
    assert process.returncode == ORPHAN_STATUS


def test_the_first_run_of_a_seed_makes_the_weights_of_its_other_arms(tmp_path):
    waiting = [("sobel", 0), ("laplace", 0), ("baseline", 1), ("sobel", 1)]
    assert grids._next(tmp_path, waiting, [("baseline", 0)]) == ("baseline", 1)
    assert grids._next(tmp_path, waiting[:2], [("baseline", 0)]) is None
    assert grids._next(tmp_path, waiting, []) == ("sobel", 0)
    (tmp_path / "initial").mkdir()
    (tmp_path / "initial" / "seed-0.h5").touch()
    assert grids._next(tmp_path, waiting, [("baseline", 0)]) == ("sobel", 0)


def test_a_folder_with_another_grid_is_refused(finished):
    grid = replace(grids.load_grid(finished), stages=[Stage("all", 0.5, 7)])
    with pytest.raises(ValueError, match="other values of stages"):
        grids.run_grid(grid, finished)
    grid = grids.load_grid(finished)
    grid.arms["sobel-l2"] = {"EDGE_LOSS_FILTERS": ["laplace"]}
    with pytest.raises(ValueError, match=r"arms\.sobel-l2"):
        grids.run_grid(grid, finished)


def test_a_wrong_setting_is_found_before_anything_runs(data, tmp_path, capsys):
    arm = ["--arm", "odd", "EDGE_LOSS_NORM=l9"]
    output = str(tmp_path / "grid")
    assert cli.main(["ablate", str(data), "--output", output, *arm, *TINY]) == 2
    assert "EDGE_LOSS_NORM" in capsys.readouterr().err and not (tmp_path / "grid").exists()


@pytest.fixture(scope="module")
def branch(finished, data, tmp_path_factory):
    """A grid in which a fresh mask branch learns and nothing else, with a control arm."""
    output = tmp_path_factory.mktemp("branch")
    weights = str(finished / "baseline" / "seed-3" / "weights.h5")
    options = [
        *("--arms", "sobel-l2", "mask-loss-matched", "--seeds", "5"),
        *("--models", str(finished / "sobel-l2" / "seed-3" / "weights.h5"), weights),
        *("--exclude", "mrcnn_mask.*", "--layers", "mrcnn_mask.*"),
        *("--primary", "segm_on_gt_boxes", "--image-resamples", "20"),
    ]
    # An untrained RPN proposes no object, and the mask branch would have no gradient.
    set_ = ("TRAIN_BN=None", "OPTIMIZER=sgd", "USE_RPN_ROIS=False", "POST_NMS_ROIS_TRAINING=400")
    assert cli.main(["ablate", str(data), "--output", str(output), *options, *TINY, *set_]) == 0
    return output


def arrays_of(path):
    found = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(take)
    return found


# A grid of its own takes two minutes.
@pytest.mark.slow
def test_only_the_layers_that_are_named_learn(branch, finished):
    """Weights and statistics of all others stay those of the start, bit for bit."""
    initial = arrays_of(branch / "initial" / "seed-5.h5")
    # Seed 5 starts from the second of two files.
    start = arrays_of(finished / "baseline" / "seed-3" / "weights.h5")
    for arm in ("sobel-l2", "mask-loss-matched"):
        trained = arrays_of(branch / arm / "seed-5" / "weights.h5")
        assert trained.keys() == initial.keys() == start.keys()
        changed = {name for name in trained if np.any(trained[name] != initial[name])}
        own = {name for name in trained if name.startswith("mrcnn_mask")}
        assert changed == own  # its batch statistics too
        assert any("moving_mean" in name for name in own)
        frozen = trained.keys() - own
        assert all(np.array_equal(trained[name], start[name]) for name in frozen)
        assert any("moving_mean" in name for name in frozen)


@pytest.mark.slow
def test_the_control_has_the_factor_that_was_measured(branch):
    found = json.loads((branch / "mask-loss-matched" / "gradient.json").read_text())
    assert found["reference"] == "sobel-l2" and found["batches"] == 2 and found["factor"] > 1
    control = branch / "mask-loss-matched" / "seed-5"
    run = json.loads((control / "run.json").read_text())
    assert run["settings"]["LOSS_WEIGHTS"]["mrcnn_mask_loss"] == found["factor"]
    losses, plain = (
        read_losses(branch / arm / "seed-5" / "losses.csv")["mrcnn_mask_loss"][0]
        for arm in ("mask-loss-matched", "sobel-l2")
    )
    assert losses == pytest.approx(found["factor"] * plain, rel=1e-4) and plain > 0
    with (branch / "runs.csv").open() as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert float(rows["mask-loss-matched"]["mask_loss_factor"]) == found["factor"]
    assert rows["sobel-l2"]["mask_loss_factor"] == "nan"
    # The loss that is reported is without it.
    ends = [float(rows[arm]["mask_loss/mean"]) for arm in ("mask-loss-matched", "sobel-l2")]
    assert ends[0] == pytest.approx(ends[1], rel=0.05)


@pytest.mark.slow
def test_the_report_tests_its_headline_contrasts(branch):
    report = (branch / "report.md").read_text()
    assert "Headline contrasts: Mask AP on ground-truth boxes" in report
    assert "the mask loss times" in report and "By start weights" in report
    assert "Layers that learn: mrcnn_mask.*." in report
    with (branch / "contrasts.csv").open() as file:
        rows = [(row["arm"], row["against"], row["metric"]) for row in csv.DictReader(file)]
    assert rows == [("mask-loss-matched", "sobel-l2", "segm_on_gt_boxes/AP")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "res9.*"], "res9"),
        (["--layers", "("], "regular expression"),
        (["--arms", "baseline", "mask-loss-matched"], "expected sobel-l2 among the arms"),
        (["--models", "a.h5", "--model", "none"], "--model and --models"),
        (["--image-resamples", "-1"], "--image-resamples"),
    ],
)
def test_an_option_that_cannot_work_is_found_before_anything_runs(
    data, tmp_path, capsys, options, said
):
    output = tmp_path / "grid"
    assert cli.main(["ablate", str(data), "--output", str(output), *options, *TINY]) == 2
    assert said in capsys.readouterr().err and not output.exists()


def test_layers_are_left_out_of_start_weights_only(data, tmp_path, capsys):
    options = ["--output", str(tmp_path / "grid"), "--exclude", "mrcnn_mask.*", *TINY]
    assert cli.main(["ablate", str(data), *options]) == 2
    assert "--exclude" in capsys.readouterr().err and not (tmp_path / "grid").exists()
