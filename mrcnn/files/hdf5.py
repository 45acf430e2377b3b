"""Untrusted HDF5 files (weights, states, replays): checked before anything of them is read.

HDF5 can point elsewhere: links to other files, data kept in raw files beside it, data sets put
together from others. It can declare more than it holds, and hold objects of Python. Weights and
states need none of that, so none of it is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import h5py
import numpy as np

# Names of layers or weights in a list; the largest networks have some thousands.
MAX_NAMES = 100_000
MAX_NAMES_BYTES = 16 << 20
MAX_DEPTH = 64  # of groups in groups
MAX_VALUE_BYTES = 8  # of a number
# A chunk is decompressed whole. Of a file whose data are smaller than this, one may be larger.
MAX_CHUNK_BYTES = 64 << 20
# Compression that HDF5 brings along; for others it would load code from its folder of plugins.
FILTERS = frozenset(
    (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
    + (h5py.h5z.FILTER_LZF,)
)


class UnsafeFileError(ValueError):
    """A file that holds what weights do not; says what, not which file."""


@contextmanager
def open_untrusted(
    path: str, error: type[ValueError], content: BinaryIO | None = None
) -> Iterator[h5py.File]:
    """Open a file for reading. What is raised by reading it here becomes an error that names it.

    Args:
        path: the file.
        error: to raise: see `errors_of`.
        content: what to read in its place, where the file is an archive.
    """
    with errors_of(path, error):
        file = h5py.File(path if content is None else content, "r")
    with file, errors_of(path, error):
        yield file


@contextmanager
def errors_of(path: str, error: type[ValueError]) -> Iterator[None]:
    """Turn what this module and h5py raise into errors of a reader, which name the file.

    Args:
        path: the file.
        error: the reader's class; those that it raises itself pass.
    """
    try:
        yield
    except error:
        raise
    except UnsafeFileError as unsafe:
        raise error(
            f"{path}: refused, because {unsafe}. Such files hold plain numbers and nothing else: "
            "get it again, from somebody you trust."
        ) from unsafe
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, MemoryError) as damage:
        raise error(
            f"{path}: the HDF5 file is damaged or truncated ({damage}). Copy or download it again."
        ) from damage


def has(group: h5py.Group, name: str) -> bool:
    """Whether a group has an entry of this name. Unlike `in`, follows no link to look for it."""
    return group.get(name, getlink=True) is not None


def child(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """The group or data set at a path below a group, along hard links only.

    Raises:
        KeyError: there is none.
        UnsafeFileError: a part of the path is another kind of link, or it is a data set that
            `check_dataset` refuses.
    """
    found: h5py.Group | h5py.Dataset = group
    parts = [part for part in path.split("/") if part]
    if not parts or len(parts) > MAX_DEPTH:
        raise UnsafeFileError(f"it names {path[:60]!r}, which is not a path to a weight")
    for part in parts:
        # `in` would open the file that a link names, which may be a pipe.
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise KeyError(f"it names {path[:200]!r} in {group.name}, which is not there")
        if not isinstance(link, h5py.HardLink):
            raise UnsafeFileError(
                f"{found.name}/{part} is a {_kind(link)}; expected the weights themselves"
            )
        found = found[part]
    if isinstance(found, h5py.Dataset):
        check_dataset(found)
    return found


def subgroup(group: h5py.Group, path: str) -> h5py.Group:
    """`child`, which has to be a group."""
    found = child(group, path)
    if not isinstance(found, h5py.Group):
        raise UnsafeFileError(f"{group.name} holds {path[:60]!r} as data; expected a group")
    return found


def check_dataset(dataset: h5py.Dataset) -> None:
    """Refuse a data set that is not numbers inside this file.

    Raises:
        UnsafeFileError: it is not.
    """
    name, kind = dataset.name, dataset.dtype
    if dataset.is_virtual or dataset.external:
        raise UnsafeFileError(f"the data of {name} lie outside the file")
    if kind.kind not in "fiub" or kind.itemsize > MAX_VALUE_BYTES or dataset.shape is None:
        raise UnsafeFileError(f"{name} holds {kind}; expected an array of numbers")
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if not filters <= FILTERS:
        raise UnsafeFileError(f"{name} is compressed by an unknown filter, {max(filters)}")
    if dataset.chunks is not None:
        chunk = int(np.prod(dataset.chunks, dtype=object)) * kind.itemsize
        if chunk > max(MAX_CHUNK_BYTES, dataset.nbytes):
            raise UnsafeFileError(f"{name} has chunks of {chunk} bytes for {dataset.nbytes} bytes")


def check_tree(group: h5py.Group, max_bytes: int) -> None:
    """Check all that a file holds, for a reader that is not ours.

    Args:
        group: the file.
        max_bytes: the most that its data may have together, as declared.

    Raises:
        UnsafeFileError: something is not a group or data set of numbers along hard links, groups
            hold each other, or there are more data.
    """
    total, count = 0, 0
    for dataset in _datasets(group, set(), 0):
        total, count = total + dataset.nbytes, count + 1
        if total > max_bytes or count > MAX_NAMES:
            raise UnsafeFileError(
                f"it declares {total} bytes or more in {count} arrays; expected at most "
                f"{max_bytes} bytes"
            )


def _datasets(group: h5py.Group, above: set[int], depth: int) -> Iterator[h5py.Dataset]:
    """All data sets below a group, checked; groups that contain themselves are refused."""
    key = address(group)
    if key in above or depth > MAX_DEPTH:
        raise UnsafeFileError(f"the group {group.name} contains itself, or is nested too deeply")
    for name in group:
        found = child(group, name)
        if isinstance(found, h5py.Group):
            yield from _datasets(found, above | {key}, depth + 1)
        elif isinstance(found, h5py.Dataset):
            yield found
        else:
            raise UnsafeFileError(f"{group.name}/{name} is neither a group nor an array")


def text(holder: h5py.Group | h5py.Dataset, attribute: str) -> str:
    """The text in an attribute.

    Raises:
        KeyError: there is none.
        UnsafeFileError: it is not a single text.
    """
    if attribute not in holder.attrs:
        raise KeyError(f"{holder.name} lacks the attribute {attribute!r}")
    header = holder.attrs.get_id(attribute)
    if header.shape != () or h5py.check_string_dtype(header.dtype) is None:
        raise UnsafeFileError(f"the attribute {attribute!r} of {holder.name} is not a text")
    value = holder.attrs[attribute]
    try:
        return value.decode("utf8") if isinstance(value, bytes) else value.encode().decode()
    except UnicodeError:
        raise UnsafeFileError(f"the attribute {attribute!r} of {holder.name} is not text") from None


def names(group: h5py.Group, attribute: str) -> list[str] | None:
    """A list of names in an attribute, which Keras splits into numbered ones when it is long.

    Returns:
        The names; None when there is no such attribute.

    Raises:
        UnsafeFileError: it is not a list of texts, or is longer than MAX_NAMES.
    """
    if attribute in group.attrs:
        attributes = [attribute]
    else:
        attributes = []
        while f"{attribute}{len(attributes)}" in group.attrs and len(attributes) < MAX_NAMES:
            attributes.append(f"{attribute}{len(attributes)}")
        if not attributes:
            return None
    found: list[str] = []
    for each in attributes:
        found += _texts(group, each)
        if len(found) > MAX_NAMES:
            raise UnsafeFileError(f"{group.name} lists more than {MAX_NAMES} names in {attribute}")
    return found


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    header = group.attrs.get_id(attribute)
    shape, dtype = header.shape, header.dtype
    text = h5py.check_string_dtype(dtype)
    listed = shape is not None and len(shape) == 1
    if listed and shape[0] == 0:
        return []
    if not listed or text is None or shape[0] > MAX_NAMES:
        raise UnsafeFileError(
            f"the attribute {attribute!r} of {group.name} is not a list of at most "
            f"{MAX_NAMES} names"
        )
    if shape[0] * dtype.itemsize > MAX_NAMES_BYTES:
        raise UnsafeFileError(f"the names in {attribute!r} of {group.name} are too long")
    try:
        values = group.attrs[attribute]
        return [n.decode("utf8") if isinstance(n, bytes) else str(n) for n in values]
    except UnicodeDecodeError:
        raise UnsafeFileError(f"the names in {attribute!r} of {group.name} are not text") from None


def address(group: h5py.Group) -> int:
    """Where a group lies in its file: the same for all its names."""
    return h5py.h5o.get_info(group.id).addr


def _kind(link: object) -> str:
    if isinstance(link, h5py.ExternalLink):
        return f"link to another file, {os.path.basename(link.filename)[:60]!r}"
    return "soft link"
