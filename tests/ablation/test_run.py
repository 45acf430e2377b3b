"""One run of a comparison, with a network that trains in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.stand_in import Squares, StandIn, StandInConfig
from mrcnn.ablation import run
from mrcnn.ablation.run import RunSpec
from mrcnn.checkpoints import folders
from mrcnn.config import Config
from mrcnn.training.stages import Stage

SETTINGS = {
    name: value
    for name, value in vars(StandInConfig).items()
    if name.isupper() and hasattr(Config, name) and name not in ("NAME", "NUM_CLASSES")
}


def spec_of(tmp_path: Path, **changes: Any) -> RunSpec:
    values: dict[str, Any] = {
        "dataset": "",
        "year": "",
        "train_subset": "train",
        "val_subset": "val",
        "settings": SETTINGS,
        "stages": [Stage("heads", 1e-2, 5), Stage("all", 1e-2, 5)],
        "seed": 0,
        "model": "none",
        "exclude": [],
        "initial_weights": str(tmp_path / "initial.h5"),
        "limit": 0,
        "dilation_ratio": 0.02,
        "box_only": False,
    }
    return RunSpec(**{**values, **changes})


def test_start_weights_of_a_log_folder_stay_alone_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also for the first run of a seed, which every other arm is compared with."""
    monkeypatch.setattr("mrcnn.model.MaskRCNN", StandIn)
    pretrained = StandIn("training", StandInConfig(), tmp_path / "logs")
    pretrained.train(Squares().add(4), None, 1e-2, epochs=2, layers="all")
    start = pretrained.find_last()
    del pretrained  # and its lock
    before = {path: path.read_bytes() for path in Path(start).parent.iterdir()}
    for arm in ("baseline", "other"):
        spec = spec_of(tmp_path, model=start)
        weights = run._train(spec, tmp_path / arm, Squares().add(4), Squares().add(4))
        assert weights.is_relative_to(tmp_path / arm / "logs")
        assert sorted(folders.epochs_in(weights.parent)) == [1, 2]  # all of its epochs
        assert {path: path.read_bytes() for path in Path(start).parent.iterdir()} == before
