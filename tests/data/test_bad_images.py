"""Bad images: how many are allowed, and what is said of those that are too many."""

from __future__ import annotations

import pytest

from mrcnn.data.bad_images import BadImages, BadImagesError, Outcome
from mrcnn.data.dataset_checks import SampleError


@pytest.mark.parametrize(
    "images, share, limit",
    [(1, 0.01, 0), (2, 0.01, 1), (5, 0.01, 2), (100, 0.01, 3), (1000, 0.01, 10), (1000, 0, 0)],
)
def test_limit(images, share, limit):
    assert BadImages(images, share).limit == limit


def test_many_bad_images_are_not_all_written_out():
    bad = BadImages(1000, 0.05)
    for i in range(50):
        bad.accept(Outcome("a sample", {i: SampleError(f"image {i}: bad")}))
    with pytest.raises(BadImagesError, match="image 9: bad\n  and 41 more$"):
        bad.accept(Outcome("a sample", {50: SampleError("image 50: bad")}))


def test_each_bad_image_is_named_once_and_each_replacement_counted(caplog):
    bad = BadImages(100, 0.5)
    for _ in range(3):
        assert bad.accept(Outcome("a sample", {7: SampleError("image 7: bad")})) == "a sample"
    assert bad.accept(Outcome("another")) == "another"
    assert bad.replaced == 3 and bad.messages == {7: "image 7: bad"}
    assert len(caplog.messages) == 1 and "(1 so far, 50 allowed): image 7: bad" in caplog.text


def test_where_none_may_be_bad_the_error_is_the_images_own():
    error = SampleError("image 7: bad")
    with pytest.raises(SampleError) as caught:
        BadImages(100, 0).accept(Outcome("a sample", {7: error}))
    assert caught.value is error


def test_no_sample_is_an_error_below_the_limit():
    with pytest.raises(BadImagesError, match="^1 images in a row cannot be loaded"):
        BadImages(100, 0.5).accept(Outcome(None, {7: SampleError("image 7: bad")}))
