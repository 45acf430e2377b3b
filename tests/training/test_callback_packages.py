"""A callback that cannot work is refused before the first step."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import keras
import pytest

from mrcnn.model import MaskRCNN
from mrcnn.training import callback_packages
from mrcnn.training.callback_packages import check_packages
from tests.tiny import tiny_config


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name in missing else ModuleSpec(name, None)

    monkeypatch.setattr(callback_packages, "find_spec", find)


@pytest.mark.parametrize("missing", ["tensorboard", "tensorflow"])
def test_tensorboards_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch):
    without(monkeypatch, missing)
    board = keras.callbacks.TensorBoard("logs")
    with pytest.raises(ModuleNotFoundError, match=f"needs the package {missing}.*pip install"):
        check_packages([keras.callbacks.TerminateOnNaN(), board])
    check_packages([keras.callbacks.TerminateOnNaN()])
    without(monkeypatch)
    check_packages([board])


def test_training_asks_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    without(monkeypatch, "tensorboard")
    model = MaskRCNN("training", tiny_config(), tmp_path / "logs")
    with pytest.raises(ModuleNotFoundError, match=r"mrcnn\[tensorboard\]"):
        model.train(None, None, 0.1, 1, "all", custom_callbacks=[keras.callbacks.TensorBoard()])
    assert not (tmp_path / "logs").exists()
