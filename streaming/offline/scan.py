"""Many recordings, several at a time, their results in files, and a summary.

::

    a thread each, a few at once                    here, one recording after the other
    recording 0: decode ─ … ─ own results ─▶ lane ─▶ shared results, progress, troubles
    recording 1: decode ─ … ─ own results ─▶ lane    (waits for its turn)
                       `─ network ─┐
                          one pool of threads for all
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from sed.audio.decode import Decoder, open_recording
from sed.audio.find import Recording, find_recordings
from sed.errors import SedError
from sed.events.tracker import Event
from sed.events.writers import EventWriter
from streaming.engines.base import Engine, EnginePool
from streaming.engines.select import open_engine
from streaming.offline.detect import share_of, stream_detections
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector
from streaming.pipeline.prefetch import Prefetcher

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint
STEPS_AHEAD = 4_096  # a step is a minute or so, and small: recordings wait for their turn, done
MOST_LANES = 1_024  # recordings under way or waiting for their turn


@dataclass
class Summary:
    """What became of a batch of recordings."""

    n_files: int = 0  # listened to, in whole or up to some damage
    n_skipped: int = 0  # had their results already
    n_events: int = 0
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    failures: list[SedError] = field(default_factory=list)  # also of recordings heard in part
    interrupted: str = ""  # the recording that Ctrl-C fell into

    @property
    def n_failures(self) -> int:
        """Recordings with something wrong, and what else was wrong."""
        return len(self.failures)

    @property
    def times_real_time(self) -> float:
        """Seconds of audio per second of waiting."""
        return self.audio_seconds / max(self.wall_seconds, 1e-9)


@dataclass(frozen=True)
class Progress:
    """Told what happens; each of them may be anything that takes these arguments."""

    on_start: Callable[[int, int], None] = lambda *_: None  # recordings and bytes in all
    on_progress: Callable[[float, float], None] = lambda *_: None  # bytes and seconds so far
    on_trouble: Callable[[SedError], None] = lambda _: None  # with a recording, as it comes


class Scan:
    """Listens to recordings and writes down what is heard.

    A recording that cannot be read, or written about, costs itself alone. Whatever runs at once,
    results that go to one place come in the order of the recordings.

    Parameters
    ----------
    model
        An engine that runs a model, or a checkpoint, which torch then runs on the best device.
    config
        How it is led over a recording.
    results
        What is written, and where.
    channel
        Counted from 1; the mean of all if not given.
    n_at_once
        Recordings that are decoded at the same time.
    n_readers
        Threads that read a recording that is the only one, if it is long and can be cut into
        ranges.
    progress
        Told what happens.
    """

    def __init__(
        self,
        model: Engine | Checkpoint,
        config: DetectorConfig | None = None,
        results: OutputConfig | None = None,
        *,
        channel: int | None = None,
        n_at_once: int = 1,
        n_readers: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self.results = results or OutputConfig()
        self.summary = Summary()
        self.engine = open_engine(model, n_streams=1)
        self.detector = Detector(self.engine, config)  # of the first; each at once has its own
        self._free = [self.detector, *(Detector(self.engine, config) for _ in range(n_at_once - 1))]
        self._channel = channel
        self._n_readers = n_readers
        self._progress = progress or Progress()
        self._n_at_once = n_at_once
        self._bytes_done, self._seconds_done = 0, 0.0

    def run(
        self, sources: Iterable[str | os.PathLike[str]], *, stdin: Decoder | None = None
    ) -> Summary:
        """Listen to all recordings that files and folders name.

        Ctrl-C ends it within a second, with what is done so far written.

        Parameters
        ----------
        sources
            Files and folders; ``-`` is standard input.
        stdin
            What ``-`` stands for, already opened; a WAV file if not given.

        Raises
        ------
        OutputError
            If the one place that all results go to cannot be written.
        UsageError
            If the format cannot hold several recordings.
        """
        began = time.perf_counter()
        recordings, errors = find_recordings(sources)
        for error in errors:
            self._trouble(error)
        self._progress.on_start(len(recordings), sum(r.n_bytes for r in recordings))
        if len(recordings) > 1:
            self.results.check_shared()
        with (
            self.results.open_shared(self.engine.spec) as shared,
            EnginePool(self.engine, self.detector.batch_shape) as pool,
        ):
            self._all(recordings, shared, stdin, pool)
        self.summary.wall_seconds = time.perf_counter() - began
        return self.summary

    def _all(
        self,
        recordings: Sequence[Recording],
        shared: EventWriter | None,
        stdin: Decoder | None,
        pool: EnginePool,
    ) -> None:
        """Keep some recordings under way; take what they bring in their order."""
        lanes: deque[_Lane] = deque()
        waiting = iter(recordings)
        n_readers = self._n_readers if len(recordings) == 1 else 1

        def fill() -> None:
            """Start recordings as long as fewer are under way than may be."""
            n_under_way = sum(not lane.steps.is_done for lane in lanes)
            n_more = min(self._n_at_once - n_under_way, MOST_LANES - len(lanes))
            for recording in islice(waiting, max(0, n_more)):
                decoder = stdin if recording.path == "-" else None
                steps = self._steps(recording, decoder, pool, n_readers)
                lanes.append(_Lane(recording, Prefetcher(steps, STEPS_AHEAD)))

        try:
            fill()
            while lanes:
                for step in lanes[0].steps:
                    self._take(step, lanes[0].recording, shared)
                    fill()  # while this one takes long, others may be done
                self._finished(lanes.popleft().recording)
                fill()
        except KeyboardInterrupt:
            self.summary.interrupted = lanes[0].recording.path if lanes else "between recordings"
        finally:
            self._stop(lanes, pool)

    def _stop(self, lanes: Sequence[_Lane], pool: EnginePool) -> None:
        """End what is under way, within a second."""
        for lane in lanes:
            lane.steps.stop()
        pool.cancel()
        deadline = time.monotonic() + 1.0
        for lane in lanes:
            lane.steps.close(max(0.0, deadline - time.monotonic()))

    def _steps(
        self, recording: Recording, decoder: Decoder | None, pool: EnginePool, n_readers: int
    ) -> Generator[_Step]:
        """Listen to one recording, in a thread of its own; note what goes wrong with it."""
        if self.results.skip_existing and self.results.exist(recording):
            yield _Step(n_skipped=1)
            return
        detector = self._free.pop()
        try:
            decoder = decoder or open_recording(recording.path)
            with self.results.open_outputs(recording, detector) as files:
                yield _Step(n_files=1)
                try:
                    for detection in stream_detections(
                        detector,
                        recording.path,
                        channel=self._channel,
                        decoder=decoder,
                        pool=pool,
                        n_readers=n_readers,
                        start=self.results.start_time(recording),
                    ):
                        files.write(detection)
                        yield self._heard(detection, decoder)
                except SedError as error:  # what came before it is written all the same
                    yield _Step(trouble=error)
        except SedError as error:
            yield _Step(trouble=error)
        finally:
            # A reader that hangs in a disk may still use it.
            self._free.append(Detector(self.engine, detector.config))

    def _heard(self, detection: Detection, decoder: Decoder) -> _Step:
        seconds = detection.n_samples / self.detector.timeline.sample_rate
        return _Step(detection.events, seconds, share_of(decoder, seconds))

    def _take(self, step: _Step, recording: Recording, shared: EventWriter | None) -> None:
        """Count and pass on what a recording brings."""
        summary = self.summary
        if shared:
            for event in step.events:
                shared.write(event)
        summary.n_files += step.n_files
        summary.n_skipped += step.n_skipped
        summary.n_events += len(step.events)
        if step.trouble:
            self._trouble(step.trouble)
        elif step.seconds:
            summary.audio_seconds = self._seconds_done + step.seconds
            n_bytes = self._bytes_done + step.share * recording.n_bytes
            self._progress.on_progress(n_bytes, summary.audio_seconds)

    def _finished(self, recording: Recording) -> None:
        self._bytes_done += recording.n_bytes
        self._seconds_done = self.summary.audio_seconds

    def _trouble(self, error: SedError) -> None:
        # Its frames would keep what they hold, of each bad recording of an archive.
        error = error.with_traceback(None)
        error.__cause__ = error.__context__ = None
        self.summary.failures.append(error)
        self._progress.on_trouble(error)


@dataclass(frozen=True)
class _Step:
    """What a recording brings, bit by bit."""

    events: Sequence[Event] = ()
    seconds: float = 0.0  # of the recording, heard so far
    share: float = 0.0  # of the recording, heard so far
    n_files: int = 0  # that are listened to from now on
    n_skipped: int = 0
    trouble: SedError | None = None


class _Lane(NamedTuple):
    """A recording that is under way."""

    recording: Recording
    steps: Prefetcher[_Step]
