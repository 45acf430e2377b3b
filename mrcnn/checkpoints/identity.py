"""What must be the same for a run to continue exactly, and the comparison of two runs.

That is all that the next batch and step depend on: settings, data, augmentation, stage, backend.
Settings that change no weight may differ, such as those of the loader's workers; other versions of
packages are a warning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mrcnn.checkpoints.fingerprints import as_plain, describe_transform, fingerprint, versions
from mrcnn.checkpoints.state_file import State
from mrcnn.checkpoints.timetable import Timetable
from mrcnn.config import DERIVED_SETTINGS, Config
from mrcnn.data.dataset import Dataset
from mrcnn.logger import logger

_FREE_PREFIXES = ("LOADER_", "CHECKPOINT", "DETECTION_", "EVALUATION_", "LOSS_SPIKE_")
# BATCH_SIZE is compared in place of its factors, the rate of the stage in place of the setting's.
_FREE = frozenset(
    (
        *("NAME", "RUN_NAME", "KEEP_FREED_MEMORY", "FREEZE_GRAPH", "PATIENCE"),
        *("GPU_COUNT", "IMAGES_PER_GPU", "LEARNING_RATE", "POST_NMS_ROIS_INFERENCE"),
    )
)


@dataclass(frozen=True)
class StageRun:
    """A stage of training as it is run, and as the headers of its states hold it.

    Attributes:
        layers: that learn: a group of `mrcnn.training.stages` or a regular expression.
        losses: that they learn from, likewise.
        learning_rate, momentum: of the optimizer.
        first_epoch: epochs done when the stage began.
        last_epoch: epochs done when it ends.
        first_step, last_step: steps done when it begins and ends; None: those of whole epochs.
        number: of the stage in its schedule, from 0.
        schedule_start: epochs done or skipped when the schedule began.
        skipped: epochs that stages before this one left out, because a callback ended them early.
    """

    layers: str
    learning_rate: float
    momentum: float
    first_epoch: int
    last_epoch: int
    number: int = 0
    schedule_start: int = 0
    skipped: int = 0
    first_step: int | None = None
    last_step: int | None = None
    losses: str = "all"

    def timetable(self, steps_per_epoch: int) -> Timetable:
        """Its epochs and steps."""
        first, last = self.first_step, self.last_step
        if first is None:
            first = self.first_epoch * steps_per_epoch
        if last is None:
            last = first + (self.last_epoch - self.first_epoch) * steps_per_epoch
        return Timetable(self.first_epoch, first, last, steps_per_epoch)


@dataclass(frozen=True)
class RunIdentity:
    """What a run trains with, on and toward.

    Attributes:
        settings: see `settings_as_json`.
        data, validation: see `fingerprint`; `validation` is None for a run without.
        stage: the stage under way.
        augmentation: of the training images; see `describe_transform`.
        no_augmentation_sources: sources whose images are not augmented.
    """

    settings: Mapping[str, Any]
    data: Mapping[str, Any] | None
    validation: Mapping[str, Any] | None
    stage: StageRun
    augmentation: Any = None
    no_augmentation_sources: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        config: Config,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        stage: StageRun,
        augmentation: Any = None,
        no_augmentation_sources: Sequence[str] | None = None,
    ) -> RunIdentity:
        """The identity of a run of this configuration on these data sets."""
        return cls(
            settings=settings_as_json(config),
            data=fingerprint(train_dataset),
            validation=fingerprint(val_dataset),
            stage=stage,
            augmentation=describe_transform(augmentation),
            no_augmentation_sources=sorted(no_augmentation_sources or ()),
        )

    def as_header(self) -> dict[str, Any]:
        """Its part of a state's header, of JSON's types."""
        return {
            "settings": dict(self.settings),
            "data": self.data,
            "validation": self.validation,
            "stage": {k: value for k, value in asdict(self.stage).items() if value is not None},
            "augmentation": self.augmentation,
            "no_augmentation_sources": list(self.no_augmentation_sources),
            "versions": versions(),
        }

    def expect_same(self, state: State, allow_changed: bool = False) -> None:
        """Check that this run continues as the one that wrote a state. Other versions are logged.

        Args:
            state: to continue from.
            allow_changed: log what differs, in place of the error.

        Raises:
            ValueError: something differs; the message names it, with both values.
        """
        others = list(self.other_versions(state.header))
        if others:
            logger.warning(
                f"{state.path}: the run was stopped with other versions, and may not continue "
                f"exactly: {'; '.join(others)}."
            )
        found = list(self.differences(state.header))
        if not found:
            return
        fixed = [text for text in found if text.startswith("STEPS_PER_EPOCH ")]
        if not allow_changed or fixed:
            remedy = "Set them back"
            remedy += "" if fixed else ", or continue knowingly (--allow-changed)"
            raise ValueError(
                f"{state.path}: training cannot continue exactly, because it differs from the run "
                f"that was stopped: {'; '.join(fixed or found)}. {remedy}; or begin anew from the "
                "weights of an epoch (mask_rcnn_*.h5)."
            )
        logger.warning(f"{state.path}: the run continues, changed: {'; '.join(found)}.")

    def other_versions(self, header: Mapping[str, Any]) -> Iterator[str]:
        """Yield the packages whose versions differ from those of a state, one text for each."""
        old, new = header.get("versions", {}), versions()
        for name in sorted(old.keys() & new.keys() - {"backend", "dtype_policy"}):
            if old[name] != new[name]:
                yield f"{name} {old[name]}, now {new[name]}"

    def differences(self, header: Mapping[str, Any]) -> Iterator[str]:
        """Yield what keeps this run from continuing exactly, one text for each difference.

        Args:
            header: of the state to continue from, as `as_header` made it.
        """
        yield from self._setting_differences(header)
        stage = {"losses": "all", **header["stage"]}  # older states do not name them: it was all
        for name in ("layers", "losses", "learning_rate", "momentum"):
            before, now = stage[name], getattr(self.stage, name)
            if before != now:
                yield f"{name} expected {before!r}, received {now!r}"
        # Only a falling rate depends on when the stage ends: others may be made longer.
        if self.settings.get("LEARNING_RATE_SCHEDULE") == "cosine":
            before, now = header["stage"]["last_epoch"], self.stage.last_epoch
            if before != now:
                yield f"the last epoch of the schedule expected {before}, received {now}"
        yield from self._data_and_backend_differences(header)

    def differences_of_stages(self, header: Mapping[str, Any]) -> Iterator[str]:
        """`differences`, but for what stages of one run have each for themselves.

        Args:
            header: of a state of another stage.
        """
        yield from self._setting_differences(header)
        yield from self._data_and_backend_differences(header)

    def _setting_differences(self, header: Mapping[str, Any]) -> Iterator[str]:
        # A setting that is younger than the state had no other value than its default.
        old, new = {**_defaults(), **header["settings"]}, self.settings
        for name in sorted(old.keys() | new.keys()):
            free = name in _FREE or name.startswith(_FREE_PREFIXES)
            # What older versions found anew in each run, by the same rule.
            free = free or (name == "GREY_BIT_DEPTH" and old.get(name) is None)
            if not free and old.get(name) != new.get(name):
                yield f"{name} expected {old.get(name)!r}, received {new.get(name)!r}"

    def _data_and_backend_differences(self, header: Mapping[str, Any]) -> Iterator[str]:
        # What is younger than the state was not compared then.
        before, now = header.get("augmentation", self.augmentation), self.augmentation
        if before != now:
            yield f"augmentation expected {_text(before)}, received {_text(now)}"
        sources = header.get("no_augmentation_sources", self.no_augmentation_sources)
        if sources != self.no_augmentation_sources:
            yield (
                f"no_augmentation_sources expected {sources}, "
                f"received {self.no_augmentation_sources}"
            )
        backend = header.get("versions", {}).get("backend")
        if backend is not None and backend != versions()["backend"]:
            yield f"backend expected {backend}, received {versions()['backend']}"
        yield from _data_differences("training data", header["data"], self.data)
        yield from _data_differences("validation data", header["validation"], self.validation)


def settings_as_json(config: Config) -> dict[str, Any]:
    """The settings as JSON holds them; a function becomes {"function": its name}.

    Attributes that a subclass adds are left out: only their own scripts read them.
    """
    return _as_json({name: getattr(config, name) for name in (*_names(), *DERIVED_SETTINGS)})


def _names() -> list[str]:
    return [name for name in dir(Config) if name.isupper()]


def _defaults() -> dict[str, Any]:
    values = {name: getattr(Config, name) for name in _names()}
    return _as_json({k: value for k, value in values.items() if not isinstance(value, property)})


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings, default=as_plain))


def _data_differences(
    name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Iterator[str]:
    if before is None or now is None or before["digest"] != now["digest"]:
        if before != now:
            yield f"{name} expected {_describe(before)}, received {_describe(now)}"
        return
    for part in ("classes", "annotations"):
        if part in before and before[part] != now[part]:
            yield f"{part} of the {name} expected {before[part]}, received {now[part]}"


def _describe(data: Mapping[str, Any] | None) -> str:
    return "none" if data is None else f"{data['images']} images (digest {data['digest']})"


def _text(augmentation: Any) -> str:
    return "none" if augmentation is None else json.dumps(augmentation)
