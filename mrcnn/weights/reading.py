"""Weights files, opened with errors that say what is wrong."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from mrcnn.files import hdf5
from mrcnn.files.download import DownloadError
from mrcnn.files.zip import read_member
from mrcnn.weights.report import WeightsError

# The weights in a model that Keras 3 saved whole (".keras", a zip archive).
KERAS_MEMBER = "model.weights.h5"


@contextmanager
def open_weights(path: str, most_bytes: int = 0) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading, or the one in an archive of Keras 3's.

    Args:
        path: of the file. Of a ".keras" archive nothing but its weights is looked at.
        most_bytes: the most that the weights in an archive may have; 0: archives are refused.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is no HDF5 file, or a damaged one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"Weights file {path}: no such file.")
    if zipfile.is_zipfile(path):
        try:
            content = read_member(path, KERAS_MEMBER, most_bytes)
        except DownloadError as error:
            raise WeightsError(
                f"{path}: expected weights in HDF5 (.h5), or a model that Keras 3 saved whole "
                f"(.keras), with its weights in {KERAS_MEMBER}; received a zip archive that is "
                f"none: {error}"
            ) from error
        with hdf5.open_untrusted(path, WeightsError, io.BytesIO(content)) as file:
            yield file
        return
    if not h5py.is_hdf5(path):
        raise WeightsError(
            f"{path}: expected an HDF5 file (.h5), received something else, {os.stat(path).st_size}"
            " bytes long. If it was downloaded, delete it and download it again."
        )
    with hdf5.open_untrusted(path, WeightsError) as file:
        yield file
