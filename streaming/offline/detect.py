"""Detect the events of one recording."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Literal

from sed.audio.blocks import SampleValidator, read_blocks
from sed.audio.decode import Decoder, is_pipe, open_recording
from sed.audio.quality.meter import QualityMeter
from sed.audio.start_time import recording_start
from sed.audio.start_time import time_zone as parse_time_zone
from sed.errors import RecordingError, SedError, UsageError
from sed.events.post_processing import PostProcessing
from sed.events.timestamps import with_timestamps
from sed.events.tracker import Event
from sed.text import printable
from streaming.engines.base import Engine, EnginePool, FrameOutput
from streaming.engines.select import open_engine
from streaming.offline.ranges import read_parallel
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector
from streaming.pipeline.prefetch import Prefetcher
from streaming.pipeline.windows import Batch

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

logger = logging.getLogger("sed.offline")

# Windows that may wait for the engine; they keep the reader busy while the engine warms up.
WINDOWS_AHEAD = 128


def detect(
    recording: str | os.PathLike[str],
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    hop_seconds: float | None = None,
    mode: Literal["auto", "sliding_window", "fully_convolutional"] = "auto",
    threshold: float | None = None,
    class_thresholds: Mapping[str, float] | None = None,
    thresholds: PostProcessing | str | os.PathLike[str] | None = None,
    onset_threshold: float | None = None,
    offset_threshold: float | None = None,
    min_duration_seconds: float | None = None,
    min_gap_seconds: float | None = None,
    lookahead_seconds: float | None = None,
    classes: str | Sequence[str] = (),
    all_classes: bool = False,
    at_level: Literal["class", "kind"] = "class",
    unknown: bool = False,
    top_k: int | None = None,
    channel: int | None = None,
    track: int | None = None,
    time_zone: str | tzinfo | None = None,
    recorder_zone: str | tzinfo | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> Iterator[Event]:
    """Yield the events of a recording of any length, each as soon as it is complete.

    The time of day of an event is set if the recorder wrote its start into the file name or header.

    Parameters
    ----------
    recording
        A path or URL, or ``-`` for a WAV file on standard input.
    model
        A checkpoint or its path, the path of an exported model, or an open engine; the default
        model if not given.
    hop_seconds
        Seconds from the start of one window to the start of the next; half a window if not given.
    mode
        Inference mode: ``sliding_window``, ``fully_convolutional``, or ``auto``, which is
        fully_convolutional where windows overlap by more than half and the network allows it.
    threshold
        Score that an event must reach, for all classes; it lasts while the score is at least half
        of it. The checkpoint's, per class, if not given.
    class_thresholds
        As `threshold`, for a class or a kind with all that belongs to it, by its name. The
        narrowest name decides.
    thresholds
        Post-processing of some or all classes, or a TOML file that holds it;
        see `sed.events.post_processing`. Other parameters override it.
    onset_threshold, offset_threshold
        Score that an event must reach, and score down to which it lasts, instead of `threshold`.
    min_duration_seconds
        Shorter events are dropped; the checkpoint's if not given.
    min_gap_seconds
        Events of a class that are at most so far apart are joined; the checkpoint's if not given.
    lookahead_seconds
        Decide on each moment as soon as a window reaches so far beyond it; if not given, all
        windows over a moment count.
    classes
        A label or several: only these are detected; all if not given. In a model with a hierarchy a
        class stands for itself and its descendants, and a kind for its classes.
    all_classes
        Report every class that is found, not only the most specific one of a sound.
    at_level
        ``kind`` reports kinds (animal, vehicle) in the place of classes.
    unknown
        Also report ``unknown``: sound above the background that no class explains.
    top_k
        In each frame, only the `top_k` most probable classes count; all if not given.
    channel
        Counted from 1; the mean of all if not given.
    track
        Track of sound in a container that has several, counted from 1; its default if not given,
        and then a warning is logged (``sed.offline``) that says which that is.
    time_zone
        Time zone of the site (Europe/Berlin, +02:00, UTC, local), in which times are given.
    recorder_zone
        Time zone of clocks whose recorders do not store it; that of the site if not given. Without
        either such times have no zone.
    engine, device, precision
        See `open_engine`.
    batch_size
        Windows to compute together; if not given, what is fastest with the engine, and 1 for
        standard input, which may be live.

    What is odd about the recording (clipped, an offset, channels that cancel, …) is logged as a
    warning (``sed.offline``) after the last event.

    Raises
    ------
    UsageError
        If an argument is invalid.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If the recording cannot be read, or is damaged: then after the events before the damage.
    """
    if channel is not None and channel < 1:
        raise UsageError(f"channels are counted from 1, got {channel}")
    if track is not None and track < 1:
        raise UsageError(f"tracks are counted from 1, got {track}")
    path = os.fspath(recording)
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode=mode,
        threshold=threshold,
        class_thresholds=class_thresholds or (),
        thresholds=thresholds,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=(classes,) if isinstance(classes, str) else tuple(classes),
        all_classes=all_classes,
        at_level=at_level,
        unknown=unknown,
        top_k=top_k,
        batch_size=batch_size or batch_size_for([path]),
    )
    opened = open_engine(model, engine=engine, device=device, precision=precision)
    detector = Detector(opened, config)
    zone, clock_zone = (
        parse_time_zone(zone) if isinstance(zone, str) else zone
        for zone in (time_zone, recorder_zone)
    )
    start = None if path == "-" else recording_start(path, zone, clock_zone)
    decoder = open_recording(path, track=track)
    log_notices(path, track_notices(decoder))
    quality = QualityMeter(decoder.sample_rate, detector.spec.log_mel.f_max, channel)
    failure: SedError | None = None
    try:
        for detection in stream_detections(
            detector, path, channel=channel, decoder=decoder, start=start, quality=quality
        ):
            yield from detection.events
    except SedError as error:
        failure = error
    log_notices(path, quality.notices())
    if failure is not None:
        raise failure


def batch_size_for(sources: Iterable[str]) -> int | None:
    """Return the batch size: 1 if a source is a pipe, which may be live, else None."""
    return 1 if any(source == "-" or is_pipe(source) for source in sources) else None


def track_notices(decoder: Decoder) -> tuple[str, ...]:
    """Return which track of a recording is analysed, if it has several and none was chosen."""
    notice = getattr(decoder, "notice", "")
    return (notice,) if notice else ()


def log_notices(path: str, notices: Iterable[str]) -> None:
    """Log what is odd about a recording; see `QualityMeter`."""
    for notice in notices:
        logger.warning("%s: %s", printable(path), notice)


def share_of(decoder: Decoder, seconds: float) -> float:
    """Return seconds of a recording as a share of its length; 0 if the length is unknown."""
    n_samples = decoder.n_samples or 0
    return min(1.0, seconds * decoder.sample_rate / n_samples) if n_samples else 0.0


def stream_detections(
    detector: Detector,
    path: str,
    *,
    channel: int | None = None,
    decoder: Decoder | None = None,
    pool: EnginePool | None = None,
    n_readers: int = 1,
    start: datetime | None = None,
    quality: QualityMeter | None = None,
) -> Generator[Detection]:
    """Yield the detections of a recording; reading, the network and decoding run at once.

    ::

        reader thread: decode, resample, log-mel ─▶ batches ─▶ pool: network ─▶ here: events

    Parameters
    ----------
    detector
        Is reset first. If the generator is closed early, a reader that waits for a disk may still
        use the detector: do not use it for another recording then.
    path
        The recording; its events carry it.
    channel
        Counted from 1; the mean of all if not given.
    decoder
        The recording, if it is open already.
    pool
        Threads that call the engine, which other recordings may share.
    n_readers
        Threads that read a long recording in parallel; see `read_parallel`.
    start
        When the recording began; events then carry their time of day.
    quality
        Measures the blocks of the recording.

    Raises
    ------
    RecordingError
        Before anything else if the recording cannot be read, after everything good if it is
        damaged.
    """
    detector.reset()
    with ExitStack() as stack:
        pool = pool or stack.enter_context(EnginePool(detector.engine, detector.batch_shape))
        n_ahead = max(2, WINDOWS_AHEAD // detector.batch_size)
        batches = Prefetcher(
            _batches(detector, path, channel, decoder, n_readers, quality), n_ahead
        )
        try:
            for detection in _detections(detector, batches, pool):
                events = [dataclasses.replace(event, file=path) for event in detection.events]
                yield detection._replace(events=with_timestamps(events, start))
        finally:
            batches.close()


def _batches(
    detector: Detector,
    path: str,
    channel: int | None,
    decoder: Decoder | None,
    n_readers: int,
    quality: QualityMeter | None,
) -> Generator[Batch]:
    """Yield the batches of a recording; raise what is wrong with it after the last."""
    timeline, front_end = detector.timeline, detector.front_end
    failure: RecordingError | None = None
    try:
        with closing(decoder or open_recording(path)) as opened:
            validator = SampleValidator(quality=quality)
            chunks = read_parallel(
                front_end, path, opened, channel=channel, n_readers=n_readers, validator=validator
            )
            with closing(chunks):
                for log_mel in chunks:
                    yield from front_end.push_log_mel(log_mel)
            rest = read_blocks(
                path,
                timeline.sample_rate,
                channel=channel,
                decoder=opened,
                start=front_end.n_samples,
                validator=validator,
            )
            with closing(rest):
                for block in rest:
                    yield from front_end.push(block)
    except RecordingError as error:
        failure = error
    if failure is None and front_end.n_samples < timeline.hop_length:
        failure = RecordingError(
            path,
            f"lasts {1000 * front_end.n_samples / timeline.sample_rate:.3g} ms, too short to "
            f"analyse: expected {1000 * timeline.hop_length / timeline.sample_rate:g} ms or "
            "more. Record it again.",
        )
    yield from front_end.flush()
    if failure is not None:
        raise failure


def _detections(
    detector: Detector, batches: Iterator[Batch], pool: EnginePool
) -> Iterator[Detection]:
    """Yield what batches complete, in order, while the engine computes the next ones."""
    pending: deque[tuple[Batch, Future[FrameOutput] | None]] = deque()

    def next_detection() -> Detection:
        batch, output = pending.popleft()
        return detector.decoder.push(batch, None if output is None else output.result())

    failure: RecordingError | None = None
    try:
        for batch in batches:
            output = pool.submit(_infer, detector.engine, batch) if batch.windows else None
            pending.append((batch, output))
            # With a batch size of 1 the input may be live: emit each result at once.
            while pending and (detector.batch_size == 1 or _is_done(pending[0][1])):
                yield next_detection()
    except RecordingError as error:
        failure = error
    while pending:
        yield next_detection()
    if failure is not None:
        raise failure


def _infer(engine: Engine, batch: Batch) -> FrameOutput:
    # Stacked here, in a thread of the pool: batches that wait are not copied.
    return engine.infer(batch.stack())


def _is_done(output: Future[FrameOutput] | None) -> bool:
    return output is None or output.done()
