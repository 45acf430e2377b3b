"""Batches: a pure function of (seed, step), whatever the workers."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcnn
from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.loader import Loader, stack_samples
from mrcnn.data.sample import Sample
from mrcnn.data.stream import SampleStream

NAMES = {
    "input_image",
    "input_image_meta",
    "input_gt_class_ids",
    "input_gt_boxes",
    "input_gt_masks",
}


class SmallConfig(Config):
    NAME = "small"
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64
    MAX_GT_INSTANCES = 3
    MINI_MASK_SHAPE = (4, 4)
    LOADER_PREFETCH = 2
    LOADER_MAX_BAD_SHARE = 0.0  # see test_loader_faults.py


class Numbers:
    """A data set of numbered images; two sources take turns."""

    def __init__(self, count):
        self.image_ids = np.arange(count)
        self.image_info = [
            {"source": ("even", "odd")[i % 2], "id": f"name-{i}", "path": f"/images/{i}.jpg"}
            for i in range(count)
        ]


def number_sample(dataset, image_id, config, rng, augmentation=None):
    """The image holds its number, a random value, and whether it was augmented."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[0, 0] = image_id, rng.integers(256), augmentation is not None
    instances = image_id % 6
    class_ids = np.arange(1, instances + 1, dtype=np.int32)
    return Sample(
        image=image,
        image_meta=np.array([image_id], np.float32),
        class_ids=class_ids,
        boxes=np.tile(class_ids[:, None], 4),
        masks=np.ones((instances, 4, 4), np.uint8),
        ignored={"vanished": int(image_id == 1)},
    )


def make_loader(count=10, base=SmallConfig, seed=7, workers=2, shard=(0, 1), **arguments):
    """A loader; of the other arguments, those in capitals are settings."""
    settings = {name: arguments.pop(name) for name in list(arguments) if name.isupper()}
    config = type("Some", (base,), settings)()
    stream = SampleStream.of(Numbers(count), config, seed, **{"load": number_sample, **arguments})
    return Loader(stream, workers, shard)


def ids(batch):
    return batch["input_image"][:, 0, 0, 0].tolist()


def assert_same(first, second):
    assert first.keys() == second.keys() == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# --- A pure function of (seed, step) ------------------------------------------------------


def test_batch_has_the_inputs_of_the_training_model():
    batch = make_loader(IMAGES_PER_GPU=4).batch(0)
    shapes = {name: (array.dtype.name, array.shape) for name, array in batch.items()}
    assert shapes == {
        "input_image": ("uint8", (4, 64, 64, 3)),
        "input_image_meta": ("float32", (4, 1)),
        "input_gt_class_ids": ("int32", (4, 3)),
        "input_gt_boxes": ("int32", (4, 3, 4)),
        "input_gt_masks": ("uint8", (4, 3, 4, 4)),
    }


def test_batch_depends_on_nothing_but_seed_and_step():
    loader, other = make_loader(), make_loader()
    expected = [loader.batch(step) for step in range(12)]
    for step in (11, 3, 3, 0):
        assert_same(other.batch(step), expected[step])


def test_seed_decides_order_and_random_values():
    first, second = make_loader(40, seed=1), make_loader(40, seed=2)
    orders = [[i for step in range(20) for i in ids(each.batch(step))] for each in (first, second)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_random_values_of_an_image_differ_between_passes():
    loader = make_loader(1, IMAGES_PER_GPU=1)
    values = {int(loader.batch(step)["input_image"][0, 0, 0, 1]) for step in range(20)}
    assert len(values) > 5


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_iteration_gives_the_batches_in_order_for_any_number_of_workers(workers, prefetch):
    def slow_for_some(dataset, image_id, config, rng, augmentation=None):
        time.sleep(0.004 * (image_id % 3))
        return number_sample(dataset, image_id, config, rng, augmentation)

    with make_loader(load=slow_for_some, workers=workers, LOADER_PREFETCH=prefetch) as loader:
        batches = list(loader.batches(3, 12))
    reference = make_loader()
    assert len(batches) == 9
    for step, batch in enumerate(batches, start=3):
        assert_same(batch, reference.batch(step))


def test_small_data_set_is_repeated_and_no_batch_is_shortened():
    with make_loader(5, IMAGES_PER_GPU=4) as loader:
        batches = list(loader.batches(stop=100))
    assert len(batches) == 100
    assert {len(batch["input_image"]) for batch in batches} == {4}
    assert Counter(i for batch in batches for i in ids(batch)) == dict.fromkeys(range(5), 80)


def test_batch_may_be_larger_than_the_data_set():
    assert Counter(ids(make_loader(2, IMAGES_PER_GPU=6).batch(0))) == {0: 3, 1: 3}


def test_images_are_named_by_the_data_sets_ids():
    dataset = Numbers(6)
    dataset.image_ids = np.array([2, 5])  # a subset
    loader = Loader(SampleStream.of(dataset, SmallConfig(), 0, load=number_sample), workers=0)
    assert set(ids(loader.batch(0))) == {2, 5}
    for step in range(3):
        assert loader.image_ids(step) == [int(image_id) for image_id in ids(loader.batch(step))]


@settings(max_examples=15, deadline=None)
@given(
    images=st.integers(1, 9),
    shards=st.sampled_from([1, 2, 3, 6]),
    step=st.integers(0, 50),
)
def test_shards_are_the_parts_of_the_global_batch(images, shards, step):
    whole = make_loader(images, IMAGES_PER_GPU=6).batch(step)
    parts = [
        make_loader(images, IMAGES_PER_GPU=6, shard=(i, shards)).batch(step) for i in range(shards)
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in NAMES}
    assert_same(joined, whole)


# --- Augmentation, instances --------------------------------------------------------------


@pytest.mark.parametrize(
    "sources, augmented", [((), "odd even"), (None, "odd even"), (["even"], "odd")]
)
def test_sources_without_augmentation_are_left_alone(sources, augmented):
    loader = make_loader(
        4, IMAGES_PER_GPU=4, augmentation=HorizontalFlip(), no_augmentation_sources=sources
    )
    for image_id, _, was_augmented in loader.batch(0)["input_image"][:, 0, 0].tolist():
        assert was_augmented == (("even", "odd")[image_id % 2] in augmented)


def test_empty_images_give_empty_slots():
    batch = make_loader(1).batch(0)
    for name in ("input_gt_class_ids", "input_gt_boxes", "input_gt_masks"):
        assert not batch[name].any()


def test_overflow_keeps_a_random_subset_that_fits_together():
    loader = make_loader(6, IMAGES_PER_GPU=1, shuffle=False)
    kept = Counter()
    for step in range(5, 305, 6):  # image 5 has five instances, three slots
        batch = loader.batch(step)
        class_ids = batch["input_gt_class_ids"][0]
        assert len(set(class_ids.tolist())) == 3 and class_ids.all()
        np.testing.assert_array_equal(batch["input_gt_boxes"][0], np.tile(class_ids[:, None], 4))
        kept.update(class_ids.tolist())
    assert set(kept) == {1, 2, 3, 4, 5}
    assert loader.ignored["overflow"] == 50 * 2


def test_ignored_instances_are_logged_once_an_epoch(caplog):
    caplog.set_level(logging.INFO, "mrcnn")
    with make_loader(6, STEPS_PER_EPOCH=6) as loader:  # a pass: 1 vanished, 1 + 2 overflow
        list(loader.batches(stop=15))
        assert loader.ignored == {"vanished": 5, "overflow": 15}
    assert len(caplog.records) == 3  # two epochs, and the rest at the end
    assert "6 above MAX_GT_INSTANCES (3 an image), 2 without a pixel" in caplog.messages[0]
    assert "3 above" in caplog.messages[2]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_nothing_is_logged_when_nothing_is_ignored(caplog):
    caplog.set_level(logging.INFO, "mrcnn")
    with make_loader(1) as loader:
        list(loader.batches(stop=4))
    assert not caplog.records


def test_stack_pads_with_zeros():
    dataset = Numbers(4)
    samples = [number_sample(dataset, i, None, np.random.default_rng(0)) for i in (3, 0, 2)]
    batch = stack_samples(samples, 4)
    assert batch["input_gt_class_ids"].tolist() == [[1, 2, 3, 0], [0] * 4, [1, 2, 0, 0]]
    assert batch["input_gt_masks"].sum((2, 3)).tolist() == [[16] * 3 + [0], [0] * 4, [16, 16, 0, 0]]
    assert batch["input_gt_masks"].shape == (3, 4, 4, 4)


# --- Random RoIs ----------------------------------------------------------------------------


class GivenRoisConfig(SmallConfig):
    USE_RPN_ROIS = False
    POST_NMS_ROIS_TRAINING = 30


def test_random_rois_are_a_pure_function_of_seed_and_step():
    with make_loader(base=GivenRoisConfig, workers=2) as loader:
        batches = list(loader.batches(2, 6))
    reference = make_loader(base=GivenRoisConfig)
    seen = set()
    for step, batch in enumerate(batches, start=2):
        rois = batch["input_rois"]
        assert rois.dtype == np.int32 and rois.shape == (2, 30, 4)
        assert (rois >= 0).all() and (rois <= 64).all() and (rois[..., 2:] > rois[..., :2]).all()
        np.testing.assert_array_equal(rois, reference.batch(step)["input_rois"])
        seen.add(rois.tobytes())
    assert len(seen) == len(batches)


def test_random_rois_change_nothing_else():
    given, plain = (make_loader(base=c).batch(3) for c in (GivenRoisConfig, SmallConfig))
    assert given.keys() - plain.keys() == {"input_rois"}
    assert_same({name: given[name] for name in NAMES}, plain)


def test_random_rois_lie_around_the_objects():
    batch = make_loader(1, IMAGES_PER_GPU=1, base=GivenRoisConfig, load=one_box).batch(0)
    rois = batch["input_rois"][0]
    assert ((rois >= 20) & (rois <= 44)).all(axis=1).sum() >= 27


def one_box(dataset, image_id, config, rng, augmentation=None):
    sample = number_sample(dataset, 1, config, rng, augmentation)
    return replace(sample, boxes=np.array([[28, 28, 36, 36]], np.int32))


# --- Errors and shutdown ------------------------------------------------------------------


def broken_at_three(dataset, image_id, config, rng, augmentation=None):
    if image_id == 3:
        raise OSError("truncated file")
    return number_sample(dataset, image_id, config, rng, augmentation)


@pytest.mark.parametrize("workers", [0, 2])
def test_error_names_the_image_and_comes_in_its_turn(workers):
    with make_loader(load=broken_at_three, shuffle=False, workers=workers) as loader:
        batches = loader.batches()
        assert ids(next(batches)) == [0, 1]
        with pytest.raises(SampleError) as caught:
            next(batches)
        for part in ("image 3", "'odd'", "'name-3'", "/images/3.jpg", "OSError: truncated file"):
            assert part in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
        assert [ids(batch) for batch in loader.batches(2, 4)] == [[4, 5], [6, 7]]  # still usable


def threads_of_loaders():
    return [t for t in threading.enumerate() if t.name.startswith("mrcnn-loader")]


def test_abandoned_iteration_cancels_its_work_and_close_ends_the_workers():
    loaded = []

    def count(dataset, image_id, config, rng, augmentation=None):
        loaded.append(image_id)
        time.sleep(0.005)
        return number_sample(dataset, image_id, config, rng, augmentation)

    loader = make_loader(load=count, workers=2, LOADER_PREFETCH=50)
    batches = loader.batches()
    next(batches)
    batches.close()
    loader.close()
    assert len(loaded) < 50
    assert not threads_of_loaders()
    loader.close()  # again does no harm


def test_work_ahead_is_bounded_while_the_consumer_waits():
    loaded = []

    def count(dataset, image_id, config, rng, augmentation=None):
        loaded.append(image_id)
        return number_sample(dataset, image_id, config, rng, augmentation)

    with make_loader(load=count, LOADER_PREFETCH=3) as loader:
        batches = loader.batches()
        next(batches)
        expected = 2 * (1 + 3)  # the one given and three ahead
        deadline = time.monotonic() + 10
        while len(loaded) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(loaded) == expected


def test_two_iterations_share_the_workers():
    with make_loader(workers=2) as loader:
        pairs = list(zip(loader.batches(0, 4), loader.batches(2, 6), strict=True))
        assert len(threads_of_loaders()) == 2
    for step, (first, second) in enumerate(pairs):
        assert_same(first, loader.batch(step))
        assert_same(second, loader.batch(step + 2))


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"count": 0}, "no images"),
        ({"IMAGES_PER_GPU": 0}, "IMAGES_PER_GPU"),
        ({"LOADER_PREFETCH": 0}, "LOADER_PREFETCH"),
        ({"workers": -1}, "at least 0"),
        ({"IMAGES_PER_GPU": 4, "shard": (0, 3)}, "divides the batch size 4"),
        ({"IMAGES_PER_GPU": 4, "shard": (2, 2)}, "below count"),
    ],
)
def test_wrong_arguments_are_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        make_loader(**arguments)


def test_an_unknown_augmentation_is_refused_at_once():
    with pytest.raises(TypeError, match="received builtins.str"):
        make_loader(augmentation="flip")


def test_what_cannot_be_sent_to_processes_says_so():
    with make_loader(load=lambda *arguments: None, LOADER_PROCESSES=True) as loader:
        with pytest.raises(ValueError, match="LOADER_PROCESSES"):
            next(loader.batches())


# --- Processes: a real script, because they import the main script again --------------------

SCRIPT = """
import hashlib, sys
import numpy as np
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Loader
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.sample import load_sample
from mrcnn.data.stream import SampleStream

HEAVY = {"keras", "tensorflow", "jax", "torch", "matplotlib"}

class SmallConfig(Config):
    NAME = "small"
    NUM_CLASSES = 2
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64
    MAX_GT_INSTANCES = 3
    LOADER_MAX_BAD_SHARE = 0

class Squares(Dataset):
    def load_image(self, image_id):
        if self.image_info[image_id]["path"] == "broken":
            raise KeyError("no such tile")
        return np.random.default_rng(image_id).integers(0, 256, (90, 120, 3), dtype=np.uint8)

    def load_mask(self, image_id):
        mask = np.zeros((90, 120, 2), bool)
        mask[10:60, 20:90, 0] = True
        mask[30:80, 40:110, 1] = True
        return mask, np.array([1, -1], np.int32)

def load(*arguments):
    assert not HEAVY & set(sys.modules), HEAVY & set(sys.modules)
    return load_sample(*arguments)

def squares(paths):
    dataset = Squares()
    dataset.add_class("squares", 1, "square")
    for i, path in enumerate(paths):
        dataset.add_image("squares", image_id=i, path=path)
    dataset.prepare()
    return dataset

def digest(batches):
    hashed = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            hashed.update(batch[name].tobytes())
    return hashed.hexdigest()

if __name__ == "__main__":
    def make(paths, workers, processes):
        config = SmallConfig()
        config.LOADER_PROCESSES = processes
        return Loader(SampleStream.of(squares(paths), config, 5, load=load), workers)

    digests = set()
    for workers, processes in ((0, False), (2, False), (2, True)):
        with make(["a"] * 5, workers, processes) as loader:
            digests.add(digest(loader.batches(2, 9)))
            digests.add(digest(loader.batches(2, 9)))
    assert len(digests) == 1, digests

    with make(["broken"] * 2, workers=1, processes=True) as loader:
        try:
            next(loader.batches())
        except SampleError as error:
            assert "image 0" in str(error) or "image 1" in str(error), error
            assert "'broken'" in str(error) and "KeyError: 'no such tile'" in str(error), error
            assert "load_image" in str(error.__cause__), error.__cause__
        else:
            raise AssertionError("no error")

    left_open = make(["a"] * 5, workers=1, processes=True)
    next(left_open.batches())  # neither closed: the script must end all the same
    print("done")
"""


def run_script(folder, text):
    script = folder / "train_squares.py"
    script.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(mrcnn.__file__).parent.parent)},
    )


def test_processes_give_the_same_batches_without_keras_and_end(tmp_path):
    process = run_script(tmp_path, SCRIPT)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert output == "done\n"


ENDLESS_SCRIPT = """
import os
from types import SimpleNamespace
from mrcnn.config import Config
from mrcnn.data.augment import HorizontalFlip
from mrcnn.data.loader import Loader
from mrcnn.data.stream import SampleStream

def load(*arguments):
    print(os.getpid(), flush=True)
    raise ValueError("the worker stays, and waits for more")

if __name__ == "__main__":
    dataset = SimpleNamespace(image_ids=[0], image_info=[{"source": "none"}])
    config = Config()
    config.LOADER_PROCESSES = True
    loader = Loader(SampleStream.of(dataset, config, 0, load=load), workers=1)
    try:
        next(loader.batches())
    except ValueError:
        input()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_worker_processes_end_when_the_main_process_is_killed(tmp_path):
    process = run_script(tmp_path, ENDLESS_SCRIPT)
    worker = int(process.stdout.readline())
    assert worker != process.pid
    os.kill(worker, 0)  # it runs
    process.kill()
    process.wait()
    # The worker holds the other end of this pipe: end of file means that it has ended.
    process.stderr.close()
    reader = threading.Thread(target=process.stdout.read, daemon=True)
    reader.start()
    reader.join(timeout=30)
    if reader.is_alive():
        os.kill(worker, signal.SIGKILL)
        raise AssertionError("the worker outlived the main process")
