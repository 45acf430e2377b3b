"""Downloads from a server on this machine that can break off, refuse ranges and redirect."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mrcnn.datasets import coco_download
from mrcnn.datasets.coco_download import download_coco
from mrcnn.files import download as files_download
from mrcnn.files import zip
from mrcnn.files.download import DownloadError, download
from mrcnn.files.zip import extract_zip
from mrcnn.weights import pretrained

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; each attribute turns on one kind of misbehaviour."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file.bin": CONTENT}
        self.ranges = True
        self.wrong_range = False
        self.breaks: list[int] = []  # bytes to send before each of the next answers breaks off
        self.statuses: list[int] = []  # error codes of the next answers
        self.redirect: str | None = None
        self.requests: list[str | None] = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if server.redirect is not None:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        body = server.files[self.path]
        start = 0
        if wanted and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            start = 0 if server.wrong_range else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(files_download, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(files_download, "TIMEOUT_SECONDS", 20.0)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(server: Server, path: Path, **checks) -> Path:
    return Path(download(f"{server.url}/file.bin", path, progress=False, **checks))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# --- download --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "checks", [{"sha256": SHA256}, {"sha256": SHA256.upper()}, {"md5": MD5, "size": len(CONTENT)}]
)
def test_a_checked_download(server, tmp_path, checks):
    path = tmp_path / "new" / "file.bin"
    assert fetch(server, path, **checks) == path
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["file.bin"]
    fetch(server, path, **checks)
    assert len(server.requests) == 1, "a valid file is kept"


def test_the_bar_and_the_checksum_are_printed(server, tmp_path, capsys):
    download(f"{server.url}/file.bin", tmp_path / "file.bin")
    printed = capsys.readouterr()
    assert SHA256 in printed.out
    assert "file.bin" in printed.err and "100%" in printed.err


def test_a_resumed_download_asks_only_for_the_rest(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1_000_000])
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000000-"]


def test_a_server_without_ranges_sends_everything(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1_000_000)
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_server_that_sends_another_range(server, tmp_path):
    server.wrong_range = True
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1_000_000])
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000000-", None]


def test_a_part_that_is_whole_already(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_part_that_is_too_long_starts_over(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connections(server, tmp_path, ranges):
    server.ranges, server.breaks = ranges, [700_000, 0, 900_000, 0]
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 5
    if ranges:
        assert server.requests[1:4] == ["bytes=700000-"] * 2 + ["bytes=1600000-"]


def test_a_connection_that_keeps_breaking(server, tmp_path):
    server.breaks = [700_000] + [0] * 20
    with pytest.raises(DownloadError, match="700000 bytes are kept.*run again"):
        fetch(server, tmp_path / "file.bin", sha256=SHA256)
    assert names(tmp_path) == ["file.bin.part"]
    server.breaks = []
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=700000-"


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 500]
    assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_refusal_is_final(server, tmp_path):
    server.statuses = [403, 403]
    with pytest.raises(DownloadError, match="403"):
        fetch(server, tmp_path / "file.bin")
    assert server.statuses == [403]
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("checks", "expected", "received"),
    [
        ({"sha256": "ab" * 32}, "ab" * 32, SHA256),
        ({"md5": "cd" * 16}, "cd" * 16, MD5),
        ({"size": 7}, "7 bytes", str(len(CONTENT))),
    ],
)
def test_a_wrong_file_is_removed(server, tmp_path, checks, expected, received):
    with pytest.raises(DownloadError, match=f"{expected}.*{received}"):
        fetch(server, tmp_path / "file.bin", **checks)
    assert names(tmp_path) == []


def test_a_wrong_file_that_is_there_is_replaced(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT[:5])
    assert fetch(server, path, sha256=SHA256).read_bytes() == CONTENT


def test_a_wrong_file_stays_until_the_right_one_has_arrived(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"mine")
    server.statuses = [404]
    with pytest.raises(DownloadError, match="404"):
        fetch(server, path, sha256=SHA256)
    assert path.read_bytes() == b"mine"


def test_without_a_known_checksum_the_first_one_counts(server, tmp_path):
    path = fetch(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin.sha256").read_text() == f"{SHA256}  file.bin\n"
    fetch(server, path)
    assert len(server.requests) == 1
    path.write_bytes(b"changed")
    with pytest.raises(DownloadError, match=f"has changed.*{SHA256}"):
        fetch(server, path)
    assert path.read_bytes() == b"changed"


def test_a_file_put_there_by_hand_is_used(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    assert fetch(server, tmp_path / "file.bin").read_bytes() == b"mine"
    assert server.requests == []
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "ftp://localhost/x", "file:///etc/hosts", "x", ""]
)
def test_only_https(tmp_path, url):
    with pytest.raises(ValueError, match="https"):
        download(url, tmp_path / "x")


def test_a_redirect_is_followed_where_the_url_is_allowed(server, tmp_path):
    server.redirect = "http://example.invalid/file.bin"
    with pytest.raises(ValueError, match="example.invalid.*https"):
        fetch(server, tmp_path / "file.bin")
    with Server() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.redirect = f"{other.url}/file.bin"
        assert fetch(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT
        other.shutdown()


# --- known files -----------------------------------------------------------------------------


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


def test_the_public_addresses_are_https():
    for url in (
        *(
            pretrained.COCO_WEIGHTS_URL,
            pretrained.IMAGENET_WEIGHTS_URL,
            coco_download.COCO_URL,
        ),
        *coco_download.COCO_SPLIT_URLS.values(),
    ):
        files_download._check_url(url)
        assert url.startswith("https://")


# --- zip -------------------------------------------------------------------------------------


def make_zip(entries: dict[str, bytes] | list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """Return a zip archive of the entries."""
    buffer = io.BytesIO()
    items = entries.items() if isinstance(entries, dict) else entries
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in items:
            archive.writestr(name, content)
    return buffer.getvalue()


def write_zip(path: Path, entries) -> Path:
    path.write_bytes(make_zip(entries))
    return path


def test_extract_zip(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"x/1.txt": b"one", "x/y/": b"", "2.txt": b""})
    written = extract_zip(archive, tmp_path / "out", progress=False)
    assert written == [str(tmp_path / "out/x/1.txt"), str(tmp_path / "out/2.txt")]
    assert (tmp_path / "out/x/1.txt").read_bytes() == b"one"
    assert (tmp_path / "out/2.txt").read_bytes() == b""
    assert (tmp_path / "out/x/y").is_dir()


@pytest.mark.parametrize(
    "name", ["../up.txt", "/top.txt", "a/../../up.txt", "a\\..\\..\\up.txt", "C:/top.txt"]
)
def test_entries_that_leave_the_folder(tmp_path, name):
    archive = write_zip(tmp_path / "a.zip", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(DownloadError, match="would leave the folder"):
        extract_zip(archive, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("mode", [0o120777, 0o020666])
def test_links_and_devices(tmp_path, mode):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, mode << 16
    archive = write_zip(tmp_path / "a.zip", [(info, b"/etc")])
    with pytest.raises(DownloadError, match="link"):
        extract_zip(archive, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_absurd_sizes(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", {"zeros": bytes(1_000_000)})
    with pytest.raises(DownloadError, match="1000000.*limit of 999999"):
        extract_zip(archive, tmp_path / "out", max_bytes=999_999, progress=False)
    monkeypatch.setattr(zip, "UNZIP_RATIO_FLOOR_BYTES", 1000)
    with pytest.raises(DownloadError, match="zip bomb"):
        extract_zip(archive, tmp_path / "out", progress=False)
    assert names(tmp_path) == ["a.zip"]


def test_encrypted_entries(tmp_path):
    content = bytearray(make_zip({"secret": b"text"}))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match="encrypted"):
        extract_zip(tmp_path / "a.zip", tmp_path / "out", progress=False)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_damaged_archives(tmp_path, damage):
    content = bytearray(make_zip({"noise": CONTENT[:10_000]}))
    if damage == "cut":
        content = content[:5000]
    elif damage == "flipped":
        content[5000] ^= 255
    else:
        content = b"<html>not found</html>"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match=r"a\.zip is no zip archive or is damaged"):
        extract_zip(tmp_path / "a.zip", tmp_path / "out", progress=False)


# --- COCO ------------------------------------------------------------------------------------


@pytest.fixture
def coco(server, monkeypatch):
    """A server that holds tiny archives in the layout of COCO's."""
    monkeypatch.setattr(coco_download, "COCO_URL", server.url)
    splits = {name: f"{server.url}/{name}.json.zip?dl=1" for name in coco_download.COCO_SPLIT_URLS}
    monkeypatch.setattr(coco_download, "COCO_SPLIT_URLS", splits)
    trainval = {
        f"annotations/{kind}_{subset}{{}}.json": json.dumps([kind, subset]).encode()
        for kind in ("instances", "captions")
        for subset in ("train", "val")
    }
    for year in (2014, 2017):
        server.files[f"/annotations/annotations_trainval{year}.zip"] = make_zip(
            {name.format(year): content for name, content in trainval.items()}
        )
    for name in ("train2017", "val2014", "val2017", "test2015"):
        server.files[f"/zips/{name}.zip"] = make_zip(
            {f"{name}/": b"", f"{name}/1.jpg": b"jpeg", f"{name}/2.jpg": b"jpeg"}
        )
    server.files["/annotations/image_info_test2015.zip"] = make_zip(
        {"annotations/image_info_test2015.json": b"{}"}
    )
    server.files["/minival.json.zip?dl=1"] = make_zip({"instances_minival2014.json": b"{}"})
    return server


@pytest.mark.parametrize(
    ("subset", "year", "images", "annotations"),
    [
        ("train", 2017, "train2017", "instances_train2017.json"),
        ("val", "2014", "val2014", "instances_val2014.json"),
        ("minival", "2014", "val2014", "instances_minival2014.json"),
        ("test", "2015", "test2015", "image_info_test2015.json"),
    ],
)
def test_download_coco(coco, tmp_path, subset, year, images, annotations):
    expected = (str(tmp_path / images), str(tmp_path / "annotations" / annotations))
    assert download_coco(tmp_path, subset, year, progress=False) == expected
    assert names(tmp_path / images) == ["1.jpg", "2.jpg"]
    assert Path(expected[1]).is_file()
    assert names(tmp_path) == ["annotations", images], "archives are removed"
    requests = len(coco.requests)
    assert download_coco(tmp_path, subset, year, progress=False) == expected
    assert len(coco.requests) == requests, "what is there is kept"


def test_a_second_subset_reuses_the_annotations(coco, tmp_path):
    download_coco(tmp_path, "train", 2017, progress=False)
    requests = len(coco.requests)
    download_coco(tmp_path, "val", 2017, progress=False)
    assert len(coco.requests) == requests + 1
    assert names(tmp_path) == ["annotations", "train2017", "val2017"]


def test_a_damaged_archive_leaves_no_half_folder(coco, tmp_path):
    content = bytearray(coco.files["/zips/train2017.zip"])
    content[content.index(b"1.jpg") + len(b"1.jpg")] ^= 255  # the first byte of its data
    good, coco.files["/zips/train2017.zip"] = coco.files["/zips/train2017.zip"], bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        download_coco(tmp_path, "train", 2017, progress=False)
    assert names(tmp_path) == ["annotations"], "the archive is gone, so the next call can succeed"
    coco.files["/zips/train2017.zip"] = good
    download_coco(tmp_path, "train", 2017, progress=False)
    assert names(tmp_path / "train2017") == ["1.jpg", "2.jpg"]


def test_an_archive_without_the_wanted_file(coco, tmp_path):
    coco.files["/zips/train2017.zip"] = make_zip({"other/1.jpg": b"jpeg"})
    with pytest.raises(DownloadError, match="expected train2017"):
        download_coco(tmp_path, "train", 2017, progress=False)


@pytest.mark.parametrize(("subset", "year"), [("minival", 2017), ("train", 2015), ("val", 2016)])
def test_unknown_parts_of_coco(tmp_path, subset, year):
    with pytest.raises(ValueError, match="no subset.*unlabeled"):
        download_coco(tmp_path, subset, year)
