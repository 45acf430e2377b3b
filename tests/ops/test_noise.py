"""The noise of drawing: the same bits everywhere, and as good as random."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from mrcnn.ops.noise import uniform_noise
from tests.support import compiled

SHAPE = (3, 1000)


def naive_mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x21F0AAAD % 2**32
    x ^= x >> 15
    x = x * 0xD35A2D97 % 2**32
    return x ^ x >> 15


def naive(shape, seed: int, step: int, first_image: int = 0) -> np.ndarray:
    start = naive_mix((naive_mix((seed + 0x9E3779B9) % 2**32) + step) % 2**32)
    rows = [naive_mix((start + first_image + image) % 2**32) for image in range(shape[0])]
    values = [[naive_mix((row + place) % 2**32) >> 8 for place in range(shape[1])] for row in rows]
    return np.array(values, np.float64) / 2**24


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1, 2**31, 2**32 - 2])
@pytest.mark.parametrize("step", [0, 1, 70_000])
def test_every_way_to_run_it_gives_the_bits_of_the_loops(seed: int, step: int):
    shape = (2, 50)
    state = np.array([seed, step], np.uint32)
    expected = naive(shape, seed, step)
    for name, run in compiled(lambda state: uniform_noise(shape, state[0], state[1])):
        found = run(state)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_a_part_of_a_batch_draws_what_it_would_in_the_whole():
    whole = uniform_noise((4, 9), ops.array(3), ops.array(5))
    for image in range(4):
        part = uniform_noise((1, 9), ops.array(3), ops.array(5), first_image=image)
        np.testing.assert_array_equal(part[0], whole[image])


def draws(count: int, **fixed) -> list[np.ndarray]:
    names = {"seed": 1, "step": 0, **fixed}
    free = "step" if "seed" in fixed else "seed"
    return [
        ops.convert_to_numpy(
            uniform_noise(SHAPE, *(ops.array(n if name == free else names[name]) for name in names))
        ).ravel()
        for n in range(count)
    ]


@pytest.mark.parametrize("fixed", [{"seed": 3}, {"step": 3}])
def test_numbers_are_uniform_and_steps_seeds_images_and_places_are_independent(fixed):
    values = np.stack(draws(40, **fixed))
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, 20, (0, 1))[0]
    expected = values.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 50  # chi squared, 19 degrees of freedom
    whole = values.reshape(40, *SHAPE)
    bound = 4 / np.sqrt(values.size)
    for shifted in (
        (whole[1:], whole[:-1]),  # a draw and the next one
        (whole[:, 1:], whole[:, :-1]),  # an image and the next one
        (whole[..., 1:], whole[..., :-1]),  # a place and the next one
        (whole[:, 1:, :-1], whole[:, :-1, 1:]),  # a place of an image and its left neighbor
        (whole[1:, :, :-1], whole[:-1, :, 1:]),
    ):
        a, b = (part.ravel() - 0.5 for part in shifted)
        assert abs(np.corrcoef(a, b)[0, 1]) < 1.2 * bound
    # Draws have hardly a number in common: 3000 numbers of 2^24, of which 0.3 pairs are equal.
    repeats = [len(row) - len(np.unique(row)) for row in values]
    assert np.mean(repeats) < 2
