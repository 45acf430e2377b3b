"""Training batches, prepared ahead by workers.

A batch is a pure function of (seed, step): the number of workers, threads or processes, and
where the iteration started change nothing. So a run that is resumed at a step sees what it
would have seen, and a step is a step: the data set is repeated for as long as one asks.

Position p of the endless stream of images is place p % n of pass p // n over the n images of
the data set; each pass has its own order, and each position its own random generator.

Shape letters: B images, G instance slots (MAX_GT_INSTANCES), H W image, h w masks, C channels.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import count as count_from
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace
from typing import Any

import numpy as np

from mrcnn.data.sample import Sample, SampleError, describe_image, limit_instances, load_sample

logger = logging.getLogger(__name__)

MAX_DEFAULT_WORKERS = 8
# What the two kinds of random generator are derived from, beside the seed.
_ORDER_STREAM, _ITEM_STREAM = 0, 1

Batch = dict[str, np.ndarray]


class Loader:
    """Batches of a data set for the training model.

    A batch maps the names of the model's inputs to arrays:

    - `input_image`: uint8 [B, H, W, C]
    - `input_image_meta`: float32 [B, 1 + 3 + 3 + 4 + 1 + NUM_CLASSES]; column 0 is the image id
    - `input_gt_class_ids`: int32 [B, G]; 0: an empty slot, negative: a crowd
    - `input_gt_boxes`: int32 [B, G, 4], pixels (y1, x1, y2, x2), zero in empty slots
    - `input_gt_masks`: uint8 {0, 1} [B, G, h, w], mini masks when USE_MINI_MASK

    Workers start with the first iteration and stay until `close`; use the loader as a context
    manager, or close it. Threads suit reading and NumPy, which let go of Python's lock;
    processes suit augmentation in pure Python. Processes are spawned: each imports the main
    script again, whose work must stand under `if __name__ == "__main__":`, and whose imports
    each process pays for.

    Args:
        dataset: a prepared `mrcnn.data.dataset.Dataset` with at least one image.
        config: settings, see `mrcnn.config.Config`.
        seed: of orders, crops, augmentation and the choice among too many instances.
        augmentation: None, or what `mrcnn.data.augment.augment` takes.
        no_augmentation_sources: sources whose images are never augmented.
        shuffle: a new order in each pass; False: always the data set's.
        batch_size: of the global batch; None: `config.BATCH_SIZE`.
        workers: None: `config.LOADER_WORKERS`, and if that is None the number of cores, at most
            8. With 0 the caller's thread does the work.
        processes: workers are processes; None: `config.LOADER_PROCESSES`.
        prefetch: batches prepared ahead; None: `config.LOADER_PREFETCH`.
        load: makes a sample: `load(dataset, image_id, config, rng, augmentation)`.
        shard: (index, count): of each global batch, give only the index-th of count equal parts.

    Attributes:
        ignored: instances left out of the batches so far, by reason: "overflow" (more than
            MAX_GT_INSTANCES), "vanished" (no pixel left), "background" (class 0).

    Raises:
        ValueError: a data set without images, or a batch that cannot be divided into shards.
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
        self._items = _Items(
            dataset=dataset,
            # Not the config itself: to unpickle it, a worker would import the module of its
            # class, and with that, as a rule, Keras.
            config=SimpleNamespace(**settings),
            seed=seed,
            augmentation=augmentation,
            no_augmentation_sources=frozenset(no_augmentation_sources or ()),
            shuffle=shuffle,
            load=load,
        )
        self._batch_size = config.BATCH_SIZE if batch_size is None else batch_size
        self._workers = _default_workers(config) if workers is None else workers
        self._processes = config.LOADER_PROCESSES if processes is None else processes
        self._prefetch = config.LOADER_PREFETCH if prefetch is None else prefetch
        self._shard = shard
        if self._batch_size < 1 or self._prefetch < 1 or self._workers < 0:
            raise ValueError(
                "Expected batch_size and prefetch of at least 1 and workers of at least 0; "
                f"received {self._batch_size}, {self._prefetch} and {self._workers}."
            )
        index, count = shard
        if not 0 <= index < count or self._batch_size % count:
            raise ValueError(
                f"shard: expected (index, count) with index below count, and a count that divides "
                f"the batch size {self._batch_size}; received {shard}."
            )
        self.ignored: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._pool: Executor | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, made in the caller's thread.

        Raises:
            SampleError: an image could not be loaded; the message names it.
        """
        return self._assemble([self._items(position) for position in self._positions(step)])

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield the batches of the steps from `start` to before `stop`, or without end.

        The workers hold at most `prefetch` batches beside the one that is given. Every
        STEPS_PER_EPOCH steps, and at the end, the log says how many instances were left out.

        Raises:
            SampleError: an image could not be loaded; the message names it. It is raised in the
                turn of its batch.
            RuntimeError: a worker process died.
        """
        steps = count_from(start) if stop is None else iter(range(start, stop))
        pending: deque[tuple[int, list[Future[Sample]]]] = deque()
        try:
            if not self._workers:
                for step in steps:
                    yield self._finish(step, self.batch(step))
            self._submit(steps, pending)
            while pending:
                step, futures = pending[0]
                samples = [future.result() for future in futures]
                pending.popleft()
                self._submit(steps, pending)  # before the yield: the workers go on meanwhile
                yield self._finish(step, self._assemble(samples))
        except BrokenProcessPool as error:
            self.close()
            raise RuntimeError(
                "A worker process of the loader died. Expected the main script to do its work "
                'under `if __name__ == "__main__":`, and enough memory for '
                f"{self._workers} workers; use threads (LOADER_PROCESSES = False) otherwise."
            ) from error
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()
            self._report()

    def close(self) -> None:
        """Stop the workers, after the image each is at. A later iteration starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

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
        self, steps: Iterator[int], pending: deque[tuple[int, list[Future[Sample]]]]
    ) -> None:
        """Hand the next steps' images to the workers, up to `prefetch` batches."""
        while len(pending) < self._prefetch and (step := next(steps, None)) is not None:
            if self._pool is None:
                self._pool = self._start_pool()
            work = _worker_item if self._processes else self._items
            futures = [self._pool.submit(work, position) for position in self._positions(step)]
            pending.append((step, futures))

    def _start_pool(self) -> Executor:
        if not self._processes:
            return ThreadPoolExecutor(self._workers, thread_name_prefix="mrcnn-loader")
        try:
            sent = bytes(ForkingPickler.dumps(self._items))
        except Exception as error:
            raise ValueError(
                "The data set, the augmentation or a setting cannot be sent to worker processes "
                f"({error}). Define their classes and functions at the top level of a module, or "
                "use threads (LOADER_PROCESSES = False)."
            ) from error
        # Never fork: the parent holds the threads and the device of Keras.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, context, _start_worker, (sent,))

    def _assemble(self, samples: list[Sample]) -> Batch:
        with self._count_lock:
            for sample in samples:
                self.ignored.update(sample.ignored)
        return stack_samples(samples, self._items.config.MAX_GT_INSTANCES)

    def _finish(self, step: int, batch: Batch) -> Batch:
        if (step + 1) % self._items.config.STEPS_PER_EPOCH == 0:
            self._report()
        return batch

    def _report(self) -> None:
        with self._count_lock:
            new = self.ignored - self._reported
            self._reported = self.ignored.copy()
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
    return {
        "input_image": np.stack([sample.image for sample in samples]),
        "input_image_meta": np.stack([sample.image_meta for sample in samples]),
        "input_gt_class_ids": class_ids,
        "input_gt_boxes": boxes,
        "input_gt_masks": masks,
    }


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

    def __call__(self, position: int) -> Sample:
        image_ids = self.dataset.image_ids
        image_id = int(image_ids[image_at(position, len(image_ids), self.seed, self.shuffle)])
        source = self.dataset.image_info[image_id]["source"]
        augmentation = None if source in self.no_augmentation_sources else self.augmentation
        rng = _generator(self.seed, _ITEM_STREAM, position)
        try:
            sample = self.load(self.dataset, image_id, self.config, rng, augmentation)
            return limit_instances(sample, self.config.MAX_GT_INSTANCES, rng)
        except SampleError:
            raise
        except Exception as error:
            raise SampleError(
                f"{describe_image(self.dataset, image_id)} could not be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error


@lru_cache(maxsize=4)  # a batch meets two passes at once, training and validation their own
def _order(seed: int, number: int, images: int) -> np.ndarray:
    """The order of the images in a pass, int64 [images]."""
    return _generator(seed, _ORDER_STREAM, number).permutation(images)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, number)))


def _default_workers(config: Any) -> int:
    if config.LOADER_WORKERS is not None:
        return config.LOADER_WORKERS
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MAX_DEFAULT_WORKERS)


# In a worker process: its items, or why it has none.
_worker_items: _Items | Exception | None = None


def _start_worker(sent: bytes) -> None:
    global _worker_items
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the main process's to handle
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        _worker_items = ForkingPickler.loads(sent)
    except Exception as error:  # raised by the first item: here it would only break the pool
        _worker_items = error


def _exit_with_parent() -> None:
    """End this worker when the main process was killed: no one else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _worker_item(position: int) -> Sample:
    if isinstance(_worker_items, Exception):
        raise RuntimeError(
            f"A worker process could not receive the data set: {type(_worker_items).__name__}: "
            f"{_worker_items}. Define its class in a module that the worker can import (not in "
            "a notebook), or use threads (LOADER_PROCESSES = False)."
        )
    return _worker_items(position)
