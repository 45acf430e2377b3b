"""Workers that outlive their images: threads, each with a process of its own if asked.

A process that dies is started again and its image loaded anew; an image at which processes die
twice is bad. Which image a worker is at can be asked at any time, so that whoever waits can name
it.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler

from mrcnn.data.bad_images import Outcome
from mrcnn.data.dataset_checks import SampleError
from mrcnn.data.sample import Sample
from mrcnn.data.stream import MakeSample, SampleStream
from mrcnn.logger import logger

TRIES = 2  # of an image at which a process dies, and of a start at which it is killed
EXIT_SECONDS = 5.0  # what a worker has for its image when the interpreter ends
KILL_SECONDS = 5.0  # until a killed process is gone


class WorkerError(RuntimeError, OSError):
    """Worker processes that cannot start or keep dying: the commands report it in a line."""


class _StartError(Exception):
    """A process that did not start; says how it ended, and whether it may start next time."""

    def __init__(self, reason: str, may_pass: bool) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


class WorkerPool:
    """Threads that draw samples from a stream, in the order in which they were submitted.

    Args:
        stream: what to draw from.
        makers: one for each thread: how it makes the sample of an image, by `stream.make` itself
            or by a `WorkerProcess` of its own.

    Close it: its threads end with the interpreter, but not with the last reference.
    """

    def __init__(self, stream: SampleStream, makers: Sequence[MakeSample | WorkerProcess]) -> None:
        self._stream = stream
        self._makers = makers
        self._jobs: queue.SimpleQueue[tuple[Future[Outcome], int] | None] = queue.SimpleQueue()
        self._at: dict[int, tuple[int, float]] = {}
        self._threads = [
            # Daemons: one that hangs in a read must not keep the interpreter from ending.
            threading.Thread(target=self._run, args=(k,), name=f"mrcnn-loader-{k}", daemon=True)
            for k in range(len(makers))
        ]
        # Before multiprocessing's own handler, which waits for the processes.
        atexit.register(self.close, EXIT_SECONDS)
        for thread in self._threads:
            thread.start()

    def submit(self, position: int) -> Future[Outcome]:
        """Queue a position; the future holds what the stream gives there, or raises."""
        future: Future[Outcome] = Future()
        self._jobs.put((future, position))
        return future

    def working(self) -> list[tuple[int, float]]:
        """(image id, seconds) of the images that are being made, the longest first."""
        now = time.monotonic()
        at = [(image_id, now - started) for image_id, started in list(self._at.values())]
        return sorted(at, key=lambda pair: -pair[1])

    def close(self, patience: float) -> None:
        """Cancel what is queued; end the workers, after the image each is at.

        After `patience` seconds processes are killed, and threads left behind.
        """
        atexit.unregister(self.close)
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + patience
        for thread in self._threads:
            if thread is not threading.current_thread():  # where garbage is collected
                thread.join(max(0.0, deadline - time.monotonic()))
        for thread, make in zip(self._threads, self._makers, strict=True):
            if thread.is_alive() and isinstance(make, WorkerProcess):
                make.kill()
                thread.join(KILL_SECONDS)

    def _run(self, number: int) -> None:
        make = self._makers[number]

        def starting(image_id: int) -> None:
            self._at[number] = image_id, time.monotonic()

        while (job := self._jobs.get()) is not None:
            future, position = job
            if future.set_running_or_notify_cancel():
                try:
                    result = self._stream.draw(position, make, starting)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result  # not kept while the thread waits
                self._at.pop(number, None)
            del future, job
        if isinstance(make, WorkerProcess):
            make.stop()


class Deaths:
    """The deaths of a loader's worker processes, which its threads share.

    Args:
        limit: how many processes may be started again.
        describe: names an image.

    Attributes:
        count: deaths so far.
        deadly: images at which processes died `TRIES` times: what happened, by image id.
    """

    def __init__(self, limit: int, describe: Callable[[int], str]) -> None:
        self.limit = limit
        self.describe = describe
        self.count = 0
        self.deadly: dict[int, str] = {}
        self._lock = threading.Lock()

    def note(self, reason: str) -> None:
        """Count a death.

        Args:
            reason: where it died and how, a sentence without its full stop.

        Raises:
            WorkerError: there were more than `limit`.
        """
        with self._lock:
            self.count += 1
        if self.count > self.limit:
            raise WorkerError(
                f"The loader's worker processes died {self.count} times, more than "
                f"LOADER_MAX_RESTARTS = {self.limit}. {reason}. If they were killed for memory, "
                f"use fewer workers (LOADER_WORKERS), or threads (LOADER_PROCESSES = False)."
            )
        logger.warning(
            "%s. It is started again (%d of at most %d times).",
            *(reason, self.count, self.limit),
        )


class WorkerProcess:
    """A process that makes samples; started at the first call, and again when it died.

    Args:
        sent: the `SampleStream`, pickled by `ForkingPickler`.
        deaths: shared by all processes.
    """

    def __init__(self, sent: bytes, deaths: Deaths) -> None:
        self._sent = sent
        self._deaths = deaths
        self._running: tuple[BaseProcess, Connection] | None = None
        self._killed = False

    def __call__(self, position: int, image_id: int) -> Sample:
        """Return the process's sample.

        Raises:
            SampleError: raised by the process, or processes died at this image.
            WorkerError: the process cannot start, or too many died.
        """
        for _ in range(TRIES):
            if image_id in self._deaths.deadly:
                break
            process, connection = self._running or self._start()
            try:
                connection.send((position, image_id))
                sample, error, trace = connection.recv()
            except (EOFError, OSError):
                exit_code = self._end(process, connection)
                if self._killed:
                    raise WorkerError("The loader was closed while it worked.") from None
                where = self._deaths.describe(image_id)
                self._deaths.note(f"A worker process died at {where} ({_ending(exit_code)})")
                continue
            if error is not None:
                raise error from RuntimeError(f"in the worker process:\n{trace}")
            return sample
        else:
            self._deaths.deadly[image_id] = (
                f"{self._deaths.describe(image_id)} could not be loaded: {TRIES} worker "
                f"processes died at it ({_ending(exit_code)})."
            )
        raise SampleError(self._deaths.deadly[image_id])

    def stop(self) -> None:
        """End the process, which waits for its next image."""
        if self._running is not None:
            self._end(*self._running)

    def kill(self) -> None:
        """End the process at once. Its call in another thread raises."""
        self._killed = True
        running = self._running
        if running is not None:
            running[0].kill()

    def _start(self) -> tuple[BaseProcess, Connection]:
        """Start the process, again if it was killed while it started."""
        for left in reversed(range(TRIES)):
            try:
                return self._start_once()
            except _StartError as error:
                if self._killed:
                    raise WorkerError("The loader was closed while it worked.") from None
                if left and error.may_pass:
                    self._deaths.note(f"A worker process died as it started ({error})")
                    continue
                raise WorkerError(
                    f"A worker process of the loader died as it started ({error}). Expected the "
                    f'main script to do its work under `if __name__ == "__main__":`, and enough '
                    f"memory; use threads (LOADER_PROCESSES = False) otherwise."
                ) from None
        raise AssertionError("unreachable: the last try returns or raises")

    def _start_once(self) -> tuple[BaseProcess, Connection]:
        # Never fork: the parent holds the threads and the device of Keras.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._sent))
        try:
            process.start()
        except OSError as error:  # no memory for it; or it died before it was told what to do
            ours.close()
            theirs.close()
            raise _StartError(str(error), may_pass=True) from None
        theirs.close()  # so that the end of the process is the end of the pipe
        self._running = process, ours
        if self._killed:  # while it started
            process.kill()
        try:
            problem = ours.recv()
        except (EOFError, OSError):
            exit_code = self._end(process, ours)
            # A script that fails would fail again; what killed it may be over.
            was_killed = exit_code is not None and exit_code < 0
            raise _StartError(_ending(exit_code), was_killed) from None
        if problem is not None:
            self._end(process, ours)
            raise WorkerError(
                f"A worker process could not receive the data set: {problem}. Define its class "
                f"in a module that the worker can import (not in a notebook), or use threads "
                f"(LOADER_PROCESSES = False)."
            )
        return process, ours

    def _end(self, process: BaseProcess, connection: Connection) -> int | None:
        """Close the pipe, which ends the process; return its exit code."""
        self._running = None
        connection.close()
        process.join(KILL_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join(KILL_SECONDS)
        return process.exitcode


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        try:
            return f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"killed by signal {-exit_code}"
    return f"exit code {exit_code}"


# --- In the worker process -----------------------------------------------------------------


def _serve(connection: Connection, sent: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl+C
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        stream: SampleStream = ForkingPickler.loads(sent)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(None)
    while True:
        try:
            position, image_id = connection.recv()
        except EOFError:  # the main process has closed it
            return
        try:
            answer = ForkingPickler.dumps((stream.make(position, image_id), None, ""))
        except SampleError as error:
            answer = ForkingPickler.dumps((None, error, traceback.format_exc()))
        try:
            connection.send_bytes(answer)
        except OSError:
            return


def _exit_with_parent() -> None:
    """End this worker when the main process was killed: no one else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
