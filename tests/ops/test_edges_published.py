"""The edge agreement loss against the published code: 1712 losses and 288 gradients."""

from __future__ import annotations

import json
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from mrcnn.ops import edges
from mrcnn.ops.edge_settings import EdgeSettings
from tests.support import gradient

# The largest exponent that is finite in the published code.
LIMIT = 88.0
WEIGHT_FACTORS = (0.5, 1.0, 16.0)


@pytest.fixture(scope="module")
def published(parity_file):
    """Masks, losses and gradients with the settings of each case."""
    with np.load(parity_file("edge_vectors.npz")) as archive:
        arrays = dict(archive)
    cases = json.loads(parity_file("edge_cases.json").read_text())["cases"]
    return SimpleNamespace(arrays=arrays, values=arrays["values"], cases=cases)


def case_masks(published, case):
    arrays, name = published.arrays, case["data"]
    return arrays[f"y_pred_{name}"], arrays[f"y_true_{name}"]


def case_settings(case, **options) -> EdgeSettings:
    # The published code calls the two Sobel filters by each other's names.
    swapped = {"sobel-x": "sobel-y", "sobel-y": "sobel-x"}
    keys = ("norm", "weight_factor", "smoothing_gt", "smoothing_predictions", "weight_entropy")
    filters = [swapped.get(name, name) for name in case["filters"]]
    return EdgeSettings(filters, **{**{key: case[key] for key in keys}, **options})


def growth(value: float) -> float:
    """By how much the exponential of float32 numbers magnifies their rounding errors.

    A relative error of x is an error x times as large in exp(x), and ln of the loss is
    about the largest x in it.
    """
    return 1 + np.log(max(1, value))


@pytest.fixture(scope="module")
def groups(published):
    """Cases that differ in the weight factor only: they are computed in one call."""
    found = defaultdict(list)
    for case in published.cases:
        shared_settings = {
            k: v for k, v in case.items() if k not in ("i", "weight_factor", "has_grad")
        }
        found[json.dumps(shared_settings)].append(case)
    return list(found.values())


def losses(published, group, exponent_limit: float = edges.EXPONENT_LIMIT) -> list[float]:
    """The loss of each case of a group."""
    predicted, target = case_masks(published, group[0])
    rois, copies = len(predicted), (len(WEIGHT_FACTORS), 1, 1)
    factors = np.repeat(np.float32(WEIGHT_FACTORS), rois)
    each = edges.roi_edge_agreement(
        np.tile(predicted, copies),
        np.tile(target, copies),
        case_settings(group[0], weight_factor=1.0),
        roi_factors=factors,
        exponent_limit=exponent_limit,
    )
    means = ops.convert_to_numpy(each).reshape(-1, rois).mean(1)
    return [means[WEIGHT_FACTORS.index(case["weight_factor"])] for case in group]


def test_all_losses(published, groups):
    compared = 0
    for group in groups:
        found = losses(published, group, exponent_limit=LIMIT)
        for case, loss in zip(group, found, strict=True):
            expected = published.values[case["i"]]
            if not np.isfinite(expected):
                assert case["weight_entropy"], case
                continue
            tolerance = 1e-5 * max(1, expected)
            if case["weight_entropy"]:
                tolerance *= growth(expected)
            assert abs(loss - expected) <= tolerance, (case, loss, expected)
            compared += 1
    assert compared == 1712 - 147


def test_the_default_limit_changes_only_extreme_losses(published, groups):
    """Infinite and NaN in the published code, finite here."""
    overflowing = [
        group
        for group in groups
        if not np.isfinite([published.values[case["i"]] for case in group]).all()
    ]
    assert sum(not np.isfinite(value) for value in published.values) == 147
    for group in overflowing:
        for case, loss in zip(group, losses(published, group), strict=True):
            expected = published.values[case["i"]]
            assert 0 < loss < 1e10, case
            if expected < 1e4:
                assert loss == pytest.approx(expected, rel=2e-4, abs=1e-5), case


def test_all_gradients(published):
    compared = 0
    for case in published.cases:
        if not case["has_grad"]:
            continue
        value, expected = published.values[case["i"]], published.arrays[f"grad_{case['i']}"]
        predicted, target = case_masks(published, case)
        settings = case_settings(case)
        # Beyond that the order of the factors decides what overflows: only finite is asked.
        comparable = np.isfinite(expected).all() and value < 1e30
        limit = LIMIT if comparable else edges.EXPONENT_LIMIT
        slope = gradient(batch_loss(target, settings, limit), predicted)[:2]
        assert np.isfinite(slope).all(), case
        if not comparable:
            continue
        steepest = max(1, np.abs(expected).max())
        tolerance = 1e-5 * steepest
        if case["weight_entropy"]:
            tolerance *= 2 * growth(max(value, steepest))
        agree = np.abs(slope - expected) <= tolerance
        if case["norm"] == "l1":
            agree |= near_a_kink(predicted[:2], target[:2], settings)
        assert agree.all(), (case, np.abs(slope - expected).max())
        compared += 1
    assert compared >= 0.9 * sum(case["has_grad"] for case in published.cases)


def batch_loss(target, settings, limit):
    """The loss as a function of the predicted masks, all RoIs valid."""
    valid = ops.ones(len(target), "bool")
    target = ops.convert_to_tensor(target)
    return lambda predicted: edges.edge_agreement(
        predicted, target, valid, settings, exponent_limit=limit
    )


def near_a_kink(predicted, target, settings) -> np.ndarray:
    """Pixels that take part in an edge difference of nearly 0, the kink of |x|.

    There rounding chooses the sign, and it does so differently in each convolution.
    """
    if settings.smoothing_predictions:
        predicted = ops.convert_to_numpy(edges.smooth(predicted))
    if settings.smoothing_gt:
        target = ops.convert_to_numpy(edges.smooth(target))
    difference = ops.convert_to_numpy(edges.edge_maps(predicted - target, settings.filters))
    kink = (np.abs(difference) < 1e-5).any(-1)
    reach = 2 if settings.smoothing_predictions else 1
    for _ in range(reach):
        padded = np.pad(kink, ((0, 0), (1, 1), (1, 1)))
        height, width = kink.shape[1:]
        kink = np.any(
            [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0
        )
    return kink
