"""Classes: how many objects each has, and whether training and validation mean the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mrcnn.datasets.coco_json import by_type
from mrcnn.doctor.findings import (
    Finding,
    Kind,
    note,
    report,
    stops_at_step,
    stops_train_command,
    warning,
)
from mrcnn.doctor.subset import Subset

EMPTY = warning(
    *("class-empty", "category", "", "objects of {name!r}", "none"),
    "learns the class as something that never occurs",
)
ONLY_CROWDS = stops_train_command(
    *("only-crowds", "subset", "annotations", "at least one ordinary object"),
    "{count} crowds and no object",
    "would learn nothing from them: no object is taken from a crowd, and no background where it is",
    fix="with `--crowds-as-objects`, makes objects of them; CVAT marks every brush mask as a crowd",
)
CLASS_ONLY_CROWDS = stops_train_command(
    *("class-only-crowds", "category", "", "at least one ordinary object of {name!r}"),
    "{count} crowds and no object",
    "would never learn the class",
    fix="with `--crowds-as-objects`, makes objects of them",
)
VAL_ONLY_CROWDS = stops_train_command(
    *("val-only-crowds", "subset", "annotations", "at least one ordinary object to validate on"),
    "{count} crowds and no object",
    "would find no metric, because each AP needs an object, and a val_loss of the background alone",
    fix="with `--crowds-as-objects`, makes objects of them",
)
VAL_CLASS_ONLY_CROWDS = warning(
    *("val-class-only-crowds", "category", "", "at least one ordinary object of {name!r}"),
    "{count} crowds and no object",
    "leaves the class out of the metrics: its AP is not defined, and the mean AP is that of the "
    "other classes",
    fix="with `--crowds-as-objects`, makes objects of them",
)
RARE = note(
    *("class-rare", "category", "", "at least {few} objects of {name!r}", "{count}"),
    "sees them as often as their images come",
)
IMBALANCE = warning(
    *("class-imbalance", "subset", "categories"),
    "at most {most} times as many objects of one class as of another",
    "{ratio:.0f} times: {large} {large_name!r}, {small} {small_name!r}",
    "does not balance classes",
)
VALIDATION_ONLY = warning(
    *("class-validation-only", "category", "", "objects of {name!r} in {train}"),
    "none, but {count} in {val}",
    "cannot learn it: its AP is 0",
)
COUNTS_DIFFER = stops_at_step(
    *("classes-count", "subset", "categories", "{expected_count} classes, as {train} has"),
    "{received_count}",
    "the first validation is such a step",
)
NAMES_DIFFER = warning(
    *("classes-differ", "subset", "categories", "the classes of {train}: {expected_names}"),
    "{received_names}",
    "counts classes by the order of their ids, and takes one for another",
)

KINDS: tuple[Kind, ...] = (
    *(EMPTY, ONLY_CROWDS, CLASS_ONLY_CROWDS, VAL_ONLY_CROWDS, VAL_CLASS_ONLY_CROWDS),
    *(RARE, IMBALANCE),
    *(VALIDATION_ONLY, COUNTS_DIFFER, NAMES_DIFFER),
)

FEW = 10
MAX_RATIO = 100


def count_objects(subset: Subset) -> dict[Any, int]:
    """How many annotations, crowds left out, each category has."""
    counts = subset.counts()
    return {id: counts[id, False] for id in sorted(subset.categories, key=by_type)}


def check_crowds(subset: Subset, usable: Counter[tuple[Any, bool]]) -> Iterator[Finding]:
    """Whether there is an ordinary object in the subset, and in each class that has crowds.

    Args:
        subset: whose images can be read.
        usable: how many annotations training can use, by (category id, whether crowds).
    """
    objects, crowds = (
        Counter({id: number for (id, is_crowd), number in usable.items() if is_crowd == side})
        for side in (False, True)
    )
    of_all, of_class = (
        (VAL_ONLY_CROWDS, VAL_CLASS_ONLY_CROWDS)
        if subset.is_validation
        else (ONLY_CROWDS, CLASS_ONLY_CROWDS)
    )
    if crowds and not objects:
        yield report(of_all, subset.name, subset.file, count=crowds.total())
        return
    for id, count in crowds.items():
        if not objects[id]:
            name = subset.categories[id]
            yield report(of_class, subset.name, subset.file, id, name=name, count=count)


def check_balance(subset: Subset) -> Iterator[Finding]:
    """Classes without objects, with few, and with many times as many as others."""
    counts = count_objects(subset)
    if not any(counts.values()):
        return  # another finding says that there is nothing
    for id, number in counts.items():
        values = {"name": subset.categories[id], "few": FEW, "count": number}
        if number == 0:
            yield report(EMPTY, subset.name, subset.file, id, **values)
        elif number < FEW:
            yield report(RARE, subset.name, subset.file, id, **values)
    present = {id: number for id, number in counts.items() if number}
    large, small = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
    if present[large] > MAX_RATIO * present[small]:
        yield report(
            *(IMBALANCE, subset.name, subset.file),
            most=MAX_RATIO,
            ratio=present[large] / present[small],
            large=present[large],
            large_name=subset.categories[large],
            small=present[small],
            small_name=subset.categories[small],
        )


def check_same_classes(train: Subset, val: Subset) -> Iterator[Finding]:
    """Whether the classes of two subsets are the same, and learned ones are validated."""
    expected, received = train.categories, val.categories
    if len(expected) != len(received):
        yield report(
            *(COUNTS_DIFFER, val.name, val.file),
            train=train.name,
            expected_count=len(expected),
            received_count=len(received),
        )
        return
    ours = [expected[id] for id in sorted(expected, key=by_type)]
    theirs = [received[id] for id in sorted(received, key=by_type)]
    if ours != theirs:
        first = next(
            i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len(set(pair)) > 1
        )
        yield report(
            *(NAMES_DIFFER, val.name, val.file),
            train=train.name,
            expected_names=f"{ours[first]!r} at position {first + 1}",
            received_names=f"{theirs[first]!r}",
        )
        return
    learned, asked = count_objects(train), count_objects(val)
    if not any(learned.values()):
        return  # another finding says that there is nothing
    for (id, seen), (val_id, number) in zip(learned.items(), asked.items(), strict=True):
        if number and not seen:
            yield report(
                *(VALIDATION_ONLY, val.name, val.file, val_id),
                name=expected[id],
                train=train.name,
                val=val.name,
                count=number,
            )
