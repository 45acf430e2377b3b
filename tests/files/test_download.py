"""Downloads from a server that can break off, refuse ranges and redirect."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mrcnn.datasets import coco_download
from mrcnn.files import download as files_download
from mrcnn.files.download import DownloadError, download
from mrcnn.weights import pretrained
from tests.files.server import CONTENT, MD5, SHA256, Server, names


def fetch(server: Server, path: Path, **checks) -> Path:
    return Path(download(f"{server.url}/file.bin", path, progress=False, **checks))


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


@pytest.mark.parametrize("answer", ["bytes 5-9/10", "bytes */10", "all", ""])
def test_a_part_for_those_who_asked_for_all(server, tmp_path, answer):
    server.part_of_all = answer
    with pytest.raises(DownloadError, match="asked for all of it, the server answered with a part"):
        fetch(server, tmp_path / "file.bin")
    assert names(tmp_path) == []
    server.wrong_range = True
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1_000_000])
    with pytest.raises(DownloadError, match="asked for all of it, the server answered with a part"):
        fetch(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:1_000_000]


def test_a_server_that_sends_the_rest_in_parts(server, tmp_path):
    server.part_bytes = 900_000
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1_000_000])
    assert fetch(server, tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [f"bytes={n}-" for n in (1_000_000, 1_900_000, 2_800_000)]


def test_no_more_is_read_than_the_expected_size(server, tmp_path):
    server.endless = True
    with pytest.raises(DownloadError, match="expected 1000 bytes, received .* or more"):
        fetch(server, tmp_path / "file.bin", size=1000)
    assert names(tmp_path) == []


def test_a_part_above_the_expected_size_starts_over(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    path = fetch(server, tmp_path / "file.bin", size=len(CONTENT))
    assert path.read_bytes() == CONTENT and server.requests == [None]


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
