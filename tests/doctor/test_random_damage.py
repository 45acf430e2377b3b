"""Values of the json replaced at random: the doctor never fails, and is right about training."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mrcnn.doctor import fixes
from mrcnn.doctor.findings import AT_START, AT_STEP
from tests.doctor.sound import Data, rle, sound
from tests.doctor.test_examine import BY_NAME, check, training_stops

VALUES = (
    *(None, "", "x", "0", -1, 0, 1, 2, 3, 7, 48, 64, 100000, 1.5, 1e400, float("nan"), 10**30),
    *(True, [], {}, [[]], [1], [2, 2, 5, 5], [[2, 2, 5, 5, 8]], [["a"] * 6], [[True] * 6]),
    *("0.png", "1.png", "../x.png", "/etc/x", [[1, 1, 9, 9, 9, 1, 1, 9]], {"size": [48, 64]}),
    *({"size": [48, 64], "counts": "11"}, {"size": [48, 64], "counts": [3072]}),
)
DRAWS = 60
# What leaving entries out of one subset cannot repair: the other has other classes then.
REMAINS = "classes-count"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    """With all forms of segmentations among the first objects."""
    data = sound(tmp_path_factory.mktemp("random") / "data")
    mask = np.zeros((48, 64))
    mask[2:14, 18:30] = 1
    data.object(1)["segmentation"] = rle(mask)
    data.object(2)["segmentation"] = {"size": [48, 64], "counts": [48 * 34, 48 * 12, 48 * 18]}
    data.object(2).update(bbox=[34, 0, 12, 48], area=48 * 12)
    data.object(3).update(segmentation=rle(mask), iscrowd=1, bbox=[18, 2, 12, 12])
    del data.train["annotations"][4:10]
    return data


def paths_to_values(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from paths_to_values(inner, (*path, key))


def damage(content: dict[str, Any], seed: int) -> tuple[Any, ...]:
    """Replace a value, or take it out; returns where, and by what."""
    draw = random.Random(seed)
    path = draw.choice(list(paths_to_values(content)))
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    if draw.random() < 0.15:
        del owner[path[-1]]
        return *path, "taken out"
    owner[path[-1]] = copy.deepcopy(draw.choice(VALUES))
    return *path, owner[path[-1]]


def test_what_is_said_of_training_is_true_for_any_damage(data, tmp_path):
    stopped = set()
    for seed in range(DRAWS):
        damaged = Data(data.folder, copy.deepcopy(data.content))
        what = seed, *damage(damaged.train, seed)
        damaged.write()
        examination = check(data.folder)
        stops = {BY_NAME[finding.kind].stops for finding in examination.findings}
        said = AT_START if AT_START in stops else AT_STEP if AT_STEP in stops else None
        assert training_stops(data.folder, {}, False) == said, what
        quickly = {
            BY_NAME[finding.kind].stops for finding in check(data.folder, quick=True).findings
        }
        assert quickly - {None} == stops - {None}, what
        stopped.add(said)

        if not examination.subsets[0].subset.is_readable:
            continue
        fixes.fix(examination, tmp_path / "out")
        left = {BY_NAME[finding.kind] for finding in check(tmp_path / "out").findings}
        assert not [k for k in left if (k.fix or k.stops) and k.name != REMAINS], what
        if REMAINS not in {kind.name for kind in left}:
            assert training_stops(tmp_path / "out", {}, False) is None, what
        shutil.rmtree(tmp_path / "out")
    assert stopped == {AT_START, AT_STEP, None}
