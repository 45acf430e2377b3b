"""What counts as the same detections."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.export.comparison import TOLERANCES, Found, Tolerance, compare

TOLERANCE = Tolerance(overlap=0.9, score=0.02, mask=0.05, alone=0.1)


def found(count: int = 10) -> Found:
    start = np.stack([np.arange(count) * 30.0, np.arange(count) * 20.0], axis=1)
    return Found(
        np.concatenate([start, start + 20], axis=1),
        np.arange(count) % 3 + 1,
        np.linspace(0.99, 0.8, count),
        np.random.default_rng(0).random((count, 28, 28)),
    )


def agreement(own: Found, other: Found, tolerance: Tolerance = TOLERANCE, least=0.7, most=100):
    return compare([own], [other], tolerance, least, most)


def test_the_same_in_any_order_agrees():
    own = found()
    result = agreement(own, Found(*(values[::-1] for values in own)))
    assert (result.pairs, result.alone) == (10, 0)
    assert (result.overlap, result.score, result.mask) == (1, 0, 0)
    assert result.is_within(TOLERANCE)
    assert "10 the same, 0 without a partner" in str(result)


@pytest.mark.parametrize(
    "change",
    [
        {"boxes": [15.0, 0, 15, 0]},
        {"class_ids": 1},
        {"scores": -0.05},
        {"masks": 0.2},
    ],
)
def test_two_of_ten_that_differ_are_too_many(change):
    own = found()
    (name, by), place = *change.items(), slice(3, 5)
    values = getattr(own, name).copy()
    values[place] += np.array(by, values.dtype)
    result = agreement(own, own._replace(**{name: values}))
    assert (result.pairs, result.alone) == (8, 2)
    assert not result.is_within(TOLERANCE)
    values = getattr(own, name).copy()
    values[3] += np.array(by, values.dtype)
    assert agreement(own, own._replace(**{name: values})).is_within(TOLERANCE)  # 1 of 10


def test_a_missing_detection_counts_unless_it_was_about_to_be_left_out():
    own = found()
    missing = Found(*(np.delete(values, 4, axis=0) for values in own))
    assert agreement(own, missing).alone == agreement(missing, own).alone == 1
    last = Found(*(values[:-1] for values in own))
    assert agreement(own, last, least=0.79).alone == 0  # 0.8 is within 0.02 of the least
    assert agreement(own, last, least=0.7).alone == 1
    assert agreement(own, last, least=0.7, most=10).alone == 0  # the last of the slots


def test_nothing_agrees_with_nothing_only():
    none = Found(*(values[:0] for values in found()))
    assert agreement(none, none).is_within(TOLERANCE)
    assert not agreement(none, found()).is_within(TOLERANCE)
    assert not agreement(found(), none).is_within(TOLERANCE)


def test_one_of_few_may_differ_with_rounded_weights_alone():
    own = found(4)
    moved = own._replace(class_ids=own.class_ids + np.array([1, 0, 0, 0]))
    assert not agreement(own, moved, TOLERANCES["float32"]).is_within(TOLERANCES["float32"])
    assert agreement(own, moved, TOLERANCES["int8"]).is_within(TOLERANCES["int8"])


def test_one_of_ten_may_end_at_the_border():
    own = found()
    masks = own.masks.copy()
    masks[2, -1] += 0.4  # a row of samples that was read on one side only
    tolerance = TOLERANCES["float32"]
    result = agreement(own, own._replace(masks=masks), tolerance)
    assert result.alone == 1 and result.is_within(tolerance)
    masks[3, -1] += 0.4
    assert not agreement(own, own._replace(masks=masks), tolerance).is_within(tolerance)


def test_equal_scores_are_no_excuse():
    own = found()._replace(scores=np.ones(10))
    other = own._replace(boxes=own.boxes + 500)
    result = agreement(own, other, most=10)
    assert (result.pairs, result.alone) == (0, 0)  # all are near the last of the slots
    assert not result.is_within(TOLERANCE)
