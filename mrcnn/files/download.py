"""Downloads that are checked, resumed and renamed at the end.

A file arrives under `<path>.part`; a later call goes on where the last one stopped. A file whose
checksum is public is compared with it. For others the SHA-256 of the first download is printed
and kept in `<path>.sha256`: later uses are compared with that, so a file that changes is noticed.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import stat
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import Any

from tqdm import tqdm

# Matterport's weights for COCO, 81 classes, ResNet-101. Its checksum was never published;
# the size is the one that the server tells.
COCO_WEIGHTS_URL = (
    "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
)
COCO_WEIGHTS_BYTES = 257_557_808

# ResNet-50 without its classifier, trained on ImageNet; the checksum is keras-applications'.
IMAGENET_WEIGHTS_URL = (
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_WEIGHTS_MD5 = "a268eb855778b3df3c7506639542a6af"

# images.cocodataset.org speaks http only; this is the same bucket over https.
COCO_URL = "https://s3.amazonaws.com/images.cocodataset.org"
COCO_SUBSETS = {
    "2014": ("train", "val", "test", "minival", "valminusminival"),
    "2015": ("test",),
    "2017": ("train", "val", "test", "unlabeled"),
}
# The 5k/35k split of val2014 is not on COCO's server; py-faster-rcnn published these.
COCO_SPLIT_URLS = {
    "minival": "https://dl.dropboxusercontent.com/s/o43o90bna78omob/"
    "instances_minival2014.json.zip?dl=1",
    "valminusminival": "https://dl.dropboxusercontent.com/s/s3tw5zcg7395368/"
    "instances_valminusminival2014.json.zip?dl=1",
}

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0  # of one wait on the network, not of the whole download
ATTEMPTS = 5  # in a row without a new byte
RETRY_SECONDS = 1.0  # doubled at each attempt
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

MAX_UNZIPPED_BYTES = 64 << 30  # COCO's largest archive holds 20 GB
MAX_UNZIP_RATIO = 200  # JSON compresses about 10 times; a zip bomb 1000 times
UNZIP_RATIO_FLOOR_BYTES = 64 << 20  # small archives may compress well
MAX_ENTRIES = 1_000_000  # COCO's largest archive holds 123,403 files
# Others (bzip2, LZMA) can ask for gigabytes of memory before the first byte.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_DOWNLOAD_BYTES = 64 << 30

_NETWORK_ERRORS = (
    *(urllib.error.URLError, http.client.HTTPException, ssl.SSLError),
    *(ConnectionError, TimeoutError),
)


class DownloadError(OSError):
    """A download that failed, or a file that is not the one that was expected."""


class DamagedArchiveError(DownloadError):
    """An archive that cannot be unpacked, now or later."""


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
        sha256: expected checksum, hexadecimal.
        md5: expected checksum, hexadecimal, where no SHA-256 is published.
        size: expected bytes.
        progress: show a bar, and print what is done.

    Raises:
        ValueError: if the URL is not allowed.
        DownloadError: an `OSError`: if the server refuses, the connection keeps breaking (what
            has arrived stays, and the next call goes on), or the file is not the expected one
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
            print(f"{target} is not the expected file ({problem}). Downloading it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _fetch(url, part, progress)
    problem = _problem(part, expected, size)
    if problem is not None:
        part.unlink()
        raise DownloadError(f"{url}: the download was removed: {problem}. Download it again.")
    os.replace(part, target)
    if sha256 is None and md5 is None:
        digest = _digest(target, "sha256")
        record.write_text(f"{digest}  {target.name}\n")
        print(f"{target}: SHA-256 {digest}, kept in {record.name} for later checks.")
    return str(target)


def download_trained_weights(coco_model_path: str | os.PathLike[str], verbose: int = 1) -> str:
    """Download Matterport's COCO weights (246 MB) to a path unless they are there."""
    if verbose > 0:
        print(f"COCO weights: {coco_model_path}")
    return download(
        COCO_WEIGHTS_URL, coco_model_path, size=COCO_WEIGHTS_BYTES, progress=verbose > 0
    )


def imagenet_weights_path(
    folder: str | os.PathLike[str] | None = None, progress: bool = True
) -> str:
    """Return the path of the ImageNet weights of ResNet-50 (90 MB), downloaded if need be.

    Args:
        folder: where they are kept; by default Keras's own cache, `~/.keras/models`.
        progress: show a bar.
    """
    if folder is None:
        folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    path = Path(folder) / IMAGENET_WEIGHTS_URL.rpartition("/")[2]
    return download(IMAGENET_WEIGHTS_URL, path, md5=IMAGENET_WEIGHTS_MD5, progress=progress)


def download_coco(
    folder: str | os.PathLike[str], subset: str, year: str | int, progress: bool = True
) -> tuple[str, str]:
    """Download and unpack the images and annotations of a part of COCO.

    The layout is COCO's: `<folder>/train2017/*.jpg`, `<folder>/annotations/*.json`. What is there
    is kept: a folder of images appears only once it is complete. The archives are removed.

    Args:
        folder: the data set's folder.
        subset: one of `COCO_SUBSETS[year]`; "minival" and "valminusminival" are parts of val2014.
        year: "2014", "2015" (test only) or "2017".
        progress: show bars.

    Returns:
        (folder of the images, annotation file)

    Raises:
        ValueError: if there is no such part.
        DownloadError: as `download` and `extract_zip` do.
    """
    year, root = str(year), Path(folder)
    if subset not in COCO_SUBSETS.get(year, ()):
        raise ValueError(
            f"COCO has no subset {subset!r} of {year!r}; expected one of {COCO_SUBSETS}."
        )
    images = root / f"{'val' if subset in COCO_SPLIT_URLS else subset}{year}"
    if subset in ("test", "unlabeled"):  # without objects
        archive, file_name = f"image_info_{subset}{year}.zip", f"image_info_{subset}{year}.json"
    else:
        archive, file_name = f"annotations_trainval{year}.zip", f"instances_{subset}{year}.json"
    annotations = root / "annotations" / file_name
    annotations_url = COCO_SPLIT_URLS.get(subset, f"{COCO_URL}/annotations/{archive}")
    if not annotations.exists():
        _unpack_download(annotations_url, root, annotations, progress)
    if not images.exists():
        _unpack_download(f"{COCO_URL}/zips/{images.name}.zip", root, images, progress)
    return str(images), str(annotations)


def extract_zip(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    max_bytes: int = MAX_UNZIPPED_BYTES,
    progress: bool = True,
) -> list[str]:
    """Unpack a zip archive into a folder, after a check of all its entries.

    Args:
        path: the archive.
        folder: created if it is not there.
        max_bytes: the most that the entries may unpack to together.
        progress: show a bar.

    Returns:
        the files written, in the order of the archive.

    Raises:
        DamagedArchiveError: a `DownloadError`: if the archive is damaged.
        DownloadError: if an entry leaves the folder, is a link or another special file, is
            encrypted or compressed in an unusual way, or if the sizes or the number of entries
            are absurd or above the free space. Nothing is written.
    """
    root = Path(folder)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries, max_bytes)
            root.mkdir(parents=True, exist_ok=True)
            total = sum(entry.file_size for entry in entries)
            if total > (free := shutil.disk_usage(root).free):
                raise DownloadError(
                    f"{path} unpacks to {total} bytes, but {root} has only {free} bytes free."
                )
            written = []
            with _bar(f"Unpacking {Path(path).name}", total, 0, progress) as bar:
                for entry in entries:
                    target = root / entry.filename
                    if entry.is_dir():
                        target.mkdir(parents=True, exist_ok=True)
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(entry) as source, open(target, "wb") as file:
                        shutil.copyfileobj(source, file, CHUNK_BYTES)
                    written.append(str(target))
                    bar.update(entry.file_size)
            return written
    # `zipfile` raises the others at broken headers.
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
        *(struct.error, ValueError, IndexError, OverflowError, RuntimeError),
    ) as error:
        raise DamagedArchiveError(f"{path} is no zip archive or is damaged: {error}.") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a header that points before the file's start
            raise DamagedArchiveError(f"{path} is no zip archive or is damaged: {error}.") from None
        raise


# --- Checks ----------------------------------------------------------------------------------


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        return
    raise ValueError(f"URL {url!r}: expected https (plain http only from this machine itself).")


def _problem(path: Path, expected: dict[str, str | None], size: int | None) -> str | None:
    """Say how a file differs from what is expected; None if it does not."""
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f"expected {size} bytes, received {found_size}"
    for algorithm, checksum in expected.items():
        if checksum is not None and (found := _digest(path, algorithm)) != checksum.lower():
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


def _check_entries(
    path: str | os.PathLike[str], entries: list[zipfile.ZipInfo], max_bytes: int
) -> None:
    if len(entries) > MAX_ENTRIES:
        raise DownloadError(f"{path}: {len(entries)} entries, above the limit of {MAX_ENTRIES}.")
    for entry in entries:
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        # Backslashes and colons mean separators and drives on some systems.
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or ":" in name:
            raise DownloadError(f"{path}: the entry {name!r} would leave the folder.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(f"{path}: the entry {name!r} is a link or a special file.")
        if entry.flag_bits & 1:
            raise DownloadError(f"{path}: the entry {name!r} is encrypted.")
        if entry.compress_type not in COMPRESSIONS:
            raise DownloadError(
                f"{path}: the entry {name!r} is compressed by the method {entry.compress_type}; "
                f"expected {' or '.join(map(str, COMPRESSIONS))}, none or deflate."
            )
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(1, os.stat(path).st_size)
    if unpacked > max_bytes:
        raise DownloadError(f"{path} unpacks to {unpacked} bytes, above the limit of {max_bytes}.")
    if unpacked > max(UNZIP_RATIO_FLOOR_BYTES, MAX_UNZIP_RATIO * packed):
        raise DownloadError(
            f"{path}: {packed} bytes unpack to {unpacked}, more than {MAX_UNZIP_RATIO} times as "
            "many: this looks like a zip bomb."
        )


# --- Network -----------------------------------------------------------------------------------


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects only to allowed URLs: https must not end in http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, part: Path, progress: bool) -> None:
    """Complete the file `part`, through broken connections."""
    most, failures = _size(part), 0
    while True:
        try:
            return _fetch_once(url, part, progress)
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
                    f"{_size(part)} bytes are kept in {part}; run again to go on."
                ) from error
            time.sleep(RETRY_SECONDS * 2 ** max(0, failures - 1))


def _fetch_once(url: str, part: Path, progress: bool) -> None:
    """Ask for what `part` lacks and append it. A short answer is a `ConnectionError`."""
    have = _size(part)
    headers = {"User-Agent": "mrcnn", **({"Range": f"bytes={have}-"} if have else {})}
    opener = urllib.request.build_opener(_CheckedRedirects)
    request = urllib.request.Request(url, headers=headers)
    try:
        response = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return  # it had arrived whole
        part.unlink()
        return _fetch_once(url, part, progress)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and _range_start(response.headers) != have:
            part.unlink()
            return _fetch_once(url, part, progress)
        have = have if resumed else 0  # a server may ignore the range and send everything
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        _check_download_size(url, total or 0)
        with (
            open(part, "ab" if resumed else "wb") as file,
            _bar(Path(urllib.parse.urlsplit(url).path).name, total, have, progress) as bar,
        ):
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
                _check_download_size(url, file.tell())
            file.flush()
            os.fsync(file.fileno())
    if total is not None and _size(part) != total:
        raise ConnectionError(f"received {_size(part)} of {total} bytes")


def _check_download_size(url: str, size: int) -> None:
    if size > MAX_DOWNLOAD_BYTES:
        raise DownloadError(f"{url}: more than {MAX_DOWNLOAD_BYTES} bytes, the limit.")


def _range_start(headers: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _bar(text: str, total: int | None, initial: int, progress: bool) -> tqdm:
    return tqdm(
        desc=text,
        total=total,
        initial=initial,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=not progress,
    )


def _unpack_download(url: str, root: Path, wanted: Path, progress: bool) -> None:
    """Download an archive, unpack it aside, and move what belongs beside `wanted` into place."""
    archive = root / Path(urllib.parse.urlsplit(url).path).name
    staging = root / f".{archive.name}.unpacked"
    record = archive.with_name(archive.name + ".sha256")
    download(url, archive, progress=progress)
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    try:
        extract_zip(archive, staging, progress=progress)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for found in [*staging.rglob("*.json"), *staging.glob(wanted.name)]:
            if found.exists():
                os.replace(found, wanted.parent / found.name)
    except DamagedArchiveError:
        archive.unlink()  # so that the next call downloads it again
        record.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not wanted.exists():
        raise DownloadError(f"{archive}: expected {wanted.name} in it, but it is not there.")
    archive.unlink()
    record.unlink(missing_ok=True)
