"""Imports the samples of `EdgeAgreementLoss`, which import each other as scripts do."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from tests.conftest import REPOSITORY

FOLDER = str(REPOSITORY / "samples" / "edge_agreement")


def load(name: str) -> ModuleType:
    """A module of the folder, with its folder where Python looks, as beside a running script."""
    if FOLDER not in sys.path:
        sys.path.append(FOLDER)
    module = importlib.import_module(name)
    assert module.__file__.startswith(FOLDER)
    return module


def compile_eagerly(model: Any, loss: Any, learning_rate: float) -> None:
    """In the place of `comparison.compile_model`: for a step or two, tracing takes longest."""
    import keras

    model.compile(keras.optimizers.Adam(learning_rate), loss, run_eagerly=True)
