"""Training batches, prepared ahead by workers.

A batch is a pure function of (seed, step): the number of workers, threads or processes, and
where the iteration started change nothing. So a run that is resumed at a step sees what it
would have seen, and a step is a step: the data set is repeated for as long as one asks.

Position p of the endless stream of images is place p % n of pass p // n over the n images of
the data set; each pass has its own order, and each position its own random generator. With
`IMAGE_SHAPE_GROUPS`, batches hold images of one shape (`mrcnn.data.shape_groups`).

An image that cannot become a sample is replaced by another one, which hangs on the seed, the
position and which images are bad, and on nothing else.

Shape letters: B images, G instance slots (MAX_GT_INSTANCES), H W image, h w masks, C channels.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import count as count_from
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace
from typing import Any

import numpy as np

from mrcnn import batch as batch_names
from mrcnn.data.augment import as_transform
from mrcnn.data.bad_images import BadImages, Loaded, Work
from mrcnn.data.cache import make_cache
from mrcnn.data.random_rois import generate_random_rois
from mrcnn.data.sample import Sample, SampleError, describe_image, limit_instances, load_sample
from mrcnn.data.shape_groups import ShapeGroups, group_shapes
from mrcnn.data.workers import Call, Deaths, WorkerError, WorkerPool, WorkerProcess
from mrcnn.process import keep_freed_memory

logger = logging.getLogger(__name__)

MAX_DEFAULT_WORKERS = 8
# What each kind of random generator is derived from, beside the seed.
ORDER_STREAM, ITEM_STREAM, TARGET_STREAM, REPLACEMENT_STREAM = 0, 1, 2, 3
MAX_REPLACEMENTS = 10  # images tried in the place of one: if all are bad, it is not the images
TIMEOUTS_BEFORE_ERROR = 10  # an image may take so many times LOADER_TIMEOUT

Batch = dict[str, np.ndarray]


class LoaderTimeoutError(TimeoutError):
    """Workers hang at an image; the message names it."""


class Loader:
    """Batches of a data set for the training model.

    A batch maps the names of the model's inputs to arrays:

    - `input_image`: uint8 [B, H, W, C]; H, W are one of `config.INPUT_SHAPES` if there are any
    - `input_image_meta`: float32 [B, 12 + NUM_CLASSES]; column 0 is the image id
    - `input_gt_class_ids`: int32 [B, G]; 0: an empty slot, negative: a crowd
    - `input_gt_boxes`: int32 [B, G, 4], pixels (y1, x1, y2, x2), zero in empty slots
    - `input_gt_masks`: uint8 {0, 1} [B, G, h, w], mini masks when USE_MINI_MASK
    - `input_rois`, when USE_RPN_ROIS is off: int32 [B, POST_NMS_ROIS_TRAINING, 4] random pixel
      boxes, most of them around the objects (`mrcnn.data.random_rois.generate_random_rois`)

    Workers start with the first iteration and stay until `close`; use the loader as a context
    manager, or close it. Threads suit reading and NumPy, which let go of Python's lock;
    processes suit augmentation in pure Python. Processes are spawned: each imports the main
    script again, whose work must stand under `if __name__ == "__main__":`, and whose imports
    each process pays for.

    Args:
        dataset: a prepared `mrcnn.data.dataset.Dataset` with at least one image.
        config: settings, see `mrcnn.config.Config`.
        seed: of orders, crops, augmentation and the choice among too many instances.
        augmentation: None, or what `mrcnn.data.augment.as_transform` takes.
        no_augmentation_sources: sources whose images are never augmented.
        shuffle: a new order in each pass; False: always the data set's.
        batch_size: of the global batch; None: `config.BATCH_SIZE`.
        workers: None: `config.LOADER_WORKERS`, and if that is None the number of cores, at most
            8. With 0 the caller's thread does the work.
        processes: workers are processes; None: `config.LOADER_PROCESSES`.
        prefetch: batches prepared ahead; None: `config.LOADER_PREFETCH`.
        load: makes a sample: `load(dataset, image_id, config, rng, augmentation)`. Only the
            default uses `config.LOADER_CACHE`.
        shard: (index, count): of each global batch, give only the index-th of count equal parts.

    Attributes:
        ignored: instances left out of the batches so far, by reason: "overflow" (more than
            MAX_GT_INSTANCES), "vanished" (no pixel left), "background" (class 0).
        bad_images: the images that could not be loaded so far and were replaced.

    Raises:
        TypeError: an augmentation of no known kind.
        ValueError: a data set without images, a batch that cannot be divided into shards, an
            augmentation that would part masks and image, or IMAGE_SHAPE_GROUPS and an image
            whose size is not known.
    """

    def __init__(
        self,
        dataset: Any,
        config: Any,
        seed: int,
        augmentation: Any = None,
        no_augmentation_sources: Sequence[str] | None = (),
        shuffle: bool = True,
        batch_size: int | None = None,
        workers: int | None = None,
        processes: bool | None = None,
        prefetch: int | None = None,
        load: Callable[..., Sample] = load_sample,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if len(dataset.image_ids) == 0:
            raise ValueError(
                "The data set has no images: expected at least one. Add images with add_image "
                "and call prepare() before training."
            )
        settings = {k: v for k, v in config.to_dict().items() if not callable(v)}
        self._batch_size = config.BATCH_SIZE if batch_size is None else batch_size
        groups = None
        if config.INPUT_SHAPES:
            order = partial(_pass_order, seed, len(dataset.image_ids), shuffle)
            groups = ShapeGroups(group_shapes(dataset, config), self._batch_size, order)
        self._items = _Items(
            dataset=dataset,
            # Not the config itself: to unpickle it, a worker would import the module of its
            # class, and with that, as a rule, Keras.
            config=SimpleNamespace(**settings),
            seed=seed,
            augmentation=None if augmentation is None else as_transform(augmentation),
            no_augmentation_sources=frozenset(no_augmentation_sources or ()),
            shuffle=shuffle,
            load=load,
            groups=groups,
        )
        if workers is None:
            workers = config.LOADER_WORKERS
        self._workers = available_workers() if workers is None else workers
        self._processes = config.LOADER_PROCESSES if processes is None else processes
        self._prefetch = config.LOADER_PREFETCH if prefetch is None else prefetch
        self._shard = shard
        if self._batch_size < 1 or self._prefetch < 1 or self._workers < 0:
            raise ValueError(
                "Expected batch_size and prefetch of at least 1 and workers of at least 0; "
                f"received {self._batch_size}, {self._prefetch} and {self._workers}."
            )
        self._timeout = config.LOADER_TIMEOUT
        index, count = shard
        if not 0 <= index < count or self._batch_size % count:
            raise ValueError(
                f"shard: expected (index, count) with index below count, and a count that divides "
                f"the batch size {self._batch_size}; received {shard}."
            )
        cache = make_cache(config, max(1, self._workers) if self._processes else 1)
        if cache is not None:
            if load is not load_sample:
                raise ValueError(
                    "load: LOADER_CACHE keeps what load_sample reads; expected the default `load` "
                    "with it. Set LOADER_CACHE = None."
                )
            self._items = replace(self._items, load=partial(load_sample, cache=cache))
        self.ignored: Counter[str] = Counter()
        self.bad_images = BadImages(len(dataset.image_ids), config.LOADER_MAX_BAD_SHARE)
        self._deaths = Deaths(config.LOADER_MAX_RESTARTS, self._items.describe)
        # One more than may be bad is an error in any case.
        self._work = Work(self._items, min(MAX_REPLACEMENTS, self.bad_images.limit))
        self._reported: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._pool: WorkerPool | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, made in the caller's thread.

        Raises:
            SampleError: too many images cannot be loaded; the message names them.
        """
        return self._assemble(
            [self._work(self._items, position) for position in self._positions(step)]
        )

    def sample(self, position: int) -> Sample:
        """Return the sample at a position of the endless stream, made in the caller's thread.

        It has at most MAX_GT_INSTANCES instances.

        Raises:
            SampleError: too many images cannot be loaded; the message names them.
        """
        return self._noted(self._work(self._items, position))

    def image_ids(self, step: int) -> list[int]:
        """Return the (internal) ids of the images in the batch of a step; nothing is loaded."""
        return [self._items.image_id(position) for position in self._positions(step)]

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield the batches of the steps from `start` to before `stop`, or without end.

        The workers hold at most `prefetch` batches beside the one that is given. Every
        STEPS_PER_EPOCH steps, and at the end, the log says how many instances were left out and
        how many samples replaced. An image that takes longer than LOADER_TIMEOUT is named.

        Raises:
            SampleError: more images than LOADER_MAX_BAD_SHARE allows cannot be loaded; the
                message names them. It is raised in the turn of its batch.
            LoaderTimeoutError: workers hang at an image; the message names it.
            WorkerError: a `RuntimeError`: worker processes cannot start or keep dying.
        """
        steps = count_from(start) if stop is None else iter(range(start, stop))
        pending: deque[tuple[int, list[Future[Loaded]]]] = deque()
        try:
            if not self._workers:
                for step in steps:
                    yield self._finish(step, self.batch(step))
            self._submit(steps, pending)
            while pending:
                step, futures = pending[0]
                loaded = [self._wait(future) for future in futures]
                pending.popleft()
                self._submit(steps, pending)  # before the yield: the workers go on meanwhile
                yield self._finish(step, self._assemble(loaded))
        except (WorkerError, LoaderTimeoutError):
            self._close(patience=0)
            raise
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()
            self.report()

    def close(self) -> None:
        """Stop the workers, after the image each is at. A later iteration starts new ones.

        A worker that hangs is left behind after LOADER_TIMEOUT; a process is then killed.
        """
        self._close(self._timeout)

    def _close(self, patience: float) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close(patience)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _positions(self, step: int) -> range:
        """The positions in the stream that this shard of a step's batch holds."""
        index, count = self._shard
        size = self._batch_size // count
        first = step * self._batch_size + index * size
        return range(first, first + size)

    def _submit(
        self, steps: Iterator[int], pending: deque[tuple[int, list[Future[Loaded]]]]
    ) -> None:
        """Hand the next steps' images to the workers, up to `prefetch` batches."""
        while len(pending) < self._prefetch and (step := next(steps, None)) is not None:
            if self._pool is None:
                self._pool = self._start_pool()
            futures = [self._pool.submit(position) for position in self._positions(step)]
            pending.append((step, futures))

    def _start_pool(self) -> WorkerPool:
        if not self._processes:
            return self._ended_with_loader(lambda: self._items)
        try:
            sent = bytes(ForkingPickler.dumps(self._items))
        except Exception as error:
            raise ValueError(
                "The data set, the augmentation or a setting cannot be sent to worker processes "
                f"({error}). Define their classes and functions at the top level of a module, or "
                "use threads (LOADER_PROCESSES = False)."
            ) from error
        return self._ended_with_loader(lambda: WorkerProcess(sent, self._deaths))

    def _ended_with_loader(self, make_call: Callable[[], Call]) -> WorkerPool:
        pool = WorkerPool(self._workers, self._work, make_call)
        weakref.finalize(self, pool.close, 0).atexit = False  # the pool has its own handler
        return pool

    def _wait(self, future: Future[Loaded]) -> Loaded:
        """The future's result; names the images at which workers hang, and ends the wait."""
        while True:
            try:
                return future.result(self._timeout)
            except TimeoutError:
                if future.done():  # at the last moment, or the error is its own
                    return future.result()
            working = self._pool.working() if self._pool is not None else []
            stuck = [(image_id, age) for image_id, age in working if age >= self._timeout]
            if not stuck:
                continue
            named = "; ".join(f"{self._items.describe(i)} for {age:.0f} s" for i, age in stuck)
            if stuck[0][1] >= TIMEOUTS_BEFORE_ERROR * self._timeout:
                raise LoaderTimeoutError(
                    f"The loader waited {TIMEOUTS_BEFORE_ERROR} times LOADER_TIMEOUT = "
                    f"{self._timeout:g} s for images. At work: {named}. Check the disk or the "
                    f"network that holds them, and the augmentation; raise LOADER_TIMEOUT if "
                    f"they need that long."
                )
            logger.warning("The next batch is not ready. The loader is at %s.", named)

    def _noted(self, loaded: Loaded) -> Sample:
        """Count what a sample lost, and give it; a `SampleError` if too many images are bad."""
        with self._count_lock:
            self.bad_images.note(loaded)
            self.ignored.update(loaded.sample.ignored)
        return loaded.sample

    def _assemble(self, loaded: list[Loaded]) -> Batch:
        samples = [self._noted(one) for one in loaded]
        return stack_samples(samples, self._items.config.MAX_GT_INSTANCES)

    def _finish(self, step: int, batch: Batch) -> Batch:
        if (step + 1) % self._items.config.STEPS_PER_EPOCH == 0:
            self.report()
        return batch

    def report(self) -> None:
        """Log the instances left out since the last report, if any."""
        with self._count_lock:
            counts = self.ignored + Counter(replaced=self.bad_images.replaced)
            new, self._reported = counts - self._reported, counts
        if new["replaced"]:
            logger.warning(
                "Samples replaced since the last report: %d; images that cannot be loaded: %d.",
                *(new.pop("replaced"), len(self.bad_images.messages)),
            )
        if new:
            # Vanished instances are the normal effect of crops; the rest is the user's to mend.
            surprising = new["overflow"] or new["background"]
            logger.log(
                logging.WARNING if surprising else logging.INFO,
                "Instances left out since the last report: %d above MAX_GT_INSTANCES (%d an "
                "image), %d without a pixel after resizing, cropping and augmentation, %d of "
                "class 0 (background).",
                new["overflow"],
                self._items.config.MAX_GT_INSTANCES,
                new["vanished"],
                new["background"],
            )


def image_at(position: int, images: int, seed: int, shuffle: bool = True) -> int:
    """Return which of `images` stands at a position of the endless stream.

    Each pass, `images` positions long, holds each image exactly once.
    """
    index = position % images
    return int(_order(seed, position // images, images)[index]) if shuffle else index


def stack_samples(samples: Sequence[Sample], slots: int) -> Batch:
    """Stack samples to a batch (see `Loader`), with zeros in the empty of the G `slots`.

    Args:
        samples: B samples of one image shape and one mask shape.
        slots: at least the number of instances of each sample.
    """
    first = samples[0]
    batch_size = len(samples)
    class_ids = np.zeros((batch_size, slots), np.int32)
    boxes = np.zeros((batch_size, slots, 4), np.int32)
    masks = np.zeros((batch_size, slots, *first.masks.shape[1:]), np.uint8)
    for i, sample in enumerate(samples):
        instances = len(sample.class_ids)
        class_ids[i, :instances] = sample.class_ids
        boxes[i, :instances] = sample.boxes
        masks[i, :instances] = sample.masks
    batch = {
        batch_names.IMAGE: np.stack([sample.image for sample in samples]),
        batch_names.IMAGE_META: np.stack([sample.image_meta for sample in samples]),
        batch_names.GT_CLASS_IDS: class_ids,
        batch_names.GT_BOXES: boxes,
        batch_names.GT_MASKS: masks,
    }
    if first.rois is not None:
        batch[batch_names.ROIS] = np.stack([sample.rois for sample in samples])
    return batch


@dataclass(frozen=True)
class _Items:
    """What turns a position into a sample: all that a worker needs, sent to it once."""

    dataset: Any
    config: SimpleNamespace
    seed: int
    augmentation: Any
    no_augmentation_sources: frozenset[str]
    shuffle: bool
    load: Callable[..., Sample]
    groups: ShapeGroups | None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker process: there, too, freed memory is kept."""
        self.__dict__.update(state)
        if self.config.KEEP_FREED_MEMORY:
            keep_freed_memory()

    def image_id(self, position: int) -> int:
        """The image that stands at a position."""
        return int(self.dataset.image_ids[self._index(position)])

    def _index(self, position: int) -> int:
        """Its place among the data set's images."""
        if self.groups:
            return self.groups.image_at(position)
        return image_at(position, len(self.dataset.image_ids), self.seed, self.shuffle)

    def replacements(self, position: int, count: int) -> Iterator[int]:
        """Other images in the place of the one at a position, the first choice first."""
        image_ids, own = np.asarray(self.dataset.image_ids), self.image_id(position)
        if self.groups:  # the images of a batch have one shape
            shapes = self.groups.shapes
            image_ids = image_ids[[shape == shapes[self._index(position)] for shape in shapes]]
        rng = random_generator(self.seed, REPLACEMENT_STREAM, position)
        drawn = rng.choice(len(image_ids), min(count + 1, len(image_ids)), replace=False)
        others = (int(image_ids[index]) for index in drawn)
        return islice((image_id for image_id in others if image_id != own), count)

    def describe(self, image_id: int) -> str:
        """What messages call an image."""
        return describe_image(self.dataset, image_id)

    def __call__(self, position: int, image_id: int | None = None) -> Sample:
        """The sample at a position, of the image that stands there or of another one."""
        image_id = self.image_id(position) if image_id is None else image_id
        source = self.dataset.image_info[image_id]["source"]
        augmentation = None if source in self.no_augmentation_sources else self.augmentation
        rng = random_generator(self.seed, ITEM_STREAM, position)
        try:
            sample = self.load(self.dataset, image_id, self.config, rng, augmentation)
            self._check_shape(position, sample)
            sample = limit_instances(sample, self.config.MAX_GT_INSTANCES, rng)
            if not self.config.USE_RPN_ROIS:
                sample = replace(
                    sample,
                    rois=generate_random_rois(
                        sample.image.shape,
                        self.config.POST_NMS_ROIS_TRAINING,
                        sample.class_ids,
                        sample.boxes,
                        rng,
                    ),
                )
            return sample
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


def _pass_order(seed: int, images: int, shuffle: bool, number: int) -> np.ndarray:
    return _order(seed, number, images) if shuffle else np.arange(images)


@lru_cache(maxsize=4)  # a batch meets two passes at once, training and validation their own
def _order(seed: int, number: int, images: int) -> np.ndarray:
    """The order of the images in a pass, int64 [images]."""
    return random_generator(seed, ORDER_STREAM, number).permutation(images)


def random_generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Return the generator of a number (of a position, a pass) in a stream, such as ITEM_STREAM."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, number)))


def available_workers() -> int:
    """The number of cores that this process may use, at most 8."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MAX_DEFAULT_WORKERS)
