"""What must be the same for a run to go on exactly: settings, data and stage, and their comparison.

Settings that change no weight may differ, such as those of the loader's workers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mrcnn.checkpoints.state_file import State
from mrcnn.config import DERIVED_SETTINGS, Config
from mrcnn.data.dataset import Dataset

_FREE_PREFIXES = ("LOADER_", "CHECKPOINT", "DETECTION_", "LOSS_SPIKE_")
# BATCH_SIZE is compared in place of its factors, the rate of the stage in place of the setting's.
_FREE = frozenset(
    (
        *("NAME", "RUN_NAME", "KEEP_FREED_MEMORY", "FREEZE_GRAPH"),
        *("GPU_COUNT", "IMAGES_PER_GPU", "LEARNING_RATE", "POST_NMS_ROIS_INFERENCE"),
    )
)


@dataclass(frozen=True)
class StageRun:
    """A stage of training as it is run, and as the headers of its states hold it.

    Attributes:
        layers: that learn: a group of `mrcnn.training.stages` or a regular expression.
        learning_rate, momentum: of the optimizer.
        first_epoch: epochs done when the stage began.
        last_epoch: epochs done when it ends.
        number: of the stage in its schedule, from 0.
        schedule_start: epochs done when the schedule began.
    """

    layers: str
    learning_rate: float
    momentum: float
    first_epoch: int
    last_epoch: int
    number: int = 0
    schedule_start: int = 0


@dataclass(frozen=True)
class RunIdentity:
    """What a run trains with, on and toward.

    Attributes:
        settings: see `settings_as_json`.
        data, validation: see `fingerprint`; `validation` is None for a run without.
        stage: the stage under way.
    """

    settings: Mapping[str, Any]
    data: Mapping[str, Any] | None
    validation: Mapping[str, Any] | None
    stage: StageRun

    @classmethod
    def of(
        cls,
        config: Config,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        stage: StageRun,
    ) -> RunIdentity:
        """The identity of a run of this configuration on these data sets."""
        return cls(
            settings=settings_as_json(config),
            data=fingerprint(train_dataset),
            validation=fingerprint(val_dataset),
            stage=stage,
        )

    def as_header(self) -> dict[str, Any]:
        """Its part of a state's header, of JSON's types."""
        return {
            "settings": dict(self.settings),
            "data": self.data,
            "validation": self.validation,
            "stage": asdict(self.stage),
        }

    def expect_same(self, state: State) -> None:
        """Check that this run goes on as the one that wrote a state.

        Raises:
            ValueError: something differs; the message names it, with both values.
        """
        if found := list(self.differences(state.header)):
            raise ValueError(
                f"{state.path}: training cannot go on exactly, because it differs from the run "
                f"that was stopped: {'; '.join(found)}. Set them back; or begin anew from the "
                "weights of an epoch (mask_rcnn_*.h5)."
            )

    def differences(self, header: Mapping[str, Any]) -> Iterator[str]:
        """Yield what keeps this run from going on exactly, one text for each difference.

        Args:
            header: of the state to go on from, as `as_header` made it.
        """
        # A setting that is younger than the state had no other value than its default.
        old, new = {**_defaults(), **header["settings"]}, self.settings
        for name in sorted(old.keys() | new.keys()):
            free = name in _FREE or name.startswith(_FREE_PREFIXES)
            if not free and old.get(name) != new.get(name):
                yield f"{name} expected {old.get(name)!r}, received {new.get(name)!r}"
        for name in ("layers", "learning_rate", "momentum"):
            before, now = header["stage"][name], getattr(self.stage, name)
            if before != now:
                yield f"{name} expected {before!r}, received {now!r}"
        for name, before, now in (
            ("training data", header["data"], self.data),
            ("validation data", header["validation"], self.validation),
        ):
            if before != now:
                yield f"{name} expected {_describe(before)}, received {_describe(now)}"


def settings_as_json(config: Config) -> dict[str, Any]:
    """The settings as JSON holds them; a function becomes {"function": its name}.

    Attributes that a subclass adds are left out: only their own scripts read them.
    """
    return _as_json({name: getattr(config, name) for name in (*_names(), *DERIVED_SETTINGS)})


def fingerprint(dataset: Dataset | None) -> dict[str, Any] | None:
    """The number of images of a data set and a digest of which they are, in order.

    Returns:
        {"images": count, "digest": 16 hexadecimal digits}, or None without a data set.
    """
    if dataset is None:
        return None
    digest = hashlib.sha256()
    for image_id in dataset.image_ids:
        info = dataset.image_info[image_id]
        digest.update(f"{info['source']}\0{info['id']}\n".encode())
    return {"images": len(dataset.image_ids), "digest": digest.hexdigest()[:16]}


def _names() -> list[str]:
    return [name for name in dir(Config) if name.isupper()]


def _defaults() -> dict[str, Any]:
    values = {name: getattr(Config, name) for name in _names()}
    return _as_json({k: value for k, value in values.items() if not isinstance(value, property)})


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return {"function": getattr(value, "__qualname__", type(value).__qualname__)}
    return str(value)


def _describe(data: Mapping[str, Any] | None) -> str:
    return "none" if data is None else f"{data['images']} images (digest {data['digest']})"
