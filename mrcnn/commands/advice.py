"""What to do about errors that do not say it themselves."""

from __future__ import annotations

import errno

OUT_OF_MEMORY = (
    "The step does not fit into the memory. In this order: --batch-size 1; --mixed-precision auto; "
    "--rois 100; a smaller --image-size; a smaller --backbone. More is in docs/troubleshooting.md, "
    "Out of memory."
)
UNEXPECTED = (
    "mrcnn: this error was not expected. Please report it with the lines below and what "
    "mrcnn doctor-env --json says."
)
_BY_NUMBER = {
    errno.ENOENT: "Check the path; relative ones begin in the folder that the command is run in.",
    errno.ENOTDIR: "Check the path: a part of it is a file where a folder was expected.",
    errno.EISDIR: "Give a file in it: this is a folder.",
    errno.EACCES: "Ask for the right to use it, or choose another place.",
    errno.EROFS: "Choose another place to write to: this disk is read-only.",
    errno.ENOSPC: "Free some space, or choose another disk with --logs or --output.",
    errno.EDQUOT: "Free some space, or choose another disk with --logs or --output.",
    errno.EMFILE: "Allow more open files (ulimit -n), or use fewer --workers.",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the computer had no memory left, whichever backend says so."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"  # TensorFlow's
        or type(error).__name__ == "OutOfMemoryError"  # PyTorch's
        or "RESOURCE_EXHAUSTED" in str(error)  # JAX's
    )


def is_missing_package(error: BaseException) -> bool:
    """Whether an optional package is missing, and the error says how to get it."""
    return isinstance(error, ImportError) and "pip install" in str(error)


def message(error: BaseException) -> str:
    """What an error says, in a sentence or more, with what to do at the end."""
    text = str(error) or type(error).__name__
    if is_out_of_memory(error):
        return f"{_cut(text)}\n{OUT_OF_MEMORY}"
    if isinstance(error, OSError) and error.errno in _BY_NUMBER and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}. {_BY_NUMBER[error.errno]}"
    return text


def _cut(text: str) -> str:
    """The first line; TensorFlow goes on with the graph."""
    return text.strip().splitlines()[0][:300] if text.strip() else text
