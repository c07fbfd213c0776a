"""An input on its way to its detector, and where it stands on the clocks."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import datetime

from sed.audio.blocks import to_mono
from sed.audio.flac import quantize_24bit
from sed.errors import UsageError
from sed.events.tracker import Event
from sed.text import printable
from sed.timeline import samples_from_seconds, seconds_from_samples
from streaming.live.capture import CaptureBuffer, Hole, Item, Piece
from streaming.live.clock import StreamClock
from streaming.live.sources import AudioSource
from streaming.messages import (
    AudioBlock,
    EventEnded,
    EventStarted,
    Gap,
    InputStatus,
    Message,
    Problem,
)
from streaming.pipeline.batching import Batch
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector

MUTE_SECONDS = 10.0  # of digital silence, after which a microphone is probably switched off


class InputStream:
    """One of the inputs that a `Listener` listens to.

    Parameters
    ----------
    ear
        What delivers, not started yet.
    detector
        Its own.
    channel
        Counted from 1; the mean of all if not given.
    wake
        Notified when something was delivered.
    buffer_seconds
        Sound that may wait.
    name
        What events call it.

    Raises
    ------
    UsageError
        If there is no such channel.
    """

    def __init__(
        self,
        ear: AudioSource,
        detector: Detector,
        channel: int | None,
        wake: threading.Condition,
        buffer_seconds: float,
        *,
        name: str,
    ) -> None:
        self.name = name
        if channel is not None and not 1 <= channel <= ear.n_channels:
            raise UsageError(
                f"{name} has no channel {channel}: it has {ear.n_channels}, counted from 1. "
                "Choose another with --channel."
            )
        self._ear = ear
        self._rate = ear.sample_rate
        self._channel = channel
        self._hop_samples = max(1, samples_from_seconds(detector.hop_seconds, self._rate))
        self.detector = detector
        self.intake = CaptureBuffer(
            hop_length=self._hop_samples,
            capacity_samples=samples_from_seconds(buffer_seconds, self._rate),
            wake=wake,
        )
        self._clock = StreamClock(self._rate)
        self._first: int | None = None  # position at which the detector began
        self._times: dict[tuple[float, str], datetime | None] = {}  # of events that still last
        self._n_silent = 0  # zeros since the last other sample
        self._is_started = False
        self.is_open = True
        self.n_events = 0

    @property
    def processed_seconds(self) -> float:
        """What went through the model."""
        return seconds_from_samples(self.intake.n_processed, self._rate)

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
        """Return what comes next, of sound at most a hop.

        What is heard is what can be saved: samples of 24 bits.
        """
        item = self.intake.take(self._hop_samples)
        if isinstance(item, Piece):
            return dataclasses.replace(item, block=quantize_24bit(item.block))
        return item

    def push(self, piece: Piece) -> list[Batch]:
        """Take audio; return the batches for the model that it completes."""
        self._clock.update(piece.stop, piece.arrived + time.time() - time.monotonic())
        if self._first is None:
            self._first = piece.start
        return self.detector.front_end.push(to_mono(piece.block, self._channel))

    def flush(self) -> Iterator[Message]:
        """End what was begun, as at the end of a recording; the next piece begins another."""
        messages = list(self.told(self.detector.flush()))
        self._first = None
        return iter(messages)

    def heard(self, piece: Piece, detection: Detection) -> AudioBlock:
        """Return what is told of a piece."""
        c = self._channel
        return AudioBlock(
            self.name,
            piece.start,
            piece.block if c is None else piece.block[:, c - 1 : c],
            self._rate,
            detection.log_mel,
            detection.frame_probs,
        )

    def told(self, detection: Detection) -> Iterator[Message]:
        """Yield what began and what ended."""
        for event in detection.started:
            began = self._placed(event)
            self._times[event.onset, event.label] = began.time
            yield EventStarted(began)
        for event in detection.events:
            self.n_events += 1
            # The clock is corrected now and then; what was told at the beginning holds.
            time = self._times.pop((event.onset, event.label))
            yield EventEnded(dataclasses.replace(self._placed(event), time=time))

    def _placed(self, event: Event) -> Event:
        """Return an event at its place on the clock of the input and on the calendar."""
        first = seconds_from_samples(self._first or 0, self._rate)
        onset, offset = first + event.onset, first + event.offset
        time = self._clock.time(samples_from_seconds(onset, self._rate))
        return dataclasses.replace(event, onset=onset, offset=offset, file=self.name, time=time)

    def gap(self, hole: Hole) -> Gap:
        """Return what is told of a hole."""
        onset = seconds_from_samples(hole.start, self._rate)
        offset = seconds_from_samples(hole.stop, self._rate)
        time = self._clock.time(hole.start)
        return Gap(self.name, onset, offset, hole.n_samples, hole.reason, time)

    def look_for_silence(self, piece: Piece) -> Iterator[Message]:
        """Tell when an input gives nothing but zeros, and when it speaks again."""
        limit = samples_from_seconds(MUTE_SECONDS, self._rate)
        before, name = self._n_silent, printable(self.name)
        self._n_silent = 0 if piece.block.any() else before + len(piece.block)
        if before < limit <= self._n_silent:
            yield Problem(
                f"{name}: nothing but digital silence for {MUTE_SECONDS:g} s. Is it muted, or "
                "is it the wrong channel?"
            )
        elif self._n_silent < before >= limit:
            yield Problem(f"{name}: there is sound again")

    def status(self) -> InputStatus:
        """Return the account."""
        intake = self.intake
        return InputStatus(
            name=self.name,
            state=intake.state,
            sample_rate=self._rate,
            n_channels=self._ear.n_channels,
            n_delivered=intake.n_delivered,
            n_processed=intake.n_processed,
            n_dropped=intake.n_dropped,
            n_waiting=intake.n_waiting,
            n_missing=intake.n_missing,
            n_overflows=intake.n_overflows,
            n_gaps=intake.n_gaps,
        )
