"""One recording to its events."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from sed.audio.blocks import SampleValidator, read_blocks
from sed.audio.decode import Decoder, open_recording
from sed.errors import RecordingError
from sed.events.tracker import Event, with_timestamps
from streaming.engines.base import Engine, EnginePool, FrameOutput, pool_of
from streaming.engines.select import open_engine
from streaming.offline.ranges import read_ranges
from streaming.pipeline.batching import Batch
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detection, Detector
from streaming.pipeline.prefetch import Prefetcher

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

WINDOWS_AHEAD = 128  # that may wait for the engine, and hide how it gets ready


def detect(
    recording: str | os.PathLike[str],
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    hop_seconds: float | None = None,
    mode: Literal["auto", "sliding_window", "fully_convolutional"] = "auto",
    threshold: float | None = None,
    onset_threshold: float | None = None,
    offset_threshold: float | None = None,
    min_duration_seconds: float | None = None,
    min_gap_seconds: float | None = None,
    lookahead_seconds: float | None = None,
    classes: tuple[str, ...] = (),
    top_k: int | None = None,
    channel: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> Iterator[Event]:
    """Yield the events of a recording of any length, each as soon as it is certain.

    Parameters
    ----------
    recording
        A file, or ``-`` for a WAV file on standard input.
    model
        A checkpoint or its path, an exported model, or an engine that is open already; the default
        model if not given.
    hop
        Seconds from one window to the next; half a window if not given.
    mode, threshold, on, off, min_duration_seconds, min_gap_seconds, lookahead_seconds, classes, top
        See `DetectorConfig`; None is what the checkpoint says.
    batch_size
        See `DetectorConfig`; what the engine is fastest with if not given, and 1 for standard
        input, which may be live.
    channel
        Counted from 1; the mean of all if not given.
    engine, device, precision
        See `open_engine`.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If the recording cannot be read; if it is damaged, after the events before the damage.
    """
    config = DetectorConfig(
        hop_seconds=hop_seconds,
        mode=mode,
        threshold=threshold,
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_duration_seconds=min_duration_seconds,
        min_gap_seconds=min_gap_seconds,
        lookahead_seconds=lookahead_seconds,
        classes=tuple(classes),
        top_k=top_k,
        batch_size=batch_size or batch_size_for([os.fspath(recording)]),
    )
    opened = open_engine(model, engine=engine, device=device, precision=precision)
    for detection in follow(Detector(opened, config), os.fspath(recording), channel=channel):
        yield from detection.events


def batch_size_for(sources: Iterable[str]) -> int | None:
    """Return how many windows to batch: one where input may be live; else the engine decides."""
    return 1 if "-" in sources else None


def share_of(decoder: Decoder, seconds: float) -> float:
    """Return the share of a recording that so many seconds are; 0 if its length is not known."""
    n_samples = decoder.n_samples or 0
    return min(1.0, seconds * decoder.sample_rate / n_samples) if n_samples else 0.0


def follow(
    detector: Detector,
    path: str,
    *,
    channel: int | None = None,
    decoder: Decoder | None = None,
    pool: EnginePool | None = None,
    n_readers: int = 1,
    start: datetime | None = None,
) -> Generator[Detection]:
    """Yield what a detector makes of a recording, everything at once.

    ::

        a thread: decode, resample, front end ─▶ cuts ─▶ pool: network ─▶ here: stitch, track

    Parameters
    ----------
    detector
        Is reset, and ready for another recording afterwards.
    path
        The recording; its events carry it.
    channel
        Counted from 1; the mean of all if not given.
    decoder
        The recording, already opened.
    pool
        Threads that call the engine, which other recordings may share; see `pool_of`.
    n_readers
        Threads that read a long recording at once; see `read_ranges`.
    start
        When the recording began; events then carry their time.

    Raises
    ------
    RecordingError
        Before anything else if it cannot be read, after everything good if it is damaged.
    """
    detector.reset()
    with ExitStack() as stack:
        own = pool or stack.enter_context(pool_of(detector.engine, detector.batch_shape))
        n_ahead = max(2, WINDOWS_AHEAD // detector.batch_size)  # few large batches
        cuts = Prefetcher(_cuts(detector, path, channel, decoder, n_readers), n_ahead)
        try:
            for detection in _heard(detector, cuts, own):
                events = [dataclasses.replace(event, file=path) for event in detection.events]
                yield detection._replace(events=with_timestamps(events, start))
        finally:
            cuts.close()
            detector.in_use = not cuts.is_done


def _cuts(
    detector: Detector, path: str, channel: int | None, decoder: Decoder | None, n_readers: int
) -> Generator[Batch]:
    """Yield the batches of a recording; raise what is wrong with it behind the last."""
    timeline = detector.timeline
    trouble: RecordingError | None = None
    try:
        with closing(decoder or open_recording(path)) as opened:
            check = SampleValidator()
            ranges = read_ranges(
                detector, path, opened, channel=channel, n_readers=n_readers, check=check
            )
            with closing(ranges):
                for columns in ranges:
                    yield from detector.batched(detector.cut_columns(columns))
            rest = read_blocks(
                path,
                timeline.sample_rate,
                channel=channel,
                decoder=opened,
                start=detector.n_samples,
                check=check,
            )
            with closing(rest):
                for block in rest:
                    yield from detector.batched(detector.cut(block))
    except RecordingError as error:
        trouble = error
    if trouble is None and detector.n_samples < timeline.hop_length:
        trouble = RecordingError(
            path,
            f"lasts {1000 * detector.n_samples / timeline.sample_rate:.3g} ms, too short to hear "
            f"anything in: expected {1000 * timeline.hop_length / timeline.sample_rate:g} ms or "
            "more. Record it again.",
        )
    yield from detector.batched(detector.cut_last())
    if trouble is not None:
        raise trouble


def _heard(detector: Detector, cuts: Iterator[Batch], pool: EnginePool) -> Iterator[Detection]:
    """Yield what becomes of cuts, in their order, while the next ones are with the engine."""
    asked: deque[tuple[Batch, Future[FrameOutput] | None]] = deque()

    def next_one() -> Detection:
        cut, answer = asked.popleft()
        return detector.hear(cut, None if answer is None else answer.result())

    trouble: RecordingError | None = None
    try:
        for cut in cuts:
            asked.append((cut, pool.submit(detector.ask, cut) if cut.windows else None))
            # Who lets windows go through one by one waits for each: the next may be long in coming.
            while asked and (detector.batch_size == 1 or _is_there(asked[0][1])):
                yield next_one()
    except RecordingError as error:
        trouble = error
    while asked:
        yield next_one()
    if trouble is not None:
        raise trouble


def _is_there(answer: Future[FrameOutput] | None) -> bool:
    return answer is None or answer.done()
