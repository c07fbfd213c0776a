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
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sed.audio import Decoder, open_recording
from sed.errors import SedError
from sed.events import Event
from sed.recordings import Recording, find_recordings
from streaming.detect import follow
from streaming.detector import Detection, Detector, DetectorConfig
from streaming.engine import Engine, engine_of, pool_of
from streaming.readahead import ReadAhead
from streaming.results import Results
from streaming.tables import Table

if TYPE_CHECKING:
    from sed.checkpoint import Checkpoint
STEPS_AHEAD = 4_096  # a step is a minute or so, and small: recordings wait for their turn, done


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
    on_heard: Callable[[float, float], None] = lambda *_: None  # bytes and seconds so far
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
        Threads that read one recording, where it is long and can be cut into ranges.
    progress
        Told what happens.
    """

    def __init__(
        self,
        model: Engine | Checkpoint,
        config: DetectorConfig | None = None,
        results: Results | None = None,
        *,
        channel: int | None = None,
        n_at_once: int = 1,
        n_readers: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self.results = results or Results()
        self.summary = Summary()
        self.engine = engine_of(model)
        self.detector = Detector(self.engine, config)  # of the first; each at once has its own
        self._free = [self.detector, *(Detector(self.engine, config) for _ in range(n_at_once - 1))]
        self._channel = channel
        self._n_readers = n_readers
        self._progress = progress or Progress()
        self._bytes_done = 0

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
        with (
            self.results.shared_table(len(recordings), self.engine.spec) as shared,
            pool_of(self.engine) as pool,
        ):
            self._all(recordings, shared, stdin, pool)
        self.summary.wall_seconds = time.perf_counter() - began
        return self.summary

    def _all(
        self,
        recordings: Sequence[Recording],
        shared: Table | None,
        stdin: Decoder | None,
        pool: Executor,
    ) -> None:
        """Keep some recordings under way; take what they bring in their order."""
        lanes: deque[_Lane] = deque()
        waiting = iter(recordings)

        def start_one() -> None:
            if (recording := next(waiting, None)) is not None:
                steps = self._steps(recording, stdin if recording.path == "-" else None, pool)
                lanes.append(_Lane(recording, ReadAhead(steps, STEPS_AHEAD)))

        try:
            for _ in range(len(self._free)):
                start_one()
            while lanes:
                self._take(lanes[0], shared)
                lanes.popleft()
                start_one()
        except KeyboardInterrupt:
            self.summary.interrupted = lanes[0].recording.path
        finally:
            for lane in lanes:
                lane.steps.stop()
            for lane in lanes:
                lane.steps.close()

    def _steps(
        self, recording: Recording, decoder: Decoder | None, pool: Executor
    ) -> Generator[_Step]:
        """Listen to one recording, in a thread of its own; note what goes wrong with it."""
        if self.results.are_there(recording):
            yield _Step(n_skipped=1)
            return
        detector = self._free.pop()
        try:
            decoder = decoder or open_recording(recording.path)
            with self.results.own_sinks(recording, detector) as sinks:
                yield _Step(n_files=1)
                try:
                    for detection in follow(
                        detector,
                        recording.path,
                        channel=self._channel,
                        decoder=decoder,
                        pool=pool,
                        n_readers=self._n_readers,
                        start=self.results.start_of(recording),
                    ):
                        sinks.take(detection)
                        yield self._heard(detection, decoder)
                except SedError as error:  # what came before it is written all the same
                    yield _Step(trouble=error)
        except SedError as error:
            yield _Step(trouble=error)
        finally:
            self._free.append(detector)

    def _heard(self, detection: Detection, decoder: Decoder) -> _Step:
        seconds = detection.n_samples / self.detector.timeline.sample_rate
        n_samples = decoder.n_samples or 0
        share = min(1.0, seconds * decoder.sample_rate / n_samples) if n_samples else 0.0
        return _Step(detection.events, seconds, share)

    def _take(self, lane: _Lane, shared: Table | None) -> None:
        """Count and pass on all that a recording brings."""
        summary = self.summary
        heard_before = summary.audio_seconds
        for step in lane.steps:
            if shared:
                for event in step.events:
                    shared.write(event)
            summary.n_files += step.n_files
            summary.n_skipped += step.n_skipped
            summary.n_events += len(step.events)
            if step.trouble:
                self._trouble(step.trouble)
            elif step.seconds:
                summary.audio_seconds = heard_before + step.seconds
                self._progress.on_heard(
                    self._bytes_done + step.share * lane.recording.n_bytes, summary.audio_seconds
                )
        self._bytes_done += lane.recording.n_bytes

    def _trouble(self, error: SedError) -> None:
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
    steps: ReadAhead[_Step]
