"""Images per second of the training loader, and of other engines doing the same work.

    python -m benchmarks.loader --dataset DIR --image-size 1024 --engine threads --engine tfdata

DIR is in COCO's layout; without it, synthetic shapes are written to a temporary folder. Every
engine makes the batches of `mrcnn.data.loader.Loader` for the same positions, so that only the
way of running ahead differs. Rounds take turns between the engines, so that a busy machine
slows all of them alike; compare the engines of one run. One JSON line for each engine says
the images per second of each round after the first batch, their median and best, the median of
the seconds until that first batch, and whether the images came in the loader's order.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.loader import Batch, Loader, stack_samples
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes

SYNTHETIC_IMAGES = 64
NAMES = (
    "input_image",
    "input_image_meta",
    "input_gt_class_ids",
    "input_gt_boxes",
    "input_gt_masks",
)

# An engine takes a loader, and gives its batches from step 0 on, without end.
Engine = Callable[[Loader], Iterator[Batch]]


def threads(loader: Loader) -> Iterator[Batch]:
    """The project's own: worker threads."""
    loader._processes = False
    with loader:
        yield from loader.batches()


def processes(loader: Loader) -> Iterator[Batch]:
    """The project's own: worker processes."""
    loader._processes = True
    with loader:
        yield from loader.batches()


def caller(loader: Loader) -> Iterator[Batch]:
    """No engine: the work is done in the caller's thread."""
    loader._workers = 0
    yield from loader.batches()


def pydataset_threads(loader: Loader) -> Iterator[Batch]:
    """Keras's PyDataset; a job is a batch."""
    yield from _pydataset(loader, use_multiprocessing=False)


def pydataset_processes(loader: Loader) -> Iterator[Batch]:
    """The same in processes, which Keras forks."""
    yield from _pydataset(loader, use_multiprocessing=True)


def _pydataset(loader: Loader, use_multiprocessing: bool) -> Iterator[Batch]:
    import keras
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    class Batches(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return None  # without end

        def __getitem__(self, step):
            return (_Parts(loader._items).batch(step, loader._batch_size),)

    batches = Batches(
        workers=loader._workers,
        use_multiprocessing=use_multiprocessing,
        max_queue_size=loader._prefetch,
    )
    adapter = PyDatasetAdapter(batches)
    try:
        for (batch,) in adapter.get_numpy_iterator():
            yield batch
    finally:
        if adapter.enqueuer is not None:
            adapter.enqueuer.stop()


def tfdata(loader: Loader) -> Iterator[Batch]:
    """tf.data: a parallel map over positions, whose NumPy part holds Python's lock."""
    import tensorflow as tf

    parts = _Parts(loader._items)
    spec = parts(0)
    dtypes = [spec[name].dtype for name in NAMES]

    def load_arrays(position):
        loaded = parts(position)
        return [loaded[name] for name in NAMES]

    def load(position):
        return tf.numpy_function(load_arrays, [position], dtypes)

    batches = (
        tf.data.Dataset.counter()
        .map(load, num_parallel_calls=loader._workers, deterministic=True)
        .map(lambda *a: [tf.ensure_shape(x, spec[n].shape) for n, x in zip(NAMES, a, strict=True)])
        .batch(loader._batch_size, drop_remainder=True)
        .prefetch(loader._prefetch)
    )
    for arrays in batches:
        yield dict(zip(NAMES, [array.numpy() for array in arrays], strict=True))


def grain_threads(loader: Loader) -> Iterator[Batch]:
    """Grain's reading threads."""
    import grain

    options = grain.ReadOptions(loader._workers, loader._prefetch * loader._batch_size)
    yield from _grain_positions(loader).to_iter_dataset(options).batch(loader._batch_size)


def grain_processes(loader: Loader) -> Iterator[Batch]:
    """Grain's worker processes, each with one thread; a job is a batch."""
    import grain

    batches = _grain_positions(loader).batch(loader._batch_size)
    options = grain.MultiprocessingOptions(loader._workers, loader._prefetch)
    yield from batches.to_iter_dataset(grain.ReadOptions(1, 1)).mp_prefetch(options)


def _grain_positions(loader: Loader):
    import grain

    return grain.MapDataset.range(10**6).map(_Parts(loader._items))


ENGINES: dict[str, Engine] = {
    "caller": caller,
    "threads": threads,
    "processes": processes,
    "pydataset-threads": pydataset_threads,
    "pydataset-processes": pydataset_processes,
    "tfdata": tfdata,
    "grain-threads": grain_threads,
    "grain-processes": grain_processes,
}


class _Parts:
    """What foreign engines map over positions: one image's part of the batch."""

    def __init__(self, items) -> None:
        self.items = items

    def __call__(self, position: int) -> Batch:
        return {name: array[0] for name, array in self.batch(int(position), 1).items()}

    def batch(self, step: int, size: int) -> Batch:
        samples = [self.items(position) for position in range(step * size, (step + 1) * size)]
        return stack_samples(samples, self.items.config.MAX_GT_INSTANCES)


def measure(engine: Engine, loader: Loader, steps: int) -> tuple[float, float, list[int]]:
    """Return images per second after the first batch, seconds until it, and the image ids."""
    start = time.perf_counter()
    with contextlib.closing(engine(loader)) as batches:
        image_ids = [next(batches)["input_image_meta"][:, 0]]
        first = time.perf_counter()
        image_ids += [next(batches)["input_image_meta"][:, 0] for _ in range(steps)]
        seconds = time.perf_counter() - first
    images = steps * loader._batch_size
    return images / seconds, first - start, np.concatenate(image_ids).astype(int).tolist()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="folder in COCO's layout (default: synthetic shapes)")
    parser.add_argument("--subset", default="train")
    parser.add_argument("--image-size", type=int, default=128, help="side in pixels")
    parser.add_argument("--engine", action="append", choices=sorted(ENGINES), help="repeatable")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--workers", type=int, default=None, help="default: cores, at most 8")
    parser.add_argument("--prefetch", type=int, default=4, help="batches")
    parser.add_argument("--steps", type=int, default=30, help="batches measured in a round")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    dataset = CocoDataset()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.dataset is None:
            size = (arguments.image_size, arguments.image_size)
            write_shapes(folder, train=SYNTHETIC_IMAGES, val=0, image_size=size)
        dataset.load_coco(arguments.dataset or folder, arguments.subset)
        dataset.prepare()

        class BenchmarkConfig(Config):
            NAME = "benchmark"
            NUM_CLASSES = dataset.num_classes
            IMAGE_MIN_DIM = IMAGE_MAX_DIM = arguments.image_size
            LOADER_PREFETCH = arguments.prefetch

        config = BenchmarkConfig()

        def make_loader() -> Loader:
            return Loader(
                *(dataset, config, 0, HorizontalFlip()),
                batch_size=arguments.batch_size,
                workers=arguments.workers,
            )

        expected = measure(ENGINES["caller"], make_loader(), arguments.steps)[2]  # and warm up
        engines = arguments.engine or ["threads", "processes", "pydataset-threads", "tfdata"]
        results: dict[str, list] = {engine: [] for engine in engines}
        for _ in range(arguments.rounds):
            for engine in engines:
                results[engine].append(measure(ENGINES[engine], make_loader(), arguments.steps))
        for engine, rounds in results.items():
            rates, waits, orders = zip(*rounds, strict=True)
            line = {
                "engine": engine,
                "workers": make_loader()._workers,
                "image_size": arguments.image_size,
                "batch_size": arguments.batch_size,
                "images_per_second": round(statistics.median(rates), 2),
                "best": round(max(rates), 2),
                "rounds": [round(rate, 2) for rate in rates],
                "first_batch_seconds": round(statistics.median(waits), 3),
                "same_order": all(order == expected for order in orders),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
