"""Names of subsets ("train", "val", "test") in the names of files and folders."""

from __future__ import annotations

import re
from pathlib import PurePath

# Other names of a subset, in files and folders.
SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def names_subset(path: PurePath | str, subset: str) -> bool:
    """Whether a word of a path, perhaps with a year, is the name of a subset or a synonym.

    >>> names_subset("stage1_train/a.png", "train"), names_subset("photos/a.png", "train")
    (True, False)
    """
    names = SYNONYMS.get(subset, (subset.lower(),))
    words = re.split(r"[^a-z0-9]+", str(path).lower())
    return any(re.fullmatch(rf"{re.escape(name)}\d*", word) for name in names for word in words)


def names_any_subset(path: PurePath | str) -> bool:
    """Whether a word of a path is the name of one of `SYNONYMS`."""
    return any(names_subset(path, subset) for subset in SYNONYMS)
