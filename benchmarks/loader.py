"""Images per second of the training loader, and of other engines doing the same work.

    python -m benchmarks.loader --dataset DIR --image-size 1024 --engine caller
    python -m benchmarks.loader --dataset DIR --image-size 1024 --engine threads --engine tfdata
    python -m benchmarks.loader --dataset DIR --image-size 1024 --step-seconds 0.1

DIR is in COCO's layout; without it, synthetic shapes are written to a temporary folder. Every
engine makes the batches of `mrcnn.data.loader.Loader` of the same stream, so that only the
way of running ahead differs. Rounds take turns between the engines, so that a busy machine
slows all of them alike; compare the engines of one run.

The first JSON line is the lower bound: CPU milliseconds to decode an image, and to decode and
resize it. Then one line for each engine says the images per second of each round after the first
batch, their median and best, the same per second of CPU time (all threads of this process; on a
busy machine this is the number to compare; null where other processes do the work), the median of
the seconds until that first batch, and whether the images came in the loader's order. With
`--step-seconds` the consumer sleeps for so long after each batch, as it does while a device
computes a step; then `waited_ms` is how long it waited for a batch after the first, mean and worst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.cache import make_cache
from mrcnn.data.loader import Batch, Loader, available_workers, stack_samples
from mrcnn.data.resize import Resize
from mrcnn.data.stream import SampleStream
from mrcnn.datasets.coco import CocoDataset
from mrcnn.datasets.shapes import write_shapes
from mrcnn.process import keep_freed_memory

SYNTHETIC_IMAGES = 64
MAX_FLOOR_IMAGES = 64
NAMES = (
    "input_image",
    "input_image_meta",
    "input_gt_class_ids",
    "input_gt_boxes",
    "input_gt_masks",
)

# Engines whose work other processes do: their CPU time is not this process's.
IN_PROCESSES = ("processes", "pydataset-processes", "grain-processes")

# An engine takes a stream of samples, whose settings say how many workers there are, and gives
# its batches from step 0 on, without end.
Engine = Callable[[SampleStream], Iterator[Batch]]


def threads(stream: SampleStream) -> Iterator[Batch]:
    """The project's own: worker threads."""
    with Loader(configured(stream, LOADER_PROCESSES=False)) as loader:
        yield from loader.batches()


def processes(stream: SampleStream) -> Iterator[Batch]:
    """The project's own: worker processes."""
    with Loader(configured(stream, LOADER_PROCESSES=True)) as loader:
        yield from loader.batches()


def caller(stream: SampleStream) -> Iterator[Batch]:
    """No engine: the work is done in the caller's thread."""
    yield from Loader(stream, workers=0).batches()


def configured(stream: SampleStream, **settings: Any) -> SampleStream:
    """The same stream with other settings."""
    return replace(stream, config=SimpleNamespace(**{**vars(stream.config), **settings}))


def pydataset_threads(stream: SampleStream) -> Iterator[Batch]:
    """Keras's PyDataset; a job is a batch."""
    yield from _pydataset(stream, use_multiprocessing=False)


def pydataset_processes(stream: SampleStream) -> Iterator[Batch]:
    """The same in processes, which Keras forks."""
    yield from _pydataset(stream, use_multiprocessing=True)


def _pydataset(stream: SampleStream, use_multiprocessing: bool) -> Iterator[Batch]:
    import keras
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    class Batches(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return None  # without end

        def __getitem__(self, step):
            return (_Parts(stream).batch(step, stream.config.BATCH_SIZE),)

    batches = Batches(
        workers=stream.config.LOADER_WORKERS,
        use_multiprocessing=use_multiprocessing,
        max_queue_size=stream.config.LOADER_PREFETCH,
    )
    adapter = PyDatasetAdapter(batches)
    try:
        for (batch,) in adapter.get_numpy_iterator():
            yield batch
    finally:
        if adapter.enqueuer is not None:
            adapter.enqueuer.stop()


def tfdata(stream: SampleStream) -> Iterator[Batch]:
    """tf.data: a parallel map over positions, whose NumPy part holds Python's lock."""
    import tensorflow as tf

    parts = _Parts(stream)
    spec = parts(0)
    dtypes = [spec[name].dtype for name in NAMES]

    def load_arrays(position):
        loaded = parts(position)
        return [loaded[name] for name in NAMES]

    def load(position):
        return tf.numpy_function(load_arrays, [position], dtypes)

    batches = (
        tf.data.Dataset.counter()
        .map(load, num_parallel_calls=stream.config.LOADER_WORKERS, deterministic=True)
        .map(lambda *a: [tf.ensure_shape(x, spec[n].shape) for n, x in zip(NAMES, a, strict=True)])
        .batch(stream.config.BATCH_SIZE, drop_remainder=True)
        .prefetch(stream.config.LOADER_PREFETCH)
    )
    for arrays in batches:
        yield dict(zip(NAMES, [array.numpy() for array in arrays], strict=True))


def grain_threads(stream: SampleStream) -> Iterator[Batch]:
    """Grain's reading threads."""
    import grain

    options = grain.ReadOptions(
        stream.config.LOADER_WORKERS, stream.config.LOADER_PREFETCH * stream.config.BATCH_SIZE
    )
    yield from _grain_positions(stream).to_iter_dataset(options).batch(stream.config.BATCH_SIZE)


def grain_processes(stream: SampleStream) -> Iterator[Batch]:
    """Grain's worker processes, each with one thread; a job is a batch."""
    import grain

    batches = _grain_positions(stream).batch(stream.config.BATCH_SIZE)
    options = grain.MultiprocessingOptions(
        stream.config.LOADER_WORKERS, stream.config.LOADER_PREFETCH
    )
    yield from batches.to_iter_dataset(grain.ReadOptions(1, 1)).mp_prefetch(options)


def _grain_positions(stream: SampleStream):
    import grain

    return grain.MapDataset.range(10**6).map(_Parts(stream))


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

    def __init__(self, stream: SampleStream) -> None:
        self.stream = stream

    def __call__(self, position: int) -> Batch:
        return {name: array[0] for name, array in self.batch(int(position), 1).items()}

    def batch(self, step: int, size: int) -> Batch:
        positions = range(step * size, (step + 1) * size)
        samples = [self.stream.make(p, self.stream.image_id(p)) for p in positions]
        return stack_samples(samples, self.stream.config.MAX_GT_INSTANCES)


@dataclass(frozen=True)
class Round:
    """What one round of an engine took, after the first batch unless said otherwise."""

    images: int
    seconds: float  # the consumer's steps not counted
    cpu_seconds: float
    first_seconds: float  # until the first batch
    waits: list[float]  # seconds for each batch
    image_ids: list[int]


def measure(engine: Engine, stream: SampleStream, steps: int, step_seconds: float = 0) -> Round:
    """Take `steps` batches from an engine, and sleep for `step_seconds` after each."""
    start = time.perf_counter()
    with contextlib.closing(engine(stream)) as batches:
        image_ids = [next(batches)["input_image_meta"][:, 0]]
        first_seconds, cpu_start = time.perf_counter() - start, time.process_time()
        waits = []
        for _ in range(steps):
            time.sleep(step_seconds)
            asked = time.perf_counter()
            image_ids.append(next(batches)["input_image_meta"][:, 0])
            waits.append(time.perf_counter() - asked)
        cpu_seconds = time.process_time() - cpu_start
    ids = np.concatenate(image_ids).astype(int).tolist()
    images = steps * stream.config.BATCH_SIZE
    return Round(images, sum(waits), cpu_seconds, first_seconds, waits, ids)


def measure_floor(dataset: CocoDataset, config: Config, rounds: int) -> dict[str, float]:
    """CPU milliseconds an image to decode it, and to decode and resize it; the best round."""
    decode, resize, plan = [], [], Resize.of(config)
    image_ids = dataset.image_ids[:MAX_FLOOR_IMAGES]
    for _ in range(rounds):
        start = time.thread_time()
        images = [dataset.load_image(image_id) for image_id in image_ids]
        middle = time.thread_time()
        for image in images:
            plan(image)
        decode.append(middle - start)
        resize.append(time.thread_time() - middle)
    scale = 1000 / len(image_ids)
    return {
        "decode_cpu_ms": round(min(decode) * scale, 2),
        "decode_and_resize_cpu_ms": round((min(decode) + min(resize)) * scale, 2),
    }


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
    parser.add_argument("--step-seconds", type=float, default=0, help="of the consumer")
    parser.add_argument("--cache", help="LOADER_CACHE: 'ram' or a folder; filled before measuring")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    keep_freed_memory()  # as training does
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
            IMAGES_PER_GPU = arguments.batch_size
            IMAGE_MIN_DIM = IMAGE_MAX_DIM = arguments.image_size
            LOADER_WORKERS = available_workers() if arguments.workers is None else arguments.workers
            LOADER_PREFETCH = arguments.prefetch
            LOADER_CACHE = arguments.cache

        config = BenchmarkConfig()

        print(json.dumps(measure_floor(dataset, config, arguments.rounds)), flush=True)

        stream = SampleStream.of(dataset, config, 0, HorizontalFlip())
        if arguments.cache == "ram":  # filled once, for all engines
            stream = configured(stream.with_cache(make_cache(config)), LOADER_CACHE=None)
        expected = measure(ENGINES["caller"], stream, arguments.steps).image_ids
        engines = arguments.engine or ["threads", "processes", "pydataset-threads", "tfdata"]
        results: dict[str, list[Round]] = {engine: [] for engine in engines}
        for _ in range(arguments.rounds):
            for engine in engines:
                results[engine].append(
                    measure(ENGINES[engine], stream, arguments.steps, arguments.step_seconds)
                )
        for engine, rounds in results.items():
            print(json.dumps(summarize(engine, rounds, config.LOADER_WORKERS, expected, arguments)))


def summarize(
    engine: str,
    rounds: list[Round],
    workers: int,
    expected: list[int],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """The JSON line of an engine."""
    rates = [r.images / r.seconds for r in rounds]
    cpu_rates = [r.images / r.cpu_seconds for r in rounds]
    waits = [1000 * wait for r in rounds for wait in r.waits]
    line = {
        "engine": engine,
        "workers": 0 if engine == "caller" else workers,
        "image_size": arguments.image_size,
        "batch_size": arguments.batch_size,
        "cache": arguments.cache,
        "images_per_second": round(statistics.median(rates), 2),
        "best": round(max(rates), 2),
        "rounds": [round(rate, 2) for rate in rates],
        "images_per_cpu_second": round(statistics.median(cpu_rates), 2),
        "best_per_cpu_second": round(max(cpu_rates), 2),
        "first_batch_seconds": round(statistics.median(r.first_seconds for r in rounds), 3),
        "same_order": all(r.image_ids == expected for r in rounds),
    }
    if engine in IN_PROCESSES:
        line |= {"images_per_cpu_second": None, "best_per_cpu_second": None}
    if arguments.step_seconds:  # the rates are those of the waiting alone, and say nothing
        for name in ("images_per_second", "best", "rounds"):
            del line[name]
        line["step_seconds"] = arguments.step_seconds
        line["waited_ms"] = {
            "mean": round(statistics.mean(waits), 2),
            "worst": round(max(waits), 2),
        }
    return line


if __name__ == "__main__":
    main()
