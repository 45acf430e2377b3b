"""The fixtures of the repository are those of the complete set, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

MAX_BYTES = 9 * 2**20


def test_they_stay_small(fixtures: Path):
    assert sum(path.stat().st_size for path in fixtures.iterdir()) < MAX_BYTES


@pytest.mark.parametrize("name", ["A_parity", "edge_vectors", "loss_vectors", "train_parity"])
def test_arrays_are_a_selection(fixtures: Path, shared: Path, name: str):
    ours = np.load(fixtures / f"{name}.npz")
    complete = np.load(shared / "fixtures" / f"{name}.npz")
    assert ours.files and set(ours.files) <= set(complete.files)
    for key in ours.files:
        assert ours[key].dtype == complete[key].dtype
        np.testing.assert_array_equal(ours[key], complete[key])


def test_weights_are_equal(fixtures: Path, shared: Path):
    with (
        h5py.File(fixtures / "A_weights.h5") as ours,
        h5py.File(shared / "fixtures" / "A_weights.h5") as complete,
    ):
        names: list[str] = []
        complete.visit(names.append)
        assert len(names) > 384
        for name in ["/", *names]:
            mine, theirs = ours[name], complete[name]
            assert dict(mine.attrs).keys() == dict(theirs.attrs).keys()
            for key, value in theirs.attrs.items():
                np.testing.assert_array_equal(mine.attrs[key], value)
            if isinstance(theirs, h5py.Dataset):
                assert mine.dtype == theirs.dtype
                np.testing.assert_array_equal(mine[()], theirs[()])


def test_edge_cases_differ_only_in_what_has_a_gradient(fixtures: Path, shared: Path):
    ours, complete = (
        json.loads((folder / "edge_cases.json").read_text())
        for folder in (fixtures, shared / "fixtures")
    )
    arrays = np.load(fixtures / "edge_vectors.npz").files
    for mine, theirs in zip(ours["cases"], complete["cases"], strict=True):
        assert mine.pop("has_grad") == (f"grad_{mine['i']}" in arrays)
        theirs.pop("has_grad")
    assert ours == complete
