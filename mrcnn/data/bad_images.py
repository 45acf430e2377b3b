"""Images that cannot become samples: named once, counted, and refused beyond a share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrcnn.data.sample import Sample, SampleError

logger = logging.getLogger(__name__)

# So many are allowed whatever the share says, in a data set of twice as many images or more.
ALWAYS_ALLOWED = 3
NAMED_IN_ERRORS = 10


class BadImagesError(SampleError):
    """More images than allowed cannot become samples; the message names them."""


@dataclass(frozen=True)
class Loaded:
    """A sample, or None when no image could be loaded; what was wrong with those tried before."""

    sample: Sample | None
    failures: dict[int, SampleError] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a worker does with a position: try its image, and others in its place if it is bad.

    Attributes:
        items: knows which images these are; see `mrcnn.data.loader`.
        max_replacements: how many others are tried.
    """

    items: Any
    max_replacements: int

    def __call__(
        self,
        call: Callable[[int, int], Sample],
        position: int,
        at: Callable[[int], None] = lambda image_id: None,
    ) -> Loaded:
        """Make the sample by `call(position, image_id)`; tell `at` of each image tried."""
        failures: dict[int, SampleError] = {}
        image_id: int | None = self.items.image_id(position)
        others: Iterator[int] | None = None
        while image_id is not None:
            at(image_id)
            try:
                return Loaded(call(position, image_id), failures)
            except SampleError as error:
                failures[image_id] = error
            if others is None:
                others = self.items.replacements(position, self.max_replacements)
            image_id = next(others, None)
        return Loaded(None, failures)


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
        self.limit = max(int(share * images), min(ALWAYS_ALLOWED, images // 2)) if share else 0
        self.messages: dict[int, str] = {}
        self.replaced = 0
        self._images = images
        self._share = share

    def note(self, loaded: Loaded) -> None:
        """Count what was met on the way to a sample.

        Raises:
            SampleError: the image's own where none may be bad; `BadImagesError` beyond the
                limit, or when nothing could take the image's place.
        """
        for image_id, error in loaded.failures.items():
            if not self.limit:
                raise error
            if image_id not in self.messages:
                self.messages[image_id] = str(error)
                logger.warning(
                    "A bad image, whose place another one takes (%d so far, %d allowed): %s",
                    *(len(self.messages), self.limit, error),
                )
        self.replaced += bool(loaded.failures)
        if len(self.messages) > self.limit or loaded.sample is None:
            raise self._error(loaded.failures) from next(iter(loaded.failures.values()))

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
