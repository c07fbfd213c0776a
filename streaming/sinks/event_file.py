"""What is kept of live sound in files: the lines of its events, and the sound itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from io import StringIO
from pathlib import Path
from typing import TextIO

from sed.errors import OutputError, UsageError
from sed.events.formats import LIVE_FORMATS, open_writer
from sed.events.tracker import Event
from sed.events.writers import GAP
from sed.text import near
from streaming.messages import EventEnded, FaultReporter, Gap, Message
from streaming.sinks.text import redirect_to_null

MOST_HEAD_BYTES = 1 << 16  # of a file that goes on, in which its first line ends


class EventStreamSink:
    """Writes each event, and each gap, as a line when it is complete.

    Lines that cannot be written, to a disk that is full, are lost, and that is told.

    Parameters
    ----------
    out
        Where to; lines go there at once.
    format
        One of `LIVE_FORMATS`.
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
            self._writer = open_writer(out, format, dated=True, continued=continued)
        except OSError as error:
            raise OutputError("lines", error) from error
        self._alarm = FaultReporter("lines are written again")

    def handle(self, message: Message) -> Sequence[Message]:
        """Write what is to be written."""
        try:
            self._write(message)
        except BrokenPipeError:
            redirect_to_null(self._out)
            self._gone()
        except OSError as error:
            return self._alarm.update(f"{OutputError('lines', error)} They are lost.")
        return self._alarm.update(None) if isinstance(message, EventEnded) else ()

    def _write(self, message: Message) -> None:
        match message:
            case EventEnded(event):
                self._writer.write(event)
            case Gap():
                gap = Event(message.onset, message.offset, GAP, 0.0, message.source, message.time)
                self._writer.write_gap(gap, message.n_samples, message.reason)

    def close(self) -> Sequence[Message]:
        """Leave the stream to its owner."""
        return ()


class EventFileSink:
    """Appends events and gaps to a file, whole lines at a time.

    A disk that is full is told of, and what could not be written waits until there is room.

    Parameters
    ----------
    path
        The file; it is made, or goes on.
    format
        One of `LIVE_FORMATS`; what the ending of the file says if not given.

    Raises
    ------
    UsageError
        If the format is unknown, or has no room for the name of an input.
    OutputError
        If the file cannot be written, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        self._path = Path(path)
        format = check_live_format(format or self._path.suffix.removeprefix("."))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                self._file = stack.enter_context(open(self._path, "ab+", buffering=0))
                continued = self._check(format)
                stack.pop_all()
        except OSError as error:
            raise OutputError(self._path, error) from error
        self._text = StringIO()
        self._lines = EventStreamSink(self._text, format, continued=continued)
        self._unwritten = b""
        self._alarm = FaultReporter(f"{self._path}: written again, with all that waited")
        self._write()

    def handle(self, message: Message) -> Sequence[Message]:
        """Write what is to be written."""
        self._lines.handle(message)
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
        open_writer(header, format, dated=True)
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
            return self._alarm.update(str(OutputError(self._path, error)))
        return self._alarm.update(None)


def check_live_format(name: str) -> str:
    """Return the format of a name.

    Raises
    ------
    UsageError
        If there is none, or it cannot hold live events.
    """
    if name in LIVE_FORMATS:
        return name
    raise UsageError(f"live events cannot be written as {name!r}. {near(name, LIVE_FORMATS)}")
