"""The endless stream of samples: a position becomes an image, and the image a sample.

Position p of the stream is place p % n of pass p // n over the n images of the data set; each
pass has its own order, and each position its own random generator. With `IMAGE_SHAPE_GROUPS`,
the positions of a batch hold images of one shape (`mrcnn.data.shape_groups`).

An image that cannot become a sample is replaced by another one. The choice depends on the seed,
the position and which images are bad, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from mrcnn.config import Config
from mrcnn.data import image_values
from mrcnn.data.augment import Transform, as_transform
from mrcnn.data.bad_images import Outcome, allowed_bad_images
from mrcnn.data.cache import FolderCache, MemoryCache
from mrcnn.data.dataset import Dataset
from mrcnn.data.dataset_checks import SampleError, describe_image
from mrcnn.data.random_rois import generate_random_rois
from mrcnn.data.sample import Sample, limit_instances, load_sample
from mrcnn.data.shape_groups import ShapeGroups, group_shapes
from mrcnn.logger import logger
from mrcnn.process import keep_freed_memory

# What each kind of random generator is derived from, beside the seed.
ORDER_STREAM, ITEM_STREAM, TARGET_STREAM, REPLACEMENT_STREAM = 0, 1, 2, 3
MAX_REPLACEMENTS = 10  # images tried in the place of one: if all are bad, it is not the images

# (position in the stream, image id) to a sample. Errors of the image are a `SampleError`.
MakeSample = Callable[[int, int], Sample]


@dataclass(frozen=True)
class SampleStream:
    """What turns a position into a sample: all that a worker needs, sent to it once.

    Made by `SampleStream.of`.

    Attributes:
        dataset: a prepared data set.
        config: its settings, under their names.
        seed: of orders, scale jitter, crops, augmentation and the choice among too many instances.
        augmentation: moves each image with its masks; None: nothing does.
        no_augmentation_sources: sources whose images are never augmented.
        shuffle: a new order in each pass; False: always the data set's.
        load: makes a sample: `load(dataset, image_id, config, rng, augmentation)`.
        groups: of images by their shape, with IMAGE_SHAPE_GROUPS.
        max_replacements: images tried in the place of a bad one.
        kind: of the images, `mrcnn.data.image_values.BYTES` or `NUMBERS`.
    """

    dataset: Dataset
    config: Config
    seed: int
    augmentation: Transform | None
    no_augmentation_sources: frozenset[str]
    shuffle: bool
    load: Callable[..., Sample]
    groups: ShapeGroups | None
    max_replacements: int
    kind: str = image_values.BYTES

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        config: Config,
        seed: int,
        augmentation: Any = None,
        no_augmentation_sources: Sequence[str] | None = (),
        shuffle: bool = True,
        load: Callable[..., Sample] = load_sample,
    ) -> SampleStream:
        """Make the stream of a data set.

        Args:
            dataset: a prepared `mrcnn.data.dataset.Dataset` with at least one image.
            config: settings, see `mrcnn.config.Config`.
            augmentation: None, or what `mrcnn.data.augment.as_transform` takes.
            seed, no_augmentation_sources, shuffle, load: see the attributes. Only the default
                `load` uses `config.LOADER_CACHE`.

        Raises:
            TypeError: an augmentation of no known kind.
            ValueError: a data set without images, an augmentation that would move masks and
                image apart, or IMAGE_SHAPE_GROUPS and an image whose size is not known.
        """
        images = len(dataset.image_ids)
        if images == 0:
            raise ValueError(
                "The data set has no images: expected at least one. Add images with add_image "
                "and call prepare() before training."
            )
        groups = None
        if config.INPUT_SHAPES:
            order = partial(pass_order, images, seed, shuffle)
            groups = ShapeGroups(group_shapes(dataset, config), config.BATCH_SIZE, order)
        kind, unusual = image_values.kind_of(dataset, config)
        if unusual:
            logger.warning(f"The first image of the data set has {unusual}")
        settings = {k: v for k, v in config.to_dict().items() if not callable(v)}
        return cls(
            dataset=dataset,
            # Not the config itself: to unpickle it, a worker would import the module of its
            # class, and with that, as a rule, Keras.
            config=cast(Config, SimpleNamespace(**settings)),
            seed=seed,
            augmentation=None if augmentation is None else as_transform(augmentation),
            no_augmentation_sources=frozenset(no_augmentation_sources or ()),
            shuffle=shuffle,
            load=load,
            groups=groups,
            # One more than may be bad is an error in any case.
            max_replacements=min(
                MAX_REPLACEMENTS, allowed_bad_images(images, config.LOADER_MAX_BAD_SHARE)
            ),
            kind=kind,
        )

    def with_cache(self, cache: MemoryCache | FolderCache) -> SampleStream:
        """The same stream, whose images are kept in a cache.

        Raises:
            ValueError: its `load` is not the default one.
        """
        if self.load is not load_sample:
            raise ValueError(
                "load: LOADER_CACHE keeps what load_sample reads; expected the default `load` "
                "with it. Set LOADER_CACHE = None."
            )
        return replace(self, load=partial(load_sample, cache=cache))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker process: there, too, freed memory is kept."""
        self.__dict__.update(state)
        if self.config.KEEP_FREED_MEMORY:
            keep_freed_memory()

    # --- Position to image -------------------------------------------------------------------

    def image_id(self, position: int) -> int:
        """The data set's id of the image at a position."""
        return int(self.dataset.image_ids[self._index(position)])

    def _index(self, position: int) -> int:
        """Its place among the data set's images."""
        if self.groups:
            return self.groups.image_at(position)
        return image_at(position, len(self.dataset.image_ids), self.seed, self.shuffle)

    def candidates(self, position: int) -> Iterator[int]:
        """The image at a position, then those to try in its place, the first choice first."""
        own = self.image_id(position)
        yield own
        image_ids = np.asarray(self.dataset.image_ids)
        if self.groups:  # the images of a batch have one shape
            shapes = self.groups.shapes
            image_ids = image_ids[[shape == shapes[self._index(position)] for shape in shapes]]
        rng = random_generator(self.seed, REPLACEMENT_STREAM, position)
        # One more than needed, because the image itself may be drawn.
        count = min(self.max_replacements + 1, len(image_ids))
        drawn = image_ids[rng.choice(len(image_ids), count, replace=False)].tolist()
        yield from [image_id for image_id in drawn if image_id != own][: self.max_replacements]

    def describe(self, image_id: int) -> str:
        """What messages call an image."""
        return describe_image(self.dataset, image_id)

    # --- Image to sample ---------------------------------------------------------------------

    def draw(
        self,
        position: int,
        make: MakeSample | None = None,
        starting: Callable[[int], None] = lambda image_id: None,
    ) -> Outcome:
        """Make the sample at a position, of the image there or of another one in its place.

        Args:
            position: in the stream.
            make: makes a sample of an image; None: `self.make`, in this thread.
            starting: told of each image before it is tried.
        """
        make = make or self.make
        failures: dict[int, SampleError] = {}
        for image_id in self.candidates(position):
            starting(image_id)
            try:
                return Outcome(make(position, image_id), failures)
            except SampleError as error:
                failures[image_id] = error
        return Outcome(None, failures)

    def make(self, position: int, image_id: int) -> Sample:
        """Make the sample at a position of an image: the one that belongs there, or another.

        Raises:
            SampleError: it cannot be made; the message names the image.
        """
        source = self.dataset.image_info[image_id]["source"]
        augmentation = None if source in self.no_augmentation_sources else self.augmentation
        rng = random_generator(self.seed, ITEM_STREAM, position)
        try:
            sample = self.load(self.dataset, image_id, self.config, rng, augmentation)
            self._check_shape(position, sample)
            sample = replace(sample, image=image_values.in_kind(sample.image, self.kind))
            sample = limit_instances(sample, self.config.MAX_GT_INSTANCES, rng)
            return sample if self.config.USE_RPN_ROIS else self._with_random_rois(sample, rng)
        except SampleError:
            raise
        except Exception as error:
            raise SampleError(
                f"{self.describe(image_id)} could not be loaded: {type(error).__name__}: {error}"
            ) from error

    def _check_shape(self, position: int, sample: Sample) -> None:
        if not self.groups:
            return
        expected = self.groups.shapes[self._index(position)]
        if sample.image.shape[:2] != expected:
            raise ValueError(
                f"expected {expected} pixels after padding, by the size in image_info or in the "
                f"file's header; received {sample.image.shape[:2]}. Correct height and width in "
                "add_image."
            )

    def _with_random_rois(self, sample: Sample, rng: np.random.Generator) -> Sample:
        count = self.config.POST_NMS_ROIS_TRAINING
        shape, class_ids, boxes = sample.image.shape, sample.class_ids, sample.boxes
        return replace(sample, rois=generate_random_rois(shape, count, class_ids, boxes, rng))


# --- Order and randomness ---------------------------------------------------------------------


def image_at(position: int, images: int, seed: int, shuffle: bool = True) -> int:
    """Return which of `images` is at a position of the endless stream.

    Each pass, `images` positions long, holds each image exactly once.

    >>> sorted(image_at(position, images=4, seed=0) for position in range(4, 8))
    [0, 1, 2, 3]
    """
    number, place = divmod(position, images)
    return int(pass_order(images, seed, shuffle, number)[place]) if shuffle else place


def pass_order(images: int, seed: int, shuffle: bool, number: int) -> np.ndarray:
    """The order of the images in a pass, int64 [images]."""
    return _shuffled(seed, number, images) if shuffle else np.arange(images)


@lru_cache(maxsize=4)  # a batch meets two passes at once, training and validation their own
def _shuffled(seed: int, number: int, images: int) -> np.ndarray:
    return random_generator(seed, ORDER_STREAM, number).permutation(images)


def random_generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Return the generator of a number (of a position, a pass) in a stream, such as ITEM_STREAM."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, number)))
