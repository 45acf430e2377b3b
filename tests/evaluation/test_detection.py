"""A detector over the images of a data set: full batches, results in order, timing."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.evaluation.detection import FunctionDetector, StepwiseDetector, detect_images


class Numbered(Dataset):
    """Images whose first pixel is their number."""

    def load_image(self, image_id):
        return np.full((8, 9, 3), image_id, np.uint8)


@pytest.fixture
def dataset() -> Numbered:
    dataset = Numbered()
    dataset.add_class("numbers", 5, "number")
    for number in range(5):
        dataset.add_image("numbers", f"image {number}", None)
    dataset.prepare()
    return dataset


class Recorder:
    """Finds in each image a box as long as the image's number."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, images):
        numbers = [int(image[0, 0, 0]) for image in images]
        self.batches.append(numbers)
        return [
            {
                "rois": np.array([[0, 0, 1, number]]),
                "class_ids": np.array([1]),
                "scores": np.array([0.5]),
                "masks": np.ones((8, 9, 1), bool),
            }
            for number in numbers
        ]


def test_results_are_in_the_order_of_the_images_and_the_last_batch_is_filled_up(dataset):
    recorder = Recorder()
    detector = FunctionDetector(recorder, batch_size=2)
    assert isinstance(detector, StepwiseDetector)
    results, timing = detect_images(detector, dataset, [4, 1, 3], progress=False)
    assert recorder.batches == [[4, 1], [3, 3]]
    assert [result["image_id"] for result in results] == ["image 4", "image 1", "image 3"]
    assert [result["bbox"][2] for result in results] == [4, 1, 3]
    assert {result["category_id"] for result in results} == {5}
    assert timing.images == 3
    assert 0 < timing.first_batch_seconds <= timing.detect_seconds <= timing.seconds


def test_a_function_takes_one_image_unless_it_says_otherwise(dataset):
    recorder = Recorder()
    results, _ = detect_images(recorder, dataset, [0, 2], progress=False, workers=0)
    assert recorder.batches == [[0], [2]] and len(results) == 2


def test_nothing_to_detect_in_takes_no_batch(dataset):
    recorder = Recorder()
    results, timing = detect_images(recorder, dataset, [], progress=False)
    assert results == [] and recorder.batches == []
    assert timing.images == 0 and timing.first_batch_seconds == timing.detect_seconds == 0
    with pytest.raises(FrozenInstanceError):
        timing.images = 1
