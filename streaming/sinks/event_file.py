"""Write live events and gaps as lines of CSV, JSON Lines or TSV."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from io import StringIO
from pathlib import Path
from typing import BinaryIO, TextIO

from sed.errors import OutputError, UsageError
from sed.text import pluralize, printable
from streaming.messages import EventEnded, FaultReporter, Message, Problem, Status
from streaming.sinks.live_formats import (
    header_of,
    is_first_line,
    live_format,
    open_live_writer,
    write_message,
)
from streaming.sinks.storage.place import CUT, EMPTIED, FilePlace
from streaming.sinks.storage.rotation import Rotation, RotationConfig
from streaming.sinks.text import redirect_to_null

MAX_WAITING_LINES = 10_000
RETRY_SECONDS = 0.5  # from one attempt to open the file again to the next
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
        Scientific and common name of each label; see `sed.events.writing.formats.open_writer`.
    spreadsheet_safe
        Let no cell of CSV and TSV be a formula.

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
        spreadsheet_safe: bool = False,
    ) -> None:
        self._out, self._on_broken_pipe = out, on_broken_pipe
        try:
            self._writer = open_live_writer(out, format, species, spreadsheet_safe=spreadsheet_safe)
        except OSError as error:
            raise OutputError("lines", error) from error
        self._faults = FaultReporter("lines are written again")

    def handle(self, message: Message) -> Sequence[Message]:
        """Write the line of a message; return the problem or recovery to report."""
        try:
            write_message(self._writer, message)
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

    While the file cannot be written (the disk is full), up to `MAX_WAITING_LINES` lines wait in
    memory. Only whole lines are appended. A file that was removed, moved, replaced, emptied or cut,
    by logrotate for example, is reported and opened again within the time between two statuses.

    Parameters
    ----------
    path
        The file; created if it is missing, continued if it exists.
    format
        One of `LIVE_FORMATS`; that of the ending of the file if not given.
    species
        Scientific and common name of each label; see `sed.events.writing.formats.open_writer`.
    spreadsheet_safe
        Let no cell of CSV and TSV be a formula.
    rotation
        When the file is begun anew; never if not given.

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
        *,
        spreadsheet_safe: bool = False,
        rotation: RotationConfig | None = None,
    ) -> None:
        self._path, self._species = Path(path), species
        self._rotation = Rotation(self._path, rotation or RotationConfig())
        self._format = live_format(path, format)
        self._text = StringIO()
        self._writer = open_live_writer(
            self._text, self._format, species, continued=True, spreadsheet_safe=spreadsheet_safe
        )
        self._header = header_of(self._format, species).encode()
        self._waiting: deque[bytes] = deque()  # encoded lines
        self._n_bytes = 0  # of the first of them that are written already
        self._n_written = self._n_lost = 0  # lines in the file; lines dropped since a fault
        self._faults = FaultReporter()
        self._rotation_faults = FaultReporter(f"{self._name}: is rotated again")
        self._retry_at = 0.0  # monotonic seconds
        self._file: BinaryIO | None = None
        self._is_cut = False  # by another program, and not opened since
        try:
            self._place = FilePlace(self._path)
            self._open()
        except OSError as error:
            raise OutputError(self._path, error) from error
        self._write()

    def handle(self, message: Message) -> Sequence[Message]:
        """Append the line of a message; return the problems and recoveries to report."""
        write_message(self._writer, message)
        if line := self._text.getvalue():
            self._waiting.append(line.encode("utf-8", "surrogateescape"))
            self._text.seek(0)
            self._text.truncate()
        if len(self._waiting) > MAX_WAITING_LINES:
            # A part of the first line may be in the file.
            del self._waiting[1]
            self._n_lost += 1
        if not self._waiting and not isinstance(message, Status):
            return ()
        return [*self._follow(), *self._rotate(), *self._write()]

    def close(self) -> Sequence[Message]:
        """Write what waits and close the file."""
        self._retry_at = 0.0
        messages = [*self._follow(), *self._write()]
        if self._file is not None:
            self._file.close()
        if n_left := len(self._waiting) + self._n_lost:
            messages.append(Problem(f"{self._name}: closed with {n_left} lines not written"))
        return messages

    @property
    def _name(self) -> str:
        return printable(str(self._path))

    def _open(self, *, is_cut: bool = False) -> None:
        """Open the file; a new one begins with the header, and of a cut one a last part is removed.

        Before that its disk is looked for: else folders would be made where the disk was.
        """
        self._place.check_disk()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            file = stack.enter_context(open(self._path, "ab+", buffering=0))
            if is_cut:
                _remove_partial_line(file)
            is_continued = self._prepare(file)
            self._place.take()
            self._rotation.take()
            stack.pop_all()
        self._file, self._n_bytes, self._n_written = file, 0, 0
        if self._waiting and self._waiting[0] is self._header:
            self._waiting.popleft()
        if self._header and not is_continued:
            self._waiting.appendleft(self._header)

    def _prepare(self, file: BinaryIO) -> bool:
        """Return whether the file has lines of this format already; complete the last of them."""
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(0)
        if not is_first_line(
            file.read(MAX_HEADER_BYTES).partition(b"\n")[0], self._format, self._species
        ):
            raise UsageError(
                f"{self._path}: is there already and holds something else than live events as "
                f"{self._format}. Choose another name."
            )
        file.seek(-1, os.SEEK_END)
        # A process that was killed may have written a part of its last line.
        if file.read(1) != b"\n":
            file.write(b"\n")
        return True

    def _follow(self) -> list[Message]:
        """Open the file again if it is no longer the one at its path."""
        messages: list[Message] = []
        size = self._place.size
        if self._file is not None and (change := self._place.change()):
            self._is_cut = change == CUT
            lost = self._n_written if change == EMPTIED or _is_deleted(self._file) else 0
            went = f"; {pluralize(lost, 'line')} of this session went with it" if lost else ""
            if self._is_cut:
                went = f" from {size} to {self._place.size} bytes; what went is lost"
            messages.append(Problem(f"{self._name}: {change}{went}"))
            self._drop_file()
        if self._file is None and time.monotonic() >= self._retry_at:
            try:
                self._open(is_cut=self._is_cut)
            except UsageError as error:
                messages += self._fail(str(error))
            except OSError as error:
                messages += self._fail(str(OutputError(self._path, error)))
            else:
                self._is_cut = False
                messages.append(Problem(f"{self._name}: opened again"))
        return messages

    def _rotate(self) -> list[Message]:
        """Begin the file anew if it is time; never within a line."""
        can_rotate = self._file is not None and self._waiting and not self._n_bytes
        if not can_rotate or not self._rotation.is_due(self._place.size):
            return []
        try:
            self._rotation.rotate()
        except OSError as error:
            # It is tried again with the next line, which is written to the same file.
            return self._rotation_faults.update(f"{OutputError(self._path, error)}")
        self._drop_file()
        try:
            self._open()
        except OSError as error:
            return self._fail(str(OutputError(self._path, error)))
        return self._rotation_faults.update(None)

    def _write(self) -> Sequence[Message]:
        if self._file is None:
            return ()
        try:
            while self._waiting:
                n_bytes = self._file.write(self._waiting[0][self._n_bytes :])
                self._n_bytes += n_bytes
                self._place.size += n_bytes
                if self._n_bytes == len(self._waiting[0]):
                    self._n_written += self._waiting.popleft() is not self._header
                    self._n_bytes = 0
        except OSError as error:
            # Of a disk that is gone the file has to be opened again; a full one gets space.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                self._drop_file()
            return self._fail(str(OutputError(self._path, error)))
        lost = f"; {pluralize(self._n_lost, 'line')} were dropped" if self._n_lost else ""
        self._n_lost = 0
        waited = "written again, with all that waited"
        return self._faults.update(None, recovery=f"{self._path}: {waited}{lost}")

    def _drop_file(self) -> None:
        if self._file is not None:
            # Its disk may be gone.
            with suppress(OSError):
                self._file.close()
        self._file = None

    def _fail(self, fault: str) -> list[Message]:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        return self._faults.update(fault)


def _remove_partial_line(file: BinaryIO) -> None:
    """Remove what follows the last end of a line: a number that was cut would be another one."""
    start = max(0, file.seek(0, os.SEEK_END) - MAX_HEADER_BYTES)
    file.seek(start)
    file.truncate(start + file.read().rfind(b"\n") + 1)


def _is_deleted(file: BinaryIO) -> bool:
    """Return whether an open file has no name any more, or cannot even be asked."""
    try:
        return os.fstat(file.fileno()).st_nlink == 0
    except OSError:
        return True
