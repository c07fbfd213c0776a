"""Process one recording: from a file to its own outputs and a result.

All that goes into a job and comes out of it can be pickled, so a job may run in a thread of this
process, in another process, or on another machine.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sed.audio.decode import Decoder, open_recording
from sed.audio.find import Recording
from sed.audio.quality.meter import QualityMeter
from sed.errors import DamagedRecordingError, SedError, UsageError
from sed.events.tracker import Event
from sed.models.devices import has_gpu
from sed.models.registry import find_model, model_name
from streaming.engines.base import EnginePool
from streaming.engines.select import open_engine, runs_on_cpu
from streaming.offline.detect import share_of, stream_detections, track_notices
from streaming.offline.detections.embedding_rows import EmbeddingRow
from streaming.offline.job_config import JobConfig, open_store
from streaming.offline.output_files import open_outputs
from streaming.pipeline.detector import Detector

logger = logging.getLogger("sed.offline")


@dataclass(frozen=True)
class JobResult:
    """What became of a recording."""

    events: tuple[Event, ...] = ()  # also those before damage; not those in `JobProgress`
    processed_seconds: float = 0.0
    failure: SedError | None = None  # what went wrong, if anything did
    was_opened: bool = True  # if not, nothing is known of the recording but the failure
    n_embeddings: int = 0
    is_damaged: bool = False  # the failure is damage, and what is not damaged was analysed
    notices: tuple[str, ...] = ()  # what is odd and no failure


@dataclass(frozen=True)
class JobStarted:
    """A recording is being processed."""

    recording: Recording


@dataclass(frozen=True)
class JobProgress:
    """A recording is processed up to some moment."""

    recording: Recording
    seconds: float  # processed so far
    share: float  # processed so far; 0 if the length of the recording is unknown
    events: tuple[Event, ...] = ()  # since the last report, where events are passed on at once
    embeddings: tuple[EmbeddingRow, ...] = ()  # since the last report, if they go to no store


@dataclass(frozen=True)
class JobFinished:
    """A recording is processed, or has failed."""

    recording: Recording
    result: JobResult


@dataclass(frozen=True)
class WorkerFailed:
    """A worker could not start, or died."""

    reason: str  # with a remedy
    is_misuse: bool = False  # a setting is invalid: no worker can start


def run_job(
    job: JobConfig,
    recording: Recording,
    detector: Detector,
    *,
    decoder: Decoder | None = None,
    pool: EnginePool | None = None,
    n_readers: int = 1,
) -> Generator[JobProgress | JobFinished]:
    """Process a recording and write its own outputs, whole or not at all.

    Parameters
    ----------
    job
        The channel, the track and the outputs; the detector has the rest.
    recording
        The recording.
    detector
        Is reset first; see `stream_detections`.
    decoder
        The recording, if it is open already.
    pool, n_readers
        See `stream_detections`.

    Yields
    ------
    Progress with the new events, and in the end the result, without events. Errors of the recording
    and of its outputs are in the result.
    """
    if not job.outputs.concern(recording):
        yield JobFinished(recording, JobResult(was_opened=False))
        return
    seconds, failure, was_opened, n_rows = 0.0, None, False, 0
    quality: QualityMeter | None = None
    notices: tuple[str, ...] = ()
    try:
        decoder = decoder or open_recording(recording.path, track=job.track)
        notices = track_notices(decoder)
        quality = QualityMeter(decoder.sample_rate, detector.spec.log_mel.f_max, job.channel)
        with open_outputs(job.outputs, recording, detector, decoder.sample_rate) as files:
            was_opened = True
            try:
                for detection in stream_detections(
                    detector,
                    recording.path,
                    channel=job.channel,
                    decoder=decoder,
                    pool=pool,
                    n_readers=n_readers,
                    start=job.outputs.start_time(recording),
                    quality=quality,
                ):
                    rows = files.write(detection)
                    seconds = detection.n_samples / detector.timeline.sample_rate
                    share = share_of(decoder, seconds)
                    yield JobProgress(recording, seconds, share, tuple(detection.events), rows)
            except SedError as error:
                # The results before the damage are kept.
                failure = error
            if rows := files.finish():
                yield JobProgress(recording, seconds, share_of(decoder, seconds), (), rows)
            n_rows = files.n_rows
            if files.rows and failure is None:
                failure = files.rows.failure
    except SedError as error:
        failure = error
    finally:
        # What reads it closes it.
        if decoder is not None and not was_opened:
            decoder.close()
    is_damaged = isinstance(failure, DamagedRecordingError)
    if quality is not None:
        notices += quality.notices()
    result = JobResult((), seconds, failure, was_opened, n_rows, is_damaged, notices)
    yield JobFinished(recording, result)


class JobRunner:
    """A model, loaded once, that processes recordings: the part of a worker process or Ray actor.

    Parameters
    ----------
    job
        How recordings are processed; its model is a path or None.
    worker
        Number of the worker, from 0; of several GPUs it takes the one of its number.

    Raises
    ------
    UsageError
        If a setting is invalid.
    SedError
        If the model cannot be loaded, or the device is missing.
    """

    def __init__(self, job: JobConfig, worker: int = 0) -> None:
        self._job = job
        with _captured_log() as log:
            engine = open_engine(
                job.model,
                engine=job.engine,
                device=_worker_device(job, worker),
                precision=job.precision,
                n_streams=1,  # other workers have the other cores
                layer=job.layer,
                sample_rate=job.sample_rate,
                window_seconds=job.window_seconds,
            )
            self._detector = Detector(engine, job.config)
            open_store(job, self._detector)
            log_engine(self._detector, job)
        self.log = tuple(log)  # level and text of what was logged meanwhile

    def run(self, recording: Recording) -> Generator[JobProgress | JobFinished]:
        """Process a recording; see `run_job`."""
        yield from run_job(self._job, recording, self._detector)


def collect(
    reports: Iterator[JobProgress | JobFinished],
    on_progress: Callable[[JobProgress], None] = lambda _: None,
) -> JobResult:
    """Return the result of a job with all its events, ready to be pickled.

    Parameters
    ----------
    reports
        What `run_job` yields.
    on_progress
        Called with each progress, without events.
    """
    events: list[Event] = []
    result = JobResult()
    for report in reports:
        if isinstance(report, JobFinished):
            result = report.result
        else:
            events += report.events
            on_progress(dataclasses.replace(report, events=()))
    # Not every class of errors can be unpickled; its message can.
    failure = None if result.failure is None else SedError(str(result.failure))
    return dataclasses.replace(result, events=(*events, *result.events), failure=failure)


def log_engine(detector: Detector, job: JobConfig) -> None:
    """Log which engine runs which model, and how."""
    model = job.model
    if model is None or isinstance(model, str | os.PathLike):
        name = model_name(model)
    else:
        name = "a model in memory"
    n_classes = len(detector.spec.labels)
    logger.info("%s, %s; %s, %d classes", detector.engine, detector.mode, name, n_classes)


def check_portable(job: JobConfig) -> None:
    """Make sure that another process can run a job.

    Raises
    ------
    UsageError
        If its model is not a path.
    """
    if job.model is not None and not isinstance(job.model, str | os.PathLike):
        raise UsageError("each worker loads the model itself: give the path of a checkpoint")


def _worker_device(job: JobConfig, worker: int) -> str:
    """Return the GPU of a worker, if there are several and the job names none."""
    path = find_model(job.model) if isinstance(job.model, str | os.PathLike) else None
    is_free = job.device in ("auto", "cuda") and not runs_on_cpu(path, job.engine)
    if not is_free or not has_gpu():
        return job.device
    # Importing torch is slow.
    import torch

    n_gpus = torch.cuda.device_count()
    return f"cuda:{worker % n_gpus}" if n_gpus > 1 else job.device


@contextmanager
def _captured_log() -> Iterator[list[tuple[int, str]]]:
    """Collect level and text of what is logged meanwhile, for the process that shows it."""
    records: list[tuple[int, str]] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append((record.levelno, record.getMessage()))

    log, handler = logging.getLogger("sed"), Collector()
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield records
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
