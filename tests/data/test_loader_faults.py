"""The loader under faults: bad images, dead workers, hanging reads."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.bad_images import BadImagesError
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.loader import Loader, LoaderTimeoutError
from mrcnn.data.sample import Sample
from mrcnn.data.stream import SampleStream
from mrcnn.data.workers import WorkerError


class FaultConfig(Config):
    NAME = "fault"
    NUM_CLASSES = 2
    IMAGES_PER_GPU = 2
    LOADER_MAX_BAD_SHARE = 0.2
    LOADER_TIMEOUT = 30.0
    STEPS_PER_EPOCH = 10


class Numbers:
    """A data set of numbered images, of which some are bad."""

    def __init__(self, count, bad=()):
        self.image_ids = np.arange(count)
        self.image_info = [
            {"source": "n", "id": f"name-{i}", "path": f"{i}.jpg", "bad": i in bad}
            for i in range(count)
        ]


def load(dataset, image_id, config, rng, augmentation=None):
    """A sample that holds the image's number and a random one."""
    if dataset.image_info[image_id]["bad"]:
        raise OSError("truncated file")
    return Sample(
        image=np.full((2, 2, 3), (image_id, rng.integers(256), 0), np.uint8),
        image_meta=np.array([image_id], np.float32),
        class_ids=np.zeros(0, np.int32),
        boxes=np.zeros((0, 4), np.int32),
        masks=np.zeros((0, 4, 4), np.uint8),
    )


def make_loader(bad=(), count=20, dataset=None, workers=2, **arguments):
    """A loader; of the other arguments, those in capitals are settings."""
    settings = {k: arguments.pop(k) for k in list(arguments) if k.isupper()}
    config = type("Some", (FaultConfig,), settings)()
    dataset = dataset or Numbers(count, bad)
    return Loader(SampleStream.of(dataset, config, 5, **{"load": load, **arguments}), workers)


def pixels(loader, start=0, stop=20):
    return np.stack([batch["input_image"] for batch in loader.batches(start, stop)])


# --- Bad images -----------------------------------------------------------------------------


def test_a_bad_image_is_replaced_named_once_and_counted(caplog):
    with make_loader(bad=[3, 7]) as loader:
        found = pixels(loader)
    whole = pixels(make_loader(workers=0))
    replaced = np.isin(whole[..., 0, 0, 0], [3, 7])
    assert replaced.sum() == 4  # each of two images in each of two passes
    assert not np.isin(found[..., 0], [3, 7]).any()
    np.testing.assert_array_equal(found[~replaced], whole[~replaced])  # the others are untouched
    assert loader.bad_images.replaced == 4
    assert sorted(loader.bad_images.messages) == [3, 7]
    named = [message for message in caplog.messages if "A bad image" in message]
    assert len(named) == 2 and all("OSError: truncated file" in message for message in named)
    assert any("path '3.jpg'" in message for message in named)
    reports = [message for message in caplog.messages if "Samples replaced" in message]
    assert len(reports) == 2 and "report: 2;" in reports[0]  # one an epoch


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_replacement_depends_on_seed_position_and_bad_images_alone(workers):
    first = make_loader(bad=[1, 2, 4], workers=workers)
    with first, make_loader(bad=[1, 2, 4], workers=2) as other:
        np.testing.assert_array_equal(pixels(first), pixels(other))
        resumed = pixels(make_loader(bad=[1, 2, 4], workers=0), 13)
        np.testing.assert_array_equal(pixels(other)[13:], resumed)


def test_replacements_differ_between_positions():
    with make_loader(bad=[0], count=12) as loader:
        found = [pixels(loader, 6 * n, 6 * n + 6)[..., 0, 0, 0].ravel() for n in range(12)]
    doubled = {int(np.bincount(each, minlength=12).argmax()) for each in found}
    assert len(doubled) > 3


@pytest.mark.parametrize("workers", [0, 2])
def test_beyond_the_share_an_error_lists_them(workers):
    with make_loader(bad=range(5), workers=workers, shuffle=False) as loader:
        assert loader.bad_images.limit == 4
        with pytest.raises(BadImagesError) as caught:
            pixels(loader)
    message = str(caught.value)
    assert "5 of 20 images cannot be loaded; expected at most 4" in message
    assert all(f"path '{i}.jpg'" in message for i in range(5))
    assert isinstance(caught.value, SampleError)


def test_with_a_share_of_zero_the_first_bad_image_is_an_error():
    with make_loader(bad=[3], LOADER_MAX_BAD_SHARE=0.0, shuffle=False) as loader:
        batches = loader.batches()
        next(batches)
        with pytest.raises(SampleError, match="^image 3 .*OSError: truncated file$"):
            next(batches)


def test_what_is_wrong_with_every_image_is_told_at_once():
    loaded = []

    def refuse(dataset, image_id, config, rng, augmentation=None):
        loaded.append(image_id)
        raise SampleError(f"image {image_id}: no")

    with make_loader(count=10_000, load=refuse, workers=0) as loader:
        with pytest.raises(BadImagesError, match="^11 images in a row.*\n  image"):
            loader.batch(0)
    assert len(set(loaded)) == 11 * 2  # one position after the other: a batch of two


@pytest.mark.parametrize(
    "setting", ["LOADER_MAX_BAD_SHARE", "LOADER_TIMEOUT", "LOADER_MAX_RESTARTS"]
)
def test_settings_are_checked(setting):
    with pytest.raises(ValueError, match=rf"{setting}.*received -1"):
        make_loader(**{setting: -1})


# --- Slow and hanging reads -------------------------------------------------------------------


def test_a_slow_disk_is_named_and_survived(caplog):
    def slow(dataset, image_id, config, rng, augmentation=None):
        time.sleep(0.3 if image_id == 3 else 0)
        return load(dataset, image_id, config, rng, augmentation)

    with make_loader(load=slow, shuffle=False, LOADER_TIMEOUT=0.1) as loader:
        found = pixels(loader, stop=4)
    np.testing.assert_array_equal(found, pixels(make_loader(workers=0, shuffle=False), stop=4))
    warnings = [m for m in caplog.messages if "not ready" in m]
    assert warnings and all("path '3.jpg'" in m for m in warnings)


def test_a_hanging_read_is_named_in_an_error_and_left_behind():
    released = threading.Event()

    def hang(dataset, image_id, config, rng, augmentation=None):
        if image_id == 2:
            released.wait(60)
        return load(dataset, image_id, config, rng, augmentation)

    with make_loader(load=hang, shuffle=False, LOADER_TIMEOUT=0.03) as loader:
        batches = loader.batches()
        next(batches)
        with pytest.raises(LoaderTimeoutError, match="At work: image 2 .*'2.jpg'") as caught:
            next(batches)
    assert isinstance(caught.value, OSError)  # which the commands report in a line
    assert not released.is_set()  # it still hangs, and closing did not wait for it
    released.set()


# --- Worker processes ---------------------------------------------------------------------------


class Marked(Numbers):
    """Images that end or stop the process that reads them: always, or the first time only."""

    def __init__(self, count, folder, once=(), always=(), hanging=()):
        super().__init__(count)
        self.folder, self.once, self.always, self.hanging = str(folder), once, always, hanging


def deadly(dataset, image_id, config, rng, augmentation=None):
    if image_id in dataset.always:
        os._exit(3)
    if image_id in dataset.once:
        try:
            os.mkdir(os.path.join(dataset.folder, str(image_id)))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), 9)
    if image_id in dataset.hanging:
        time.sleep(600)
    return load(dataset, image_id, config, rng, augmentation)


def test_worker_processes_die_and_nothing_changes(tmp_path, caplog):
    dataset = Marked(20, tmp_path, once=[4, 11], always=[9])
    with make_loader(dataset=dataset, load=deadly, LOADER_PROCESSES=True) as loader:
        found = pixels(loader)
    np.testing.assert_array_equal(found, pixels(make_loader(bad=[9], workers=0)))
    assert loader.bad_images.messages.keys() == {9}
    assert "2 worker processes died at it (exit code 3)" in loader.bad_images.messages[9]
    assert sum("SIGKILL" in m and "It is started again" in m for m in caplog.messages) == 2


def test_processes_that_keep_dying_and_hanging_ones_are_errors(tmp_path):
    arguments = {"load": deadly, "LOADER_PROCESSES": True, "workers": 1}
    dying, hanging = Marked(4, tmp_path, always=range(4)), Marked(4, tmp_path, hanging=range(4))
    with make_loader(dataset=dying, LOADER_MAX_RESTARTS=1, **arguments) as loader:
        with pytest.raises(WorkerError, match="died 2 times, more than LOADER_MAX_RESTARTS = 1"):
            pixels(loader)
    with make_loader(dataset=hanging, LOADER_TIMEOUT=0.15, **arguments) as loader:
        with pytest.raises(LoaderTimeoutError, match="At work: image"):
            pixels(loader)
    # The thread of a process that was killed ends when it notices.
    for thread in threading.enumerate():
        if thread.name.startswith("mrcnn-loader"):
            thread.join(30)
            assert not thread.is_alive()


class DiesAtTheStart(Numbers):
    """Kills the process that receives it, so many times; or ends it with an exit code."""

    def __init__(self, count, folder, times, code=None):
        super().__init__(count)
        self.folder, self.times, self.code = str(folder), times, code

    def __setstate__(self, state):
        self.__dict__.update(state)
        for number in range(self.times):
            try:
                os.mkdir(os.path.join(self.folder, str(number)))
            except FileExistsError:
                continue
            if self.code is not None:
                os._exit(self.code)
            os.kill(os.getpid(), 9)


def test_a_process_that_is_killed_as_it_starts_is_started_again(tmp_path, caplog):
    dataset = DiesAtTheStart(8, tmp_path, times=1)
    with make_loader(dataset=dataset, LOADER_PROCESSES=True, workers=1) as loader:
        found = pixels(loader, stop=4)
    np.testing.assert_array_equal(found, pixels(make_loader(count=8, workers=0), stop=4))
    (message,) = caplog.messages
    assert "died as it started (killed by SIGKILL). It is started again (1 of at most 10" in message


@pytest.mark.parametrize(
    ("code", "settings", "starts", "message"),
    [
        (None, {}, 2, r"died as it started \(killed by SIGKILL\). Expected the main script"),
        (None, {"LOADER_MAX_RESTARTS": 0}, 1, "died 1 times, more than LOADER_MAX_RESTARTS = 0"),
        (3, {}, 1, r"died as it started \(exit code 3\). Expected the main script"),
    ],
)
def test_processes_that_cannot_start_are_an_error(tmp_path, code, settings, starts, message):
    dataset = DiesAtTheStart(8, tmp_path, times=9, code=code)
    with make_loader(dataset=dataset, LOADER_PROCESSES=True, workers=1, **settings) as loader:
        with pytest.raises(WorkerError, match=message) as caught:
            pixels(loader)
    assert isinstance(caught.value, OSError)  # which the commands report in a line
    assert len(os.listdir(tmp_path)) == starts


def test_a_process_for_which_there_is_no_memory_is_an_error(monkeypatch, caplog):
    def start(process):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", start)
    with make_loader(LOADER_PROCESSES=True, workers=1) as loader:
        with pytest.raises(WorkerError, match="as it started .*Cannot allocate memory"):
            pixels(loader)
    assert "It is started again" in caplog.text


def test_a_sample_is_not_kept_by_an_idle_worker():
    import weakref

    class Kept:
        pass

    marks = []

    def marked(dataset, image_id, config, rng, augmentation=None):
        mark = Kept()
        marks.append(weakref.ref(mark))
        return replace(load(dataset, image_id, config, rng), rois=None, ignored={mark: 0})

    with make_loader(load=marked, workers=1) as loader:
        loader.ignored.update = lambda ignored: None
        list(loader.batches(stop=3))
        deadline = time.monotonic() + 10
        while any(ref() is not None for ref in marks) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(marks) == 6 and all(ref() is None for ref in marks)


def test_an_abandoned_loader_ends_its_workers():
    before = threading.active_count()
    loader = make_loader()
    next(loader.batches())
    assert threading.active_count() == before + 2
    del loader
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_the_log_is_silent_when_all_is_well(caplog):
    caplog.set_level(logging.INFO)
    with make_loader() as loader:
        pixels(loader)
    assert not caplog.messages
