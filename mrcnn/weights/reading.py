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
    with reading(path):
        file = h5py.File(path, "r")
    with file:
        yield file


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what h5py raises into `WeightsError`s."""
    try:
        yield
    except WeightsError:
        raise
    except hdf5.UnsafeFileError as error:
        raise WeightsError(
            f"{path}: refused, because {error}. Weights are plain numbers inside their file: get "
            "it anew, from somebody you trust."
        ) from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        raise WeightsError(
            f"{path}: the HDF5 file is damaged or truncated ({error}). Copy or download it again."
        ) from error
