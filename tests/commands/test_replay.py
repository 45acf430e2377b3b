"""`mrcnn replay`: the step that spoilt a training, computed again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import stand_in
from mrcnn.checkpoints import folders
from mrcnn.commands import cli
from mrcnn.commands.replay import replay
from mrcnn.training import model as training_model
from mrcnn.training import nonfinite
from tests.training.spoilt_run import train_with_rates


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run whose rate is 1e38 after seven updates, so that its weights overflow."""
    model, error = train_with_rates(tmp_path_factory.mktemp("logs"), 7, 1e38, validate=True)
    return SimpleNamespace(run=Path(model.log_dir), error=error, message=str(error))


def test_the_command_replays_it(
    failed: SimpleNamespace, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_model, "build", stand_in.build_network)
    (path,) = failed.run.glob("*.replay")
    assert cli.main(["replay", str(path)]) == 2
    assert "OPTIMIZER" in capsys.readouterr().err  # a function: a file cannot hold it

    losses, norms = replay(path, OPTIMIZER="sgd")
    assert losses == pytest.approx(failed.error.losses, nan_ok=True)
    assert len(norms) == 10
    assert nonfinite.describe_losses(losses, norms) in failed.message


def test_other_files_are_refused(failed: SimpleNamespace, capsys: pytest.CaptureFixture):
    state = next(iter(folders.states_in(failed.run).values()))
    assert cli.main(["replay", str(failed.run / state)]) == 2
    assert "expected a replay file" in capsys.readouterr().err
