"""A model's training over its calls: where it writes, how far it is, and what it continues with.

`mrcnn.model.MaskRCNN` is trained by several calls, as Matterport's scripts do it, in one process
or in one after the other. The `Session` is what is kept between them.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import keras

from mrcnn.checkpoints import folders, state_file, variables
from mrcnn.checkpoints.identity import RunIdentity, StageRun
from mrcnn.checkpoints.settings_file import CLASS_NAMES, save_settings
from mrcnn.checkpoints.stages_file import record_stage
from mrcnn.checkpoints.state_file import State
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset, grey_depths
from mrcnn.data.dataset_checks import classes_problem
from mrcnn.files.lock import FolderLock, lock_folder
from mrcnn.logger import logger
from mrcnn.training import devices, hosts, trainer
from mrcnn.training.batches import TrainingData
from mrcnn.training.callback_packages import check_packages
from mrcnn.training.compile import set_trained_losses
from mrcnn.training.progress import Progress
from mrcnn.training.stages import Stage, epochs, trained_losses


class Trainable(Protocol):
    """What a session needs of `MaskRCNN`, whose methods a script's subclass may have changed."""

    mode: str  # "training" or "inference"
    config: Config
    model_dir: str
    keras_model: Any

    def set_log_dir(self, model_path: str | None = None) -> None: ...

    def resume(self, allow_changed: bool = False) -> None: ...

    def load_weights(self, filepath: str, by_name: bool = False) -> Any: ...

    def set_trainable(self, layer_regex: str) -> None: ...

    def compile(self, learning_rate: float, momentum: float) -> None: ...


class Session:
    """The training of one model.

    Attributes:
        epoch: epochs trained so far.
        log_dir: folder of the run.
        checkpoint_path: of its weights files, with "{epoch:04d}" for the epoch.
        schedule_start: epochs done when the schedule began that is under way, or None.
        stage_number: of the stage that is trained next in its schedule, from 0.
        stage_start, stage_steps: the epoch at which that stage begins, as planned, and its steps;
            None: it is as many whole epochs as its call of `train` says.
        other_schedule: whether another schedule than that of the stages done was asked for by
            name: then they are not compared with it.
        details: what the run's `config.json` holds beside the settings and the class names.
        skipped: epochs that stages so far have left out, because a callback such as
            `EarlyStopping` ended them. The next stages end so much earlier, and keep their length.
        steps: of the stage that the model is compiled for, while it is.
        later_steps, later_epochs: of the stages that follow in the schedule under way.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.log_dir = ""
        self.checkpoint_path = ""
        self.schedule_start: int | None = None
        self.stage_number = 0
        self.stage_start = 0
        self.stage_steps: int | None = None
        self.skipped = 0
        self.steps: int | None = None
        self.later_steps = self.later_epochs = 0
        self.other_schedule = False
        self.details: dict[str, Any] = {}
        self._reached = (0, 0)  # (epochs, steps) done, where an epoch ended
        self._allow_changed = False
        self._state: State | None = None  # of an unfinished stage, until training continues with it
        # The end of a stage that `resume` found, until the next one begins; and the identity of
        # that stage, as the call has it that asks for it again.
        self._finished: State | None = None
        self._passed: RunIdentity | None = None
        self._resumed = False
        self._new_log_dir = ""  # the name that a new run would like to have
        self._lock: FolderLock | None = None

    @property
    def planned_epoch(self) -> int:
        """Epochs that count as done: those trained, and those that callbacks have left out."""
        return self.epoch + self.skipped

    # --- Where it begins --------------------------------------------------------------------

    def set_log_dir(self, model: Trainable, model_path: str | None = None) -> None:
        """Choose the log folder: that of a checkpoint to continue from, or a new one.

        Creates nothing. A folder that the model has trained in is not taken for a new run.
        """
        parsed = folders.parse_checkpoint_path(model_path) if model_path else None
        name = model.config.NAME
        if parsed is None:
            self.epoch = self.skipped = 0
            self._reached = (0, 0)
            self.log_dir = folders.new_log_dir(
                model.model_dir, name, model.config.RUN_NAME, datetime.datetime.now()
            )
            self._new_log_dir = self.log_dir
            self._lock = None
        else:
            folder, self.epoch, _ = parsed
            if folder != self.log_dir:
                self.log_dir, self.skipped, self._reached = folder, 0, (0, 0)
            if self._lock is not None and self._lock.folder != os.path.realpath(folder):
                self._lock = None
            self._new_log_dir = ""
            if model.mode == "training":
                logger.info(f"Continuing from epoch {self.epoch} in {self.log_dir}")
        self.checkpoint_path = folders.checkpoint_template(self.log_dir, name)

    def claim_log_dir(self, model: Trainable) -> None:
        """Take the log folder for this model; see `MaskRCNN.claim_log_dir`.

        Of several processes, the first takes it for all.

        Raises:
            FolderTakenError: another process writes into the folder that training continues in.
        """
        own_files = folders.checkpoint_template(self.log_dir, model.config.NAME)
        is_own = self.checkpoint_path == own_files
        self.log_dir = hosts.of_first(self._claim)
        if not hosts.is_first():
            self._new_log_dir = ""  # it is made
        if is_own:
            self.checkpoint_path = folders.checkpoint_template(self.log_dir, model.config.NAME)

    def _claim(self) -> str:
        """Take the log folder, or another if a new run's is taken. Returns which it is."""
        if self._lock is not None and self._lock.folder == os.path.realpath(self.log_dir):
            return self.log_dir
        self._lock = None
        if self.log_dir != self._new_log_dir:
            self._lock = lock_folder(self.log_dir)
            return self.log_dir
        self.log_dir, self._lock = folders.claim_new(self.log_dir)
        return self.log_dir

    def open_log_dir(self, model: Trainable) -> None:
        """Make and take the folder of a new run, because a script wants to write into it.

        That of a run to continue from is there already, and taken when training continues. Of
        several processes none opens it alone: they agree on it when training begins.
        """
        if hosts.count() > 1 or self._lock is not None or self.log_dir != self._new_log_dir:
            return
        try:
            self.claim_log_dir(model)
        except OSError as error:
            logger.warning(f"The log folder {self.log_dir} cannot be made: {error}")

    def start_from(self, model: Trainable, weights: str, whole: bool) -> None:
        """Begin a new run from a weights file, or continue with the run whose newest one it is.

        Older weights of a run, and those of other runs, begin a new one: continuing would
        overwrite what followed them. A folder that a script has opened for its new run stays the
        run's, however long ago that was.

        Args:
            model: that holds the weights now.
            weights: the file.
            whole: whether no layer was left out on purpose.
        """
        self._state = self._finished = self._passed = None
        self.schedule_start = None
        if whole and _is_newest(model, weights):
            model.set_log_dir(weights)
            return
        if not self._has_open_new_folder():
            model.set_log_dir()
        if folders.parse_checkpoint_path(weights) is not None:
            logger.info(
                f"A new run begins from {weights}. To continue with a run, resume it or load its "
                "newest weights."
            )

    def _has_open_new_folder(self) -> bool:
        """Whether the folder is open for a new run that has not trained in it yet."""
        is_new = self._lock is not None and self._new_log_dir != ""
        has_trained = self.epoch > 0 or self._reached != (0, 0)
        return is_new and not has_trained and not folders.states_in(self.log_dir)

    def resume(self, model: Trainable, allow_changed: bool = False) -> None:
        """Continue with the newest run of a model's configuration; see `MaskRCNN.resume`.

        Raises:
            FileNotFoundError: there is no run; the message says where it was looked for.
            StateError: all states of the run are damaged, or of another network.
            FolderTakenError: another process continues with it.
        """
        name = model.config.NAME
        folder = self.log_dir  # this model's own run, if training was stopped in it
        has_begun = self._lock is not None or folder != self._new_log_dir
        if not (has_begun and folders.states_in(folder)):
            folder = self._last_run(model)
        if hosts.is_first():
            # Before the state is read: whoever writes there now would continue from it.
            self._lock = lock_folder(folder)
        state, damaged = state_file.newest_state(folder)
        hosts.expect_same("state of the run", {"state": None if state is None else state.path})
        if state is None:
            logger.info(f"{folder} holds no state of training: the optimizer starts anew.")
            model.load_weights(folders.last_checkpoint(folder), by_name=True)
            self._resumed = True
            return
        for message in damaged:
            logger.warning(message)
        variables.restore(model.keras_model, state, ("model",))
        epoch, stage = state.header["epoch"], state.header["stage"]
        model.set_log_dir(folders.checkpoint_path(folder, name, epoch))
        logger.info(f"Resuming at step {state.header['step']}: {state.path}")
        # States of older versions do not say it.
        unfinished = not state.header.get("finished", epoch >= stage["last_epoch"])
        self._state = state if unfinished else None
        # Its variables are in the model, and the next stage's optimizer is a new one.
        self._finished = None if unfinished else replace(state, groups={})
        self._passed = None
        self.schedule_start = stage["schedule_start"] if unfinished else None
        self.skipped = stage.get("skipped", 0)
        if not unfinished:
            self.skipped += max(0, stage["last_epoch"] - epoch)
            self._reached = (epoch, state.header["step"])
        self._allow_changed = allow_changed
        self._resumed = True

    def _last_run(self, model: Trainable) -> str:
        """The folder of the newest run, in which all processes find it."""
        try:
            folder = folders.find_last_run(
                model.model_dir, model.config.NAME, model.config.RUN_NAME
            )
            missing = None
        except FileNotFoundError as error:
            folder, missing = "", error
        hosts.expect_same("log folder", {"newest run": folder})
        if missing is not None:
            raise missing
        return folder

    def resume_once(self, model: Trainable, allow_changed: bool = False) -> None:
        """Resume if there is a run: in the first call, and in the first after a stop."""
        if self._resumed:
            return
        try:
            # A script's own `resume` need not know the argument.
            model.resume(allow_changed=True) if allow_changed else model.resume()
        except FileNotFoundError as error:
            logger.info(f"Nothing to resume: {error}")

    # --- Training -----------------------------------------------------------------------------

    def schedule(
        self, stages: Sequence[Stage], steps_per_epoch: int, start: int
    ) -> Generator[tuple[Stage, int]]:
        """Yield (stage, its last epoch) of a schedule that begins at an epoch, one to train each.

        Raises:
            ValueError: `steps_per_epoch` is below 1.
        """
        ends = epochs(stages, steps_per_epoch, start)
        self.schedule_start = start
        try:
            starts = [start, *ends]
            for number, (stage, end) in enumerate(zip(stages, ends, strict=True)):
                self.stage_number = number
                self.stage_start, self.stage_steps = starts[number], stage.steps
                self.later_steps = sum(later.steps for later in stages[number + 1 :])
                self.later_epochs = ends[-1] - end
                yield stage, end
        finally:
            self.stage_steps, self.later_steps, self.later_epochs = None, 0, 0

    def next_stage(
        self,
        config: Config,
        layers: str,
        learning_rate: float,
        last_epoch: int,
        losses: str = "all",
    ) -> StageRun:
        """The stage that begins now, or that `resume` found under way.

        `last_epoch` is the planned one: see `planned_epoch`.

        Raises:
            ValueError: `losses` means no loss.
        """
        trained_losses(losses)
        first_epoch, first_step = self.epoch, self._steps_done(config)
        if self._state is not None:
            begun = self._state.header["stage"]
            first_epoch = begun["first_epoch"]
            first_step = begun.get("first_step", first_epoch * config.STEPS_PER_EPOCH)
        steps = (last_epoch - self.skipped - first_epoch) * config.STEPS_PER_EPOCH
        if self.stage_steps is not None:
            epochs_before = max(0, first_epoch + self.skipped - self.stage_start)
            steps = self.stage_steps - epochs_before * config.STEPS_PER_EPOCH
        return StageRun(
            layers=layers,
            learning_rate=float(learning_rate),
            momentum=float(config.LEARNING_MOMENTUM),
            first_epoch=first_epoch,
            last_epoch=last_epoch - self.skipped,
            number=self.stage_number,
            schedule_start=self.schedule_start or 0,
            skipped=self.skipped,
            first_step=first_step,
            last_step=first_step + steps,
            losses=losses,
        )

    def steps_done(self, config: Config) -> int:
        """The steps of the run, those of an epoch under way included."""
        return self._steps_done(config) if self._state is None else self._state.header["step"]

    def steps_left(self, config: Config, stages: Sequence[Stage], start: int = 0) -> int:
        """The steps of a schedule that are not trained yet; see `schedule`."""
        ends = epochs(stages, config.STEPS_PER_EPOCH, start)
        numbered = zip(stages, ends, strict=True)
        left = sum(stage.steps for stage, end in numbered if end > self.planned_epoch)
        if self._state is not None:
            stage = self._state.header["stage"]
            first = stage.get("first_step", stage["first_epoch"] * config.STEPS_PER_EPOCH)
            left -= self._state.header["step"] - first
        return left

    def _steps_done(self, config: Config) -> int:
        """The steps of the epochs done; where only their number is known, they were whole ones."""
        epochs_done, steps = self._reached
        return steps if epochs_done == self.epoch else self.epoch * config.STEPS_PER_EPOCH

    def pass_over(
        self,
        model: Trainable,
        stage: StageRun,
        last_epoch: int,
        data: TrainingData,
    ) -> None:
        """Note what a stage is trained with that is done already.

        A process can end between two stages. The call that asks for the done one again says what
        the run is trained with now, which must be what the done stage was trained with.

        Args:
            model: whose settings it would be trained with.
            stage: of `next_stage`.
            last_epoch: the planned one.
            data: what it would be trained on.
        """
        if self._finished is None or last_epoch != self.planned_epoch:
            return
        _keep_grey_depths(model.config, data.train_dataset)
        done = {"losses": "all", **self._finished.header["stage"]}
        as_done = replace(stage, last_epoch=done["last_epoch"])
        if self.other_schedule:
            names = ("layers", "losses", "learning_rate", "momentum")
            as_done = replace(as_done, **{name: done[name] for name in names})
        self._passed = _identity(model, as_done, data)

    def train(
        self,
        model: Trainable,
        stage: StageRun,
        data: TrainingData,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> keras.callbacks.History:
        """Train a stage to its last epoch, from the state that `resume` found, if any.

        Args:
            model: whose layers and optimizer are set here.
            stage: of `next_stage`.
            data: what to train on.
            callbacks: more Keras callbacks.

        Returns:
            Keras's history.

        Raises:
            ValueError: a setting is not valid, or the state belongs to another stage, other
                settings or other data.
            FolderTakenError: another process writes into the log folder.
            ModuleNotFoundError: a callback needs a package that is not installed.
        """
        check_packages(callbacks)
        _keep_grey_depths(model.config, data.train_dataset)
        model.config.validate()  # scripts change settings after the object is made
        _expect_classes(model.config, data)
        self.claim_log_dir(model)
        logger.info(
            f"\nEpochs {self.epoch + 1} to {stage.last_epoch}, learning rate {stage.learning_rate}"
        )
        logger.info(f"Weights and logs: {self.log_dir}")
        model.set_trainable(stage.layers)
        set_trained_losses(model.keras_model, stage.losses)
        table = stage.timetable(model.config.STEPS_PER_EPOCH)
        self.steps = table.last_step - table.first_step
        try:
            model.compile(stage.learning_rate, stage.momentum)
        finally:
            self.steps = None
        identity = _identity(model, stage, data)
        hosts.expect_same("settings and data", identity.as_header())
        self._expect_same_run(identity)
        state = self._state
        if state is not None:
            identity.expect_same(state, self._allow_changed)
            variables.restore(model.keras_model, state, ("model", "optimizer"))
            if state.header["stage"]["learning_rate"] != stage.learning_rate:
                _set_rate(model, stage.learning_rate)  # the state's has come back
            self._state = None
        if hosts.is_first():
            class_names = [str(name) for name in data.train_dataset.class_names]
            save_settings(model.config, self.log_dir, {CLASS_NAMES: class_names, **self.details})
            record_stage(self.log_dir, stage, model.config.LEARNING_RATE_SCHEDULE)
        self._resumed = False  # if it is stopped now, the next call may resume it
        progress = Progress(
            table.last_step + self.later_steps, stage.last_epoch + self.later_epochs
        )
        with devices.spread_steps(model.config), hosts.telling_of_lost_processes():
            history = trainer.fit(
                model.keras_model,
                model.config,
                data,
                identity,
                log_dir=self.log_dir,
                state=state,
                callbacks=(*callbacks, progress),
            )
        self._resumed = True
        self.epoch = history.epoch[-1] + 1 if history.epoch else self.epoch
        self._reached = (self.epoch, table.step(self.epoch))
        if self.epoch < stage.last_epoch:
            self.skipped += stage.last_epoch - self.epoch
            logger.info(
                f"A callback ended the stage after epoch {self.epoch} of {stage.last_epoch}; it "
                "counts as done."
            )
        return history

    def _expect_same_run(self, identity: RunIdentity) -> None:
        """Check that a stage follows the one whose end `resume` found, as it would have.

        Stages may differ in all that a call says. So the done one is compared with its own call,
        where there was one; else what has changed since is only logged.

        Raises:
            ValueError: the stage that is done would be another one now.
        """
        finished, passed = self._finished, self._passed
        if finished is None:
            return
        if passed is not None:
            passed.expect_same(finished, self._allow_changed)
        else:
            found = list(identity.differences_of_stages(finished.header))
            if found:
                logger.warning(
                    f"{finished.path}: the next stage differs from the one before: "
                    f"{'; '.join(found)}."
                )
        self._finished = self._passed = None


def _identity(model: Trainable, stage: StageRun, data: TrainingData) -> RunIdentity:
    return RunIdentity.of(
        model.config,
        data.train_dataset,
        data.val_dataset,
        stage,
        data.augmentation,
        data.no_augmentation_sources,
    )


def _expect_classes(config: Config, data: TrainingData) -> None:
    """Check, before the first step, that there are as many classes as the network has.

    Raises:
        ValueError: a data set has more or fewer.
    """
    for name, dataset in (("training", data.train_dataset), ("validation", data.val_dataset)):
        problem = None if dataset is None else classes_problem(dataset, config)
        if problem:
            raise ValueError(f"The {name} data: {problem}")


def _keep_grey_depths(config: Config, dataset: Dataset) -> None:
    """Keep how many bits the images of training have, for those of validation and evaluation."""
    known = config.GREY_BIT_DEPTH
    if known is None or isinstance(known, Mapping):
        depths = {**grey_depths(dataset), **(known or {})}
        config.GREY_BIT_DEPTH = depths or None


def _set_rate(model: Trainable, learning_rate: float) -> None:
    if not (model.config.WARMUP_STEPS or model.config.LEARNING_RATE_SCHEDULE):
        model.keras_model.optimizer.learning_rate = learning_rate


def _is_newest(model: Trainable, weights: str) -> bool:
    """Whether a file is the newest checkpoint of a model's configuration."""
    try:
        newest = folders.find_last(model.model_dir, model.config.NAME, model.config.RUN_NAME)
    except FileNotFoundError:
        return False
    return os.path.realpath(newest) == os.path.realpath(weights)
