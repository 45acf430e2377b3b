"""A folder that one writer has to itself, for as long as its process lives.

The lock is the operating system's, on a file in the folder: it ends with the process, however that
ends, and the file that stays behind locks nothing. A folder that was made for a writer who wrote
nothing goes with its lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
import weakref
from pathlib import Path
from typing import Self

from mrcnn.logger import logger

LOCK_FILE = ".lock"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class FolderTakenError(OSError):
    """Somebody else writes into the folder; the message says who."""


class FolderLock:
    """Keeps a folder for its holders, until the last reference to it is gone.

    Attributes:
        folder: its real path.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Lock a folder, which is made when it is missing.

        Raises:
            FolderTakenError: this process or another one holds it.
        """
        self.folder = os.path.realpath(folder)
        with _registry:
            if self.folder in _held:
                raise FolderTakenError(f"{self.folder}: this process writes into it already.")
            made = not os.path.isdir(self.folder)
            os.makedirs(self.folder, exist_ok=True)
            file = _lock_file(Path(self.folder, LOCK_FILE))
            _held[self.folder] = self
        weakref.finalize(self, _release, file, self.folder if made else None, os.getpid())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """The lock ends when nobody refers to it any more."""


def lock_folder(folder: str | os.PathLike[str]) -> FolderLock:
    """Lock a folder for this process; what holds it here already shares the lock.

    Raises:
        FolderTakenError: another process holds it.
    """
    held = _held.get(os.path.realpath(folder))
    return held if held is not None else FolderLock(folder)


_registry = threading.Lock()
_held: weakref.WeakValueDictionary[str, FolderLock] = weakref.WeakValueDictionary()


def _release(file: int, made: str | None, owner: int) -> None:
    """Close a lock's file. A folder that was made for it goes if it holds nothing else.

    Args:
        file: the descriptor.
        made: the folder; None if it was there before.
        owner: process that took the lock. A fork of it holds a copy of the descriptor.
    """
    with contextlib.suppress(OSError):  # such as Windows, which removes no open file
        if made is not None and os.getpid() == owner and os.listdir(made) == [LOCK_FILE]:
            os.unlink(os.path.join(made, LOCK_FILE))
            os.rmdir(made)
    os.close(file)


def _lock_file(path: Path) -> int:
    """The descriptor of a file, locked until it is closed.

    Python does not hand descriptors on to the programs that it starts.
    """
    while True:
        file = _locked(path)
        # Whoever held it may have removed it, and its folder, since it was opened here.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                break
        os.close(file)
        os.makedirs(path.parent, exist_ok=True)
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return file


def _locked(path: Path) -> int:
    """The descriptor of a file, which is made where it is missing, with a lock on it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder has just been removed
        os.makedirs(path.parent, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock_descriptor(file)
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise FolderTakenError(
                f"{path.parent}: {holder} writes into this folder. Wait until it ends, or end it."
            ) from error
        logger.warning(
            f"{path.parent}: this disk has no locks ({error}); expected that no other process "
            "writes into the folder."
        )
    return file


if sys.platform == "win32":
    import msvcrt

    # Behind the text, because others may not read what is locked.
    _BEHIND_THE_TEXT = 1 << 20

    def _lock_descriptor(file: int) -> None:
        os.lseek(file, _BEHIND_THE_TEXT, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock_descriptor(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
