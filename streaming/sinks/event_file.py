"""Write live events and gaps as lines of CSV, JSON Lines or TSV."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from io import StringIO
from pathlib import Path
from typing import TextIO

from sed.errors import OutputError, UsageError
from sed.events.formats import LIVE_FORMATS, format_of, open_writer
from sed.events.tracker import Event
from sed.events.writers import GAP, EventWriter
from sed.text import near
from streaming.messages import EventEnded, FaultReporter, Gap, Message
from streaming.sinks.text import redirect_to_null

MAX_HEADER_BYTES = 1 << 16  # of an existing file, in which its first line is expected to end


class EventStreamSink:
    """Write each complete event, and each gap, as a line to an open stream.

    Lines that cannot be written (to a full disk) are lost, and that is reported once.

    Parameters
    ----------
    out
        Receives the lines; flushed after each.
    format
        One of `LIVE_FORMATS`.
    on_broken_pipe
        Called when the reader of a pipe has closed it.
    species
        Scientific and common name of each label; see `sed.events.formats.open_writer`.

    Raises
    ------
    OutputError
        If the header cannot be written.
    """

    def __init__(
        self,
        out: TextIO,
        format: str,
        *,
        on_broken_pipe: Callable[[], None] = lambda: None,
        species: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._out, self._on_broken_pipe = out, on_broken_pipe
        try:
            self._writer = open_writer(out, format, dated=True, species=species)
        except OSError as error:
            raise OutputError("lines", error) from error
        self._faults = FaultReporter("lines are written again")

    def handle(self, message: Message) -> Sequence[Message]:
        """Write the line of a message; return the problem or recovery to report."""
        try:
            _write_line(self._writer, message)
        except BrokenPipeError:
            redirect_to_null(self._out)
            self._on_broken_pipe()
        except OSError as error:
            return self._faults.update(f"{OutputError('lines', error)} They are lost.")
        return self._faults.update(None) if isinstance(message, EventEnded) else ()

    def close(self) -> Sequence[Message]:
        """Leave the stream open for its owner."""
        return ()


class EventFileSink:
    """Append each complete event, and each gap, as a line to a file.

    While the file cannot be written (the disk is full), lines wait in memory. Only whole lines
    are appended.

    Parameters
    ----------
    path
        The file; created if it is missing, continued if it exists.
    format
        One of `LIVE_FORMATS`; that of the ending of the file if not given.
    species
        Scientific and common name of each label; see `sed.events.formats.open_writer`.

    Raises
    ------
    UsageError
        If the format is unknown, or its lines do not name the input; or if the file exists and
        holds something else.
    OutputError
        If the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        species: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._path, self._species = Path(path), species
        format = live_format(path, format)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                self._file = stack.enter_context(open(self._path, "ab+", buffering=0))
                continued = self._prepare(format)
                stack.pop_all()
        except OSError as error:
            raise OutputError(self._path, error) from error
        self._text = StringIO()
        self._writer = open_writer(
            self._text, format, dated=True, continued=continued, species=species
        )
        self._pending = b""  # encoded lines that are not written yet
        self._faults = FaultReporter(f"{self._path}: written again, with all that waited")
        self._write()

    def handle(self, message: Message) -> Sequence[Message]:
        """Append the line of a message; return the problem or recovery to report."""
        _write_line(self._writer, message)
        return self._write()

    def close(self) -> Sequence[Message]:
        """Write what waits and close the file."""
        messages = self._write()
        self._file.close()
        return messages

    def _prepare(self, format: str) -> bool:
        """Return whether the file has lines of this format already; complete the last of them."""
        if self._file.seek(0, os.SEEK_END) == 0:
            return False
        self._file.seek(0)
        if not _starts_as(
            self._file.read(MAX_HEADER_BYTES).partition(b"\n")[0], format, self._species
        ):
            raise UsageError(
                f"{self._path}: is there already and holds something else than live events as "
                f"{format}. Choose another name."
            )
        self._file.seek(-1, os.SEEK_END)
        # A process that was killed may have written a part of its last line.
        if self._file.read(1) != b"\n":
            self._file.write(b"\n")
        return True

    def _write(self) -> Sequence[Message]:
        self._pending += self._text.getvalue().encode("utf-8", "surrogateescape")
        self._text.seek(0)
        self._text.truncate()
        if not self._pending:
            return ()
        try:
            while self._pending:
                self._pending = self._pending[self._file.write(self._pending) :]
        except OSError as error:
            return self._faults.update(str(OutputError(self._path, error)))
        return self._faults.update(None)


def live_format(path: str | os.PathLike[str] | None, format: str | None) -> str:
    """Return the format of live events: the given one, or that of the ending of a file.

    Raises
    ------
    UsageError
        If it is none of `LIVE_FORMATS`.
    """
    if format is None and path is not None:
        return format_of(path, LIVE_FORMATS)
    if format not in LIVE_FORMATS:
        hint = near(str(format), LIVE_FORMATS)
        raise UsageError(f"live events cannot be written as {format!r}. {hint}")
    return format


def _write_line(writer: EventWriter, message: Message) -> None:
    match message:
        case EventEnded(event):
            writer.write(event)
        case Gap():
            gap = Event(message.onset, message.offset, GAP, 0.0, message.source, message.time)
            writer.write_gap(gap, message.n_samples, message.reason)


def _starts_as(line: bytes, format: str, species: Mapping[str, tuple[str, str]] | None) -> bool:
    """Return whether the first line of a file is that of a format."""
    header = StringIO()
    open_writer(header, format, dated=True, species=species)
    if header.getvalue():
        return line + b"\n" == header.getvalue().encode()
    with suppress(ValueError):
        first = json.loads(line)
        return isinstance(first, dict) and {"file", "onset", "offset"} <= set(first)
    return False
