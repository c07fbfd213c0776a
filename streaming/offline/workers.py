"""Worker processes that hear recordings, and a supervisor that outlives whatever happens to them.

::

    supervisor ── recording ──▶ worker      one at a time, through a pipe of its own
               ◀── still at it ──           a few times a second, as long as sound is heard
               ◀── outcome ──

A worker that dies, or says nothing for too long, costs the recording that it had, and another takes
its place. A worker whose supervisor is gone ends itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol, cast

from sed.audio.find import Recording
from sed.errors import SedError, UsageError
from sed.text import printable
from streaming.offline.job import JobConfig, JobResult, OnProgress

TIMEOUT_SECONDS = 60.0  # without a sign of life, while a recording is heard
START_SECONDS = 300.0  # until the model is loaded
BEAT_SECONDS = 0.2  # from one sign of life to the next, at least
OVERSLEPT_SECONDS = 1.0  # behind a deadline, the supervisor itself was held up
THREADS = "OMP_NUM_THREADS"


class WorkerError(SedError):
    """A worker that could not start."""


class Hears(Protocol):
    """What a worker does with a recording: a `Hearer`, or what stands in for it in a test."""

    engine: str

    def hear(self, recording: Recording, on_progress: OnProgress) -> JobResult:
        """Hear it, call `on_progress` all the while."""
        ...


MakeHearer = Callable[[JobConfig], Hears]  # found by its name in the worker, as pickles are


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its model."""

    engine: str  # for people


@dataclass(frozen=True)
class Unable:
    """A worker cannot load its model."""

    reason: str
    is_misuse: bool


@dataclass(frozen=True)
class Started:
    """A recording was given to a worker."""

    recording: Recording


@dataclass(frozen=True)
class Heard:
    """A recording has been heard so far."""

    recording: Recording
    seconds: float
    share: float


@dataclass(frozen=True)
class Finished:
    """A recording has been heard, or has failed."""

    recording: Recording
    outcome: JobResult


@dataclass(frozen=True)
class Broken:
    """A worker met what it did not expect, and ends."""

    reason: str


@dataclass(frozen=True)
class Fewer:
    """A worker could not start, and the others go on without it."""

    reason: str


Answer = Ready | Unable | Heard | JobResult | Broken
Report = Ready | Started | Heard | Finished | Fewer


class Workers:
    """Hears recordings in several processes.

    Parameters
    ----------
    settings
        What each of them hears with.
    n_workers
        How many.
    timeout_seconds
        How long a worker may say nothing about its recording.
    make_hearer
        What hears; a class or a function at the top of a module.
    """

    def __init__(
        self,
        settings: JobConfig,
        n_workers: int,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        make_hearer: MakeHearer,
    ) -> None:
        self._settings = settings
        self._n_workers = n_workers
        self._timeout_seconds = timeout_seconds
        self._make_hearer = make_hearer
        self._workers: dict[Connection, _Worker] = {}
        self._waiting: Iterator[Recording] = iter(())
        self._following: Recording | None = None  # the first that waits, if somebody has looked
        self._n_begun = 0

    def hear_all(self, recordings: Iterator[Recording]) -> Generator[Report]:
        """Yield what happens until all recordings are finished; take each only when it is started.

        All workers are gone when it ends, however it ends.

        Raises
        ------
        UsageError
            If a setting cannot be.
        WorkerError
            If no worker can start.
        """
        self._waiting = recordings
        try:
            self._start_up_to(min(1, self._n_workers))
            while self._workers:
                yield from self._step()
        finally:
            for worker in self._workers.values():
                worker.process.kill()
            for worker in list(self._workers.values()):
                self._end(worker)

    def _step(self) -> Iterator[Report]:
        """Wait for a worker to say something, or for the time of one to be up."""
        first_deadline = min(worker.deadline for worker in self._workers.values())
        speaking = wait(list(self._workers), max(0.0, first_deadline - time.monotonic()))
        # Whoever stopped the supervisor, with Ctrl-Z say, stopped its workers too.
        if (overslept := time.monotonic() - first_deadline) > OVERSLEPT_SECONDS:
            for worker in self._workers.values():
                worker.deadline += overslept
        for connection in speaking:
            yield from self._listen(self._workers[cast(Connection, connection)])
        for worker in list(self._workers.values()):
            if time.monotonic() > worker.deadline and not worker.connection.poll():
                yield from self._lose(worker, f"gave no sign of life for {worker.patience:g} s")

    def _listen(self, worker: _Worker) -> Iterator[Report]:
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._lose(worker, worker.how_it_ended())
            return
        worker.patience = self._timeout_seconds
        worker.deadline = time.monotonic() + worker.patience
        match answer:
            case Ready():
                self._start_up_to(self._n_workers)
                yield answer
                yield from self._give(worker)
            case Unable(reason, is_misuse):
                if is_misuse:
                    raise UsageError(reason)
                self._end(worker)
                yield self._fewer(reason)
            case Heard():
                yield answer
            case Broken(reason):
                yield from self._lose(worker, reason)
            case JobResult():
                assert worker.recording is not None
                recording, worker.recording = worker.recording, None
                yield Finished(recording, answer)
                yield from self._give(worker)

    def _give(self, worker: _Worker) -> Iterator[Report]:
        """Give a worker the next recording, or let it go."""
        if not self._anything_waits():
            self._end(worker)
            return
        assert self._following is not None
        recording, self._following = self._following, None
        worker.recording = recording
        yield Started(recording)
        with suppress(OSError):  # it died just now, which is found out when it is listened to
            worker.connection.send(recording)

    def _lose(self, worker: _Worker, reason: str) -> Iterator[Report]:
        """End a worker that failed; put another in its place if there is more to hear."""
        self._end(worker)
        if worker.recording is None:
            yield self._fewer(
                f"a worker {reason} before it could hear anything. What it said on standard error "
                "says more; fewer --workers need less memory."
            )
            return
        failure = (
            f"{printable(worker.recording.path)}: the process that heard it {reason}. Check the "
            "file; if it plays elsewhere, convert it, and --resume."
        )
        yield Finished(worker.recording, JobResult(failure=failure))
        if self._anything_waits():
            self._start(worker.number)

    def _anything_waits(self) -> bool:
        self._following = self._following or next(self._waiting, None)
        return self._following is not None

    def _fewer(self, reason: str) -> Fewer:
        """Return what to report of a worker that could not start; raise it if none is left."""
        if not self._workers and self._anything_waits():
            raise WorkerError(reason)
        return Fewer(reason)

    def _start_up_to(self, n_workers: int) -> None:
        """Start workers; the first one alone, so that the others find prepared what it prepares."""
        for number in range(self._n_begun, n_workers):
            self._start(number)
        self._n_begun = max(self._n_begun, n_workers)

    def _start(self, number: int) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=work,
            args=(theirs, self._make_hearer, self._settings.of_worker(number)),
            name=f"sed worker {number}",
            daemon=True,
        )
        with _one_core_and_no_signals(), theirs:
            process.start()
            self._workers[ours] = _Worker(number, process, ours)  # before Ctrl-C can come between

    def _end(self, worker: _Worker) -> None:
        del self._workers[worker.connection]
        worker.kill()


class _Worker:
    """A worker as its supervisor knows it."""

    def __init__(self, number: int, process: SpawnProcess, connection: Connection) -> None:
        self.number = number
        self.process = process
        self.connection = connection
        self.recording: Recording | None = None
        self.patience = START_SECONDS
        self.deadline = time.monotonic() + self.patience

    def kill(self) -> None:
        self.process.kill()
        self.process.join(1.0)  # a disk that does not answer can keep it from ending
        self.connection.close()

    def how_it_ended(self) -> str:
        self.process.join(1.0)
        status = self.process.exitcode
        if status is None:
            return "closed its pipe"
        if status >= 0:
            return f"ended with status {status}"
        ended = f"was ended by {signal.Signals(-status).name}"
        return ended + " (out of memory?)" * (status == -signal.SIGKILL)


@contextmanager
def _one_core_and_no_signals() -> Iterator[None]:
    """Let processes that start meanwhile use one core, unless the user says otherwise.

    They hear neither Ctrl-C nor SIGTERM: their supervisor ends them.
    """
    resource_tracker.ensure_running()  # it comes with the first process, and lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    is_ours = THREADS not in os.environ
    os.environ.setdefault(THREADS, "1")  # read when numpy and torch are loaded
    try:
        yield
    finally:
        if is_ours:
            del os.environ[THREADS]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(connection: Connection, make_hearer: MakeHearer, settings: JobConfig) -> None:
    """Hear what comes through the pipe until it is closed: the life of a worker."""
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        hearer = make_hearer(settings)
    except (UsageError, SedError) as error:
        connection.send(Unable(str(error), isinstance(error, UsageError)))
        return
    with suppress(EOFError, OSError):  # the supervisor is gone
        connection.send(Ready(hearer.engine))
        while True:
            connection.send(_answer(hearer, connection.recv(), connection))


def _answer(hearer: Hears, recording: Recording, connection: Connection) -> JobResult | Broken:
    try:
        return hearer.hear(recording, _beat(connection, recording))
    except Exception as error:
        traceback.print_exc()
        return Broken(f"met an unexpected {type(error).__name__} ({error})")


def _beat(connection: Connection, recording: Recording) -> OnProgress:
    """Return what tells the supervisor, not too often, how much is heard."""
    next_beat = 0.0

    def on_progress(seconds: float, share: float) -> None:
        nonlocal next_beat
        if (now := time.monotonic()) >= next_beat:
            next_beat = now + BEAT_SECONDS
            connection.send(Heard(recording, seconds, share))

    return on_progress


def _end_with_supervisor() -> None:
    """End this process, at once and whatever it does, when the supervisor is gone."""
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    wait([supervisor.sentinel])
    os._exit(1)
