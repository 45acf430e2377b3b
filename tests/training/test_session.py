"""A run that was stopped anywhere, by anything, ends as one that was not."""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks import kills
from benchmarks.stand_in import SIDE, Squares, StandIn, StandInConfig
from mrcnn.checkpoints import folders, retention, state_file
from mrcnn.checkpoints.stages_file import TrainedStage, read_stages
from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.dataset import Dataset
from mrcnn.data.orientation import load_image
from mrcnn.files.lock import FolderTakenError
from mrcnn.runs import settings as runs_settings
from mrcnn.runs.trained import inference_config
from mrcnn.training.session import Session
from mrcnn.training.stages import Stage

EPOCHS = 2  # of each of the two stages, of 5 steps and 3 validation batches each


def train(
    folder: Path,
    *,
    callbacks: list | None = None,
    stages: tuple = (("heads", 2e-2), ("all", 1e-2)),
    validate: bool = True,
    images: int = 7,
    flip: float = 0.5,
    annotated: int = 0,
    allow_changed: bool = False,
    **settings: Any,
) -> StandIn:
    """Train two stages in a folder, or continue there, as a new process would."""
    config = runs_settings.configure(StandInConfig, settings)
    keras.utils.set_random_seed(config.SEED)
    model = StandIn("training", config, folder)
    data = Squares().add(images)
    for info in data.image_info:
        info["annotated"] = annotated
    for number, (layers, rate) in enumerate(stages, start=1):
        model.train(
            data,
            Squares().add(4) if validate else None,
            learning_rate=rate,
            epochs=number * EPOCHS,
            layers=layers,
            augmentation=HorizontalFlip(flip),
            custom_callbacks=callbacks,
            resume=True,
            allow_changed=allow_changed,
        )
    return model


class At(keras.callbacks.Callback):
    """Does something once, before a step or before a batch of an epoch's validation."""

    def __init__(self, epoch: int, batch: int, act: Callable[[], None], test: bool = False) -> None:
        super().__init__()
        self.place, self.act, self.test = (epoch, batch), act, test
        self.epoch, self.seen = 0, []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append((self.epoch, batch))
        if not self.test and (self.epoch, batch) == self.place:
            self.act()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.test and (self.epoch, batch) == self.place:
            self.act()


class CrashError(Exception):
    """What a run dies of here; nothing in the package knows it."""


def crash() -> None:
    raise CrashError


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def newest(folder: Path) -> int:
    (run,) = folder.iterdir()
    return max(folders.states_in(run))


def assert_same_end(folder: Path, expected: Path) -> None:
    ends = kills.end(folder), kills.end(expected)
    assert ends[0]["losses"] == ends[1]["losses"]
    assert ends[0]["state"].keys() == ends[1]["state"].keys()
    for key, value in ends[0]["state"].items():
        assert value == ends[1]["state"][key], key
    (run,), (other,) = folder.iterdir(), expected.iterdir()
    for name in folders.epochs_in(other).values():
        assert arrays_in(run / name) == arrays_in(other / name), name
    assert read_stages(run) == read_stages(other) != []


def arrays_in(path: Path) -> dict[str, bytes]:
    """The datasets of a weights file; other layers' names are numbered by the process."""
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()].tobytes())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    assert found
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


# --- Killed --------------------------------------------------------------------------------


def test_killed_while_running_and_while_writing(tmp_path: Path):
    arguments = Namespace(
        kills=2,
        epochs=3,
        seed=1,
        trials=1,
        workers=1,
        optimizer="adam",
        width=4096,
        network="stand-in",
    )
    (result,) = kills.compare(tmp_path, arguments)
    assert result["same"] and result["during a write"] >= 1, result
    assert result["resumed_at"][-1] > result["resumed_at"][0] > 0


# --- Stopped at any place --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "batch", "in_validation"),
    [(0, 3, False), (2, 0, False), (3, 2, True)],
)
def test_a_crash_anywhere(whole: Path, tmp_path: Path, epoch: int, batch: int, in_validation: bool):
    with pytest.raises(CrashError):
        train(tmp_path, callbacks=[At(epoch, batch, crash, in_validation)])
    # At most CHECKPOINT_STEPS = 2 steps are lost.
    steps = 5 * epoch + (5 if in_validation else batch)
    assert 0 <= steps - newest(tmp_path) <= 2
    train(tmp_path)
    assert_same_end(tmp_path, whole)


@pytest.mark.parametrize(
    ("act", "epoch", "batch", "in_validation"),
    [(terminate, 1, 1, False), (interrupt, 2, 1, True)],
)
def test_a_signal_writes_the_state_first(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture, act, epoch, batch, in_validation
):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    expected = SystemExit if act is terminate else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        train(tmp_path, callbacks=[At(epoch, batch, act, in_validation)], CHECKPOINT_STEPS=None)
    if act is terminate:
        assert raised.value.code == 128 + signal.SIGTERM
    # The signal came before this step, or batch of the validation: the state is of the next one.
    steps = 5 * epoch + (5 if in_validation else batch + 1)
    assert newest(tmp_path) == steps
    assert f"step_{steps:08d}.state" in capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    # Settings of checkpoints may differ when a run continues.
    seen = At(9, 9, crash)
    model = train(tmp_path, callbacks=[seen])
    assert seen.seen[0] == divmod(steps, 5) and seen.seen[-1] == (3, 4)
    assert model.epoch == 2 * EPOCHS
    assert_same_end(tmp_path, whole)


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(keras.optimizers.SGD, momentum=0.9, use_ema=True, ema_momentum=0.5),
        lambda rate: keras.optimizers.Lion(
            keras.optimizers.schedules.ExponentialDecay(rate, 3, 0.5)
        ),
    ],
    ids=["average", "schedule"],
)
def test_any_optimizer_goes_on(tmp_path: Path, optimizer: Any):
    one_stage = {"stages": (("all", 1e-2),), "OPTIMIZER": staticmethod(optimizer)}
    train(tmp_path / "whole", **one_stage)
    with pytest.raises(CrashError):
        train(tmp_path / "stopped", callbacks=[At(0, 3, crash)], **one_stage)
    train(tmp_path / "stopped", **one_stage)
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


# --- What can be wrong with the files -----------------------------------------------------------


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crashed")
    with pytest.raises(CrashError):
        train(folder, callbacks=[At(1, 4, crash)])
    (run,) = folder.iterdir()
    assert sorted(folders.states_in(run)) == [5, 6, 8]  # 5 is the best
    return run


@pytest.fixture
def stopped(crashed: Path, tmp_path: Path) -> Path:
    """The folder of a run that crashed in its second epoch: the newest states are of 6 and 8."""
    return Path(shutil.copytree(crashed, tmp_path / "logs" / crashed.name))


def test_a_damaged_state_is_named_and_the_one_before_used(
    whole: Path, stopped: Path, capsys: pytest.CaptureFixture
):
    path = stopped / "step_00000008.state"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    (stopped / "step_00000010.state.999.part").write_bytes(b"half")
    with open(stopped / "losses.csv", "ab") as file:
        file.write(b"2,0.5,0.")
    train(stopped.parent)
    captured = capsys.readouterr()
    assert f"{path}: the state file is damaged" in captured.err
    assert "Resuming at step 6" in captured.out
    assert not list(stopped.glob("*.part"))
    assert path.with_name("step_00000008.state.unused").is_file()
    assert_same_end(stopped.parent, whole)


def test_only_damaged_states_are_an_error(stopped: Path):
    for name in folders.states_in(stopped).values():
        (stopped / name).write_bytes(b"nothing")
    with pytest.raises(state_file.StateError, match="none of its .* states can be used"):
        train(stopped.parent)


def test_a_full_disk_stops_before_anything_is_deleted(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
):
    before = {path.name: path.read_bytes() for path in stopped.glob("*.state")}
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda _: Namespace(free=1000))
    with pytest.raises(OSError, match="disk is full"):
        train(stopped.parent)
    assert {path.name: path.read_bytes() for path in stopped.glob("*.state")} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SEED": 5}, "SEED expected 0, received 5"),
        ({"WEIGHT_DECAY": 0.5}, "WEIGHT_DECAY"),
        ({"IMAGES_PER_GPU": 4}, "BATCH_SIZE expected 2, received 4"),
        ({"stages": (("heads", 0.5),)}, "learning_rate expected 0.02, received 0.5"),
        ({"stages": (("all", 2e-2),)}, "layers expected 'heads', received 'all'"),
        ({"flip": 0.25}, "augmentation expected .*0.5.*, received .*0.25"),
        ({"annotated": 1}, "annotations of the training data expected"),
        ({"images": 8}, "training data expected 7 images .* received 8 images"),
        ({"validate": False}, "validation data expected 4 images .* received none"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_not_go_on_exactly_is_refused(stopped: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=f"cannot continue exactly.*{message}"):
        train(stopped.parent, **changes)


def test_a_run_without_states_goes_on_with_its_last_epoch(
    stopped: Path, capsys: pytest.CaptureFixture
):
    for name in folders.states_in(stopped).values():
        (stopped / name).unlink()
    train(stopped.parent, stages=(("heads", 2e-2),))
    assert "the optimizer starts anew" in capsys.readouterr().out
    assert sorted(folders.epochs_in(stopped)) == [1, 2]


def test_weights_of_an_epoch_begin_anew_without_doubled_rows(stopped: Path):
    # As scripts for Matterport's package continue: from an epoch, not from a state.
    model = StandIn("training", StandInConfig(), stopped.parent)
    model.load_weights(model.find_last(), by_name=True)
    model.train(Squares().add(7), Squares().add(4), 2e-2, epochs=2, layers="heads")
    rows = (stopped / "losses.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]
    # The states of the run that was left are out of the way, not gone.
    assert (stopped / "step_00000008.state.unused").is_file() and newest(stopped.parent) == 10


def test_a_model_that_was_stopped_goes_on_in_the_same_process(whole: Path, tmp_path: Path):
    keras.utils.set_random_seed(0)
    model = StandIn("training", StandInConfig(), tmp_path)

    def call(**options: Any) -> None:
        for number, (layers, rate) in enumerate((("heads", 2e-2), ("all", 1e-2)), start=1):
            model.train(
                *(Squares().add(7), Squares().add(4), rate, number * EPOCHS, layers),
                augmentation=HorizontalFlip(0.5),
                **options,
            )

    with pytest.raises(KeyboardInterrupt):
        call(custom_callbacks=[At(1, 2, interrupt)])
    call(resume=True)
    assert_same_end(tmp_path, whole)


def test_the_best_state_stays(tmp_path: Path):
    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict) -> None:
            logs["score"] = [0.5, 0.9, 0.7, 0.9][epoch]

    settings = {"CHECKPOINT_METRIC": "score", "CHECKPOINTS_KEPT": 1, "CHECKPOINT_STEPS": None}
    train(tmp_path, callbacks=[Score()], **settings)
    (run,) = tmp_path.iterdir()
    assert sorted(folders.states_in(run)) == [10, 20]
    best = state_file.read_state(run / "step_00000020.state").header["best"]
    assert best == {"metric": "score", "value": 0.9, "step": 10, "epoch": 2}
    weights = (run / "mask_rcnn_stand-in_0002.h5").read_bytes()
    assert (run / "mask_rcnn_stand-in_best.h5").read_bytes() == weights
    assert folders.last_checkpoint(run).endswith("_0004.h5")


def test_a_metric_that_is_not_there_is_said_after_the_state_is_written(tmp_path: Path):
    with pytest.raises(ValueError, match="CHECKPOINT_METRIC: expected one of .*'val_loss'.*AP"):
        train(tmp_path, CHECKPOINT_METRIC="AP")
    assert newest(tmp_path) == 5


def test_a_budget_without_room_is_said_at_once(tmp_path: Path):
    with pytest.raises(ValueError, match="CHECKPOINT_DISK_BUDGET"):
        train(tmp_path, CHECKPOINT_DISK_BUDGET=1e-6)


# --- Determinism ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_losses_with_any_number_of_workers(
    whole: Path, tmp_path: Path
):
    train(tmp_path / "again", LOADER_WORKERS=3, LOADER_PREFETCH=1)
    assert_same_end(tmp_path / "again", whole)
    train(tmp_path / "other", SEED=1, stages=(("heads", 2e-2),))
    rows = [kills.end(folder)["losses"][0] for folder in (tmp_path / "other", whole)]
    assert rows[0] != rows[1]


def test_the_states_hold_no_more_than_they_must(whole: Path):
    (run,) = whole.iterdir()
    state = state_file.read_state(run / "step_00000020.state")
    assert state.header["epoch"] == 4 and state.header["stage"]["layers"] == "all"
    paths = [path for path, _ in state.groups["model"]]
    assert sum("seed_generator_state" in path for path in paths) == 1
    assert any("moving_variance" in path for path in paths)
    assert sum("momentum" in path for path, _ in state.groups["optimizer"]) == len(
        [path for path in paths if "moving" not in path and "seed" not in path]
    )
    assert all(np.all(np.isfinite(a)) for _, a in state.groups["optimizer"])


# --- The bookkeeping ------------------------------------------------------------------------------


class Door:
    """What a session needs of `MaskRCNN`, without a network."""

    mode = "training"
    keras_model = None

    def __init__(self, folder: Path) -> None:
        self.config, self.model_dir = StandInConfig(), str(folder)
        self.session = Session()
        self.calls: list[Any] = []

    def set_log_dir(self, model_path: str | None = None) -> None:
        self.session.set_log_dir(self, model_path)

    def load_weights(self, filepath: str, by_name: bool = False) -> None:
        self.calls.append((Path(filepath).name, by_name))

    def resume(self) -> None:
        self.session.resume(self)

    def set_trainable(self, layer_regex: str) -> None:
        self.calls.append(layer_regex)

    def compile(self, learning_rate: float, momentum: float, steps: int | None = None) -> None:
        self.calls.append((learning_rate, momentum, steps))


def test_a_new_run_or_that_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture):
    door = Door(tmp_path)
    door.set_log_dir()
    session = door.session
    assert session.epoch == 0 and Path(session.log_dir).parent == tmp_path
    assert Path(session.log_dir).name.startswith("stand-in2")
    assert session.checkpoint_path == f"{session.log_dir}/mask_rcnn_stand-in_{{epoch:04d}}.h5"
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())
    door.set_log_dir("/logs/stand-in20200102T0304/mask_rcnn_stand-in_0007.h5")
    assert (session.epoch, session.log_dir) == (7, "/logs/stand-in20200102T0304")
    assert "Continuing from epoch 7 in /logs/stand-in20200102T0304" in capsys.readouterr().out
    door.mode = "inference"  # where nothing continues
    door.set_log_dir("/logs/stand-in20200102T0304/mask_rcnn_stand-in_0007.h5")
    assert session.epoch == 7 and capsys.readouterr().out == ""


def test_a_folder_that_a_script_has_opened_stays_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Weights are loaded minutes after the script has written into the folder."""
    door = Door(tmp_path / "logs")
    minutes = (str(tmp_path / "logs" / f"stand-in20200102T030{n}") for n in range(4))
    monkeypatch.setattr(folders, "new_log_dir", lambda *_: next(minutes))
    door.set_log_dir()
    session = door.session
    session.start_from(door, "coco.h5", whole=True)
    assert session.log_dir.endswith("T0301")  # nobody has seen the first name
    session.open_log_dir(door)
    (Path(session.log_dir) / "configuration.log").write_text("written")
    session.start_from(door, "coco.h5", whole=False)
    assert session.log_dir.endswith("T0301") and session.epoch == 0
    session.epoch = 1  # trained in: other weights begin a new run
    session.start_from(door, "coco.h5", whole=True)
    assert session.log_dir.endswith("T0302") and session.epoch == 0


def test_a_schedule_numbers_its_stages():
    session = Session()
    stages = [Stage("heads", 0.1, 10), Stage("all", 0.01, 7)]
    seen = []
    for stage, end in session.schedule(stages, steps_per_epoch=5, start=3):
        run = session.next_stage(Config, stage.layers, stage.learning_rate, end)
        seen.append((run.layers, run.first_epoch, run.last_epoch, run.number, run.schedule_start))
        session.epoch = end
    assert seen == [("heads", 0, 5, 0, 3), ("all", 5, 7, 1, 3)]
    assert session.schedule_start == 3


SHORT = [Stage("heads", 2e-2, 3), Stage("all", 1e-2, 7), Stage("all", 1e-3, 2)]  # epochs of 5


def train_short(folder: Path, callbacks: list | None = None) -> StandIn:
    """Train stages that end in the middle of an epoch, or continue with them."""
    keras.utils.set_random_seed(0)
    model = StandIn("training", StandInConfig(), folder)
    with contextlib.suppress(FileNotFoundError):
        model.resume()
    options = {"augmentation": HorizontalFlip(0.5), "custom_callbacks": callbacks}
    model.train_stages(Squares().add(7), Squares().add(4), SHORT, **options)
    return model


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    model = train_short(folder)
    assert model.epoch == 4 and len(kills.end(folder)["losses"]) == 4
    assert int(model.keras_model.optimizer.iterations) == 2  # of the last stage
    return folder


def test_a_schedule_has_exactly_its_steps(short: Path):
    (run,) = short.iterdir()
    assert max(folders.states_in(run)) == 12
    state, _ = state_file.newest_state(run)
    assert (state.header["epoch"], state.header["step"]) == (4, 12)
    assert (state.header["stage"]["first_step"], state.header["stage"]["last_step"]) == (10, 12)


@pytest.mark.parametrize(
    ("epoch", "batch", "in_validation"), [(0, 2, False), (1, 4, False), (2, 1, False), (2, 0, True)]
)
def test_a_short_epoch_is_resumed_exactly(
    short: Path, tmp_path: Path, epoch: int, batch: int, in_validation: bool
):
    with pytest.raises(KeyboardInterrupt):
        train_short(tmp_path, [At(epoch, batch, interrupt, in_validation)])
    train_short(tmp_path)
    ends = kills.end(tmp_path), kills.end(short)
    assert ends[0]["state"] == ends[1]["state"]
    np.testing.assert_array_equal(ends[0]["losses"], ends[1]["losses"])
    model = train_short(tmp_path)  # all is done: nothing happens
    assert model.epoch == 4 and newest(tmp_path) == 12


@pytest.mark.parametrize("classes", [1, 3])
def test_another_number_of_classes_is_said_before_the_first_step(tmp_path: Path, classes: int):
    config = runs_settings.configure(StandInConfig, {"NUM_CLASSES": 2})
    model = StandIn("training", config, tmp_path / "logs")
    config.NUM_CLASSES = classes  # as a script does that forgets the background
    with pytest.raises(ValueError, match=rf"2 classes .*\(BG, square\), .* is {classes}"):
        model.train(Squares().add(4), None, 0.1, 1, "all")
    assert not (tmp_path / "logs").exists()


def test_without_a_run_there_is_nothing_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture):
    door = Door(tmp_path)
    door.set_log_dir()
    with pytest.raises(FileNotFoundError, match="stand-in"):
        door.session.resume(door)
    door.session.resume_once(door)
    assert "Nothing to resume: No checkpoint stand-in" in capsys.readouterr().out


def test_a_stage_under_way_keeps_its_beginning(stopped: Path):
    model = StandIn("training", StandInConfig(), stopped.parent)
    model.resume()
    assert model.epoch == 1 and model.log_dir == str(stopped)
    stage = model._session.next_stage(model.config, "heads", 2e-2, 2)
    assert stage.first_epoch == 0
    # Other weights: it begins anew.
    model.load_weights(model.find_last(), by_name=True)
    assert model._session.next_stage(model.config, "heads", 2e-2, 2).first_epoch == 1


def test_a_run_of_an_older_version_goes_through_the_models_own_methods(stopped: Path):
    for name in folders.states_in(stopped).values():
        (stopped / name).unlink()
    door = Door(stopped.parent)
    door.set_log_dir()
    door.session.resume_once(door)
    door.session.resume_once(door)  # of effect once
    assert door.calls == [("mask_rcnn_stand-in_0001.h5", True)]


def test_what_scripts_set_counts(tmp_path: Path):
    model = StandIn("training", StandInConfig(), tmp_path)
    model.epoch, model.log_dir, model.schedule_start = 1, str(tmp_path / "own"), 1
    model.checkpoint_path = "elsewhere"
    assert (model.epoch, model.schedule_start, model.checkpoint_path) == (1, 1, "elsewhere")
    history = model.train(Squares().add(4), None, 1e-2, epochs=2, layers="all")
    assert history.epoch == [1] and model.epoch == 2
    assert (tmp_path / "own" / "mask_rcnn_stand-in_0002.h5").is_file()
    state, _ = state_file.newest_state(tmp_path / "own")
    assert state.header["stage"]["schedule_start"] == 1


def test_a_subclass_may_train_in_its_own_way(tmp_path: Path):
    class Own(StandIn):
        def set_trainable(self, layer_regex: str, *args: Any, **options: Any) -> None:
            super().set_trainable("mrcnn_bbox_fc")

        def compile(self, learning_rate: float, momentum: float, steps: Any = None) -> None:
            super().compile(learning_rate / 2, momentum, steps)

    model = Own("training", StandInConfig(), tmp_path)
    model.train(Squares().add(4), None, 1e-2, epochs=1, layers="all")
    assert {variable.path.split("/")[0] for variable in model.keras_model.trainable_variables} == {
        "mrcnn_bbox_fc"
    }
    assert float(model.keras_model.optimizer.learning_rate) == pytest.approx(5e-3)


# --- A run has its folder to itself ------------------------------------------------------------


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime.datetime:
        return datetime.datetime(2020, 1, 2, 3, 4)


@pytest.fixture
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs start in the same minute."""
    monkeypatch.setattr("mrcnn.training.session.datetime.datetime", FixedDate)


@pytest.mark.slow
def test_runs_of_one_minute_keep_their_files_apart(tmp_path: Path, one_minute: None):
    models = [
        StandIn("training", runs_settings.configure(StandInConfig, {"SEED": seed}), tmp_path)
        for seed in (1, 2, 3)
    ]
    for model in reversed(models):
        model.claim_log_dir()
    for model in models:
        model.train(Squares().add(4), None, 1e-2, epochs=1, layers="heads")
        assert model.checkpoint_path.startswith(model.log_dir)
    names = [Path(model.log_dir).name for model in models]
    assert names == [f"stand-in20200102T0304{number}" for number in ("-3", "-2", "")]
    for model in models:
        assert (Path(model.log_dir) / "mask_rcnn_stand-in_0001.h5").is_file()
        settings = json.loads(Path(model.log_dir, "config.json").read_text())
        assert settings["SEED"] == model.config.SEED
    # A fourth, of which nobody made a name before those were done, and the one to continue with.
    fourth = StandIn("training", StandInConfig(), tmp_path)
    assert fourth.claim_log_dir() == f"{models[2].log_dir}-4"
    again = StandIn("training", models[0].config, tmp_path)
    again.resume()
    assert again.log_dir == models[0].log_dir


def test_a_script_may_write_into_the_log_folder_before_training(tmp_path: Path, one_minute: None):
    model, other = (StandIn("training", StandInConfig(), tmp_path) for _ in range(2))
    assert list(tmp_path.iterdir()) == []  # nobody has asked
    for one in (model, other):
        Path(one.log_dir, "configuration.log").write_text(str(id(one)))
    folder = tmp_path / "stand-in20200102T0304"
    assert (model.log_dir, other.log_dir) == (str(folder), f"{folder}-2")
    assert other.checkpoint_path.startswith(f"{folder}-2")
    with pytest.raises(FileNotFoundError):
        model.find_last()
    for one in (other, model):
        one.train(Squares().add(4), None, 1e-2, epochs=1, layers="heads")
        assert Path(one.log_dir, "configuration.log").read_text() == str(id(one))
        assert Path(one.checkpoint_path.format(epoch=1)).is_file()
    assert model.find_last()[0] == f"{folder}-2"


def test_a_log_folder_that_nobody_wrote_into_goes(tmp_path: Path, one_minute: None):
    model = StandIn("training", StandInConfig(), tmp_path)
    assert os.path.isdir(model.log_dir)
    model.train(Squares().add(4), None, 1e-2, epochs=1, layers="heads")
    # A second model asks for its own, and then continues with the first.
    again = StandIn("training", StandInConfig(), tmp_path)
    new = again.log_dir
    assert os.path.isdir(new) and new != model.log_dir
    again.load_weights(model.find_last())
    assert again.log_dir == model.log_dir and not os.path.exists(new)
    third = StandIn("training", StandInConfig(), tmp_path)
    assert os.path.isdir(third.log_dir)
    del third
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == [Path(model.log_dir).name]


def test_a_log_folder_that_cannot_be_made_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    (tmp_path / "logs").touch()  # a file
    model = StandIn("training", StandInConfig(), tmp_path / "logs")
    assert Path(model.log_dir).parent == tmp_path / "logs"
    assert "stand-in" in capsys.readouterr().err


def test_a_run_that_another_process_trains_is_not_gone_on_with(stopped: Path):
    program = "import sys, time; from mrcnn.files.lock import FolderLock; "
    program += "held = FolderLock(sys.argv[1]); print(1, flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, str(stopped)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None and other.stdout.readline()
            before = {path: path.read_bytes() for path in stopped.iterdir()}
            with pytest.raises(FolderTakenError, match=f"process {other.pid} .* writes into"):
                train(stopped.parent)
            assert {path: path.read_bytes() for path in stopped.iterdir()} == before
        finally:
            other.kill()
    train(stopped.parent, stages=(("heads", 2e-2),))


def test_what_is_refused_changes_no_settings(stopped: Path):
    before = (stopped / "config.json").read_bytes()
    with pytest.raises(ValueError, match="SEED"):
        train(stopped.parent, SEED=5)
    assert (stopped / "config.json").read_bytes() == before


# --- What a run starts from --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "name", "exclude", "goes_on"),
    [
        (2, "stand-in", None, True),
        (1, "stand-in", None, False),  # what followed it would be overwritten
        (2, "stand-in", ["mrcnn_bbox_fc"], False),
        (2, "other", None, False),
    ],
    ids=["newest", "older", "without a layer", "another name"],
)
def test_only_the_newest_weights_of_a_configuration_go_on(
    tmp_path: Path, capsys, epoch: int, name: str, exclude: Any, goes_on: bool
):
    first = StandIn("training", StandInConfig(), tmp_path)
    first.train(Squares().add(4), None, 1e-2, epochs=2, layers="all")
    folder, weights = first.log_dir, first.checkpoint_path.format(epoch=epoch)
    before = {path: path.read_bytes() for path in Path(folder).iterdir()}
    model = StandIn("training", runs_settings.configure(StandInConfig, {"NAME": name}), tmp_path)
    model.load_weights(os.path.relpath(weights), by_name=True, exclude=exclude)
    assert model.epoch == (2 if goes_on else 0)
    model.train(Squares().add(4), None, 1e-2, epochs=3 if goes_on else 1, layers="all")
    assert (os.path.realpath(model.log_dir) == os.path.realpath(folder)) == goes_on
    told = "A new run begins from" in capsys.readouterr().out
    assert told != goes_on
    if not goes_on:
        assert {path: path.read_bytes() for path in Path(folder).iterdir()} == before


def test_older_weights_of_its_own_run_begin_a_new_one(tmp_path: Path):
    """In the same process and minute, too."""
    model = StandIn("training", StandInConfig(), tmp_path)
    model.train(Squares().add(4), None, 1e-2, epochs=2, layers="all")
    folder, older = model.log_dir, model.checkpoint_path.format(epoch=1)
    model.load_weights(older, by_name=True)
    model.train(Squares().add(4), None, 1e-2, epochs=1, layers="all")
    assert model.log_dir != folder and sorted(folders.epochs_in(folder)) == [1, 2]
    # Unless a script asks for it, as Matterport's did.
    model.set_log_dir(older)
    model.train(Squares().add(4), None, 1e-2, epochs=3, layers="all")
    assert model.log_dir == folder and sorted(folders.epochs_in(folder)) == [1, 2, 3]


# --- Changed, and ended early ------------------------------------------------------------------


def test_other_layers_have_another_optimizer_even_knowingly(stopped: Path):
    with pytest.raises(state_file.StateError, match="variables of the optimizer"):
        train(stopped.parent, allow_changed=True, stages=(("all", 2e-2),))


def test_a_changed_run_goes_on_knowingly(stopped: Path, capsys: pytest.CaptureFixture):
    changes = {"stages": (("heads", 5e-3),), "WEIGHT_DECAY": 0.5, "flip": 0.25}
    model = train(stopped.parent, allow_changed=True, **changes)
    warning = capsys.readouterr().err
    for name in ("WEIGHT_DECAY", "learning_rate", "augmentation"):
        assert f"{name} expected" in warning
    assert model.epoch == 2 and model.log_dir == str(stopped)
    # The new rate, not the one that the state holds.
    assert float(model.keras_model.optimizer.learning_rate) == pytest.approx(5e-3)
    assert json.loads((stopped / "config.json").read_text())["WEIGHT_DECAY"] == 0.5


# --- Killed between two stages -----------------------------------------------------------------


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose process ended when the first of its two stages was done."""
    folder = tmp_path_factory.mktemp("between")
    train(folder, stages=(("heads", 2e-2),))
    return folder


@pytest.fixture
def between(first_stage: Path, tmp_path: Path) -> Path:
    shutil.copytree(first_stage, tmp_path / "between")
    return tmp_path / "between"


def test_the_next_stage_goes_on_in_a_new_process(whole: Path, between: Path):
    train(between)
    assert_same_end(between, whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SEED": 5}, "SEED expected 0, received 5"),
        ({"WEIGHT_DECAY": 0.5}, "WEIGHT_DECAY"),
        ({"stages": (("heads", 0.5), ("all", 1e-2))}, "learning_rate expected 0.02, received 0.5"),
        ({"flip": 0.25}, "augmentation expected .*0.5.*, received .*0.25"),
        ({"annotated": 1}, "annotations of the training data expected"),
        ({"validate": False}, "validation data expected 4 images .* received none"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_changed_between_two_stages_is_refused(between: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=f"cannot continue exactly.*{message}"):
        train(between, **changes)
    assert newest(between) == 10  # nothing was trained


def test_it_goes_on_knowingly(between: Path, capsys: pytest.CaptureFixture):
    model = train(between, flip=0.25, allow_changed=True)
    assert "augmentation expected" in capsys.readouterr().err and model.epoch == 4


def test_a_run_that_is_done_is_left_alone(between: Path, capsys: pytest.CaptureFixture):
    model = train(between, stages=(("heads", 2e-2),), flip=0.25)
    assert "Nothing to train" in capsys.readouterr().out and model.epoch == 2


def test_a_stage_may_have_its_own_data_and_augmentation(
    between: Path, capsys: pytest.CaptureFixture
):
    model = StandIn("training", StandInConfig(), between)
    model.train(
        *(Squares().add(7), Squares().add(4), 1e-2, 4, "all"),
        augmentation=HorizontalFlip(0.25),
        resume=True,
    )
    warning = capsys.readouterr().err
    assert "the next stage differs from the one before: augmentation expected" in warning
    assert model.epoch == 4 and "learning_rate" not in warning


class StopAfter(keras.callbacks.Callback):
    """Ends the stage under way after an epoch, counted from 0, as `EarlyStopping` does."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            self.model.stop_training = True


def test_a_stage_that_a_callback_ends_is_done_in_this_process_and_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    # Of two stages of two epochs each, the first is ended after one.
    here = train(tmp_path / "here", callbacks=[StopAfter(0)])
    assert (here.epoch, here.planned_epoch) == (3, 4)
    rows = (Path(here.log_dir) / "losses.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3"]
    assert sorted(folders.epochs_in(here.log_dir)) == [1, 2, 3]
    assert "ended the stage after epoch 1 of 2" in capsys.readouterr().out

    first = train(tmp_path / "next", callbacks=[StopAfter(0)], stages=(("heads", 2e-2),))
    assert (first.epoch, first.planned_epoch) == (1, 2)
    del first
    second = train(tmp_path / "next", callbacks=[At(1, 3, crash)], stages=(("heads", 2e-2),))
    assert second.epoch == 1 and "Nothing to train: 2 epochs" in capsys.readouterr().out
    del second
    with pytest.raises(CrashError):  # in the second stage
        train(tmp_path / "next", callbacks=[At(1, 3, crash)])
    again = train(tmp_path / "next")
    assert (again.epoch, again.planned_epoch) == (3, 4)
    assert_same_end(tmp_path / "next", tmp_path / "here")
    assert train(tmp_path / "next").epoch == 3


def test_stages_of_a_schedule_keep_their_length_when_one_ends_early(tmp_path: Path):
    model = StandIn("training", StandInConfig(), tmp_path)
    stages = [Stage("heads", 1e-2, 15), Stage("all", 1e-2, 10)]
    model.train_stages(Squares().add(4), None, stages, custom_callbacks=[StopAfter(0)])
    assert (model.epoch, model.planned_epoch) == (3, 5)
    trained = [TrainedStage(1, 1, "heads", 1e-2), TrainedStage(2, 3, "all", 1e-2)]
    assert read_stages(model.log_dir) == trained


class Deep(Dataset):
    """Grey pictures of 16 bits, all of one value."""

    def __init__(self, folder: Path, value: int, count: int) -> None:
        super().__init__()
        folder.mkdir()
        self.add_class("deep", 1, "square")
        for index in range(count):
            Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)).save(folder / f"{index}.png")
            self.add_image("deep", index, str(folder / f"{index}.png"))
        self.prepare()

    load_mask = Squares.load_mask


class Watched(Deep):
    """Keeps what was read of it."""

    def load_image(self, image_id: int) -> np.ndarray:
        image = super().load_image(image_id)
        self.__dict__.setdefault("seen", set()).update(np.unique(image).tolist())
        return image


def test_validation_and_evaluation_take_the_bit_depth_of_the_training(tmp_path):
    """200 is dark among values up to 4000, and would be bright in a set of its own."""
    train_set, val_set = Deep(tmp_path / "a", 4000, 4), Watched(tmp_path / "b", 200, 2)
    for epochs in (1, 2):  # begun, and continued with
        config = runs_settings.configure(StandInConfig, {"LOADER_WORKERS": 0})
        model = StandIn("training", config, tmp_path / "logs")
        model.train(train_set, val_set, 1e-2, epochs, layers="heads", resume=True)
        assert val_set.seen == {200 >> 4}
        assert config.GREY_BIT_DEPTH == {"deep": 12}
    weights = folders.last_checkpoint(model.log_dir)
    trained_config = inference_config(weights, StandInConfig)
    assert trained_config.GREY_BIT_DEPTH == {"deep": 12}
    val_set.seen.clear()
    load_image(val_set, 0, trained_config)
    assert val_set.seen == {200 >> 4}
    assert val_set.load_image(0).max() == 200  # by itself
