"""Images whose path is a URL."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.files import remote_image
from mrcnn.files.download import DownloadError, Limits, download, download_once
from mrcnn.files.remote_image import is_url, local_image
from tests.files.server import Server

PICTURE = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)


@pytest.fixture
def server_of_images(server: Server) -> Server:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    server.files["/picture"] = file.getvalue()
    server.files["/text"] = b"no image"
    return server


def dataset_of(*paths: str) -> Dataset:
    dataset = Dataset()
    for number, path in enumerate(paths):
        dataset.add_image("web", number, path)
    dataset.prepare()
    return dataset


def test_which_paths_are_urls():
    assert is_url("https://example.org/a.jpg") and is_url("HTTP://example.org/a.jpg")
    for path in ("a.jpg", "/a/http://b.jpg", "ftp://a/b.jpg", "file:///a.jpg", Path("https://a")):
        assert not is_url(path)
        assert local_image(path) is path


def test_an_image_is_downloaded_once(server_of_images: Server):
    dataset = dataset_of(f"{server_of_images.url}/picture")
    for _ in range(2):
        np.testing.assert_array_equal(dataset.load_image(0), PICTURE)
    assert len(server_of_images.requests) == 1


def test_threads_wait_for_one_download(server_of_images: Server):
    dataset = dataset_of(f"{server_of_images.url}/picture")
    with ThreadPoolExecutor(8) as pool:
        for image in pool.map(dataset.load_image, [0] * 16):
            np.testing.assert_array_equal(image, PICTURE)
    assert len(server_of_images.requests) == 1


def test_what_cannot_be_had_is_named(server_of_images: Server):
    url = f"{server_of_images.url}/missing"
    with pytest.raises(DownloadError, match="missing: the server answered 404"):
        dataset_of(url).load_image(0)
    with pytest.raises(ValueError, match="cannot be read as an image"):
        dataset_of(f"{server_of_images.url}/text").load_image(0)


def test_the_size_is_limited(server_of_images: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_image, "MAX_IMAGE_BYTES", 100)
    server_of_images.endless = True
    with pytest.raises(DownloadError, match="more than 100 bytes"):
        local_image(f"{server_of_images.url}/picture")


def test_nothing_stays_of_a_download_that_failed(server_of_images: Server, tmp_path: Path):
    server_of_images.endless = True
    with pytest.raises(DownloadError):
        download_once(f"{server_of_images.url}/picture", tmp_path / "file", Limits(100))
    assert list(tmp_path.iterdir()) == []


def test_plain_http_only_where_the_address_begins_so(tmp_path: Path, server: Server):
    """Nothing is sent: the address is refused before."""
    far, limits = "http://203.0.113.1/a.png", Limits(plain_http=True)
    with pytest.raises(ValueError, match="expected https"):
        download(far, tmp_path / "a")
    with pytest.raises(ValueError, match="expected https"):
        download_once(far, tmp_path / "a", Limits())
    for scheme in ("ftp", "file"):
        with pytest.raises(ValueError, match="expected https"):
            download_once(f"{scheme}://203.0.113.1/a.png", tmp_path / "a", limits)
    server.redirect = "ftp://203.0.113.1/a.png"
    with pytest.raises(ValueError, match="expected https"):
        download_once(f"{server.url}/file.bin", tmp_path / "a", limits)
    server.redirect = "file:///etc/passwd"
    with pytest.raises(DownloadError, match="not allowed"):
        download_once(f"{server.url}/file.bin", tmp_path / "a", limits)
