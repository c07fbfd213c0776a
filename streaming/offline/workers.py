"""Run jobs in worker processes, under a supervisor that outlives whatever happens to them.

::

    supervisor ── recording ──▶ worker      one at a time, through a pipe of its own
               ◀─ JobProgress ─             a few times a second
               ◀─ JobFinished ─

A worker that dies, or sends nothing for too long, costs the recording that it had, and another one
takes its place. A worker whose supervisor is gone ends itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import cast

from sed.audio.find import Recording
from sed.errors import RecordingError, SedError, UsageError
from sed.models.spec import ModelSpec
from sed.signals import signals_blocked
from streaming.engines.graph_model import spec_of_graph
from streaming.offline.executor import Executor
from streaming.offline.job import (
    JobFinished,
    JobProgress,
    JobResult,
    JobRunner,
    JobStarted,
    WorkerFailed,
    check_portable,
    collect,
    logger,
)
from streaming.offline.job_config import JobConfig

TIMEOUT_SECONDS = 60.0  # without a message, while a recording is processed
START_SECONDS = 300.0  # until the model is loaded
PROGRESS_SECONDS = 0.2  # least time from one progress message to the next
SUSPENDED_SECONDS = 1.0  # behind a deadline: the supervisor itself was held up
KILL_SECONDS = 1.0  # for a killed process to end; one that waits for a disk may not
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class _Ready:
    """A worker has loaded its model; `log` is what was logged meanwhile."""

    log: tuple[tuple[int, str], ...]


class ProcessExecutor(Executor):
    """Runs jobs in several processes.

    Parameters
    ----------
    n_workers
        Processes.
    timeout_seconds
        How long a worker may send nothing about its recording until it is killed.
    make_runner
        Makes what runs jobs in a worker; a class or a function at the top of a module.

    Raises
    ------
    UsageError
        If the number or the timeout is not positive.
    """

    def __init__(
        self,
        n_workers: int = 1,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        make_runner: Callable[[JobConfig, int], JobRunner] = JobRunner,
    ) -> None:
        if n_workers < 1:
            raise UsageError(f"expected workers of 1 or more, got {n_workers}")
        if not timeout_seconds > 0:
            raise UsageError(f"expected a timeout above 0 s, got {timeout_seconds:g}")
        self._max_workers = n_workers
        self._timeout_seconds = timeout_seconds
        self._make_runner = make_runner

    def start(self, job: JobConfig) -> ModelSpec | None:
        """Check the job; see `Executor.start`. Each worker loads the model."""
        check_portable(job)
        self._job = job
        return spec_of_graph(job.model)

    def run(
        self, recordings: Iterator[Recording], n_recordings: int
    ) -> Generator[JobStarted | JobProgress | JobFinished | WorkerFailed]:
        """Yield reports as they come; see `Executor.run`. All workers are gone afterwards.

        Raises
        ------
        UsageError
            If a worker finds an invalid setting.
        SedError
            If no worker can start.
        """
        self._workers: dict[Connection, _Worker] = {}
        self._recordings = recordings
        self._next: Recording | None = None  # taken from the recordings, not yet assigned
        self._n_workers = min(self._max_workers, n_recordings)
        self._n_started = self._n_ready = 0
        try:
            # The first one alone, so that the others find what it caches.
            self._start_up_to(min(1, self._n_workers))
            while self._workers:
                yield from self._step()
        finally:
            for worker in self._workers.values():
                worker.process.kill()
            for worker in list(self._workers.values()):
                self._end(worker)

    def _step(self) -> Iterator[JobStarted | JobProgress | JobFinished | WorkerFailed]:
        """Wait for a message or a deadline, and deal with it."""
        first_deadline = min(worker.deadline for worker in self._workers.values())
        ready = wait(list(self._workers), max(0.0, first_deadline - time.monotonic()))
        # If the supervisor was suspended, with Ctrl-Z for example, its workers were too.
        if (late := time.monotonic() - first_deadline) > SUSPENDED_SECONDS:
            for worker in self._workers.values():
                worker.deadline += late
        for connection in ready:
            yield from self._receive(self._workers[cast(Connection, connection)])
        for worker in list(self._workers.values()):
            if time.monotonic() > worker.deadline and not worker.connection.poll():
                reason = f"gave no sign of life for {worker.timeout_seconds:g} s"
                yield from self._fail_worker(worker, reason)

    def _receive(
        self, worker: _Worker
    ) -> Iterator[JobStarted | JobProgress | JobFinished | WorkerFailed]:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._fail_worker(worker, worker.exit_reason())
            return
        worker.timeout_seconds = self._timeout_seconds
        worker.deadline = time.monotonic() + worker.timeout_seconds
        match message:
            case _Ready(log):
                if not self._n_ready:
                    for level, text in log:
                        logger.log(level, "%s", text)
                self._n_ready += 1
                self._start_up_to(self._n_workers)
                yield from self._assign(worker)
            case WorkerFailed(reason, is_misuse):
                if is_misuse:
                    raise UsageError(reason)
                if worker.recording is None:
                    self._end(worker)
                    yield self._failed_to_start(reason)
                else:
                    yield from self._fail_worker(worker, reason)
            case JobFinished():
                worker.recording = None
                yield message
                yield from self._assign(worker)
            case _:
                yield message

    def _assign(self, worker: _Worker) -> Iterator[JobStarted]:
        """Give a worker the next recording, or end it."""
        if not self._has_next():
            self._end(worker)
            return
        assert self._next is not None
        recording, self._next = self._next, None
        worker.recording = recording
        yield JobStarted(recording)
        # A worker that has just died is found out when its message is read.
        with suppress(OSError):
            worker.connection.send(recording)

    def _fail_worker(self, worker: _Worker, reason: str) -> Iterator[JobFinished | WorkerFailed]:
        """End a worker that failed; start another if there are more recordings."""
        self._end(worker)
        recording = worker.recording
        if recording is None:
            yield self._failed_to_start(
                f"a worker {reason} before it could process anything. Its messages on standard "
                "error say more; fewer --workers need less memory."
            )
            return
        failure = RecordingError(
            recording.path,
            f"the process that analysed it {reason}. Check the file; if it plays elsewhere, "
            "convert it, and --resume.",
        )
        yield JobFinished(recording, JobResult(failure=failure, was_opened=False))
        if self._has_next():
            self._start(worker.number)

    def _failed_to_start(self, reason: str) -> WorkerFailed:
        """Return the report about a worker that could not start; raise it if none is left."""
        if not self._workers and self._has_next():
            raise SedError(reason)
        return WorkerFailed(reason)

    def _has_next(self) -> bool:
        self._next = self._next or next(self._recordings, None)
        return self._next is not None

    def _start_up_to(self, n_workers: int) -> None:
        for number in range(self._n_started, n_workers):
            self._start(number)
        self._n_started = max(self._n_started, n_workers)

    def _start(self, number: int) -> None:
        own_end, worker_end = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_work,
            args=(worker_end, self._make_runner, self._job, number),
            name=f"sed worker {number}",
            daemon=True,
        )
        with _one_core_and_no_signals(), worker_end:
            process.start()
            # Inside, so that Ctrl-C cannot come between.
            self._workers[own_end] = _Worker(number, process, own_end)

    def _end(self, worker: _Worker) -> None:
        del self._workers[worker.connection]
        worker.kill()


class _Worker:
    """A worker as its supervisor sees it."""

    def __init__(self, number: int, process: SpawnProcess, connection: Connection) -> None:
        self.number = number
        self.process = process
        self.connection = connection
        self.recording: Recording | None = None
        self.timeout_seconds = START_SECONDS
        self.deadline = time.monotonic() + self.timeout_seconds

    def kill(self) -> None:
        self.process.kill()
        self.process.join(KILL_SECONDS)
        self.connection.close()

    def exit_reason(self) -> str:
        self.process.join(KILL_SECONDS)
        status = self.process.exitcode
        if status is None:
            return "closed its pipe"
        if status >= 0:
            return f"ended with status {status}"
        ended = f"was ended by {signal.Signals(-status).name}"
        return ended + " (out of memory?)" * (status == -signal.SIGKILL)


@contextmanager
def _one_core_and_no_signals() -> Iterator[None]:
    """Let processes that start meanwhile use one core, unless the user has set a number.

    They ignore Ctrl-C and SIGTERM: their supervisor ends them.
    """
    # The tracker starts with the first process and must not inherit the blocked signals.
    if sys.platform != "win32":  # which has neither
        resource_tracker.ensure_running()
    is_unset = THREADS not in os.environ
    with signals_blocked():
        os.environ.setdefault(THREADS, "1")  # read when numpy and torch are loaded
        try:
            yield
        finally:
            if is_unset:
                del os.environ[THREADS]


def _work(
    connection: Connection,
    make_runner: Callable[[JobConfig, int], JobRunner],
    job: JobConfig,
    number: int,
) -> None:
    """Process the recordings that come through the pipe until it is closed: a worker's life."""
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        runner = make_runner(job, number)
    except (UsageError, SedError) as error:
        connection.send(WorkerFailed(str(error), isinstance(error, UsageError)))
        return
    # The errors mean that the supervisor is gone.
    with suppress(EOFError, OSError):
        connection.send(_Ready(runner.log))
        while True:
            connection.send(_process(runner, connection.recv(), connection))


def _process(
    runner: JobRunner, recording: Recording, connection: Connection
) -> JobFinished | WorkerFailed:
    """Process a recording; send progress, but not too often."""
    next_time = 0.0

    def on_progress(progress: JobProgress) -> None:
        nonlocal next_time
        if (now := time.monotonic()) >= next_time:
            next_time = now + PROGRESS_SECONDS
            connection.send(progress)

    try:
        return JobFinished(recording, collect(runner.run(recording), on_progress))
    except Exception as error:
        traceback.print_exc()
        return WorkerFailed(f"met an unexpected {type(error).__name__} ({error})")


def _end_with_supervisor() -> None:
    """End this process at once when the supervisor is gone, whatever it does."""
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    wait([supervisor.sentinel])
    os._exit(1)
