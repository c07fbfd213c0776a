"""The sound of each event, as a FLAC file of its own.

::

    heard   ──────────────────[ the tape: what may still be wanted )
    event              pre_roll |  label  | post_roll
    clip                [━━━━━━━━━━━━━━━━━━━━━━━)          cut where the input begins, ends or gaps
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sed.audio.flac import MOST_CHANNELS
from sed.errors import OutputError, UsageError
from sed.events.tracker import Event
from sed.timeline import samples_from_seconds
from sed.types import Floats
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    EventEnded,
    EventStarted,
    FaultReporter,
    Gap,
    Message,
    Status,
)
from streaming.pipeline.ring_buffer import RingBuffer
from streaming.sinks.clip_folder import ClipFolder

AN_HOUR = 3_600.0  # seconds


@dataclass(frozen=True)
class ClipsConfig:
    """What is kept of an event, and how much of it all."""

    pre_roll: float = 1.0  # seconds before the onset
    post_roll: float = 1.0  # seconds after the offset
    max_seconds: float = 60.0  # seconds, held in memory; of a longer event the rest is left out
    max_mb: float | None = None  # millions of bytes; beyond, the oldest clips are deleted
    max_days: float | None = None  # since the onset; older clips are deleted

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in ("pre_roll", "post_roll"):
            if not 0 <= getattr(self, name) <= AN_HOUR:
                raise UsageError(f"expected {name} from 0 to {AN_HOUR:g} s")
        for name, most in (("max_seconds", AN_HOUR), ("max_mb", np.inf), ("max_days", 36_500)):
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise UsageError(f"expected {name} above 0 and at most {most:g}")


class Clips:
    """Saves the sound of each event, and tells where with one `ClipSaved` after each `EventEnded`.

    A clip is written as soon as its post-roll was heard; that of an event which lasts longer than
    it may, while it still lasts. What goes wrong is told once, and tried anew with the next event.

    Parameters
    ----------
    folder
        Where to: clips go to a folder per day in it. Nothing else in it is ever touched.
    config
        What is kept.
    delay_seconds
        Of sound, the latest that an `EventEnded` comes after the offset of its event.
    now
        The time of day, by which clips grow old.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
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
            Path(folder),
            max_mb=self._config.max_mb,
            max_days=self._config.max_days,
            now=now,
        )
        self._tapes: dict[str, _Tape] = {}
        self._wanted: list[_Wanted] = []  # events whose clip is not told of yet
        self._saving = FaultReporter(f"clips are saved again in {folder}")
        self._deleting = FaultReporter(f"old clips are deleted again in {folder}")

    def handle(self, message: Message) -> Sequence[Message]:
        """Take a message; return the clips that it completed, and what went wrong."""
        match message:
            case AudioBlock():
                return self._hear(message)
            case EventStarted(event):
                self._wanted.append(_Wanted(event))
            case EventEnded(event):
                return self._end(event)
            case Gap(source) if message.n_samples:  # else what follows joins on
                told = self._save(source, all_of_them=True)
                self._tapes.pop(source, None)
                return told
            case Status():
                return self._save_of_silent_sources(message) + self._delete_old()
        return []

    def close(self) -> Sequence[Message]:
        """Save what is still wanted, as far as it was heard."""
        sources = {wanted.event.file for wanted in self._wanted}
        return [told for name in sorted(sources) for told in self._save(name, all_of_them=True)]

    def _hear(self, heard: AudioBlock) -> list[Message]:
        told: list[Message] = []
        tape = self._tapes.get(heard.source)
        if tape is None or not tape.is_followed_by(heard):
            told = self._save(heard.source, all_of_them=True)
            tape = self._tapes[heard.source] = _Tape(heard)
        tape.push(heard.block)
        told += self._save(heard.source)
        config = self._config
        after = max(config.post_roll, self._delay_seconds)
        tape.keep(config.pre_roll + config.max_seconds + after)
        return told

    def _end(self, event: Event) -> list[Message]:
        wanted = next((w for w in self._wanted if w.is_of(event)), None)
        if wanted is None:
            wanted = _Wanted(event)
            self._wanted.append(wanted)
        wanted.event, wanted.has_ended = event, True
        return self._save(event.file, all_of_them=event.file not in self._tapes)

    def _save_of_silent_sources(self, status: Status) -> list[Message]:
        """Save what waits for sound that does not come."""
        silent = [s.name for s in status.sources if s.state != "listening" and not s.n_waiting]
        return [told for name in silent for told in self._save(name, all_of_them=True)]

    def _save(self, source: str, *, all_of_them: bool = False) -> list[Message]:
        """Save the clips of a source whose sound is there, or all as far as it is there."""
        told: list[Message] = []
        tape = self._tapes.get(source)
        for wanted in [w for w in self._wanted if w.event.file == source]:
            if not wanted.was_tried and (all_of_them or (tape and self._is_due(wanted, tape))):
                wanted.was_tried = True
                told += self._write(wanted, tape)
            if wanted.was_tried and wanted.has_ended:
                self._wanted.remove(wanted)
                told.append(ClipSaved(wanted.event, wanted.path))
        return told

    def _is_due(self, wanted: _Wanted, tape: _Tape) -> bool:
        """Return whether all sound of a clip is there, and how long it is cannot change."""
        _, stop = self._span(wanted, tape)
        if wanted.has_ended:
            return tape.stop >= stop
        return tape.told_until >= stop + tape.samples(self._delay_seconds)

    def _span(self, wanted: _Wanted, tape: _Tape) -> tuple[int, int]:
        """Return the positions [start, stop) of a clip."""
        config = self._config
        onset, offset, pre_roll, post_roll, max_seconds = map(
            tape.samples,
            (
                wanted.event.onset,
                wanted.event.offset,
                config.pre_roll,
                config.post_roll,
                config.max_seconds,
            ),
        )
        first = max(onset, tape.start)  # of an event that was told of late, the rest is kept
        if wanted.has_ended and offset - first <= max_seconds:
            return onset - pre_roll, offset + post_roll
        return onset - pre_roll, first + max_seconds

    def _write(self, wanted: _Wanted, tape: _Tape | None) -> list[Message]:
        event = wanted.event
        if tape is None or not len(sound := tape.sound(*self._span(wanted, tape))):
            gone = f"{event.file}: the sound of an event was gone when the event was told of."
            return self._saving.update(f"{gone} Its clip is left out.")
        try:
            wanted.path = self._folder.save(event, sound, tape.sample_rate)
        except OutputError as error:
            return self._saving.update(f"{error} Events go on without their clips.")
        return self._saving.update(None) + self._delete_old()

    def _delete_old(self) -> list[Message]:
        try:
            self._folder.delete_old()
        except OSError as error:
            reason = error.strerror or error
            return self._deleting.update(f"{error.filename}: cannot delete: {reason}.")
        return self._deleting.update(None)


@dataclass
class _Wanted:
    """An event whose sound is to be saved."""

    event: Event  # as it was last told
    has_ended: bool = False
    was_tried: bool = False  # to save it; `path` says with what luck
    path: str | None = None

    def is_of(self, event: Event) -> bool:
        """Return whether an `EventEnded` belongs to this."""
        ours = self.event
        return not self.has_ended and (ours.file, ours.label, ours.onset) == (
            event.file,
            event.label,
            event.onset,
        )


class _Tape:
    """The last stretch of an input, without a gap."""

    def __init__(self, first: AudioBlock) -> None:
        self.sample_rate = first.sample_rate
        self.told_until = first.start  # the position up to which all that was decided was told
        self._n_channels = first.block.shape[1]
        self._first = first.start
        self._ring = RingBuffer((min(self._n_channels, MOST_CHANNELS),))

    @property
    def start(self) -> int:
        """The position of the first sample that is still there."""
        return self._first + self._ring.start

    @property
    def stop(self) -> int:
        """The position behind what was heard."""
        return self._first + self._ring.stop

    def samples(self, seconds: float) -> int:
        """Return the nearest number of samples."""
        return samples_from_seconds(seconds, self.sample_rate)

    def is_followed_by(self, heard: AudioBlock) -> bool:
        """Return whether a piece joins on without a gap."""
        form = heard.start, heard.sample_rate, heard.block.shape[1]
        return form == (self.stop, self.sample_rate, self._n_channels)

    def push(self, block: Floats) -> None:
        """Append samples, shape (samples, channels); what they decide is not told yet."""
        self.told_until = self.stop
        self._ring.push(block[:, :MOST_CHANNELS])

    def keep(self, seconds: float) -> None:
        """Give up what was older already before the last push."""
        self._ring.drop(self.told_until - self._first - self.samples(seconds))

    def sound(self, start: int, stop: int) -> Floats:
        """Return what there is of the positions [start, stop), valid until the next push."""
        first, last = np.clip((start, stop), self.start, self.stop) - self._first
        return self._ring.view(int(first), int(last))
