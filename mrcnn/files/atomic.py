"""A file appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary name beside `path`; on success, put that file in place of `path`.

    The bytes reach the disk before the name changes, so a run that is killed leaves either the
    old file or the new one, never half of one. On an error the temporary file is removed. The
    folder is created if it is not there.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield str(temporary)
        # Not every system lets a file be synchronized that is open for reading only.
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself; elsewhere a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(
    path: str | os.PathLike[str], content: Any, default: Callable[[Any], Any] | None = None
) -> None:
    """Write `content` as JSON; a reader sees all of it or nothing.

    Args:
        path: the file; its folder is created if it is not there.
        content: what `json` can write.
        default: turns what it cannot write into something that it can.
    """
    text = json.dumps(content, indent=1, default=default)
    with atomic_path(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
