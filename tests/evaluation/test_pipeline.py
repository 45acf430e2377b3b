"""The steps of an evaluation overlap, and change nothing of the results."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest

from mrcnn.evaluation.pipeline import MAX_WAITING, ImageError, Pipeline

TIMEOUT = 10  # seconds, after which a test fails instead of hanging


class Loaded(NamedTuple):
    number: int
    shape: int


def make(
    batches: list,
    *,
    load=None,
    detect=None,
    finish=None,
    batch_size=3,
    behind=None,
    workers=2,
    shapes=4,
):
    def record(batch):
        batches.append([loaded.number for loaded in batch])
        return [10 * loaded.number for loaded in batch]

    return Pipeline(
        load=load or (lambda number: Loaded(number, number % shapes)),
        detect=detect or record,
        finish=finish or (lambda number, found: (number, found)),
        batch_size=batch_size,
        describe=lambda number: f"image {number}",
        behind=behind,
        workers=workers,
    )


@pytest.mark.parametrize("count", [0, 1, 23])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_any_number_of_workers_gives_the_same_batches_and_results(count, batch_size):
    alone, threaded = [], []
    expected = list(make(alone, batch_size=batch_size, workers=0)(range(count)))
    assert expected == [(number, 10 * number) for number in range(count)]
    for workers in (1, 4):
        threaded.clear()
        pipeline = make(threaded, batch_size=batch_size, workers=workers)
        assert list(pipeline(range(count))) == expected
        assert threaded == alone


def test_batches_are_full_and_of_one_shape():
    batches = []
    list(make(batches, shapes=2)(range(20)))
    assert all(len({number % 2 for number in batch}) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == [3] * 6 + [1, 1]


def test_images_of_rare_shapes_do_not_pile_up():
    batches = []
    waiting = 3 * MAX_WAITING
    assert len(list(make(batches, shapes=1000)(range(40)))) == 40
    assert batches == [[number] for number in range(40)]  # the oldest first

    read, given = [], []

    def load(number):
        read.append(number)
        return Loaded(number, number)

    for result in make([], load=load, workers=0)(range(40)):
        given.append(result)
        assert len(read) - len(given) <= waiting


def test_reading_and_finishing_go_on_while_the_network_runs():
    """Image 5 is read, and image 0 finished, before the batch of image 1 is through."""
    events = {"read": threading.Event(), "finished": threading.Event()}

    def load(number):
        if number == 5:
            events["read"].set()
        return Loaded(number, 0)

    def detect(batch):
        if batch[0].number == 1:
            assert events["read"].wait(TIMEOUT) and events["finished"].wait(TIMEOUT)
        assert threading.current_thread() is threading.main_thread()
        return batch

    def finish(number, found):
        if number == 0:
            events["finished"].set()
        return found.number

    pipeline = make([], load=load, detect=detect, finish=finish, batch_size=1, workers=4)
    assert list(pipeline(range(8))) == list(range(8))


def test_what_waits_is_bounded_when_finishing_is_slow():
    unfinished, most, lock = 0, 0, threading.Lock()

    def detect(batch):
        nonlocal unfinished, most
        with lock:
            unfinished += len(batch)
            most = max(most, unfinished)
        return batch

    def finish(number, found):
        nonlocal unfinished
        threading.Event().wait(0.002)
        with lock:
            unfinished -= 1
        return number

    # Those behind and a batch; without a bound, as many may be behind as ahead.
    for behind, bound in ((0, 2), (3, 5), (None, 1 + 2 * 2 + 2)):
        most = 0
        pipeline = make([], detect=detect, finish=finish, batch_size=2, behind=behind, workers=1)
        assert list(pipeline(range(60))) == list(range(60))
        assert 0 < most <= bound and unfinished == 0


@pytest.mark.parametrize("workers", [0, 3])
def test_errors_name_the_image(workers):
    def fail(number, *found):
        if number == 7:
            raise OSError("broken")
        return Loaded(number, 0)

    with pytest.raises(ImageError, match="image 7 could not be loaded: OSError: broken"):
        list(make([], load=fail, workers=workers)(range(20)))
    with pytest.raises(ImageError, match="image 7 could not be turned into results: OSError"):
        list(make([], finish=fail, workers=workers)(range(20)))

    def out_of_memory(batch):
        raise MemoryError("too large")

    with pytest.raises(MemoryError, match="too large") as caught:
        list(make([], detect=out_of_memory, workers=workers, shapes=1)(range(20)))
    assert caught.value.__notes__ == ["While detecting in image 0, image 1, image 2."]


def test_threads_end_with_the_iteration():
    results = make([])(range(50))
    next(results)
    assert any("mrcnn-evaluation" in thread.name for thread in threading.enumerate())
    results.close()
    assert not any("mrcnn-evaluation" in thread.name for thread in threading.enumerate())
