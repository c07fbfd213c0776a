"""What is kept of live sound in files: the lines of its events, and the sound itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TextIO

from sed.audio.flac import MOST_CHANNELS, FlacFile
from sed.errors import OutputError, UsageError, near
from sed.events.tracker import Event
from sed.events.writers import GAP, DatedCsvWriter, EventWriter, JsonlWriter, TsvWriter
from streaming.alarm import Alarm
from streaming.messages import Ended, Gap, Heard, Message
from streaming.names import stamp, word
from streaming.sinks.text import leave

LINES: dict[str, type[EventWriter]] = {
    "csv": DatedCsvWriter,
    "jsonl": JsonlWriter,
    "tsv": TsvWriter,
}  # of the formats, those whose lines say which input they are about
LONGEST_FILE_SECONDS = 3600.0  # of saved audio
MOST_HEAD_BYTES = 1 << 16  # of a file that goes on, in which its first line ends
PAUSE_SECONDS = 60.0  # before a disk that was full is tried again


class EventLines:
    """Writes each event, and each gap, as a line when it is complete.

    Lines that cannot be written, to a disk that is full, are lost, and that is told.

    Parameters
    ----------
    out
        Where to; lines go there at once.
    format
        One of `LINES`.
    continued
        Lines of this format are there already.
    gone
        Called when the reader of a pipe has left.

    Raises
    ------
    OutputError
        If not even the names of the columns can be written.
    """

    def __init__(
        self,
        out: TextIO,
        format: str,
        *,
        continued: bool = False,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._out, self._gone = out, gone
        try:
            self._writer = LINES[format](out, continued=continued)
        except OSError as error:
            raise OutputError("lines", error) from error
        self._alarm = Alarm("lines are written again")

    def take(self, message: Message) -> Sequence[Message]:
        """Write what is to be written."""
        try:
            self._write(message)
        except BrokenPipeError:
            leave(self._out)
            self._gone()
        except OSError as error:
            return self._alarm.judge(f"{OutputError('lines', error)} They are lost.")
        return self._alarm.judge(None) if isinstance(message, Ended) else ()

    def _write(self, message: Message) -> None:
        match message:
            case Ended(event):
                self._writer.write(event)
            case Gap():
                gap = Event(message.onset, message.offset, GAP, 0.0, message.source, message.time)
                self._writer.write_gap(gap, message.n_samples, message.reason)

    def close(self) -> Sequence[Message]:
        """Leave the stream to its owner."""
        return ()


class EventFile:
    """Appends events and gaps to a file, whole lines at a time.

    A disk that is full is told of, and what could not be written waits until there is room.

    Parameters
    ----------
    path
        The file; it is made, or goes on.
    format
        One of `LINES`; what the ending of the file says if not given.

    Raises
    ------
    UsageError
        If the format is unknown, or has no room for the name of an input.
    OutputError
        If the file cannot be written, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        self._path = Path(path)
        format = format_of(format or self._path.suffix.removeprefix("."))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                self._file = stack.enter_context(open(self._path, "ab+", buffering=0))
                continued = self._check(format)
                stack.pop_all()
        except OSError as error:
            raise OutputError(self._path, error) from error
        self._text = StringIO()
        self._lines = EventLines(self._text, format, continued=continued)
        self._unwritten = b""
        self._alarm = Alarm(f"{self._path}: written again, with all that waited")
        self._write()

    def take(self, message: Message) -> Sequence[Message]:
        """Write what is to be written."""
        self._lines.take(message)
        return self._write()

    def close(self) -> Sequence[Message]:
        """Close the file."""
        troubles = self._write()
        self._file.close()
        return troubles

    def _check(self, format: str) -> bool:
        """Return whether the file goes on, with the last line whole."""
        if self._file.seek(0, os.SEEK_END) == 0:
            return False
        self._file.seek(0)
        if not self._is_ours(self._file.read(MOST_HEAD_BYTES).partition(b"\n")[0], format):
            raise UsageError(
                f"{self._path}: is there already and holds something else than live events as "
                f"{format}. Choose another name."
            )
        self._file.seek(-1, os.SEEK_END)
        if self._file.read(1) != b"\n":  # it was killed while it wrote
            self._file.write(b"\n")
        return True

    def _is_ours(self, line: bytes, format: str) -> bool:
        """Return whether a file may begin with this line."""
        header = StringIO()
        LINES[format](header)
        if header.getvalue():
            return line + b"\n" == header.getvalue().encode()
        with suppress(ValueError):
            first = json.loads(line)
            return isinstance(first, dict) and {"file", "onset", "offset"} <= set(first)
        return False

    def _write(self) -> Sequence[Message]:
        self._unwritten += self._text.getvalue().encode("utf-8", "surrogateescape")
        self._text.seek(0)
        self._text.truncate()
        if not self._unwritten:
            return ()
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
        except OSError as error:
            return self._alarm.judge(str(OutputError(self._path, error)))
        return self._alarm.judge(None)


class SavedAudio:
    """Saves all that is heard as FLAC: a file for each stretch without a gap, an hour at most.

    Names are the time of the first sample and the input. Of more than eight channels, which FLAC
    knows no more of, the first eight are kept.

    Parameters
    ----------
    folder
        Where to; made if it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        # Of each input:
        self._files: dict[str, tuple[int, FlacFile]] = {}  # where it begins, and the file
        self._ends: dict[str, int] = {}  # the position behind the last sample
        self._again_at: dict[str, int] = {}  # where a disk that was full is tried again
        self._alarm = Alarm(f"sound is saved again in {self._folder}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self._folder, error) from error

    def take(self, message: Message) -> Sequence[Message]:
        """Save what was heard."""
        if not isinstance(message, Heard) or not len(message.block):
            return ()
        source, stop = message.source, message.start + len(message.block)
        if message.start != self._ends.get(source) or self._is_long(message):
            self._finish(source)
        self._ends[source] = stop
        if message.start < self._again_at.get(source, 0):
            return ()
        is_new = source not in self._files
        try:
            self._file_of(message).write(message.block[:, :MOST_CHANNELS])
        except OSError as error:
            self._finish(source, has_sound=not is_new)
            self._again_at[source] = stop + round(PAUSE_SECONDS * message.sample_rate)
            return self._alarm.judge(f"{OutputError(self._folder, error)} Events go on without it.")
        return self._alarm.judge(None)

    def close(self) -> Sequence[Message]:
        """Finish the files."""
        for source in list(self._files):
            self._finish(source)
        return ()

    def _is_long(self, message: Heard) -> bool:
        begun_at, _ = self._files.get(message.source, (message.start, None))
        return message.start - begun_at >= LONGEST_FILE_SECONDS * message.sample_rate

    def _file_of(self, message: Heard) -> FlacFile:
        if message.source not in self._files:
            seconds = len(message.block) / message.sample_rate
            began = datetime.now().astimezone() - timedelta(seconds=seconds)
            # What waited comes all at once, so two may seem to begin in the same millisecond.
            while (path := self._path(began, message.source)).exists():
                began += timedelta(milliseconds=1)
            n_channels = min(message.block.shape[1], MOST_CHANNELS)
            file = FlacFile(path, message.sample_rate, n_channels)
            self._files[message.source] = message.start, file
        return self._files[message.source][1]

    def _path(self, began: datetime, source: str) -> Path:
        return self._folder / f"{stamp(began)}_{word(source)}.flac"

    def _finish(self, source: str, *, has_sound: bool = True) -> None:
        _, file = self._files.pop(source, (0, None))
        if file is not None:
            with suppress(OSError):  # a full disk was told of when it was full
                file.close()
            if not has_sound:
                Path(file.path).unlink(missing_ok=True)


def format_of(name: str) -> str:
    """Return the format of a name.

    Raises
    ------
    UsageError
        If there is none, or it cannot hold live events.
    """
    if name in LINES:
        return name
    raise UsageError(f"live events cannot be written as {name!r}. {near(name, LINES)}")
