"""Annotations that are in no json in COCO's format: of `mrcnn.datasets.formats`, or in shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mrcnn.datasets import shards
from mrcnn.datasets.formats.registry import open_source, read_subset, subsets_of
from mrcnn.datasets.image_stores import Place


@dataclass(frozen=True)
class OtherFormat:
    """A folder or file in another format.

    Attributes:
        title: of the format.
        place: of the images.
        read: from a subset to the content of a COCO json, and what to say about it.
        subsets: what there is of each.
    """

    title: str
    place: Place
    read: Callable[[str], tuple[dict[str, Any], str]]
    subsets: Callable[[], Mapping[str, Sequence[Any]]]


def other_format(root: Path) -> OtherFormat | None:
    """That of a folder or file; None: it is in none that is known.

    Raises:
        OSError, ValueError: it cannot be read, or is in several formats.
    """
    if shards.is_sharded(root):
        return OtherFormat(
            shards.TITLE,
            shards.place_of_shards(root),
            partial(shards.read_shards, root),
            partial(shards.subsets_of_shards, root),
        )
    source = open_source(root)
    if source is None:
        return None
    return OtherFormat(
        source.TITLE, source.listing.root, partial(read_subset, source), partial(subsets_of, source)
    )
