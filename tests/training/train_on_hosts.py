"""One of the processes that train a small network together; see test_hosts.py.

python train_on_hosts.py WHAT FOLDER [COORDINATOR PROCESSES PROCESS_ID]
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.process import set_random_seed
from mrcnn.runs.settings import derive_config
from mrcnn.training import hosts
from tests.training.train_on_devices import Alone, Evaluated, Rectangles, weights

STOP_AT = 3  # of the second epoch's steps


class At(keras.callbacks.Callback):
    """Does something after a step."""

    def __init__(self, epoch: int, batch: int, action: Callable[[], None]) -> None:
        super().__init__()
        self.at, self.action, self.epoch = (epoch, batch), action, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == self.at:
            self.action()


class Stop(keras.callbacks.Callback):
    """Ends the stage, in this process alone."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = True


def callbacks_of(what: str) -> list[keras.callbacks.Callback]:
    """What goes wrong, in the last process."""
    if hosts.index() != hosts.count() - 1 or hosts.count() == 1:
        return []
    kill = {"killed": signal.SIGKILL, "stopped": signal.SIGTERM}.get(what)
    if kill is not None:
        return [At(1, STOP_AT, lambda: os.kill(os.getpid(), kill))]
    if what == "failed":
        return [At(1, STOP_AT, lambda: open("/not/there"))]
    return [Stop()] if what == "ended" else []


def shared(base: type[Config]) -> Config:
    """The images of a step, shared by all devices."""
    count = hosts.count()
    values = {"GPU_COUNT": count, "IMAGES_PER_GPU": base.IMAGES_PER_GPU // count}
    return derive_config(base, values)()


def agree(index: int) -> None:
    """What processes tell each other, without a network to train."""
    assert hosts.count() == 2 and hosts.index() == index and hosts.is_first() == (index == 0)
    assert hosts.shard() == (index, 2)
    assert hosts.any_of(index == 1) and not hosts.any_of(False) and hosts.largest(3 * index) == 3
    assert hosts.of_first(lambda: {"made by": index, "a": [1, "é"]}) == {
        "made by": 0,
        "a": [1, "é"],
    }
    hosts.expect_same("settings", {"A": 1, "B": (2,)})
    different = {"A": 1, "of": {"B": index, "C": 2}}
    for what in (lambda: hosts.expect_same("settings", different), of_missing_file):
        try:
            what()
        except OSError as error:
            print(f"said: {error}")
    if index == 1:
        os._exit(3)  # gone without a word
    with hosts.telling_of_lost_processes():
        hosts.any_of(True)


def of_missing_file() -> None:
    hosts.of_first(lambda: open("/not/there"))


def main() -> None:
    what, folder, *place = sys.argv[1:]
    given = (place[0], int(place[1]), int(place[2])) if place else (None, None, None)
    hosts.join(hosts.find_place(*given))
    if what == "agree":
        return agree(hosts.index())
    config = shared(Evaluated if what == "evaluated" else Alone)
    config.CHECKPOINT_STEPS = 5
    if what == "other settings":
        config.LEARNING_MOMENTUM = 0.9 - 0.1 * hosts.index()
    set_random_seed(config.SEED)
    began = time.monotonic()
    model = MaskRCNN("training", config, Path(folder, "logs"))
    data = (Rectangles(12), Rectangles(4))
    model.train(*data, 1e-3, 2, "all", custom_callbacks=callbacks_of(what), resume=True)
    print(f"epoch {model.epoch}, {time.monotonic() - began:.0f} s, {model.log_dir}")
    path = Path(folder, f"{what}-{hosts.count()}-{hosts.index()}.npz")
    np.savez(path, *weights(model))


if __name__ == "__main__":
    main()
