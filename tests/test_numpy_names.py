"""Names that imgaug reads come back, and only where imgaug is."""

from __future__ import annotations

import numpy as np

from mrcnn import numpy_names


def test_names_are_not_restored_without_imgaug(monkeypatch):
    monkeypatch.setattr(numpy_names, "find_spec", lambda name: None)
    monkeypatch.delitem(vars(np), "sctypes", raising=False)
    numpy_names.restore_numpy_names()
    assert not hasattr(np, "sctypes")


def test_names_are_restored_for_imgaug_and_those_that_exist_stay(monkeypatch):
    monkeypatch.setattr(numpy_names, "find_spec", lambda name: object())
    monkeypatch.delitem(vars(np), "sctypes", raising=False)
    monkeypatch.setitem(vars(np), "complex", "mine")
    numpy_names.restore_numpy_names()
    assert np.float32 in np.sctypes["float"] and np.uint8 in np.sctypes["uint"]
    assert np.complex == "mine"
    monkeypatch.delitem(vars(np), "sctypes")
