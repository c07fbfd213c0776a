"""Save live audio as FLAC files."""

from __future__ import annotations

import bisect
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sed.audio.sound_file import MAX_CHANNELS, FlacFile
from sed.errors import OutputError
from sed.text import printable, slug, timestamp
from streaming.messages import AudioBlock, FaultReporter, Message, Problem, Status
from streaming.sinks.storage.place import CUT, EMPTIED, FilePlace

MAX_FILE_SECONDS = 3600.0
RETRY_SECONDS = 5.0  # of sound, after a file could not be written
WAITING_SECONDS = 10.0  # of sound that waits in memory meanwhile


class AudioRecorder:
    """Save all captured audio as FLAC; a new file starts after each gap and after each hour.

    The name of a file is the time of its first sample and the input. FLAC has at most eight
    channels: of an input with more, the first eight are saved. While nothing can be written, the
    last `WAITING_SECONDS` wait in memory, and what is lost is reported. A file that was removed,
    moved, emptied or cut is reported within the time between two statuses, and another one is
    begun.

    Parameters
    ----------
    folder
        Folder of the files; created if it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be created.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._tracks: dict[str, _Track] = {}  # by the name of the input
        self._faults = FaultReporter()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self._folder, error) from error
        self._place = FilePlace(self._folder)

    def handle(self, message: Message) -> Sequence[Message]:
        """Save the samples of an `AudioBlock`; return the problems and recoveries to report."""
        if isinstance(message, Status):
            return self._follow()
        if not isinstance(message, AudioBlock) or not len(message.block):
            return ()
        track = self._tracks.setdefault(message.source, _Track())
        track.waiting.append(message)
        track.limit_waiting()
        return self._write(track) if message.start >= track.retry_at else ()

    def close(self) -> Sequence[Message]:
        """Write what waits and close all files."""
        messages: list[Message] = []
        for name, track in self._tracks.items():
            messages += self._write(track)
            track.finish()
            if lost := track.lost_seconds + track.waiting_seconds:
                messages.append(Problem(f"{printable(name)}: {lost:.1f} s were not saved"))
        return messages

    def _follow(self) -> list[Message]:
        """Begin another file where one is no longer at its path."""
        messages: list[Message] = []
        for track in self._tracks.values():
            file, place = track.file, track.place
            change = "" if place is None else place.change()
            if file is None or place is None or not change:
                track.found(0 if place is None else place.size)
                continue
            lost = 0.0
            if change in (EMPTIED, CUT):
                file.cut_at = place.size
                lost = track.take_back(place.size)
            elif file.is_deleted:
                lost = track.take_back(0)
            went = f"; {lost:.1f} s of sound went with it" if lost else ""
            messages.append(Problem(f"{printable(file.path)}: {change}{went}"))
            track.finish()
            track.retry_at = 0
            messages += self._write(track)
        return messages

    def _write(self, track: _Track) -> list[Message]:
        """Write the blocks that wait."""
        try:
            while track.waiting:
                block = track.waiting[0]
                if not track.is_continued_by(block):
                    track.finish()
                if track.file is None:
                    self._open(track)
                assert track.file is not None
                track.file.write(block.block[:, :MAX_CHANNELS])
                track.written(track.waiting.popleft())
        except OSError as error:
            track.finish()
            last = track.waiting[-1]
            track.retry_at = last.start + round(RETRY_SECONDS * last.sample_rate)
            fault = f"{OutputError(self._folder, error)} Detection continues without saved audio."
            return self._faults.update(fault)
        lost, track.lost_seconds = track.lost_seconds, 0.0
        count = f"; {lost:.1f} s were lost" if lost else ""
        return self._faults.update(None, recovery=f"audio is saved again in {self._folder}{count}")

    def _open(self, track: _Track) -> None:
        """Open a file for the first block that waits."""
        self._place.check_disk()
        self._folder.mkdir(parents=True, exist_ok=True)
        block = track.waiting[0]
        time = datetime.now().astimezone() - timedelta(seconds=track.waiting_seconds)
        # Blocks that waited arrive all at once, so two files may get the same millisecond.
        time = max(time, track.named + timedelta(milliseconds=1)) if track.named else time
        while (path := self._path(time, block.source)).exists():
            time += timedelta(milliseconds=1)
        track.file = FlacFile(path, block.sample_rate, min(block.block.shape[1], MAX_CHANNELS))
        track.start = track.stop = block.start
        track.sample_rate = block.sample_rate
        track.named = time
        track.place = FilePlace(path, has_position=True)
        track.place.take()

    def _path(self, time: datetime, source: str) -> Path:
        return self._folder / f"{timestamp(time)}_{slug(source)}.flac"


@dataclass
class _Track:
    """What is saved of one input. Positions are samples of the input."""

    file: FlacFile | None = None  # the open one
    place: FilePlace | None = None
    named: datetime | None = None  # the time in its name
    sample_rate: int = 1  # of the file
    start: int = 0  # of the file
    stop: int = 0  # the end of what was written
    retry_at: int = 0  # where a file is opened again after a failure
    waiting: deque[AudioBlock] = field(default_factory=deque)  # blocks that are not written
    recent: list[AudioBlock] = field(default_factory=list)  # written since the file was looked for
    sizes: list[tuple[int, int]] = field(default_factory=list)  # of the file then, and its `stop`
    lost_seconds: float = 0.0

    @property
    def waiting_seconds(self) -> float:
        """Seconds of sound that are not written yet."""
        return sum(len(block.block) / block.sample_rate for block in self.waiting)

    def limit_waiting(self) -> None:
        """Drop the oldest blocks beyond the seconds that may wait."""
        while len(self.waiting) > 1 and self.waiting_seconds > WAITING_SECONDS:
            block = self.waiting.popleft()
            self.lost_seconds += len(block.block) / block.sample_rate

    def is_continued_by(self, block: AudioBlock) -> bool:
        """Return whether a block belongs to the open file."""
        is_full = block.start - self.start >= MAX_FILE_SECONDS * block.sample_rate
        return self.file is not None and block.start == self.stop and not is_full

    def written(self, block: AudioBlock) -> None:
        """Record that a block is in the file."""
        self.stop = block.start + len(block.block)
        self.recent.append(block)

    def found(self, size: int) -> None:
        """Record that the file is at its path, and its size in bytes."""
        self.recent.clear()
        self.sizes.append((size, self.stop))

    def take_back(self, n_left: int) -> float:
        """Let the blocks wait that were written last; return the seconds of a file that are lost.

        Parameters
        ----------
        n_left
            Bytes of the file that are left.
        """
        recent, self.recent = self.recent, []
        first = recent[0].start if recent else self.stop
        self.waiting.extendleft(reversed(recent))
        last = bisect.bisect_right(self.sizes, (n_left, first)) - 1
        return max(0, first - (self.sizes[last][1] if last >= 0 else self.start)) / self.sample_rate

    def finish(self) -> None:
        """Close the file; delete it if nothing is in it."""
        file, self.file, self.place = self.file, None, None
        self.recent.clear()
        self.sizes.clear()
        if file is not None:
            # A full disk was already reported, and a disk may be gone.
            with suppress(OSError):
                file.close()
            if self.stop == self.start or file.cut_at == 0:
                with suppress(OSError):
                    Path(file.path).unlink(missing_ok=True)
