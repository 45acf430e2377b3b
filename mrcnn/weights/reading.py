"""Weights files, opened with errors that say what is wrong."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from mrcnn.files import hdf5
from mrcnn.weights.report import WeightsError


@contextmanager
def open_weights(path: str) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is no HDF5 file, or a damaged one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"Weights file {path}: no such file.")
    if zipfile.is_zipfile(path):
        raise WeightsError(
            f"{path}: expected weights in HDF5 (.h5), received a zip archive such as Keras 3's "
            "'.keras', which can hold code. Whoever made it can load it and save its weights as "
            ".h5."
        )
    if not h5py.is_hdf5(path):
        raise WeightsError(
            f"{path}: expected an HDF5 file (.h5), received something else, {os.stat(path).st_size}"
            " bytes long. If it was downloaded, delete it and download it again."
        )
    with hdf5.open_untrusted(path, WeightsError) as file:
        yield file
