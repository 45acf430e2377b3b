"""Weights that others trained: where they come from, and where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.files.download import DownloadError
from mrcnn.weights import pretrained
from tests.files.server import CONTENT, MD5


def test_trained_weights_of_the_wrong_size_are_refused(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "COCO_WEIGHTS_URL", f"{server.url}/file.bin")
    with pytest.raises(DownloadError, match="257557808"):
        pretrained.download_trained_weights(tmp_path / "coco.h5", verbose=0)
    monkeypatch.setattr(pretrained, "COCO_WEIGHTS_BYTES", len(CONTENT))
    path = pretrained.download_trained_weights(str(tmp_path / "coco.h5"), verbose=1)
    assert path == str(tmp_path / "coco.h5")
    assert Path(path).read_bytes() == CONTENT
    assert "coco.h5" in capsys.readouterr().out


def test_imagenet_weights_lie_in_kerass_cache(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "IMAGENET_WEIGHTS_URL", f"{server.url}/file.bin")
    monkeypatch.setattr(pretrained, "IMAGENET_WEIGHTS_MD5", MD5)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    path = pretrained.imagenet_weights_path(progress=False)
    assert path == str(tmp_path / "keras" / "models" / "file.bin")
    assert pretrained.imagenet_weights_path(tmp_path, progress=False) == str(tmp_path / "file.bin")
