"""Images that are no files of this machine.

One whose path is a URL, as scripts of Matterport's package may give it to `add_image`, is
downloaded once in a process, when it is read first, into a folder that goes with the process.
Nothing but a path that begins with http:// or https:// leads there. The images of a place that a
person named, an address or tar files (`mrcnn.files.addresses`), are read whenever they are asked
for.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections import defaultdict
from functools import cache
from typing import BinaryIO

from mrcnn.files.addresses import RemotePath
from mrcnn.files.download import Limits, download_once

# No photograph of as many pixels as may be opened is larger.
MAX_IMAGE_BYTES = 1 << 30

_URL = re.compile(r"https?://", re.IGNORECASE)
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_registry = threading.Lock()


def is_url(path: object) -> bool:
    """Whether the path of an image is the address of one."""
    return isinstance(path, str) and _URL.match(path) is not None


def local_image(path: str | os.PathLike[str]) -> str | os.PathLike[str] | BinaryIO:
    """The path of an image file, or what was read of it elsewhere. Any thread may call it.

    Raises:
        OSError: it cannot be read; names it. `DownloadError`: one whose path is a URL cannot be
            downloaded, or has more than `MAX_IMAGE_BYTES`.
    """
    if isinstance(path, RemotePath):
        return path.open()
    if not isinstance(path, str) or not is_url(path):
        return path
    with _registry:
        lock = _locks[path]
    with lock:
        file = os.path.join(_folder().name, hashlib.sha256(path.encode()).hexdigest())
        if not os.path.exists(file):
            download_once(path, file, Limits(MAX_IMAGE_BYTES, plain_http=True))
    return file


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Of this process; its end removes it."""
    return tempfile.TemporaryDirectory(prefix="mrcnn-images-")
