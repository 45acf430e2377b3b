"""Images that cannot become samples: named once, counted, and refused beyond a share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.sample import Sample
from mrcnn.logger import logger

# At least this many are allowed, in a data set of twice as many images or more.
ALWAYS_ALLOWED = 3
NAMED_IN_ERRORS = 10


class BadImagesError(SampleError):
    """More images than allowed cannot become samples; the message names them."""


@dataclass(frozen=True)
class Outcome:
    """What came of a position of the stream.

    Attributes:
        sample: None when no image could be loaded.
        failures: what was wrong with the images tried before, by image id.
    """

    sample: Sample | None
    failures: dict[int, SampleError] = field(default_factory=dict)


def allowed_bad_images(images: int, share: float) -> int:
    """How many of a data set's images may be bad: a share in [0, 1], but a few in any case."""
    return max(int(share * images), min(ALWAYS_ALLOWED, images // 2)) if share else 0


class BadImages:
    """The bad images that a loader met.

    Args:
        images: of the data set.
        share: of them that may be bad, in [0, 1]; with 0 the first one is an error.

    Attributes:
        limit: how many may be bad.
        messages: what is wrong with each, by the data set's image id.
        replaced: how often a sample was replaced by that of another image.
    """

    def __init__(self, images: int, share: float) -> None:
        self.limit = allowed_bad_images(images, share)
        self.messages: dict[int, str] = {}
        self.replaced = 0
        self._images = images
        self._share = share

    def accept(self, outcome: Outcome) -> Sample:
        """Count what was met on the way to a sample, and give it.

        Raises:
            SampleError: the image's own where none may be bad; `BadImagesError` beyond the
                limit, or when nothing could take the image's place.
        """
        failures = outcome.failures
        for image_id, error in failures.items():
            if not self.limit:
                raise error
            if image_id not in self.messages:
                self.messages[image_id] = str(error)
                logger.warning(
                    "A bad image, whose place another one takes (%d so far, %d allowed): %s",
                    *(len(self.messages), self.limit, error),
                )
        self.replaced += bool(failures)
        if outcome.sample is None or (failures and len(self.messages) > self.limit):
            raise self._error(failures) from next(iter(failures.values()))
        return outcome.sample

    def _error(self, failures: Mapping[int, SampleError]) -> BadImagesError:
        named = list(self.messages.values())[:NAMED_IN_ERRORS]
        more = len(self.messages) - len(named)
        if len(self.messages) > self.limit:
            problem = (
                f"{len(self.messages)} of {self._images} images cannot be loaded; expected at "
                f"most {self.limit} (LOADER_MAX_BAD_SHARE = {self._share})"
            )
        else:
            problem = f"{len(failures)} images in a row cannot be loaded"
        return BadImagesError(
            f"{problem}. Repair them or take them out of the data set:\n  "
            + "\n  ".join(named)
            + (f"\n  and {more} more" if more else "")
        )
