"""Predicting on any number of pictures, with a memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.evaluation.pipeline import Pipeline, PreparedImage
from mrcnn.inference.detector import Detector
from mrcnn.prediction.prediction import Prediction
from mrcnn.prediction.sources import Picture, Source, Video, find_sources

Steps = Any  # what has the steps of a `mrcnn.inference.detector.Detector`


@dataclass(frozen=True)
class Selection:
    """Which detections are kept.

    Attributes:
        min_score: from it on; None: from DETECTION_MIN_CONFIDENCE on.
        classes: names; None: all.
        most: of a picture, the surest ones; None: DETECTION_MAX_INSTANCES.
    """

    min_score: float | None = None
    classes: tuple[str, ...] | None = None
    most: int | None = None

    def of(self, prediction: Prediction) -> Prediction:
        """The prediction without the others, the surest first."""
        scores = np.asarray(prediction.scores)
        order = np.argsort(-scores, kind="stable")
        if self.min_score is not None:
            order = order[scores[order] >= self.min_score]
        if self.classes is not None:
            wanted = np.isin(prediction.names, self.classes)
            order = order[wanted[order]]
        return prediction.kept(order[: self.most])

    def check(self, class_names: Sequence[str]) -> None:
        """Raises ValueError where a value is none, or a class unknown."""
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise ValueError(f"score: expected a number from 0 to 1; received {self.min_score}.")
        if self.most is not None and self.most < 1:
            raise ValueError(f"max detections: expected at least 1; received {self.most}.")
        unknown = [name for name in self.classes or () if name not in class_names[1:]]
        if unknown:
            raise ValueError(
                f"classes: expected some of {list(class_names[1:])}; received {unknown}."
            )


ALL = Selection()


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be read.

    Attributes:
        picture: the picture.
        reason: a sentence that names the file.
    """

    picture: Picture
    reason: str
    shape: None = None  # they share batches of their own


class _Ready(NamedTuple):
    """A picture as the network takes it, and as it was read."""

    prepared: PreparedImage
    image: np.ndarray | None

    @property
    def shape(self) -> Any:
        return self.prepared.shape


class Predictor:
    """Predicts on pictures with the network of a detector.

    Pictures are read ahead by threads while the network computes, and those of one shape share its
    batches.

    Args:
        detector: such as `mrcnn.inference.detector.Detector` or `mrcnn.prediction.tiles.Tiled`.
        class_names: of all classes, the background's first; None: numbers stand for them.
        selection: which detections are kept.
        keep_images: let predictions have the picture, so that they can be drawn.
        workers: threads; None: by the number of cores; 0: one step after the other.
    """

    def __init__(
        self,
        detector: Steps,
        class_names: Sequence[str] | None = None,
        selection: Selection = ALL,
        *,
        keep_images: bool = False,
        workers: int | None = None,
    ) -> None:
        self.config: Config = detector.config
        self.class_names = class_names or numbered_classes(self.config.NUM_CLASSES)
        selection.check(self.class_names)
        self._detector = detector
        self._selection = selection
        self._keep_images = keep_images
        self._pipeline: Pipeline[Picture, Any, Prediction | Unreadable] = Pipeline(
            load=self._load,
            detect=self._detect,
            finish=self._finish,
            batch_size=detector.batch_size,
            describe=lambda picture: picture.name,
            workers=workers,
        )

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Prediction | Unreadable]:
        """What is found in each picture, in their order; what cannot be read is handed on."""
        return self._pipeline(pictures)

    def _load(self, picture: Picture) -> _Ready | Unreadable:
        try:
            image = picture.load(self.config)
            return _Ready(self._detector.prepare(image), image if self._keep_images else None)
        except (OSError, ValueError, TypeError) as error:
            return Unreadable(picture, str(error))

    def _detect(self, batch: list[_Ready | Unreadable]) -> Sequence[Any]:
        ready = [item for item in batch if isinstance(item, _Ready)]
        if not ready:
            return batch
        found = self._detector.detect_batch([item.prepared for item in ready])
        return list(zip(found, (item.image for item in ready), strict=True))

    def _finish(self, picture: Picture, found: Any) -> Prediction | Unreadable:
        if isinstance(found, Unreadable):
            return found
        detections, image = found
        prediction = Prediction.of(picture.name, picture.path, detections, self.class_names, image)
        return self._selection.of(prediction)


def numbered_classes(count: int) -> list[str]:
    """Names for classes of which none are known, the background's first."""
    return ["background", *(f"class {number}" for number in range(1, count))]


class Predictions:
    """The predictions on some sources, made when they are asked for.

    `for prediction in predictions` goes through all of them, frame by frame in videos, and holds
    one at a time; `predictions[0]` makes that of the first source alone, which then is a picture.

    Args:
        predictor: makes them.
        sources: see `mrcnn.prediction.sources.find_sources`.
    """

    def __init__(self, predictor: Predictor, sources: Sequence[Source]) -> None:
        self._predictor = predictor
        self.sources = list(sources)

    def __iter__(self) -> Iterator[Prediction]:
        pictures = (
            picture
            for source in self.sources
            for picture in (source.pictures() if isinstance(source, Video) else [source])
        )
        return map(_expect_read, self._predictor(pictures))

    def __len__(self) -> int:
        return sum(
            len(source.frames) if isinstance(source, Video) else 1 for source in self.sources
        )

    def __getitem__(self, index: int) -> Prediction:
        source = self.sources[index]
        if isinstance(source, Video):
            raise ValueError(
                f"{source.name}: expected a picture to take by its number; received a video. Go "
                "through its frames: for prediction in predictions."
            )
        (found,) = self._predictor([source])
        return _expect_read(found)


def predictions(detector: Detector, given: Any, **options: Any) -> Predictions:
    """Predict on whatever is given; see `mrcnn.model.MaskRCNN.predict`."""
    return Predictions(Predictor(detector, **options), find_sources(given))


def _expect_read(found: Prediction | Unreadable) -> Prediction:
    if isinstance(found, Unreadable):
        raise ValueError(found.reason)
    return found
