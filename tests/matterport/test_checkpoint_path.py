"""What `find_last` returns is a path to every library, and a pair to scripts of 2.0."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import folders
from mrcnn.matterport.checkpoint_path import CheckpointPath


@pytest.fixture
def path(tmp_path: Path) -> CheckpointPath:
    folder = tmp_path / "shapes20260101T0000"
    folder.mkdir()
    with h5py.File(folder / "mask_rcnn_shapes_0007.h5", "w") as file:
        file["numbers"] = [1, 2]
    return CheckpointPath(folders.find_last(tmp_path, "shapes"))


def test_the_pair(path: CheckpointPath):
    folder, file = path
    assert (folder, file) == (path[0], path[1]) == (os.path.dirname(path), path)
    assert tuple(path) == (folder, file) and type(file) is type(folder) is str
    assert path[1][:-7] + "0001.h5" == str(path).replace("0007", "0001")


def test_it_is_a_text(path: CheckpointPath):
    plain = str(path)
    assert type(plain) is str and path == plain and hash(path) == hash(plain)
    assert {plain: 1}[path] == 1 and len(path) == len(plain) and "shapes" in path
    assert path[-1] == "5" and path[-3:] == ".h5" and path[2:4] == plain[2:4]
    assert f"{path}" == plain and path + "x" == plain + "x"
    assert path.endswith("_0007.h5") and path.split("/") == plain.split("/")


def test_libraries_take_it_for_a_path(path: CheckpointPath, tmp_path: Path):
    plain = str(path)
    assert os.fspath(path) == plain and os.path.isfile(path) and Path(path) == Path(plain)
    for function in (
        *(os.path.basename, os.path.dirname, os.path.split, os.path.splitext, os.path.abspath),
        *(os.path.normpath, os.path.realpath, os.path.expanduser, os.path.isabs),
    ):
        assert function(path) == function(plain), function
    assert os.path.join(path, "x") == os.path.join(plain, "x")
    assert os.path.relpath(path, tmp_path) == os.path.relpath(plain, tmp_path)
    assert json.loads(json.dumps({"weights": path})) == {"weights": plain}
    with h5py.File(path, "r") as file:
        assert file["numbers"][:].tolist() == [1, 2]
    assert shutil.copy(path, tmp_path / "copy.h5") == tmp_path / "copy.h5"
    assert np.array([path]).tolist() == [plain]
    code = "import sys; print(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == plain


def test_it_stays_what_it_is_in_copies(path: CheckpointPath):
    for other in (pickle.loads(pickle.dumps(path)), copy.copy(path), copy.deepcopy(path)):
        assert other == path and other[1] == path[1]


def test_our_own_readers_take_it(path: CheckpointPath):
    assert folders.parse_checkpoint_path(path) == folders.parse_checkpoint_path(str(path))
