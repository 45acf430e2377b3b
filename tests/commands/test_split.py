"""A folder of labelme files, divided: trained, continued, evaluated, compared on the same split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrcnn.commands import cli
from mrcnn.datasets.division import Division
from mrcnn.datasets.formats.convert import convert
from mrcnn.datasets.layouts import find_subsets
from mrcnn.datasets.shapes import write_shapes
from tests.commands.test_cli import TINY
from tests.datasets.formats.support import picture


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """Ten pictures with labelme's files, and no subsets."""
    folder = tmp_path_factory.mktemp("labelled")
    write_shapes(folder / "coco", train=10, val=1, image_size=(64, 64))
    train = find_subsets(folder / "coco")[0]
    convert([train], folder / "labelme", "labelme")
    return (folder / "labelme" / "train").rename(folder / "photos")


def names(run: Path) -> Division:
    division = Division.read(run)
    assert division is not None
    return division


def test_train_continue_and_evaluate_use_one_split(labelled, tmp_path, capsys):
    logs = tmp_path / "logs"
    command = ["train", str(labelled), "--name", "tiny", "--logs", str(logs), "--no-check"]
    split = ["--split", "0.7", "--split-by", "near-duplicates", "--seed", "5"]
    assert cli.main([*command, *split, "--model", "none", "--steps", "2", *TINY]) == 0
    said = capsys.readouterr().out
    assert "7 images to train on and 3 to validate on" in said and "val: labelme" not in said
    (run,) = logs.iterdir()
    division = names(run)
    assert (len(division.train), len(division.val), division.seed) == (7, 3, 5)
    training = json.loads((run / "config.json").read_text())["training"]
    assert (training["split"], training["split_by"]) == (0.7, "near-duplicates")

    assert cli.main([*command, "--model", "last", "--steps", "4"]) == 0
    assert names(run) == division
    assert cli.main([*command, "--model", "last", "--split", "0.5"]) == 2
    error = capsys.readouterr().err
    assert "was started with --split 0.7 --split-by near-duplicates; received --split 0.5" in error

    assert cli.main(["evaluate", str(labelled), "--name", "tiny", "--logs", str(logs)]) == 0
    said = capsys.readouterr().out
    assert "The run's split: 7 images to train on and 3 to validate on" in said
    images = (run / "images_val.csv").read_text()
    assert all(name in images for name in division.val)
    assert not any(name in images for name in division.train)

    (run / "split.json").unlink()
    assert cli.main([*command, "--model", "last", "--steps", "6"]) == 2
    assert "expected split.json" in capsys.readouterr().err


def test_a_backbone_learns_from_one_side(labelled, tmp_path, capsys):
    command = ["pretrain", str(labelled), "--name", "tiny", "--logs", str(tmp_path), "--split"]
    command += ["0.8", "--backbone", "resnet10", "--image-size", "64", "--batch-size", "2"]
    assert cli.main([*command, "--steps", "2", "--steps-per-epoch", "2"]) == 0
    (run,) = tmp_path.iterdir()
    assert len(names(run).val) == 2
    sorted_by_class = tmp_path / "sorted"
    for name in ("cat", "dog"):
        picture(sorted_by_class / name / "a.jpg")
    assert cli.main(["pretrain", str(sorted_by_class), "--split", "0.8"]) == 2
    assert "expected a data set of annotated images" in capsys.readouterr().err


def test_check_looks_at_both_sides(labelled, capsys):
    assert cli.main(["check", str(labelled), "--split", "0.8", "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert "train: 8 images" in said and "val: 2 images" in said
    assert "images-unlisted" not in said  # those of the other side


def test_pictures_on_both_sides_are_told_and_kept_together(labelled, tmp_path, capsys):
    twins = tmp_path / "twins"
    twins.mkdir()
    for file in sorted(labelled.glob("*.json")):
        content = json.loads(file.read_text())
        for suffix in ("", "_again"):
            (image,) = labelled.glob(f"{file.stem}.png")
            name = f"{file.stem}{suffix}.png"
            (twins / name).write_bytes(image.read_bytes())
            written = json.dumps({**content, "imagePath": name})
            (twins / f"{file.stem}{suffix}.json").write_text(written)
    command = ["check", str(twins), "--split", "0.5"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "split-leak" in said and "--split-by near-duplicates keeps pictures together" in said
    assert cli.main([*command, "--split-by", "near-duplicates"]) == 0
    assert "split-leak" not in capsys.readouterr().out


def test_a_split_may_be_written_down_as_a_data_set(labelled, tmp_path, capsys):
    out = tmp_path / "coco"
    command = ["convert-data", str(labelled), str(out), "--to", "coco", "--split", "0.8"]
    assert cli.main(command) == 0
    sizes = {
        name: len(
            json.loads((out / "annotations" / f"instances_{name}.json").read_text())["images"]
        )
        for name in ("train", "val")
    }
    assert sizes == {"train": 8, "val": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split-by", "folder"], "--split-by: expected --split SHARE"),
        (["--split", "80"], "--split: expected the share of the images that train"),
        (["--split", "0.8", "--val-subset", ""], "expected to validate on what is held out"),
        (["--split", "0.8", "--split-by", "patient"], "field 'patient': expected a value"),
        (["--split", "0.8", "--split-by", "folder"], "expected at least two images, or groups"),
        ([], "--split 0.8 divides the images"),
    ],
)
def test_what_cannot_be_divided_is_said(labelled, capsys, options, message):
    assert cli.main(["check", str(labelled), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_comparison_trains_all_arms_on_one_split(labelled, tmp_path, capsys, monkeypatch):
    from mrcnn.ablation import grid as grids
    from mrcnn.ablation.run import RunSpec, load_subset

    seen = []
    monkeypatch.setattr(grids, "run_grid", lambda grid, *rest: seen.append(grid) or [])
    command = ["ablate", str(labelled), "--output", str(tmp_path / "grid"), "--arms", "baseline"]
    command += ["--seeds", "3", "4", "--model", "none", "--steps", "2", *TINY]
    assert cli.main([*command, "--split", "0.8"]) == 0
    (grid,) = seen
    division = names(tmp_path / "grid")
    assert division.seed == 3 and grid.split == str(tmp_path / "grid")
    spec = grid.run_spec("baseline", 3, tmp_path / "initial.h5")
    spec.write(tmp_path)
    for subset, count in (("train", 8), ("val", 2)):
        assert len(load_subset(RunSpec.read(tmp_path), subset).image_ids) == count
    capsys.readouterr()
    assert cli.main([*command, "--split", "0.5"]) == 2
    assert "expected the split that its runs were started with" in capsys.readouterr().err
