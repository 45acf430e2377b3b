"""Dividing a data set that has no validation set, as `--split` asks."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any

from mrcnn.datasets.division import (
    NEAR_DUPLICATES,
    VAL,
    Division,
    divide,
    expect_share,
    groups_by_field,
)
from mrcnn.datasets.image_stores import ImageStore, open_store
from mrcnn.datasets.layouts import SplitFiles, find_split
from mrcnn.doctor.examine import default_jobs
from mrcnn.doctor.near_duplicates import groups_of
from mrcnn.logger import logger


def divide_dataset(
    dataset: str | os.PathLike[str],
    subset: str,
    year: str | int | None,
    share: float,
    by: str | None = None,
    seed: int = 0,
    image_dir: str | None = None,
) -> Division:
    """Hold out a part of a subset to validate with.

    Args:
        dataset, subset, year: as in `mrcnn.datasets.layouts.find_split`.
        share: of the images that train.
        by: what keeps images together, see `Division`.
        seed: decides.
        image_dir: where the images are, see `CocoDataset.of`.

    Raises:
        OSError, ValueError: the subset cannot be read or divided, or there is a validation set.
    """
    expect_share(share)
    if subset != VAL and _has_validation(dataset, year, image_dir):
        raise ValueError(
            f"{dataset}: --split: expected a data set without a validation set; it has the subset "
            f"{VAL!r}. Leave --split out, or name the file of the annotations to divide as the "
            f"data set."
        )
    files = find_split(dataset, subset, year, image_dir=image_dir)
    content = files.read()
    if by == NEAR_DUPLICATES:
        groups = _near_duplicates(files, content)
    else:
        groups = groups_by_field(content, by, str(files.annotations))
    train, val = divide(content, groups, share, seed)
    division = Division(subset, share, by, seed, train, val)
    logger.info(f"{dataset}: {division.describe()}.")
    return division


def applies(
    division: Division,
    dataset: str | os.PathLike[str],
    year: str | int | None,
    image_dir: str | None = None,
) -> bool:
    """Whether a data set is the one that was divided: its images are there, under their names.

    Raises:
        ValueError: some of them are there, and others are not; names one.
    """
    try:
        content = find_split(dataset, division.subset, year, image_dir=image_dir).read()
    except (OSError, ValueError):
        return False
    missing = division.missing(content)
    if len(missing) == len(division.train) + len(division.val):
        return False
    if missing:
        raise ValueError(
            f"{dataset}: expected the images of the run's split.json; {len(missing)} of them are "
            f"not there, such as {missing[0]!r}. Put them back, or say --split anew."
        )
    return True


def _has_validation(
    dataset: str | os.PathLike[str], year: str | int | None, image_dir: str | None
) -> bool:
    try:
        find_split(dataset, VAL, year, image_dir=image_dir)
    except FileNotFoundError:
        return False
    except ValueError:  # several files could be it
        return True
    return True


def _path(store: ImageStore, name: str) -> str:
    """An image of a place; of a name that leads out of it, or to nothing, what has no pixels."""
    try:
        return store.find(name) or os.devnull
    except ValueError:
        return os.devnull


def _near_duplicates(files: SplitFiles, content: dict[str, Any]) -> dict[str, Hashable]:
    """The groups of pictures that resemble each other."""
    names = sorted(groups_by_field(content, None, str(files.annotations)))
    store = open_store(files.images, files.annotations)
    groups = groups_of([_path(store, name) for name in names], default_jobs())
    alike = len(names) - len(set(groups))
    logger.info(f"Pictures that resemble another one: {alike} of {len(names)} stay with it.")
    return dict(zip(names, groups, strict=True))
