"""Connect an audio source to its detector, and place its events in time."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime

from sed.audio.blocks import to_mono
from sed.audio.sound_file import quantize_24bit
from sed.errors import UsageError
from sed.events.tracker import Event
from sed.text import printable
from sed.timeline import samples_from_seconds, seconds_from_samples, shifted
from streaming.engines.base import FrameOutput
from streaming.live.capture import AudioChunk, CaptureBuffer, CaptureItem, SampleGap
from streaming.live.clock import SystemClock
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
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector
from streaming.pipeline.windows import Batch

MUTE_SECONDS = 10.0  # of digital silence, after which a microphone is probably switched off
JUMP_SECONDS = 2.0  # a later arrival than this means that the clock was set, or samples were lost
MODEL_FAILED = "the model failed"
REVIEW_SECONDS = 60.0  # of audio, after which the offset between the clocks is estimated anew


class InputStream:
    """One of the inputs of a `Listener`: a source, its buffer, its clock and its detector.

    Parameters
    ----------
    source
        Not started yet.
    detector
        Used for this input only.
    channel
        Channel to analyse, counted from 1; the mean of all if None.
    wake
        Notified when the source has delivered something.
    buffer_seconds
        Seconds of sound that may wait.
    name
        The name of the input in events and messages.
    clock
        Of the system; the caller looks for its steps.

    Raises
    ------
    UsageError
        If the source has no such channel.
    """

    def __init__(
        self,
        source: AudioSource,
        detector: Detector,
        channel: int | None,
        wake: threading.Condition,
        buffer_seconds: float,
        *,
        name: str,
        clock: SystemClock,
    ) -> None:
        self.name = name
        if channel is not None and not 1 <= channel <= source.n_channels:
            raise UsageError(
                f"{name} has no channel {channel}: it has {source.n_channels}, counted from 1. "
                "Choose another with --channel."
            )
        self._source = source
        self._rate = source.sample_rate
        self._channel = channel
        self._hop_length = max(1, samples_from_seconds(detector.hop_seconds, self._rate))
        self.detector = detector
        self.buffer = CaptureBuffer(
            hop_length=self._hop_length,
            capacity_samples=samples_from_seconds(buffer_seconds, self._rate),
            wake=wake,
            sample_rate=self._rate,
        )
        self._system_clock = clock
        self._clock = _StreamClock(self._rate)
        self._first: int | None = None  # position of the detector's first sample
        self._analysed = 0  # position up to which the model has processed all
        self._pushed = 0  # position up to which the detector has all
        self._times: dict[tuple[float, str], datetime | None] = {}  # of events that still last
        self._n_silent = 0  # zeros since the last other sample
        self._is_started = False
        self.is_open = True
        self.n_events = 0

    @property
    def sample_rate(self) -> int:
        """Samples per second of the source."""
        return self._rate

    @property
    def processed_seconds(self) -> float:
        """Seconds of sound that the model has processed."""
        return seconds_from_samples(self.buffer.n_processed, self._rate)

    @property
    def failure(self) -> str:
        """Why the source failed; empty unless it did."""
        return self.buffer.failure

    @property
    def nothing(self) -> Detection:
        """What the model completes where it fails."""
        return self.detector.decode([], [])

    @property
    def has_just_ended(self) -> bool:
        """Whether all sound is processed and the last events have to be flushed."""
        return self.is_open and self.buffer.is_done

    def start(self) -> None:
        """Start the source.

        Raises
        ------
        SedError
            If it cannot be started.
        """
        self._source.start(self.buffer)
        self._is_started = True

    def stop(self) -> None:
        """Stop the source; may be called again."""
        if self._is_started:
            self._is_started = False
            self._source.stop()

    def next_item(self) -> CaptureItem | None:
        """Return the next item of the buffer, at most a hop of sound.

        Samples are rounded to 24 bits: the model processes exactly what FLAC files can store.
        """
        item = self.buffer.pop(self._hop_length)
        if isinstance(item, AudioChunk):
            return dataclasses.replace(item, block=quantize_24bit(item.block))
        return item

    def push(self, chunk: AudioChunk) -> list[Batch]:
        """Take a chunk; return the batches for the model that it completes."""
        self._clock.update(chunk.stop, self._system_clock.time(chunk.arrived))
        if self._first is None:
            self._first = self._analysed = chunk.start
        self._pushed = chunk.stop
        return self.detector.front_end.push(to_mono(chunk.block, self._channel))

    def clock_stepped(self, seconds: float) -> None:
        """Correct the times of what lasts and what follows: the clock of the system was set."""
        self._clock.shift(seconds)
        for key, time in self._times.items():
            self._times[key] = time and shifted(time, seconds)

    def decode(self, batches: Sequence[Batch], outputs: Sequence[FrameOutput | None]) -> Detection:
        """Return what the model's outputs for the batches of the last chunk complete."""
        if any(batch.windows for batch in batches):
            self._analysed = self._pushed
        return self.detector.decode(batches, outputs)

    def flush(self) -> list[Message]:
        """End all events, as at the end of a recording; the next chunk starts another one.

        Raises
        ------
        Exception
            What the model raises; call `lose` then.
        """
        messages = list(self.event_messages(self.detector.flush()))
        self._first, self._analysed = None, self._pushed
        return messages

    def lose(self) -> list[Message]:
        """End all events where the model failed; what it has not processed becomes a gap."""
        messages = list(self.event_messages(self.detector.end()))
        gap = SampleGap(self._analysed, self._pushed - self._analysed, MODEL_FAILED)
        self._first, self._analysed = None, self._pushed
        if gap.n_samples:
            self.buffer.lose(gap.n_samples)
            messages.append(self.gap(gap))
        return messages

    def audio_block(self, chunk: AudioChunk, detection: Detection) -> AudioBlock:
        """Return the message for a chunk and what it completed."""
        c = self._channel
        return AudioBlock(
            self.name,
            chunk.start,
            chunk.block if c is None else chunk.block[:, c - 1 : c],
            self._rate,
            self.detector.shown(detection.log_mel),
            detection.frame_probs,
        )

    def event_messages(self, detection: Detection) -> Iterator[Message]:
        """Yield a message for each event that started or ended."""
        for event in detection.started:
            started = self._placed(event)
            self._times[event.onset, event.label] = started.time
            yield EventStarted(started)
        for event in detection.events:
            self.n_events += 1
            # Both messages have the same time, though the drift of the input is corrected since.
            time = self._times.pop((event.onset, event.label))
            yield EventEnded(dataclasses.replace(self._placed(event), time=time))

    def gap(self, gap: SampleGap) -> Gap:
        """Return the message for a gap."""
        onset = seconds_from_samples(gap.start, self._rate)
        offset = seconds_from_samples(gap.stop, self._rate)
        time = self._clock.time(gap.start)
        return Gap(self.name, onset, offset, gap.n_samples, gap.reason, time)

    def check_silence(self, chunk: AudioChunk) -> Iterator[Message]:
        """Yield a message when an input delivers only zeros, and when there is sound again."""
        limit = samples_from_seconds(MUTE_SECONDS, self._rate)
        before, name = self._n_silent, printable(self.name)
        self._n_silent = 0 if chunk.block.any() else before + len(chunk.block)
        if before < limit <= self._n_silent:
            yield Problem(
                f"{name}: nothing but digital silence for {MUTE_SECONDS:g} s. Is it muted, or "
                "is it the wrong channel?"
            )
        elif self._n_silent < before >= limit:
            yield Problem(f"{name}: there is sound again")

    def status(self) -> InputStatus:
        """Return the state and the sample counts."""
        buffer = self.buffer
        return InputStatus(
            name=self.name,
            state=buffer.state,
            sample_rate=self._rate,
            n_channels=self._source.n_channels,
            n_delivered=buffer.n_delivered,
            n_processed=buffer.n_processed,
            n_dropped=buffer.n_dropped,
            n_waiting=buffer.n_waiting,
            n_missing=buffer.n_missing,
            n_overflows=buffer.n_overflows,
            n_gaps=buffer.n_gaps,
        )

    def _placed(self, event: Event) -> Event:
        """Return an event of the detector with the times and the name of this input."""
        first = seconds_from_samples(self._first or 0, self._rate)
        onset, offset = first + event.onset, first + event.offset
        time = self._clock.time(samples_from_seconds(onset, self._rate))
        return dataclasses.replace(event, onset=onset, offset=offset, file=self.name, time=time)


class _StreamClock:
    """Follows the offset between the clock of an input and the clock of this machine.

    A crystal that is wrong by 50 parts per million is four seconds off after a day. Blocks arrive
    late by a delay that varies, never early, so the minimum over a minute estimates the time of
    sample 0::

        zero = min(arrived - position / sample_rate)

    Parameters
    ----------
    sample_rate
        Of the input, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._zero: float | None = None  # time of position 0, in seconds since 1970
        self._earliest = float("inf")
        self._review_at = 0

    def update(self, position: int, arrived: float) -> None:
        """Take the time, in seconds since 1970, at which the sample before `position` arrived."""
        zero = arrived - position / self._sample_rate
        self._earliest = min(self._earliest, zero)
        if self._zero is None or zero < self._zero:
            self._zero = zero
        elif zero > self._zero + JUMP_SECONDS:
            self._zero = self._earliest = zero
        if position >= self._review_at:
            self._review_at = position + round(REVIEW_SECONDS * self._sample_rate)
            self._zero, self._earliest = self._earliest, zero

    def shift(self, seconds: float) -> None:
        """Follow a clock of the system that was set, before anything arrives after that."""
        if self._zero is not None:
            self._zero += seconds
        self._earliest += seconds

    def time(self, position: int) -> datetime:
        """Return the time of a sample, in the time zone of this machine.

        Before anything has arrived it is the current time.
        """
        if self._zero is None:
            return datetime.now().astimezone()
        return datetime.fromtimestamp(self._zero + position / self._sample_rate).astimezone()
