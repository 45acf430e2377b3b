"""From a position to its image, and from the image to its sample or the replacement's."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.sample import Sample
from mrcnn.data.stream import MAX_REPLACEMENTS, SampleStream, image_at
from tests.data.test_loader import Numbers, SmallConfig, number_sample


def stream(count=20, load=number_sample, shuffle=True, **settings_):
    config = type("Some", (SmallConfig,), {"LOADER_MAX_BAD_SHARE": 1.0, **settings_})()
    return SampleStream.of(Numbers(count), config, 7, shuffle=shuffle, load=load)


# --- Position to image ------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(images=st.integers(1, 50), number=st.integers(0, 10**6), seed=st.integers(0, 2**40))
def test_each_pass_holds_each_image_once(images, number, seed):
    positions = range(number * images, (number + 1) * images)
    assert sorted(image_at(p, images, seed) for p in positions) == list(range(images))


def test_passes_have_different_orders_unless_not_shuffled():
    def passes(shuffle):
        return [[image_at(n * 20 + k, 20, 0, shuffle) for k in range(20)] for n in range(3)]

    shuffled = passes(True)
    assert shuffled[0] != shuffled[1] != shuffled[2]
    assert passes(False) == [list(range(20))] * 3


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), position=st.integers(0, 200))
def test_candidates_are_the_image_and_others_once(count, position):
    drawn = stream(count)
    candidates = list(drawn.candidates(position))
    assert candidates[0] == drawn.image_id(position)
    assert len(set(candidates)) == len(candidates) == 1 + min(count - 1, MAX_REPLACEMENTS)
    assert set(candidates) <= set(range(count))
    assert candidates == list(stream(count).candidates(position))


def test_no_more_images_are_tried_than_may_be_bad():
    assert len(list(stream(100, LOADER_MAX_BAD_SHARE=0.0).candidates(0))) == 1
    assert len(list(stream(100, LOADER_MAX_BAD_SHARE=0.05).candidates(0))) == 1 + 5


# --- Image to sample --------------------------------------------------------------------------


def bad(*image_ids):
    def load(dataset, image_id, *arguments):
        if image_id in image_ids:
            raise SampleError(f"image {image_id}: bad")
        return number_sample(dataset, image_id, *arguments)

    return load


def image_of(sample: Sample) -> int:
    return int(sample.image[0, 0, 0])


def test_a_bad_image_is_replaced_by_the_first_candidate_that_is_not():
    plain = stream()
    own, first, second = list(plain.candidates(5))[:3]
    tried = []
    outcome = stream(load=bad(own, first)).draw(5, starting=tried.append)
    assert image_of(outcome.sample) == second and tried == [own, first, second]
    assert {k: str(error) for k, error in outcome.failures.items()} == {
        own: f"image {own}: bad",
        first: f"image {first}: bad",
    }
    # The random numbers are the position's: the replacement sees those of the image.
    assert outcome.sample.image[0, 0, 1] == plain.make(5, own).image[0, 0, 1]


def test_where_every_image_is_bad_there_is_no_sample():
    outcome = stream(count=3, load=bad(0, 1, 2)).draw(0)
    assert outcome.sample is None and set(outcome.failures) == {0, 1, 2}


def test_others_may_make_the_sample():
    made = []

    def make(position, image_id):
        made.append((position, image_id))
        return "a sample"

    drawn = stream()
    assert drawn.draw(3, make).sample == "a sample"
    assert made == [(3, drawn.image_id(3))]


def test_sample_errors_are_not_wrapped_twice():
    drawn = stream(load=bad(4), shuffle=False)
    with pytest.raises(SampleError, match="^image 4: bad$"):
        drawn.make(4, 4)


def test_other_errors_name_the_image():
    def load(*arguments):
        raise KeyError("no such tile")

    with pytest.raises(SampleError, match="image 4 .*'name-4'.*KeyError: 'no such tile'"):
        stream(load=load, shuffle=False).make(4, 4)


def test_it_travels_to_another_process_without_its_configuration_class():
    drawn = stream()
    again = pickle.loads(pickle.dumps(drawn))
    assert type(again.config).__module__ == "types"
    np.testing.assert_array_equal(again.draw(3).sample.image, drawn.draw(3).sample.image)
