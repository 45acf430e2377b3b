"""A detector run over the images of a data set, timed, with its results in COCO's format."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import describe_image
from mrcnn.data.orientation import load_image
from mrcnn.evaluation.pipeline import Pipeline, PreparedImage
from mrcnn.evaluation.results import Result, image_results

DetectFunction = Callable[[list[np.ndarray]], Sequence[Mapping[str, np.ndarray]]]


@runtime_checkable
class StepwiseDetector(Protocol):
    """A detector whose steps can overlap, such as `mrcnn.inference.detector.Detector`."""

    @property
    def batch_size(self) -> int:
        """The most images that `detect_batch` takes."""

    def prepare(self, image: np.ndarray) -> PreparedImage:
        """Resize an image for the network, in any thread."""

    def detect_batch(self, batch: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        """Run the network on prepared images of one shape.

        Returns:
            A dict for each with rois, class_ids and scores, the mask probabilities within the
            boxes as box_masks [N, h, w], and image_shape; and with the rois before rounding as
            boxes, mask_areas and mask_corners, if it has them (`mrcnn.data.unmolding.Located`).
        """


@runtime_checkable
class LabelledDetector(Protocol):
    """A detector that is told of the objects, such as `mrcnn.inference.given_boxes.MasksOfBoxes`.

    Its `batch_size` and `detect_batch` are those of a `StepwiseDetector`.
    """

    @property
    def batch_size(self) -> int:
        """The most images that `detect_batch` takes."""

    def prepare_labelled(self, dataset: Dataset, image_id: int, image: np.ndarray) -> PreparedImage:
        """Resize an image of a data set for the network, in any thread."""

    def detect_batch(self, batch: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        """Run the network on prepared images of one shape."""


AnyDetector = StepwiseDetector | LabelledDetector | DetectFunction


class _AnyShape(NamedTuple):
    """An image for a function, which takes images of all shapes together."""

    image: np.ndarray
    shape: None = None


@dataclass(frozen=True)
class FunctionDetector:
    """A function as a detector with steps. Its batches are full: the last image fills them up.

    Attributes:
        function: maps `batch_size` images, uint8 [H, W, 3], to as many dicts with rois [N, 4],
            class_ids [N], scores [N] and masks [H, W, N].
        batch_size: images a call.
    """

    function: DetectFunction
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1; received {self.batch_size}.")

    def prepare(self, image: np.ndarray) -> _AnyShape:
        """Nothing: the function resizes."""
        return _AnyShape(image)

    def detect_batch(self, batch: Sequence[_AnyShape]) -> Sequence[Mapping[str, Any]]:
        """Call the function on a full batch."""
        images = [image for image, _ in batch]
        return self.function(images + images[-1:] * (self.batch_size - len(images)))


@dataclass(frozen=True)
class Timing:
    """How long detecting took, in seconds.

    Attributes:
        images: how many there were.
        seconds: from the first image that is read to the last result.
        detect_seconds: of them, within the detector.
        first_batch_seconds: of these, in the first batch, which is the one that compiles.
    """

    images: int
    seconds: float
    detect_seconds: float
    first_batch_seconds: float


def detect_images(
    detector: AnyDetector,
    dataset: Dataset,
    image_ids: Sequence[int],
    progress: bool = True,
    workers: int | None = None,
) -> tuple[list[Result], Timing]:
    """Detect on images of a data set.

    Images are read ahead and results encoded behind the network by threads (see
    `mrcnn.evaluation.pipeline`).

    Args:
        detector, dataset, progress, workers: see `mrcnn.evaluation.coco.evaluate_model`.
        image_ids: internal ids of the images.

    Returns:
        The results in the order of the images, and the timing.

    Raises:
        ValueError: the detector gives too few dicts, or an image cannot be read
            (`mrcnn.evaluation.pipeline.ImageError`, which names it).
    """
    stepwise: StepwiseDetector | LabelledDetector
    if isinstance(detector, StepwiseDetector | LabelledDetector):
        stepwise = detector
    else:
        stepwise = FunctionDetector(detector)
    config = getattr(stepwise, "config", None)  # a function has none
    load = partial(load_image, dataset, config=config) if config else dataset.load_image
    batch_seconds: list[float] = []

    def prepare(image_id: int) -> PreparedImage:
        image = load(image_id)
        if isinstance(stepwise, LabelledDetector):
            return stepwise.prepare_labelled(dataset, image_id, image)
        return stepwise.prepare(image)

    def detect_timed(batch: list[Any]) -> Sequence[Mapping[str, Any]]:
        batch_started = time.perf_counter()
        detections = stepwise.detect_batch(batch)
        batch_seconds.append(time.perf_counter() - batch_started)
        return detections

    pipeline: Pipeline[int, Mapping[str, Any], list[Result]] = Pipeline(
        load=prepare,
        detect=detect_timed,
        finish=lambda image_id, detections: image_results(dataset, image_id, detections),
        batch_size=stepwise.batch_size,
        describe=lambda image_id: describe_image(dataset, image_id),
        # A function's masks are as large as the images: few of them may wait.
        behind=stepwise.batch_size if isinstance(stepwise, FunctionDetector) else None,
        workers=workers,
    )
    results: list[Result] = []
    started = time.perf_counter()
    for of_image in tqdm(
        pipeline(image_ids),
        total=len(image_ids),
        desc="Evaluate",
        unit="image",
        disable=not progress or None,
    ):
        results += of_image
    timing = Timing(
        images=len(image_ids),
        seconds=time.perf_counter() - started,
        detect_seconds=sum(batch_seconds),
        first_batch_seconds=batch_seconds[0] if batch_seconds else 0.0,
    )
    return results, timing
