"""Run jobs: the interface of executors, and the one that uses threads of this process.

::

    a thread per recording, a few at once                    here, in the order of the recordings
    recording 0: decode ─ … ─ own outputs ─▶ queue of reports ─▶ reports
    recording 1: decode ─ … ─ own outputs ─▶ queue of reports    (waits for its turn)
                       `─ network ─┐
                          one pool of threads for all
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import islice

from sed.audio.decode import Decoder
from sed.audio.find import Recording
from sed.errors import SedError
from sed.models.spec import ModelSpec
from streaming.engines.base import EnginePool
from streaming.engines.select import open_engine
from streaming.offline.job import (
    JobFinished,
    JobProgress,
    JobStarted,
    WorkerFailed,
    log_engine,
    run_job,
)
from streaming.offline.job_config import JobConfig, open_store
from streaming.pipeline.detector import Detector
from streaming.pipeline.prefetch import Prefetcher

REPORTS_AHEAD = 4_096  # per recording; each is small and covers a minute or so
MAX_PENDING = 1_024  # recordings in progress, or done and waiting for their turn
# The same where reports hold embeddings, which are large.
EMBEDDINGS_AHEAD, MAX_PENDING_EMBEDDINGS = 8, 16
STOP_SECONDS = 1.0  # from an interruption until threads are left behind


class Executor(ABC):
    """Runs a job for each of many recordings."""

    reads_stdin = False  # whether a recording may be ``-``
    allows_journal = True  # whether reports come while recordings are taken one by one

    @abstractmethod
    def start(self, job: JobConfig) -> ModelSpec | None:
        """Check the job; load its model and return the model's spec.

        Workers load the model themselves; the spec is then None, but for a registered graph, whose
        description says all.

        Raises
        ------
        UsageError
            If a setting is invalid.
        SedError
            If the model cannot be loaded.
        """

    @abstractmethod
    def run(
        self, recordings: Iterator[Recording], n_recordings: int
    ) -> Generator[JobStarted | JobProgress | JobFinished | WorkerFailed]:
        """Yield reports until all recordings are finished; close it to stop early.

        Parameters
        ----------
        recordings
            Each is taken when it is about to be started.
        n_recordings
            Their number.

        Raises
        ------
        UsageError
            If a worker finds an invalid setting.
        SedError
            If no worker can start.
        """

    def close(self) -> Sequence[SedError]:
        """Clean up; return problems with the outputs of the whole run."""
        return ()


class ThreadExecutor(Executor):
    """Runs jobs in threads of this process; reports come in the order of the recordings.

    Parameters
    ----------
    n_at_once
        Recordings to decode at the same time.
    n_readers
        Threads that read a long recording in parallel, if it is the only one; see `read_parallel`.
    stdin
        The recording that ``-`` stands for, already open; a WAV file if not given.
    """

    reads_stdin = True

    def __init__(
        self, *, n_at_once: int = 1, n_readers: int = 1, stdin: Decoder | None = None
    ) -> None:
        self._n_at_once = n_at_once
        self._n_readers = n_readers
        self._stdin = stdin

    def start(self, job: JobConfig) -> ModelSpec:
        """Load the model; see `Executor.start`."""
        self._job = job
        self._engine = open_engine(
            job.model,
            engine=job.engine,
            device=job.device,
            precision=job.precision,
            layer=job.layer,
            sample_rate=job.sample_rate,
            window_seconds=job.window_seconds,
        )
        self._free = [Detector(self._engine, job.config)]
        open_store(job, self._free[0])
        log_engine(self._free[0], job)
        return self._engine.spec

    def run(
        self, recordings: Iterator[Recording], n_recordings: int
    ) -> Generator[JobStarted | JobProgress | JobFinished]:
        """Yield reports, one recording after the other; see `Executor.run`."""
        pending: deque[tuple[Recording, Prefetcher[JobProgress | JobFinished]]] = deque()
        n_readers = self._n_readers if n_recordings == 1 else 1
        embeddings = self._job.outputs.embeddings
        n_ahead, max_pending = REPORTS_AHEAD, MAX_PENDING
        if embeddings is not None and embeddings.store is None:
            n_ahead, max_pending = EMBEDDINGS_AHEAD, MAX_PENDING_EMBEDDINGS

        with EnginePool(self._engine, self._free[0].batch_shape) as pool:

            def fill() -> None:
                """Start recordings while fewer than `n_at_once` are in progress."""
                n_running = sum(not reports.is_done for _, reports in pending)
                n_more = min(self._n_at_once - n_running, max_pending - len(pending))
                for recording in islice(recordings, max(0, n_more)):
                    reports = Prefetcher(self._run(recording, pool, n_readers), n_ahead)
                    pending.append((recording, reports))

            try:
                fill()
                while pending:
                    recording, reports = pending[0]
                    yield JobStarted(recording)
                    for report in reports:
                        # While this recording takes long, others may be done.
                        fill()
                        if isinstance(report, JobFinished):
                            pending.popleft()
                        yield report
                    fill()
            finally:
                self._stop([reports for _, reports in pending], pool)

    def _stop(
        self, pending: Sequence[Prefetcher[JobProgress | JobFinished]], pool: EnginePool
    ) -> None:
        """Stop what is in progress, within `STOP_SECONDS`."""
        for reports in pending:
            reports.stop()
        pool.cancel()
        deadline = time.monotonic() + STOP_SECONDS
        for reports in pending:
            reports.close(max(0.0, deadline - time.monotonic()))

    def _run(
        self, recording: Recording, pool: EnginePool, n_readers: int
    ) -> Generator[JobProgress | JobFinished]:
        """Run a job, in a thread of its own."""
        try:
            detector = self._free.pop()
        except IndexError:
            detector = Detector(self._engine, self._job.config)
        decoder = self._stdin if recording.path == "-" else None
        for report in run_job(
            self._job, recording, detector, decoder=decoder, pool=pool, n_readers=n_readers
        ):
            # After a failure a thread that waits for a disk may still use the detector.
            if isinstance(report, JobFinished):
                result = report.result
                if result.failure is None or not result.was_opened:
                    self._free.append(detector)
            yield report
