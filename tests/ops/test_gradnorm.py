"""GradNorm's step against a loop over the losses, and against finite differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from mrcnn.ops.gradnorm import INITIAL_STEPS, GradNormState, gradnorm_step

State = tuple[list[float], list[float], list[float]]
KNOWN = [float(INITIAL_STEPS)]


def step(state: State, losses: Sequence[float], norms: Sequence[float], alpha, rate) -> State:
    arrays = GradNormState(*(ops.convert_to_tensor(x, "float32") for x in state))
    after = gradnorm_step(
        arrays,
        ops.convert_to_tensor(losses, "float32"),
        ops.convert_to_tensor(norms, "float32"),
        alpha,
        rate,
    )
    return tuple(ops.convert_to_numpy(x).tolist() for x in after)


def taking_part_in(state: State, losses: Sequence[float], norms: Sequence[float]) -> list[int]:
    return [
        i
        for i, loss in enumerate(losses)
        if loss > 0 and norms[i] > 0 and state[2][i] >= INITIAL_STEPS
    ]


def naive_step(
    state: State, losses: Sequence[float], norms: Sequence[float], alpha: float, rate: float
) -> State:
    """One loss after the other, as the paper's algorithm is written."""
    logs, sums, counts = (list(x) for x in state)
    taking_part = taking_part_in(state, losses, norms)
    if taking_part:
        weighted = {i: math.exp(logs[i]) * norms[i] for i in taking_part}
        mean = sum(weighted.values()) / len(taking_part)
        ratios = {i: losses[i] / (sums[i] / counts[i]) for i in taking_part}
        mean_ratio = sum(ratios.values()) / len(taking_part)
        for i in taking_part:
            target = mean * (ratios[i] / mean_ratio) ** alpha
            if weighted[i] != target:
                logs[i] += rate if weighted[i] < target else -rate
    for i, loss in enumerate(losses):
        if loss > 0 and state[2][i] < INITIAL_STEPS:
            sums[i] += loss
            counts[i] += 1
    total = sum(math.exp(x) for x in logs)
    return [x + math.log(len(logs) / total) for x in logs], sums, counts


numbers = st.floats(0.015625, 20)


@st.composite
def situations(draw):
    count = draw(st.integers(1, 6))

    def some(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    counts = some(st.sampled_from([0.0, 3.0, *KNOWN]))
    means = some(numbers)
    sums = [mean * n for mean, n in zip(means, counts, strict=True)]
    losses = some(st.one_of(st.just(0.0), numbers))
    # A loss of 0 has no gradient.
    norms = [n if loss else 0.0 for n, loss in zip(some(numbers), losses, strict=True)]
    return (some(st.floats(-2, 1, allow_subnormal=False)), sums, counts), losses, norms


@settings(deadline=None, max_examples=100)
@given(situations(), st.sampled_from([0.0, 0.5, 1.5]), st.sampled_from([0.01, 0.3]))
def test_the_step_is_the_papers(situation, alpha, rate):
    state, losses, norms = situation
    expected = naive_step(state, losses, norms, alpha, rate)
    actual = step(state, losses, norms, alpha, rate)
    for one, other in zip(actual[1:], expected[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    if not _is_at_a_kink(state, losses, norms, alpha):
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-4, atol=1e-5)
    weights = np.exp(actual[0])
    assert (weights > 0).all() and weights.sum() == pytest.approx(len(losses), rel=1e-4)


def _is_at_a_kink(state, losses, norms, alpha) -> bool:
    """Whether a norm is at its target, where rounding decides the sign."""
    part = taking_part_in(state, losses, norms)
    if not part:
        return False
    weighted = np.array([math.exp(state[0][i]) * norms[i] for i in part])
    ratios = np.array([losses[i] * state[2][i] / state[1][i] for i in part])
    targets = weighted.mean() * (ratios / ratios.mean()) ** alpha
    return bool((np.abs(weighted - targets) < 1e-4 * targets).any())


def test_the_way_is_down_the_sum_of_distances():
    """Against finite differences of sum |G - target| in log w, with the targets held."""
    logs, norms = np.array([0.2, -0.4, 0.1, 0.0]), np.array([1.0, 3.0, 0.2, 0.7])
    losses, initial = np.array([0.5, 2.0, 1.0, 0.1]), np.array([1.0, 2.0, 3.0, 0.7])
    state = (logs.tolist(), (initial * INITIAL_STEPS).tolist(), KNOWN * 4)
    ratios = losses / initial
    mean = np.mean(np.exp(logs) * norms)
    targets = mean * (ratios / ratios.mean()) ** 1.5

    def distance(x):
        return np.abs(np.exp(x) * norms - targets).sum()

    epsilon, rate = 1e-6, 0.05
    slopes = [
        (distance(logs + epsilon * unit) - distance(logs - epsilon * unit)) / (2 * epsilon)
        for unit in np.eye(4)
    ]
    assert set(np.sign(slopes)) == {-1, 1}
    moved = logs - rate * np.sign(slopes)
    expected = moved - np.log(np.exp(moved).sum() / 4)
    actual, *_ = step(state, losses, norms, 1.5, rate)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_norms_become_what_they_should_be(alpha):
    """All the same, or longer for losses that fell little: in the paper's proportion.

    The targets' sum is not that of the norms, unless alpha is 0 or 1. So the weights come to rest
    where all norms are on one side of their targets, by no more than these sums differ.
    """
    norms, losses = np.array([4.0, 1.0, 0.5]), np.array([1.0, 2.0, 0.5])
    state = ([0.0] * 3, [float(INITIAL_STEPS)] * 3, KNOWN * 3)
    for _ in range(100):
        state = step(state, losses.tolist(), norms.tolist(), alpha, 0.03)
    reached = np.exp(state[0]) * norms
    targets = reached.mean() * (losses / losses.mean()) ** alpha
    slack = np.abs(reached - targets).sum()
    assert slack <= abs(targets.sum() - reached.sum()) + 0.1 * reached.sum()
    assert (reached.argmax() == 1) or alpha == 0
    if alpha == 0:
        np.testing.assert_allclose(reached, reached.mean(), rtol=0.05)


def test_a_small_weight_can_grow_again():
    """The gradients of one loss were long, and become short."""
    state = ([0.0] * 2, [float(INITIAL_STEPS)] * 2, KNOWN * 2)
    for norms in ([20.0, 1.0], [1.0, 1.0]):
        for _ in range(80):
            state = step(state, [1.0, 1.0], norms, 1.0, 0.03)
        reached = np.exp(state[0]) * norms
        assert reached[0] == pytest.approx(reached[1], rel=0.1)


def test_a_loss_keeps_its_share_until_it_is_known():
    state = ([0.0] * 3, [0.0] * 3, [0.0] * 3)
    for number in range(1, INITIAL_STEPS + 1):
        state = step(state, [2.0, 1.0, 0.0], [1.0, 5.0, 0.0], 1.5, 0.1)
        assert state[2] == [number, number, 0.0]
        np.testing.assert_allclose(state[0], 0, atol=1e-6)
    np.testing.assert_allclose(state[1], [2.0 * INITIAL_STEPS, INITIAL_STEPS, 0])
    after = step(state, [2.0, 1.0, 0.0], [1.0, 5.0, 0.0], 1.5, 0.1)
    assert after[0][0] > after[0][2] > after[0][1]  # the third was never positive
    assert after[1:] == state[1:]
