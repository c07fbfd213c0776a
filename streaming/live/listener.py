"""Live inputs through one model: what was heard, what was lost, and how it goes.

::

    ear ─▶ CaptureBuffer ─┐                          ┌─▶ Detector ─▶ messages
    ear ─▶ CaptureBuffer ─┼─ windows ─▶ one batch ─▶─┼─▶ Detector ─▶ messages
    ear ─▶ CaptureBuffer ─┘                          └─▶ Detector ─▶ messages
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from sed.errors import SedError, UsageError
from streaming.engines.base import Engine, FrameOutput
from streaming.engines.select import open_engine
from streaming.live.capture import Break, Hole, Item, Note, Piece
from streaming.live.input import InputStream
from streaming.live.sources import AudioSource
from streaming.messages import (
    Message,
    Problem,
    Status,
)
from streaming.names import deduplicate
from streaming.pipeline.batching import Batch
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


LIVE = DetectorConfig(hop_seconds=0.5, mode="sliding_window", lookahead_seconds=1.0)
BUFFER_SECONDS = 10.0
STATUS_SECONDS = 0.5
RECENT = 20  # statuses and windows that load and latency are taken over


class Listener:
    """Listens to inputs until they end or it is told to stop.

    Parameters
    ----------
    ears
        What to listen to, not started yet.
    model
        An engine that runs a model, or a checkpoint, which torch then runs on the best device.
    config
        How it is led over the sound; hop 0.5 s and a look-ahead of 1 s if not given.
    channel
        Counted from 1; the mean of all if not given.
    buffer_seconds
        Sound that may wait for the model before some is dropped, and be missed by whoever takes
        so long between two messages.

    Raises
    ------
    UsageError
        If there is no input, one has no such channel, or the configuration cannot be.
    """

    def __init__(
        self,
        ears: Sequence[AudioSource],
        model: Engine | Checkpoint,
        config: DetectorConfig = LIVE,
        *,
        channel: int | None = None,
        buffer_seconds: float = BUFFER_SECONDS,
    ) -> None:
        if not ears:
            raise UsageError("expected an input to listen to")
        config = dataclasses.replace(config, batch_size=1)
        self.engine = open_engine(model, n_streams=1)
        self._wake = threading.Condition()
        self._lines = [
            InputStream(
                ear,
                Detector(self.engine, config, sample_rate=ear.sample_rate),
                channel,
                self._wake,
                buffer_seconds,
                name=name,
            )
            for ear, name in zip(ears, deduplicate([ear.name for ear in ears]), strict=True)
        ]
        self._stopping = False
        self._began: float | None = None
        self._load = _Load()
        self._latencies: deque[float] = deque(maxlen=RECENT)

    @property
    def detector(self) -> Detector:
        """The detector of the first input: labels, front end and look-ahead are those of all."""
        return self._lines[0].detector

    def stop(self) -> None:
        """Have `messages` finish what was heard and end; may be called from any thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def status(self) -> Status:
        """Return how listening goes."""
        return Status(
            uptime_seconds=0.0 if self._began is None else time.monotonic() - self._began,
            real_time_factor=self._load.recent(),
            latency_seconds=median(self._latencies) if self._latencies else 0.0,
            n_events=sum(line.n_events for line in self._lines),
            sources=tuple(line.status() for line in self._lines),
        )

    def messages(self) -> Generator[Message]:
        """Yield what is heard and what is wrong, as it happens; at the end a last `Status`.

        An input that cannot be started is told of, and the others are heard.

        Raises
        ------
        SedError
            If none can be started.
        """
        self._began = time.monotonic()
        self._load = _Load()
        self.engine.init_thread()
        try:
            yield from self._started()
            yield from self._heard()
            yield self.status()
        finally:
            self._stop_ears()
            self.engine.restore_threads()

    def _started(self) -> Generator[Message]:
        troubles: list[SedError] = []
        for line in self._lines:
            try:
                line.start()
            except SedError as error:
                line.intake.end()
                troubles.append(error)
        if len(troubles) == len(self._lines):
            raise troubles[0]
        yield from (Problem(str(error)) for error in troubles)

    def _heard(self) -> Generator[Message]:
        while True:
            if self._stopping:
                self._stop_ears()
            items = [(line, item) for line in self._lines if (item := line.next_item())]
            yield from self._processed(items)
            for line in self._lines:
                if line.has_just_ended:
                    line.is_open = False
                    yield from line.flush()
            if not any(line.is_open for line in self._lines):
                return
            if self._load.look([line.processed_seconds for line in self._lines]):
                yield self.status()
            if not items:
                with self._wake, self._load.resting():
                    self._wake.wait_for(self._has_work, STATUS_SECONDS)

    def _has_work(self) -> bool:
        return self._stopping or any(
            line.intake.has_items or line.has_just_ended for line in self._lines
        )

    def _stop_ears(self) -> None:
        for line in self._lines:
            line.stop()

    def _processed(self, items: Iterable[tuple[InputStream, Item]]) -> Generator[Message]:
        pieces: list[tuple[InputStream, Piece, list[Batch]]] = []
        for line, item in items:
            match item:
                case Piece():
                    yield from line.look_for_silence(item)
                    pieces.append((line, item, line.push(item)))
                case Note(text):
                    yield Problem(text)
                case Break():
                    yield from line.flush()
                case Hole():
                    if item.n_samples:
                        yield from line.flush()
                    yield line.gap(item)
        outputs = self._infer([batches for _, _, batches in pieces])
        for (line, piece, batches), rows in zip(pieces, outputs, strict=True):
            if any(batch.windows for batch in batches):
                self._latencies.append(time.monotonic() - piece.arrived)
            detection = line.detector.decode(batches, rows)
            yield line.heard(piece, detection)
            yield from line.told(detection)

    def _infer(self, batches: Sequence[Sequence[Batch]]) -> list[list[FrameOutput | None]]:
        """Run the model on the windows of all inputs together; return the output of each batch.

        The batches of one input go one after the other: the rounding of a matrix product may
        depend on its size, and an input alone must not depend on how its sound arrived.
        """
        outputs: list[list[FrameOutput | None]] = [[None] * len(own) for own in batches]
        for i in range(max(map(len, batches), default=0)):
            present = [n for n, own in enumerate(batches) if i < len(own) and own[i].windows]
            if not present:
                continue
            output = self.engine.infer(np.concatenate([batches[n][i].stack() for n in present]))
            for row, n in enumerate(present):
                outputs[n][i] = output[row : row + 1]
        return outputs


class _Load:
    """Seconds of work per second of sound, of late."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque(maxlen=RECENT)  # seconds of work, of sound
        self._looked_at = time.monotonic()
        self._rested_seconds = 0.0
        self._heard_seconds: Sequence[float] = [0.0]

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Count the time of a block as no work."""
        began = time.monotonic()
        yield
        self._rested_seconds += time.monotonic() - began

    def look(self, processed_seconds: Sequence[float]) -> bool:
        """Take note of what was heard of each input so far; return whether it was time to.

        What counts is the input that gave most: others may have ended, or be lost.
        """
        passed = time.monotonic() - self._looked_at
        if passed < STATUS_SECONDS:
            return False
        sound = float(np.max(np.subtract(processed_seconds, self._heard_seconds)))
        self._looks.append((passed - self._rested_seconds, sound))
        self._looked_at += passed
        self._rested_seconds, self._heard_seconds = 0.0, processed_seconds
        return True

    def recent(self) -> float:
        """Return it; 0 as long as nothing was heard."""
        work, sound = np.sum(self._looks, axis=0) if self._looks else (0.0, 0.0)
        return float(work / sound) if sound else 0.0
