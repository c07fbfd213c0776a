"""Many recordings, one after the other, their results in files, and a summary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sed.audio import Decoder, open_recording
from sed.checkpoint import Checkpoint
from sed.errors import SedError
from sed.recordings import Recording, find_recordings
from sed.writers import EventWriter
from streaming.detect import follow
from streaming.detector import Detector, DetectorConfig
from streaming.engine import TorchEngine
from streaming.results import Results


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

    A recording that cannot be read, or written about, costs itself alone.

    Parameters
    ----------
    checkpoint
        The model.
    config
        How it is led over a recording.
    results
        What is written, and where.
    engine
        What runs the model.
    channel
        Counted from 1; the mean of all if not given.
    progress
        Told what happens.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: DetectorConfig | None = None,
        results: Results | None = None,
        *,
        engine: TorchEngine | None = None,
        channel: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.results = results or Results()
        self.summary = Summary()
        self._checkpoint = checkpoint
        self._detector = Detector(checkpoint, config, engine=engine)
        self._channel = channel
        self._progress = progress or Progress()
        self._bytes_done = 0

    def run(
        self, sources: Iterable[str | os.PathLike[str]], *, stdin: Decoder | None = None
    ) -> Summary:
        """Listen to all recordings that files and folders name.

        Ctrl-C ends it after what is done so far is written.

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
        with self.results.shared_writer(len(recordings), self._checkpoint) as shared:
            for recording in recordings:
                try:
                    self._one(recording, shared, stdin if recording.path == "-" else None)
                except KeyboardInterrupt:
                    self.summary.interrupted = recording.path
                    break
                self._bytes_done += recording.n_bytes
        self.summary.wall_seconds = time.perf_counter() - began
        return self.summary

    def _one(
        self, recording: Recording, shared: EventWriter | None, decoder: Decoder | None
    ) -> None:
        """Listen to one recording; note what goes wrong with it."""
        if self.results.are_there(recording):
            self.summary.n_skipped += 1
            return
        heard_before = self.summary.audio_seconds
        try:
            decoder = decoder or open_recording(recording.path)
            with self.results.own_sinks(recording, self._detector, self._checkpoint) as sinks:
                if shared:
                    sinks.writers.append(shared)
                self.summary.n_files += 1
                try:
                    for detection in follow(
                        self._detector, recording.path, channel=self._channel, decoder=decoder
                    ):
                        sinks.take(detection)
                        self.summary.n_events += len(detection.events)
                        self._heard(recording, decoder, heard_before)
                except SedError as error:  # what came before it is written all the same
                    self._trouble(error)
        except SedError as error:
            self._trouble(error)

    def _heard(self, recording: Recording, decoder: Decoder, heard_before: float) -> None:
        heard = heard_before + self._detector.heard_seconds  # which a flush sets back to zero
        self.summary.audio_seconds = max(self.summary.audio_seconds, heard)
        seconds = self.summary.audio_seconds - heard_before
        n_samples = decoder.n_samples or 0
        share = min(1.0, seconds * decoder.sample_rate / n_samples) if n_samples else 0.0
        self._progress.on_heard(
            self._bytes_done + share * recording.n_bytes, self.summary.audio_seconds
        )

    def _trouble(self, error: SedError) -> None:
        self.summary.failures.append(error)
        self._progress.on_trouble(error)
