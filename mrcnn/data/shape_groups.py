"""Batches of images of one shape, in an order that depends on (seed, step) alone.

With `IMAGE_SHAPE_GROUPS`, and in the mode "pad32", every image has the network shape of its group,
known from its size before it is read. In each pass over the data set the images come in the pass's
order, each goes to its group, and a group's images become a batch as soon as there are enough. What
is left of a group at the end of a pass, fewer images than a batch, goes first into its next batch.
So each pass holds each image exactly once, and batch after batch holds images of one shape.

Any step can be found at once: after p passes a group of n images has given floor(p · n / B)
batches.

Shape letters: B images of a batch, N images of the data set, K groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.orientation import shown_size
from mrcnn.data.resize import Resize


class ShapeGroups:
    """Which image is at a position of the endless stream, when each batch has one shape.

    Args:
        shapes: of each of the N images, the (height, width) of its group.
        batch_size: B.
        order: gives the order of the images in a pass: a permutation of 0 to N - 1, int [N].
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        batch_size: int,
        order: Callable[[int], np.ndarray],
    ) -> None:
        self.shapes, self.batch_size, self.order = tuple(shapes), batch_size, order
        _, groups, sizes = np.unique(shapes, axis=0, return_inverse=True, return_counts=True)
        self._groups = groups.reshape(-1)
        self._sizes = sizes.tolist()
        # A batch may meet several passes of a small group, and batches of other groups meanwhile.
        self._pass = lru_cache(maxsize=8)(self._make_pass)

    def __reduce__(self) -> tuple:
        return ShapeGroups, (self.shapes, self.batch_size, self.order)

    def image_at(self, position: int) -> int:
        """Return which of the N images is at a position: image `position % B` of a batch."""
        step, place = divmod(position, self.batch_size)
        # Rounding takes batches away, never adds one: the pass is this one or a later one.
        number = step * self.batch_size // len(self._groups)
        while self._batches_before(number + 1) <= step:
            number += 1
        group, batch = self._pass(number).batches[step - self._batches_before(number)].tolist()
        number, rank = divmod(batch * self.batch_size + place, self._sizes[group])
        return int(self._pass(number).members[group][rank])

    def _batches_before(self, number: int) -> int:
        """How many batches there are before a pass."""
        return sum(number * size // self.batch_size for size in self._sizes)

    def _make_pass(self, number: int) -> _Pass:
        order = np.asarray(self.order(number))
        groups = self._groups[order]
        members = [order[groups == group] for group in range(len(self._sizes))]
        # Of each image in the pass's order, its place in its group's own endless stream.
        place = np.empty(len(order), np.int64)
        for group, size in enumerate(self._sizes):
            place[groups == group] = number * size + np.arange(size)
        last = np.flatnonzero(place % self.batch_size == self.batch_size - 1)
        return _Pass(members, np.stack([groups[last], place[last] // self.batch_size], axis=1))


class _Pass(NamedTuple):
    members: list[np.ndarray]  # of each group, the images in the pass's order
    batches: np.ndarray  # int [·, 2]: group, and which of its batches, in the order of completion


def group_shapes(dataset: Dataset, config: Config) -> list[tuple[int, int]]:
    """The (height, width) of `config.INPUT_SHAPES` that each image of a data set is padded to.

    Raises:
        ValueError: the size of an image is not known; the message says what to add.
    """
    resize = Resize.of(config)
    return [
        resize.padded_size(height_and_width(dataset.image_info[image_id], config))
        for image_id in dataset.image_ids
    ]


def height_and_width(info: dict[str, Any], config: Config) -> tuple[int, int]:
    """The (height, width) of an image from its entry of `image_info`, without decoding it.

    They are the entry's own "height" and "width", or those in the header of its file.

    Raises:
        ValueError: neither is there.
    """
    if info.get("height") and info.get("width"):
        return int(info["height"]), int(info["width"])
    try:
        width, height = shown_size(info, config)
        return height, width
    except (OSError, ValueError, TypeError, KeyError) as error:
        why, instead = "IMAGE_SHAPE_GROUPS", "set IMAGE_SHAPE_GROUPS = None"
        if config.IMAGE_RESIZE_MODE == "pad32":
            why, instead = 'IMAGE_RESIZE_MODE = "pad32"', "set IMAGE_MIN_DIM = IMAGE_MAX_DIM"
        raise ValueError(
            f"Image {info.get('id')!r} (source {info.get('source')!r}, path "
            f"{str(info.get('path'))!r}): {why} needs its size before it is read, and its "
            f"file's header cannot be read ({error}). Pass height=… and width=… to add_image, or "
            f"{instead}."
        ) from error
