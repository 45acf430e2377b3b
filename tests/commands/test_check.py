"""`mrcnn check`, and the quick check of `mrcnn train`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.commands import cli
from mrcnn.doctor.catalogue import table
from tests.doctor.damaged import damaged
from tests.doctor.sound import sound

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = ["--image-size", "64", "--set", "RPN_ANCHOR_SCALES=(12,16,24,32,48)"]


@pytest.fixture
def data(tmp_path) -> Path:
    sound(tmp_path / "data").write()
    return tmp_path / "data"


def test_a_sound_data_set(data, capsys):
    assert cli.main(["check", str(data), *SETTINGS]) == 0
    out = capsys.readouterr().out
    assert "train: 2 images, 20 annotations, 2 categories" in out
    assert "RPN_ANCHOR_SCALES = (12, 16, 24, 32, 48): mean best IoU" in out
    assert "0 errors, 0 warnings, 0 notes." in out


def test_errors_are_shown_written_repaired_and_gone(tmp_path, capsys):
    damaged("rle-counts", tmp_path / "data")
    report, repaired = tmp_path / "report.json", tmp_path / "repaired"
    command = ["check", str(tmp_path / "data"), *SETTINGS]
    assert cli.main([*command, "--json", str(report), "--fix", str(repaired)]) == 1
    out = capsys.readouterr().out
    assert "1  rle-counts: training puts another image in its place" in out
    assert "annotation 1, field 'segmentation': expected run lengths" in out
    assert "1 error, 0 warnings, 0 notes." in out
    assert "1  train: annotations left out: rle-counts" in out

    content = json.loads(report.read_text())
    assert content["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert content["kinds"] == {"rle-counts": 1}
    (finding,) = content["findings"]
    assert finding["id"] == 1 and finding["file"].endswith("instances_train.json")
    assert content["subsets"][0]["objects_by_category"] == {"fig": 10, "nut": 10}
    assert len(content["sizes"]["object_sides"]) == 19
    assert cli.main(["check", str(repaired), *SETTINGS]) == 0


def test_findings_on_the_standard_output_are_json_alone(data, capsys):
    assert cli.main(["check", str(data), *SETTINGS, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["error"] == 0


def test_one_subset_quickly(data, capsys):
    assert cli.main(["check", str(data), "--val-subset", "", "--quick", *SETTINGS]) == 0
    out = capsys.readouterr().out
    assert "2 headers read" in out and "val" not in out.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quick", "--fix", "out"], "--fix"),
        (["--workers", "0"], "--workers"),
        (["--crowds-as-objects"], "--fix"),
        (["--set", "NO_SUCH=1"], "NO_SUCH"),
        (["--image-size", "100"], "64"),
    ],
)
def test_wrong_options_are_clear_errors(data, capsys, arguments, message):
    assert cli.main(["check", str(data), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_command_loads_no_backend(data):
    program = (
        "import sys; from mrcnn.commands import cli; status = cli.main(sys.argv[1:]);"
        "sys.exit(status or 'keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "check", str(data), *SETTINGS]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


class TestBeforeTraining:
    """The check stops what training would stop at, before the network is built."""

    def train(self, folder: Path, *options: str) -> int:
        logs = str(folder.parent / "logs")
        return cli.main(["train", str(folder), "--logs", logs, "--image-size", "64", *options])

    def test_an_error_stops_with_how_to_go_on(self, tmp_path, capsys):
        damaged("rle-counts", tmp_path / "data")
        assert self.train(tmp_path / "data") == 2
        captured = capsys.readouterr()
        assert "1  rle-counts: training puts another image in its place" in captured.out
        assert "annotation 1, field 'segmentation': expected run lengths" in captured.err
        assert "--fix" in captured.err and "--no-check" in captured.err

    def test_a_warning_is_shown_and_training_goes_on(self, tmp_path, capsys, monkeypatch):
        damaged("leak", tmp_path / "data")
        trained = self.count_trainings(monkeypatch)
        assert self.train(tmp_path / "data") == 0
        assert (
            "1  split-leak: training validates on what it has memorized" in capsys.readouterr().out
        )
        assert len(trained) == 1

    def test_it_can_be_left_out(self, tmp_path, capsys, monkeypatch):
        damaged("rle-counts", tmp_path / "data")
        trained = self.count_trainings(monkeypatch)
        assert self.train(tmp_path / "data", "--no-check") == 0
        assert "rle-counts" not in capsys.readouterr().out and len(trained) == 1

    def test_it_knows_the_settings_of_the_training(self, tmp_path, capsys, monkeypatch):
        damaged("too-many-objects", tmp_path / "data")
        self.count_trainings(monkeypatch)
        assert self.train(tmp_path / "data", "--set", "MAX_GT_INSTANCES=5") == 0
        assert "3  too-many-objects" in capsys.readouterr().out

    def test_a_subset_of_crowds_only_stops_with_the_remedy_which_works(self, tmp_path, capsys):
        damaged("only-crowds", tmp_path / "data")
        assert self.train(tmp_path / "data") == 2
        captured = capsys.readouterr()
        assert "expected at least one ordinary object; received 20 crowds" in captured.err
        assert "--crowds-as-objects" in captured.out + captured.err
        fix = ["check", str(tmp_path / "data"), "--fix", str(tmp_path / "repaired")]
        assert cli.main(fix) == 2  # a copy that teaches nothing is not written
        assert "--crowds-as-objects" in capsys.readouterr().err
        assert cli.main([*fix, "--crowds-as-objects"]) == 1
        assert "20  train: crowds made objects" in capsys.readouterr().out
        assert cli.main(["check", str(tmp_path / "repaired"), *SETTINGS]) == 0

    def test_a_class_of_crowds_only_stops_it_in_training_and_is_said_of_validation(
        self, tmp_path, capsys, monkeypatch
    ):
        damaged("class-of-crowds-only", tmp_path / "train")
        damaged("validation-has-a-class-of-crowds-only", tmp_path / "val")
        trained = self.count_trainings(monkeypatch)
        assert self.train(tmp_path / "train") == 2 and not trained
        assert "--crowds-as-objects" in capsys.readouterr().err
        assert self.train(tmp_path / "val") == 0 and len(trained) == 1
        assert "leaves the class out of the metrics" in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["validation-of-crowds-only", "no-annotations-to-validate-on"])
    def test_a_validation_set_without_an_object_stops_it_with_the_ways_on(
        self, tmp_path, capsys, monkeypatch, name
    ):
        damaged(name, tmp_path / "data")
        trained = self.count_trainings(monkeypatch)
        assert self.train(tmp_path / "data") == 2 and not trained
        error = capsys.readouterr().err
        assert "expected at least one" in error and "object to validate on" in error
        assert '--val-subset ""' in error
        assert ("--crowds-as-objects" in error) == (name == "validation-of-crowds-only")
        assert self.train(tmp_path / "data", "--val-subset", "") == 0 and len(trained) == 1

    def test_invalid_annotations_can_be_left_out(self, tmp_path, capsys, monkeypatch):
        damaged("polygon-of-two-points", tmp_path / "data")
        trained = self.count_trainings(monkeypatch)
        assert self.train(tmp_path / "data") == 2
        assert "--skip-invalid" in capsys.readouterr().err
        assert self.train(tmp_path / "data", "--skip-invalid") == 0
        assert "leaves the annotation out, and counts it" in capsys.readouterr().out
        (arguments,) = trained
        assert sum(arguments[2].left_out.values()) == 1

    def count_trainings(self, monkeypatch) -> list:
        from mrcnn.commands import train as commands_train

        trained: list = []
        monkeypatch.setattr(commands_train, "train_from_args", lambda *args: trained.append(args))
        return trained


def test_the_page_has_the_table_of_all_kinds():
    page = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert table() in page, (
        "python -m mrcnn.doctor.catalogue prints the table of docs/reliability.md"
    )
