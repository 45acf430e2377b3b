"""The guarded reader of HDF5 files: its errors name the file, and no link is followed."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from mrcnn.files import hdf5


class ReaderError(ValueError):
    pass


@pytest.mark.parametrize("error", [OSError("cut"), KeyError("gone"), MemoryError("huge")])
def test_errors_of_h5py_name_the_file(error):
    with pytest.raises(ReaderError, match=r"some\.h5.*damaged or truncated"):
        with hdf5.errors_of("some.h5", ReaderError):
            raise error


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError):
        with hdf5.errors_of("some.h5", ReaderError):
            raise ZeroDivisionError
    own = ReaderError("said already")
    with pytest.raises(ReaderError) as raised:
        with hdf5.errors_of("some.h5", ReaderError):
            raise own
    assert raised.value is own


def test_a_file_is_open_for_reading_only_and_closed_after_an_error(tmp_path):
    path = str(tmp_path / "x.h5")
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(3)
    with pytest.raises(ReaderError, match=r"x\.h5"):
        with hdf5.open_untrusted(path, ReaderError) as file:
            file.create_group("new")
    assert not file
    (tmp_path / "y.h5").write_bytes(b"nothing")
    with pytest.raises(ReaderError, match=r"y\.h5.*damaged or truncated"):
        with hdf5.open_untrusted(str(tmp_path / "y.h5"), ReaderError):
            pass


def test_looking_for_a_link_does_not_open_what_it_names(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # whoever opens it waits for ever
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["link"] = h5py.ExternalLink("pipe", "/data")
        file["soft"] = h5py.SoftLink("/link/deeper")
        assert hdf5.has(file, "link") and hdf5.has(file, "soft") and not hdf5.has(file, "other")
        for name in ("link", "soft", "link/data"):
            with pytest.raises(hdf5.UnsafeFileError, match="link"):
                hdf5.child(file, name)
