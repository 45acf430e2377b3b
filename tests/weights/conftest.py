"""Fixtures of the tests of weights files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.weights.matterport import save_weights
from tests.weights.networks import build


@pytest.fixture
def saved(tmp_path) -> Path:
    return Path(save_weights(build(), tmp_path / "weights.h5"))
