"""Live inputs through one model: what was heard, what was lost, and how it goes.

::

    ear ─▶ Intake ─┐                          ┌─▶ Detector ─▶ messages
    ear ─▶ Intake ─┼─ windows ─▶ one batch ─▶─┼─▶ Detector ─▶ messages
    ear ─▶ Intake ─┘                          └─▶ Detector ─▶ messages
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import zip_longest
from statistics import median

import numpy as np
from numpy.typing import NDArray

from sed.checkpoint import Checkpoint
from sed.errors import SedError, UsageError
from sed.events import Event
from sed.timeline import samples_from_seconds, seconds_from_samples
from streaming.clock import WallClock
from streaming.detector import Cut, Detection, Detector, DetectorConfig
from streaming.ears import Ear
from streaming.engine import TorchEngine
from streaming.intake import Break, Hole, Intake, Item, Note, Piece
from streaming.messages import (
    Began,
    Ended,
    Gap,
    Heard,
    Message,
    SourceStatus,
    Status,
    Trouble,
)

Floats = NDArray[np.float32]

LIVE = DetectorConfig(hop=0.5, look_ahead=1.0)
BUFFER_SECONDS = 10.0
STATUS_SECONDS = 0.5
RECENT = 20  # statuses and windows that load and latency are taken over
MUTE_SECONDS = 10.0  # of digital silence, after which a microphone is probably switched off


class Listener:
    """Listens to inputs until they end or it is told to stop.

    Parameters
    ----------
    ears
        What to listen to, not started yet.
    checkpoint
        The model.
    config
        How it is led over the sound; hop 0.5 s and a look-ahead of 1 s if not given.
    engine
        What runs the model; a `TorchEngine` on the best device if not given.
    channel
        Counted from 1; the mean of all if not given.
    buffer_seconds
        Sound that may wait for the model before some is dropped, and be missed by whoever takes
        so long between two messages.

    Raises
    ------
    UsageError
        If an input has no such channel, two have one name, or the configuration cannot be.
    """

    def __init__(
        self,
        ears: Sequence[Ear],
        checkpoint: Checkpoint,
        config: DetectorConfig = LIVE,
        *,
        engine: TorchEngine | None = None,
        channel: int | None = None,
        buffer_seconds: float = BUFFER_SECONDS,
    ) -> None:
        names = [ear.name for ear in ears]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"{twice[0]} is given twice")
        self.engine = engine or TorchEngine(checkpoint.model)
        self._wake = threading.Condition()
        self._lines = [
            _Line(
                ear,
                Detector(checkpoint, config, sample_rate=ear.sample_rate, engine=self.engine),
                channel,
                self._wake,
                buffer_seconds,
            )
            for ear in ears
        ]
        self._stopping = False
        self._waited_seconds = 0.0
        self._shares: deque[tuple[float, float]] = deque(maxlen=RECENT)  # work and sound, seconds
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
        work, sound = (sum(values) for values in zip(*self._shares, strict=True)) if (
            self._shares
        ) else (0.0, 0.0)  # fmt: skip
        return Status(
            uptime_seconds=time.monotonic() - self._began,
            load=work / sound if sound else 0.0,
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
        try:
            yield from self._started()
            yield from self._heard()
            yield self.status()
        finally:
            self._stop_ears()

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
        yield from (Trouble(str(error)) for error in troubles)

    def _heard(self) -> Generator[Message]:
        reported_at, waited_before, heard_before = self._began, 0.0, 0.0
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
            now = time.monotonic()
            if now - reported_at >= STATUS_SECONDS:
                heard = sum(line.heard_seconds for line in self._lines) / len(self._lines)
                work = now - reported_at - (self._waited_seconds - waited_before)
                self._shares.append((work, heard - heard_before))
                reported_at, waited_before, heard_before = now, self._waited_seconds, heard
                yield self.status()
            if not items:
                self._wait()

    def _wait(self) -> None:
        began = time.monotonic()
        with self._wake:
            if not self._stopping:
                self._wake.wait_for(
                    lambda: (
                        self._stopping
                        or any(line.intake.has_items or line.has_just_ended for line in self._lines)
                    ),
                    STATUS_SECONDS,
                )
        if self._stopping:
            self._stop_ears()
        self._waited_seconds += time.monotonic() - began

    def _has_work(self) -> bool:
        return self._stopping or any(
            line.intake.has_items or line.has_just_ended for line in self._lines
        )

    def _stop_ears(self) -> None:
        for line in self._lines:
            line.stop()

    def _processed(self, items: Iterable[tuple[_Line, Item]]) -> Generator[Message]:
        pieces: list[tuple[_Line, Piece, Cut]] = []
        for line, item in items:
            match item:
                case Piece():
                    yield from line.look_for_silence(item)
                    pieces.append((line, item, line.cut(item)))
                case Note(text):
                    yield Trouble(text)
                case Break():
                    yield from line.flush()
                case Hole():
                    if item.n_samples:
                        yield from line.flush()
                    yield line.gap(item)
        answers = self._answers([cut for _, _, cut in pieces])
        for (line, piece, cut), frame_probs in zip(pieces, answers, strict=True):
            if cut.windows:
                self._latencies.append(time.monotonic() - piece.arrived)
            detection = line.detector.hear(cut, frame_probs)
            yield line.heard(piece, detection)
            yield from line.told(detection)

    def _answers(self, cuts: Sequence[Cut]) -> list[Floats]:
        """Run the model on the windows of all inputs together.

        Windows of one input go one after the other: the rounding of a batch depends on its size,
        and that must not depend on how sound arrived.
        """
        answers: list[list[Floats]] = [[] for _ in cuts]
        for windows in zip_longest(*(cut.windows for cut in cuts)):
            there = [(i, window) for i, window in enumerate(windows) if window is not None]
            probs = self.engine.frame_probs(np.stack([window.columns for _, window in there]))
            for (i, _), frames in zip(there, probs, strict=True):
                answers[i].append(frames)
        return [np.array(frames) for frames in answers]


class _Line:
    """An input on its way to its detector, and where it stands on the clocks."""

    def __init__(
        self,
        ear: Ear,
        detector: Detector,
        channel: int | None,
        wake: threading.Condition,
        buffer_seconds: float,
    ) -> None:
        if channel is not None and not 1 <= channel <= ear.n_channels:
            raise UsageError(
                f"{ear.name} has no channel {channel}: it has {ear.n_channels}, counted from 1. "
                "Choose another with --channel."
            )
        self._ear = ear
        self._rate = ear.sample_rate
        self._channel = channel
        self._hop_samples = max(1, samples_from_seconds(detector.hop_seconds, self._rate))
        self.detector = detector
        self.intake = Intake(
            self._rate,
            ear.n_channels,
            hop_samples=self._hop_samples,
            capacity_samples=samples_from_seconds(buffer_seconds, self._rate),
            wake=wake,
        )
        self._clock = WallClock(self._rate)
        self._first: int | None = None  # position at which the detector began
        self._n_silent = 0  # zeros since the last other sample
        self._is_started = False
        self.is_open = True
        self.n_events = 0

    @property
    def heard_seconds(self) -> float:
        """What went through the model."""
        return seconds_from_samples(self.intake.n_heard, self._rate)

    @property
    def has_just_ended(self) -> bool:
        """Whether it has to be closed."""
        return self.is_open and self.intake.is_done

    def start(self) -> None:
        """Begin to listen."""
        self._ear.start(self.intake)
        self._is_started = True

    def stop(self) -> None:
        """Deliver nothing any more; may be called again."""
        if self._is_started:
            self._is_started = False
            self._ear.stop()

    def next_item(self) -> Item | None:
        """Return what comes next, of sound at most a hop."""
        return self.intake.take(self._hop_samples)

    def cut(self, piece: Piece) -> Cut:
        """Lead a piece up to where the model comes."""
        self._clock.update(piece.stop, piece.arrived + time.time() - time.monotonic())
        if self._first is None:
            self._first = piece.start
        return self.detector.cut(self._mono(piece.block))

    def flush(self) -> Iterator[Message]:
        """End what was begun, as at the end of a recording; the next piece begins another."""
        messages = list(self.told(self.detector.flush()))
        self._first = None
        return iter(messages)

    def heard(self, piece: Piece, detection: Detection) -> Heard:
        """Return what is told of a piece."""
        c = self._channel
        return Heard(
            self._ear.name,
            piece.start,
            piece.block if c is None else piece.block[:, c - 1 : c],
            self._rate,
            detection.columns,
            detection.frame_probs,
        )

    def told(self, detection: Detection) -> Iterator[Message]:
        """Yield what began and what ended."""
        for event in detection.begun:
            yield Began(self._placed(event))
        for event in detection.events:
            self.n_events += 1
            yield Ended(self._placed(event))

    def _placed(self, event: Event) -> Event:
        """Return an event at its place on the clock of the input and on the calendar."""
        first = seconds_from_samples(self._first or 0, self._rate)
        onset, offset = first + event.onset, first + event.offset
        time = self._clock.time(samples_from_seconds(onset, self._rate))
        return dataclasses.replace(
            event, onset=onset, offset=offset, file=self._ear.name, time=time
        )

    def gap(self, hole: Hole) -> Gap:
        """Return what is told of a hole."""
        onset = seconds_from_samples(hole.start, self._rate)
        offset = seconds_from_samples(hole.stop, self._rate)
        time = self._clock.time(hole.start)
        return Gap(self._ear.name, onset, offset, hole.n_samples, hole.reason, time)

    def look_for_silence(self, piece: Piece) -> Generator[Message]:
        """Tell when an input gives nothing but zeros, and when it speaks again."""
        limit = samples_from_seconds(MUTE_SECONDS, self._rate)
        before, name = self._n_silent, self._ear.name
        self._n_silent = 0 if piece.block.any() else before + len(piece.block)
        if before < limit <= self._n_silent:
            yield Trouble(
                f"{name}: nothing but digital silence for {MUTE_SECONDS:g} s. Is it muted, or "
                "is it the wrong channel?"
            )
        elif self._n_silent < before >= limit:
            yield Trouble(f"{name}: there is sound again")

    def status(self) -> SourceStatus:
        """Return the account."""
        intake = self.intake
        return SourceStatus(
            name=self._ear.name,
            state=intake.state,
            sample_rate=self._rate,
            n_channels=self._ear.n_channels,
            n_delivered=intake.n_delivered,
            n_heard=intake.n_heard,
            n_dropped=intake.n_dropped,
            n_waiting=intake.n_waiting,
            n_missing=intake.n_missing,
            n_overflows=intake.n_overflows,
            n_gaps=intake.n_gaps,
        )

    def _mono(self, block: Floats) -> Floats:
        if self._channel is not None:
            mono = np.ascontiguousarray(block[:, self._channel - 1])
        else:
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        return mono if np.isfinite(mono.sum()) else np.nan_to_num(mono, posinf=0.0, neginf=0.0)
