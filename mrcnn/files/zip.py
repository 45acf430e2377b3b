"""Untrusted zip archives, unpacked within bounds."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from mrcnn.files.download import CHUNK_BYTES, DownloadError, progress_bar
from mrcnn.files.untrusted import MAX_NAME_BYTES

MAX_UNZIPPED_BYTES = 64 << 30  # COCO's largest archive holds 20 GB
MAX_UNZIP_RATIO = 200  # JSON compresses about 10 times; a zip bomb 1000 times
UNZIP_RATIO_FLOOR_BYTES = 64 << 20  # small archives may compress well
MAX_ENTRIES = 1_000_000  # COCO's largest archive holds 123,403 files
# Others (bzip2, LZMA) can ask for gigabytes of memory before the first byte.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Of damaged archives; `zipfile` raises those of the second line at broken headers.
_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(struct.error, ValueError, IndexError, OverflowError, RuntimeError),
)


class DamagedArchiveError(DownloadError):
    """An archive that cannot be unpacked, now or later."""


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
            encrypted or compressed in an unusual way, or has a name that no file can have beside
            the others; or if the sizes or the number of entries are absurd or above the free
            space. Nothing is written.
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
            with progress_bar(f"Unpacking {Path(path).name}", total, 0, progress) as bar:
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
    except _ERRORS as error:
        raise DamagedArchiveError(f"{path} is not a zip archive or is damaged: {error}.") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a header that points before the file's start
            raise DamagedArchiveError(
                f"{path} is not a zip archive or is damaged: {error}."
            ) from None
        raise


def read_member(path: str | os.PathLike[str], name: str, max_bytes: int) -> bytes:
    """The content of one entry of a zip archive, of which nothing else is looked at.

    Args:
        path: the archive.
        name: of the entry.
        max_bytes: the most that it may unpack to.

    Raises:
        DownloadError: there is no such entry, it is larger, or it is refused as by `extract_zip`.
        DamagedArchiveError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename == name]
            if not entries:
                raise DownloadError(f"{path} holds no {name}.")
            _check_entries(path, entries, max_bytes)
            with archive.open(entries[0]) as source:
                content = source.read(max_bytes + 1)
    except _ERRORS as error:
        raise DamagedArchiveError(f"{path} is not a zip archive or is damaged: {error}.") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # as above
            raise DamagedArchiveError(
                f"{path} is not a zip archive or is damaged: {error}."
            ) from None
        raise
    if len(content) > max_bytes:
        raise DownloadError(f"{path}: {name} unpacks to more than the {max_bytes} bytes it may.")
    return content


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
    _check_names(path, entries)
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(1, os.stat(path).st_size)
    if unpacked > max_bytes:
        raise DownloadError(f"{path} unpacks to {unpacked} bytes, above the limit of {max_bytes}.")
    if unpacked > max(UNZIP_RATIO_FLOOR_BYTES, MAX_UNZIP_RATIO * packed):
        raise DownloadError(
            f"{path}: {packed} bytes unpack to {unpacked}, more than {MAX_UNZIP_RATIO} times as "
            "many: this looks like a zip bomb."
        )


def _check_names(path: str | os.PathLike[str], entries: list[zipfile.ZipInfo]) -> None:
    """Refuse names that are too long, that come twice, or that are of a file and of a folder."""
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        parts = [part for part in entry.filename.split("/") if part not in ("", ".")]
        lengths = [len(os.fsencode(part)) for part in parts]
        if len(os.fsencode(entry.filename)) > MAX_NAME_BYTES or max(lengths, default=0) > 255:
            raise DownloadError(
                f"{path}: the entry {entry.filename[:60]!r}... has a name longer than files have."
            )
        name = "/".join(parts)
        if not entry.is_dir():
            if name in files or not parts:
                raise DownloadError(f"{path}: the entry {entry.filename!r} is there twice.")
            files.add(name)
            name = name.rpartition("/")[0]
        while name and name not in folders:
            folders.add(name)
            name = name.rpartition("/")[0]
    both = files & folders
    if both:
        raise DownloadError(f"{path}: the entry {min(both)!r} is a file and a folder.")
