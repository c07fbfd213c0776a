"""Save the audio of each event as a FLAC file.

::

    input   ──────────────────[ buffer: what a clip may still need )
    event              pre_roll |  label  | post_roll
    clip                [━━━━━━━━━━━━━━━━━━━━━━━)    cut where the input starts, ends or has a gap
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sed.audio.sound_file import MAX_CHANNELS
from sed.errors import OutputError, UsageError
from sed.events.tracker import Event
from sed.timeline import samples_from_seconds
from sed.types import Floats
from streaming.messages import (
    AudioBlock,
    ClipMoved,
    ClipSaved,
    ClockStepped,
    EventEnded,
    EventStarted,
    FaultReporter,
    Gap,
    Message,
    Status,
    with_shifted_time,
)
from streaming.pipeline.ring_buffer import RingBuffer
from streaming.sinks.clip_folder import ClipFolder

HOUR_SECONDS = 3_600.0


@dataclass(frozen=True)
class ClipsConfig:
    """Length of a clip, and limits of the folder of clips.

    Attributes
    ----------
    pre_roll, post_roll
        Seconds before the onset and after the offset.
    max_seconds
        Seconds of an event that are buffered in memory; the rest is left out.
    max_mb
        Megabytes of all clips; beyond that the oldest are deleted. No limit if None.
    max_days
        Age, in days, at which a clip is deleted. No limit if None.
    """

    pre_roll: float = 1.0
    post_roll: float = 1.0
    max_seconds: float = 60.0
    max_mb: float | None = None
    max_days: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, value in (("pre-roll", self.pre_roll), ("post-roll", self.post_roll)):
            if not 0 <= value <= HOUR_SECONDS:
                raise UsageError(f"expected a {name} of 0 to {HOUR_SECONDS:g} s, got {value:g} s")
        limits = (
            ("length of a clip", self.max_seconds, HOUR_SECONDS, " s"),
            ("size of all clips", self.max_mb, math.inf, " MB"),
            ("age of a clip", self.max_days, 36_500, " days"),
        )
        for name, most, limit, unit in limits:
            if most is not None and not 0 < most <= limit:
                up_to = "" if limit == math.inf else f" and up to {limit:g}"
                raise UsageError(f"expected a greatest {name} above 0{up_to}{unit}, got {most:g}")


class ClipRecorder:
    """Save the audio of each event; each `EventEnded` is followed by one `ClipSaved`.

    A clip is written as soon as its post-roll has arrived, or while the event still lasts if the
    event is longer than `ClipsConfig.max_seconds`. A failure is reported once, and the next event
    is tried again.

    Parameters
    ----------
    folder
        Clips go into one sub-folder per day. No other file in the folder is touched.
    config
        Length of a clip, and limits of the folder.
    delay_seconds
        Longest time from the offset of an event to its `EventEnded`, in seconds of audio.
    now
        Returns the current time, from which the age of a clip follows.

    Raises
    ------
    OutputError
        If the folder cannot be created or written to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: ClipsConfig | None = None,
        *,
        delay_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config or ClipsConfig()
        self._delay_seconds = delay_seconds
        self._folder = ClipFolder(
            Path(folder), max_mb=self._config.max_mb, max_days=self._config.max_days, now=now
        )
        self._buffers: dict[str, _ClipBuffer] = {}  # by the name of the input
        self._pending: list[_PendingClip] = []
        self._write_faults = FaultReporter(f"clips are saved again in {folder}")
        self._delete_faults = FaultReporter(f"old clips are deleted again in {folder}")

    def handle(self, message: Message) -> Sequence[Message]:
        """Buffer audio and follow events; return the clips that became complete, and problems."""
        match message:
            case AudioBlock():
                return self._push(message)
            case EventStarted(event):
                self._pending.append(_PendingClip(event))
            case EventEnded(event):
                return self._end(event)
            # A gap of unknown length (0 samples) does not interrupt the positions.
            case Gap(source) if message.n_samples:
                messages = self._save(source, incomplete=True)
                self._buffers.pop(source, None)
                return messages
            case ClipMoved(path, new_path):
                self._folder.moved(path, new_path)
            case ClockStepped(seconds):
                for clip in self._pending:
                    clip.event = with_shifted_time(clip.event, seconds)
            case Status():
                return self._save_of_silent_inputs(message) + self._delete_old()
        return []

    def close(self) -> Sequence[Message]:
        """Save all pending clips, as far as their audio has arrived."""
        sources = {clip.event.file for clip in self._pending}
        return [
            message for name in sorted(sources) for message in self._save(name, incomplete=True)
        ]

    def _push(self, block: AudioBlock) -> list[Message]:
        messages: list[Message] = []
        buffer = self._buffers.get(block.source)
        if buffer is None or not buffer.is_followed_by(block):
            messages = self._save(block.source, incomplete=True)
            buffer = self._buffers[block.source] = _ClipBuffer(block)
        buffer.push(block.block)
        messages += self._save(block.source)
        config = self._config
        after = max(config.post_roll, self._delay_seconds)
        buffer.keep(config.pre_roll + config.max_seconds + after)
        return messages

    def _end(self, event: Event) -> list[Message]:
        clip = next((clip for clip in self._pending if clip.is_of(event)), None)
        if clip is None:
            clip = _PendingClip(event)
            self._pending.append(clip)
        clip.event, clip.has_ended = event, True
        return self._save(event.file, incomplete=event.file not in self._buffers)

    def _save_of_silent_inputs(self, status: Status) -> list[Message]:
        """Save the pending clips of inputs that deliver no more audio."""
        silent = [s.name for s in status.sources if s.state != "listening" and not s.n_waiting]
        return [message for name in silent for message in self._save(name, incomplete=True)]

    def _save(self, source: str, *, incomplete: bool = False) -> list[Message]:
        """Save the complete clips of an input, or all of them as far as their audio is there."""
        messages: list[Message] = []
        buffer = self._buffers.get(source)
        for clip in [clip for clip in self._pending if clip.event.file == source]:
            is_due = incomplete or (buffer is not None and self._is_complete(clip, buffer))
            if is_due and not clip.was_tried:
                clip.was_tried = True
                messages += self._write(clip, buffer)
            if clip.was_tried and clip.has_ended:
                self._pending.remove(clip)
                messages.append(ClipSaved(clip.event, clip.path))
        return messages

    def _is_complete(self, clip: _PendingClip, buffer: _ClipBuffer) -> bool:
        """Return whether all audio of a clip is buffered and its length is final."""
        _, stop = self._span(clip, buffer)
        if clip.has_ended:
            return buffer.stop >= stop
        return buffer.decided_until >= stop + buffer.samples(self._delay_seconds)

    def _span(self, clip: _PendingClip, buffer: _ClipBuffer) -> tuple[int, int]:
        """Return the positions [start, stop) of a clip, in samples of the input."""
        config = self._config
        onset, offset, pre_roll, post_roll, max_length = map(
            buffer.samples,
            (
                clip.event.onset,
                clip.event.offset,
                config.pre_roll,
                config.post_roll,
                config.max_seconds,
            ),
        )
        # Of an event that was reported late, the audio that is still buffered is saved.
        first = max(onset, buffer.start)
        if clip.has_ended and offset - first <= max_length:
            return onset - pre_roll, offset + post_roll
        return onset - pre_roll, first + max_length

    def _write(self, clip: _PendingClip, buffer: _ClipBuffer | None) -> list[Message]:
        event = clip.event
        if buffer is None or not len(samples := buffer.read(*self._span(clip, buffer))):
            lost = f"{event.file}: the audio of an event was lost before the event was reported."
            return self._write_faults.update(f"{lost} Its clip is left out.")
        try:
            clip.path = self._folder.save(event, samples, buffer.sample_rate)
        except OutputError as error:
            return self._write_faults.update(f"{error} Detection continues without clips.")
        return self._write_faults.update(None) + self._delete_old()

    def _delete_old(self) -> list[Message]:
        try:
            self._folder.delete_old()
        except OSError as error:
            reason = error.strerror or error
            return self._delete_faults.update(f"{error.filename}: cannot delete: {reason}.")
        return self._delete_faults.update(None)


@dataclass
class _PendingClip:
    """An event whose clip is not reported yet."""

    event: Event  # as of its latest message
    has_ended: bool = False
    was_tried: bool = False  # to save it; `path` is None if that failed
    path: str | None = None

    def is_of(self, event: Event) -> bool:
        """Return whether an `EventEnded` belongs to this clip."""
        own = self.event
        return not self.has_ended and (own.file, own.label, own.onset) == (
            event.file,
            event.label,
            event.onset,
        )


class _ClipBuffer:
    """The latest audio of an input, without a gap. Positions are samples of the input."""

    def __init__(self, first: AudioBlock) -> None:
        self.sample_rate = first.sample_rate
        self.decided_until = first.start  # all events up to this position were reported
        self._n_channels = first.block.shape[1]
        self._first = first.start
        self._ring = RingBuffer((min(self._n_channels, MAX_CHANNELS),))

    @property
    def start(self) -> int:
        """The position of the first buffered sample."""
        return self._first + self._ring.start

    @property
    def stop(self) -> int:
        """The position behind the last buffered sample."""
        return self._first + self._ring.stop

    def samples(self, seconds: float) -> int:
        """Return the nearest number of samples."""
        return samples_from_seconds(seconds, self.sample_rate)

    def is_followed_by(self, block: AudioBlock) -> bool:
        """Return whether a block has the same format and follows without a gap."""
        form = block.start, block.sample_rate, block.block.shape[1]
        return form == (self.stop, self.sample_rate, self._n_channels)

    def push(self, block: Floats) -> None:
        """Append samples, shape (samples, channels); the events in them are not reported yet."""
        self.decided_until = self.stop
        self._ring.push(block[:, :MAX_CHANNELS])

    def keep(self, seconds: float) -> None:
        """Drop what was older than this even before the last push."""
        self._ring.drop(self.decided_until - self._first - self.samples(seconds))

    def read(self, start: int, stop: int) -> Floats:
        """Return what is buffered of the positions [start, stop), valid until the next push."""
        first, last = np.clip((start, stop), self.start, self.stop) - self._first
        return self._ring.view(int(first), int(last))
