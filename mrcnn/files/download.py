"""Downloads that are checked, resumed and renamed at the end.

A file arrives under `<path>.part`; a later call continues where the last one stopped. A file whose
checksum is public is compared with it. For others the SHA-256 of the first download is logged
and kept in `<path>.sha256`: later uses are compared with that, so a file that changes is noticed.

COCO's archives have up to 20 GB: a library such as pooch, which begins anew after each break,
follows https to http, and reads on past the expected size, would not do.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mrcnn.logger import logger

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0  # of one wait on the network, not of the whole download
ATTEMPTS = 5  # in a row without a new byte
RETRY_SECONDS = 1.0  # doubled at each attempt
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

MAX_DOWNLOAD_BYTES = 64 << 30

_NETWORK_ERRORS = (
    *(urllib.error.URLError, http.client.HTTPException, ssl.SSLError),
    *(ConnectionError, TimeoutError),
)


class DownloadError(OSError):
    """A download that failed, or a file that is not the one that was expected."""


class Limits(NamedTuple):
    """What a download may be: its bytes, and whether http will do for an address that begins so."""

    most_bytes: int = MAX_DOWNLOAD_BYTES
    plain_http: bool = False


def download(
    url: str,
    path: str | os.PathLike[str],
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    progress: bool = True,
) -> str:
    """Download a file unless it is there, check it, and return its path.

    A file that is there is kept if it is valid. One that contradicts `sha256`, `md5` or `size`
    (a download of another tool that broke off, say) is replaced once the new one has arrived.

    Args:
        url: https; plain http only on this machine.
        path: where the file goes; its folder is created.
        sha256: expected checksum, hexadecimal, or as much of its beginning as is published.
        md5: expected checksum, hexadecimal, where no SHA-256 is published.
        size: expected bytes; no more are read.
        progress: show a bar, and log what is done.

    Raises:
        ValueError: if the URL is not allowed.
        DownloadError: an `OSError`: if the server refuses, the connection keeps breaking (what
            has arrived stays, and the next call continues), or the file is not the expected one
            (it is removed).
    """
    _check_url(url)
    target = Path(path)
    record = target.with_name(target.name + ".sha256")
    expected = {"sha256": sha256, "md5": md5}
    if target.exists():
        problem = _problem(target, expected, size)
        if problem is None:
            if sha256 is None and md5 is None:
                _check_record(target, record)
            return str(target)
        if progress:
            logger.info(f"{target} is not the expected file ({problem}). Downloading it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _fetch(url, part, size, Limits(), progress)
    problem = _problem(part, expected, size)
    if problem is not None:
        part.unlink()
        raise DownloadError(f"{url}: the download was removed: {problem}. Download it again.")
    os.replace(part, target)
    if sha256 is None and md5 is None:
        digest = _digest(target, "sha256")
        record.write_text(f"{digest}  {target.name}\n")
        logger.info(f"{target}: SHA-256 {digest}, kept in {record.name} for later checks.")
    return str(target)


def download_once(url: str, path: str | os.PathLike[str], limits: Limits) -> None:
    """Download a file that nothing is known of, and keep no record of it.

    Args:
        url: https, or http where `limits` allow it; https is never left for http.
        path: where the file goes, in a folder that is there. What is there is replaced.
        limits: see `Limits`.

    Raises:
        ValueError: if the URL is not allowed.
        DownloadError: an `OSError`: if the server refuses, the connection keeps breaking, or there
            is more than `limits` allow.
    """
    _check_url(url, limits)
    part = Path(f"{os.fspath(path)}.{os.getpid()}.part")
    try:
        _fetch(url, part, None, limits, progress=False)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# --- Checks ----------------------------------------------------------------------------------


def _check_url(url: str, limits: Limits = Limits()) -> None:  # noqa: B008, it cannot change
    parts = urllib.parse.urlsplit(url)
    plain = parts.scheme == "http" and (limits.plain_http or parts.hostname in LOCAL_HOSTS)
    if parts.scheme == "https" or plain:
        return
    raise ValueError(f"URL {url!r}: expected https (plain http only from this machine itself).")


def _problem(path: Path, expected: dict[str, str | None], size: int | None) -> str | None:
    """Say how a file differs from what is expected; None if it does not."""
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f"expected {size} bytes, received {found_size}"
    for algorithm, checksum in expected.items():
        if checksum is None:
            continue
        if not (found := _digest(path, algorithm)).startswith(checksum.lower()):
            return f"expected {algorithm} {checksum.lower()}, received {found}"
    return None


def _check_record(path: Path, record: Path) -> None:
    if not record.exists():  # put there by hand
        return
    expected, found = record.read_text(errors="replace")[:64], _digest(path, "sha256")
    if found != expected:
        raise DownloadError(
            f"{path} has changed since it was downloaded: expected sha256 {expected} (from "
            f"{record.name}), received {found}. Delete both files to download it again, or only "
            f"{record.name} if you changed the file yourself."
        )


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


# --- Network -----------------------------------------------------------------------------------


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects only to allowed URLs: https must not end in http."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        plain_http = self.limits.plain_http and req.type == "http"
        _check_url(newurl, self.limits._replace(plain_http=plain_http))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, part: Path, size: int | None, limits: Limits, progress: bool) -> None:
    """Complete the file `part`, through broken connections."""
    if size is not None and _size(part) > size:
        part.unlink()
    most, failures = _size(part), 0
    while True:
        try:
            return _fetch_once(url, part, size, limits, progress)
        except _NETWORK_ERRORS as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise DownloadError(
                    f"{url}: the server answered {error.code} {error.reason}."
                ) from error
            failures = 0 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures >= ATTEMPTS:
                raise DownloadError(
                    f"{url}: the connection failed {ATTEMPTS} times ({error}). "
                    f"{_size(part)} bytes are kept in {part}; run again to continue."
                ) from error
            time.sleep(RETRY_SECONDS * 2 ** max(0, failures - 1))


def _fetch_once(
    url: str, part: Path, size: int | None, limits: Limits, progress: bool, resume: bool = True
) -> None:
    """Ask for what `part` lacks and append it. A short answer is a `ConnectionError`."""
    have = _size(part) if resume else 0
    headers = {"User-Agent": "mrcnn", **({"Range": f"bytes={have}-"} if have else {})}
    opener = urllib.request.build_opener(_CheckedRedirects(limits))
    request = urllib.request.Request(url, headers=headers)
    try:
        response = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return  # it had arrived whole
        return _fetch_once(url, part, size, limits, progress, resume=False)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start, total = _range(response.headers) if resumed else (0, _length(response.headers))
        if resumed and start != have:
            if have:  # what has arrived stays until the server sends something better
                return _fetch_once(url, part, size, limits, progress, resume=False)
            raise DownloadError(
                f"{url}: asked for all of it, the server answered with a part: Content-Range "
                f"{response.headers.get('Content-Range')!r}."
            )
        if total is not None:
            _check_download_size(url, part, total, size, limits)
        # A server may ignore the range and send everything.
        with (
            open(part, "ab" if resumed else "wb") as file,
            progress_bar(_name(url), total, have if resumed else 0, progress) as bar,
        ):
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
                _check_download_size(url, part, file.tell(), size, limits)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and _size(part) != total:
        raise ConnectionError(f"received {_size(part)} of {total} bytes")


def _check_download_size(
    url: str, part: Path, received: int, size: int | None, limits: Limits
) -> None:
    """Refuse more than is expected, or than the limit, and remove what has arrived of it."""
    if size is not None and received > size:
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"{url}: the download was removed: expected {size} bytes, received {received} or more."
        )
    if received > limits.most_bytes:
        raise DownloadError(f"{url}: more than {limits.most_bytes} bytes, the limit.")


def _range(headers: Any) -> tuple[int | None, int | None]:
    """Where a part begins, and how long the whole is; None for what a server does not say."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    return int(match[1]), int(match[2]) + 1 if match[3] == "*" else int(match[3])


def _length(headers: Any) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _name(url: str) -> str:
    return Path(urllib.parse.urlsplit(url).path).name


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def progress_bar(text: str, total: int | None, initial: int, progress: bool) -> tqdm:
    """A bar of bytes, or one that shows nothing."""
    return tqdm(
        desc=text,
        total=total,
        initial=initial,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=not progress,
    )
