"""Training batches, prepared ahead by workers.

A batch is a pure function of (seed, step): the number of workers, threads or processes, and
where the iteration started change nothing. So a run that is resumed at a step sees what it
would have seen, and every epoch has the same number of steps: the data set is repeated without
end.

Which samples those are is decided by `mrcnn.data.stream`; here they are queued and stacked.

Shape letters: B images, G instance slots (MAX_GT_INSTANCES), H W image, h w masks, C channels.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import count as count_from
from multiprocessing.reduction import ForkingPickler

import numpy as np

from mrcnn import batch as batch_names
from mrcnn.data.bad_images import BadImages, Outcome
from mrcnn.data.cache import make_cache
from mrcnn.data.sample import Sample
from mrcnn.data.stream import SampleStream
from mrcnn.data.workers import Deaths, WorkerError, WorkerPool, WorkerProcess
from mrcnn.logger import logger

MAX_DEFAULT_WORKERS = 8
TIMEOUTS_BEFORE_ERROR = 10  # an image may take so many times LOADER_TIMEOUT

Batch = dict[str, np.ndarray]


class LoaderTimeoutError(TimeoutError):
    """Workers hang at an image; the message names it."""


class Loader:
    """Batches of a stream of samples for the training model.

    A batch maps the names of the model's inputs to arrays:

    - `input_image`: uint8 [B, H, W, C], or float32 where the data set's first image is not uint8;
      H, W are one of `config.INPUT_SHAPES` if there are any
    - `input_image_meta`: float32 [B, 12 + NUM_CLASSES]; column 0 is the image id
    - `input_gt_class_ids`: int32 [B, G]; 0: an empty slot, negative: a crowd
    - `input_gt_boxes`: int32 [B, G, 4], pixels (y1, x1, y2, x2), zero in empty slots
    - `input_gt_masks`: uint8 {0, 1} [B, G, h, w], mini masks when USE_MINI_MASK
    - `input_rois`, when USE_RPN_ROIS is off: int32 [B, POST_NMS_ROIS_TRAINING, 4] random pixel
      boxes, most of them around the objects (`mrcnn.data.random_rois.generate_random_rois`)

    Workers start with the first iteration and stay until `close`; use the loader as a context
    manager, or close it. Threads suit reading and NumPy, which release Python's lock;
    processes (`config.LOADER_PROCESSES`) suit augmentation in pure Python. Processes are
    spawned: each imports the main script again, whose work must stand under
    `if __name__ == "__main__":`, and whose imports each process pays for.

    Args:
        stream: what to draw samples from. Its settings say how many images a batch has
            (BATCH_SIZE), how many batches are prepared ahead (LOADER_PREFETCH), by what, and
            what happens when images are slow or bad.
        workers: None: `config.LOADER_WORKERS`, and if that is None the number of cores, at most
            8. With 0 the caller's thread does the work.
        shard: (index, count): of each global batch, give only the index-th of count equal parts.

    Attributes:
        ignored: instances left out of the batches so far, by reason: "overflow" (more than
            MAX_GT_INSTANCES), "vanished" (no pixel left), "background" (class 0).
        bad_images: the images that could not be loaded so far and were replaced.

    Raises:
        ValueError: a negative number of workers, a batch that cannot be divided into shards, or
            LOADER_CACHE with a `load` of one's own.
    """

    def __init__(
        self, stream: SampleStream, workers: int | None = None, shard: tuple[int, int] = (0, 1)
    ) -> None:
        config = self._config = stream.config
        if workers is None:
            workers = config.LOADER_WORKERS
        self._workers = available_workers() if workers is None else workers
        if self._workers < 0:
            raise ValueError(f"workers: expected at least 0; received {self._workers}.")
        index, count = shard
        if not 0 <= index < count or config.BATCH_SIZE % count:
            raise ValueError(
                f"shard: expected (index, count) with index below count, and a count that divides "
                f"the batch size {config.BATCH_SIZE}; received {shard}."
            )
        self._shard = shard
        cache = make_cache(config, max(1, self._workers) if config.LOADER_PROCESSES else 1)
        self._stream = stream if cache is None else stream.with_cache(cache)
        self.ignored: Counter[str] = Counter()
        self.bad_images = BadImages(len(stream.dataset.image_ids), config.LOADER_MAX_BAD_SHARE)
        self._deaths = Deaths(config.LOADER_MAX_RESTARTS, stream.describe)
        self._reported: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._pool: WorkerPool | None = None

    @property
    def image_dtype(self) -> str:
        """The dtype of the images of all batches, "uint8" or "float32"."""
        return self._stream.kind

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, made in the caller's thread.

        Raises:
            SampleError: too many images cannot be loaded; the message names them.
        """
        return self._assemble([self._stream.draw(position) for position in self._positions(step)])

    def sample(self, position: int) -> Sample:
        """Return the sample at a position of the endless stream, made in the caller's thread.

        It has at most MAX_GT_INSTANCES instances.

        Raises:
            SampleError: too many images cannot be loaded; the message names them.
        """
        return self._accept(self._stream.draw(position))

    def image_ids(self, step: int) -> list[int]:
        """Return the (internal) ids of the images of a step, all shards; nothing is loaded."""
        size = self._config.BATCH_SIZE
        return [self._stream.image_id(step * size + number) for number in range(size)]

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield the batches of the steps from `start` to before `stop`, or without end.

        The workers hold at most `prefetch` batches beside the one that is given. Every
        STEPS_PER_EPOCH steps, and at the end, the log says how many instances were left out and
        how many samples replaced. An image that takes longer than LOADER_TIMEOUT is named.

        Raises:
            SampleError: more images than LOADER_MAX_BAD_SHARE allows cannot be loaded; the
                message names them. It is raised when its batch is due.
            LoaderTimeoutError: workers hang at an image; the message names it.
            WorkerError: a `RuntimeError`: worker processes cannot start or keep dying.
        """
        steps = count_from(start) if stop is None else iter(range(start, stop))
        pending: deque[tuple[int, list[Future[Outcome]]]] = deque()
        try:
            if not self._workers:
                for step in steps:
                    yield self._finish(step, self.batch(step))
            self._submit(steps, pending)
            while pending:
                step, futures = pending[0]
                outcomes = [self._wait(future) for future in futures]
                pending.popleft()
                self._submit(steps, pending)  # before the yield: the workers continue meanwhile
                yield self._finish(step, self._assemble(outcomes))
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
        self._close(self._config.LOADER_TIMEOUT)

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
        size = self._config.BATCH_SIZE // count
        first = step * self._config.BATCH_SIZE + index * size
        return range(first, first + size)

    def _submit(
        self, steps: Iterator[int], pending: deque[tuple[int, list[Future[Outcome]]]]
    ) -> None:
        """Hand the next steps' images to the workers, up to `prefetch` batches."""
        ahead = self._config.LOADER_PREFETCH
        while len(pending) < ahead and (step := next(steps, None)) is not None:
            if self._pool is None:
                self._pool = self._start_pool()
            futures = [self._pool.submit(position) for position in self._positions(step)]
            pending.append((step, futures))

    def _start_pool(self) -> WorkerPool:
        if self._config.LOADER_PROCESSES:
            sent = self._pickled_stream()
            pool = WorkerPool(
                self._stream, [WorkerProcess(sent, self._deaths) for _ in range(self._workers)]
            )
        else:
            pool = WorkerPool(self._stream, [self._stream.make] * self._workers)
        weakref.finalize(self, pool.close, 0).atexit = False  # the pool has its own handler
        return pool

    def _pickled_stream(self) -> bytes:
        try:
            return bytes(ForkingPickler.dumps(self._stream))
        except Exception as error:
            raise ValueError(
                "The data set, the augmentation or a setting cannot be sent to worker processes "
                f"({error}). Define their classes and functions at the top level of a module, or "
                "use threads (LOADER_PROCESSES = False)."
            ) from error

    def _wait(self, future: Future[Outcome]) -> Outcome:
        """The future's result; names the images at which workers hang, and ends the wait."""
        timeout = self._config.LOADER_TIMEOUT
        while True:
            try:
                return future.result(timeout)
            except TimeoutError:
                if future.done():  # at the last moment, or the error is its own
                    return future.result()
            working = self._pool.working() if self._pool is not None else []
            stuck = [(image_id, age) for image_id, age in working if age >= timeout]
            if not stuck:
                continue
            named = "; ".join(f"{self._stream.describe(i)} for {age:.0f} s" for i, age in stuck)
            if stuck[0][1] >= TIMEOUTS_BEFORE_ERROR * timeout:
                raise LoaderTimeoutError(
                    f"The loader waited {TIMEOUTS_BEFORE_ERROR} times LOADER_TIMEOUT = "
                    f"{timeout:g} s for images. At work: {named}. Check the disk or the "
                    f"network that holds them, and the augmentation; raise LOADER_TIMEOUT if "
                    f"they need that long."
                )
            logger.warning("The next batch is not ready. The loader is at %s.", named)

    def _accept(self, outcome: Outcome) -> Sample:
        """Count what a sample lost, and give it; a `SampleError` if too many images are bad."""
        with self._count_lock:
            sample = self.bad_images.accept(outcome)
            self.ignored.update(sample.ignored)
        return sample

    def _assemble(self, outcomes: list[Outcome]) -> Batch:
        samples = [self._accept(outcome) for outcome in outcomes]
        return stack_samples(samples, self._config.MAX_GT_INSTANCES)

    def _finish(self, step: int, batch: Batch) -> Batch:
        if (step + 1) % self._config.STEPS_PER_EPOCH == 0:
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
            # Vanished instances are the normal effect of crops; the rest is for the user to fix.
            surprising = new["overflow"] or new["background"]
            logger.log(
                logging.WARNING if surprising else logging.INFO,
                "Instances left out since the last report: %d above MAX_GT_INSTANCES (%d an "
                "image), %d without a pixel after resizing, cropping and augmentation, %d of "
                "class 0 (background).",
                new["overflow"],
                self._config.MAX_GT_INSTANCES,
                new["vanished"],
                new["background"],
            )


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
        batch[batch_names.ROIS] = np.stack([np.asarray(sample.rois) for sample in samples])
    return batch


def available_workers() -> int:
    """The number of cores that this process may use, at most 8."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MAX_DEFAULT_WORKERS)
