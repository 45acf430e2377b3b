"""Detection on many images, where reading, the network and the encoding of results overlap.

Worker threads read and resize images ahead, the caller's thread runs the network on batches of
one shape, and worker threads turn the detections into results. What waits between the steps
is bounded, so that memory does not grow with the number of images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

from mrcnn.data.loader import available_workers

Item = TypeVar("Item")
Detections = TypeVar("Detections")
Result = TypeVar("Result")

# Images that may wait for others of their shape, in batches.
MAX_WAITING = 4


class PreparedImage(Protocol):
    """An image that is ready for the network."""

    @property
    def shape(self) -> Hashable:
        """Images of one shape can share a batch."""


class ImageError(ValueError):
    """An image that could not be read, or whose results could not be made; names it."""


class Pipeline(Generic[Item, Detections, Result]):
    """The steps from an image to its result.

    Args:
        load: reads and resizes an image; called in worker threads.
        detect: runs the network on up to `batch_size` loaded images of one shape; called in the
            thread that iterates. Returns the detections of each.
        finish: makes an image's result of its detections; called in worker threads.
        batch_size: of `detect`.
        describe: names an image in errors.
        behind: the number of images whose detections may wait to be finished while the network
            continues; None: as many as are loaded ahead.
        workers: threads; None: the number of cores, at most 8. The batches and the results are
            the same for any number. With 0, the caller's thread takes one step after the other.
    """

    def __init__(
        self,
        load: Callable[[Item], PreparedImage],
        detect: Callable[[list[Any]], Sequence[Detections]],
        finish: Callable[[Item, Detections], Result],
        batch_size: int,
        describe: Callable[[Item], str] = str,
        behind: int | None = None,
        workers: int | None = None,
    ) -> None:
        self._load, self._detect, self._finish = load, detect, finish
        self._batch_size = batch_size
        self._describe = describe
        self._workers = available_workers() if workers is None else workers
        self._ahead = self._workers + 2 * batch_size if self._workers else 1
        self._behind = self._ahead if behind is None else behind

    def __call__(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield each item's result, in order.

        Raises:
            ImageError: an image could not be loaded, or its result not be made.
            ValueError: `detect` returned too few results.
            Exception: what `detect` raised, with a note that names the batch's images.
        """
        if not self._workers:
            yield from self._in_order(items, _run_now)
            return
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="mrcnn-evaluation")
        try:
            yield from self._in_order(items, pool.submit)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _in_order(self, items: Iterable[Item], submit: Callable[..., Future]) -> Iterator[Result]:
        # By position: results that are being made, or whose turn has not come.
        finishing: dict[int, Future[Result]] = {}
        given = 0
        for batch in self._batches(items, submit):
            for (index, item, _), detections in zip(batch, self._detect_batch(batch), strict=False):
                args = ("turned into results", self._finish, item, detections)
                finishing[index] = submit(self._guarded, *args)
            unfinished = [future for future in finishing.values() if not future.done()]
            wait(unfinished[: max(0, len(unfinished) - self._behind)])
            while given in finishing and finishing[given].done():
                yield finishing.pop(given).result()
                given += 1
        while finishing:
            yield finishing.pop(given).result()
            given += 1

    def _batches(
        self, items: Iterable[Item], submit: Callable[..., Future]
    ) -> Iterator[list[tuple[int, Item, PreparedImage]]]:
        """Load images ahead, and group those of one shape.

        Yields:
            Up to `batch_size` tuples (position of the image among all, item, prepared image).
        """
        remaining = enumerate(items)
        loading: deque[tuple[int, Item, Future]] = deque()
        waiting: dict[Hashable, list[tuple[int, Item, PreparedImage]]] = {}
        while True:
            while len(loading) < self._ahead and (following := next(remaining, None)):
                index, item = following
                loading.append((index, item, submit(self._guarded, "loaded", self._load, item)))
            if not loading:
                break
            index, item, future = loading.popleft()
            image = future.result()
            batch = waiting.setdefault(image.shape, [])
            batch.append((index, item, image))
            if len(batch) == self._batch_size:
                yield waiting.pop(image.shape)
            elif sum(map(len, waiting.values())) >= MAX_WAITING * self._batch_size:
                # The dict is in the order of each shape's first image: the oldest goes.
                yield waiting.pop(next(iter(waiting)))
        yield from waiting.values()

    def _detect_batch(self, batch: list[tuple[int, Item, PreparedImage]]) -> Sequence[Detections]:
        try:
            detections = self._detect([image for _, _, image in batch])
        except Exception as error:
            names = ", ".join(self._describe(item) for _, item, _ in batch)
            error.add_note(f"While detecting in {names}.")
            raise
        if len(detections) < len(batch):
            raise ValueError(
                f"detect: expected a dict for each of the {len(batch)} images; received "
                f"{len(detections)}."
            )
        return detections

    def _guarded(self, action: str, step: Callable[..., Any], item: Item, *args: Any) -> Any:
        try:
            return step(item, *args)
        except Exception as error:
            raise ImageError(
                f"{self._describe(item)} could not be {action}: {type(error).__name__}: {error}"
            ) from error


def _run_now(function: Callable[..., Any], *args: Any) -> Future:
    future: Future = Future()
    future.set_result(function(*args))
    return future
