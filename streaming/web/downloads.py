"""Write stored events as files for a download, part by part: CSV, Raven, and clips as ZIP.

A download takes the memory of a thousand events, or of a part of a clip, however long it is.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime
from io import StringIO
from pathlib import Path

from sed.events.tracker import Event
from sed.events.writing.writers import RavenWriter, csv_line
from streaming.sinks.record.history import EventFilter, StoredEvent, events_in_order

PART_BYTES = 1 << 16  # of a download
Lines = Iterator[str]
COLUMNS = ("file", "onset", "offset", "label", "score", "time", "verdict", "clip")


def csv_of(database: Path, only: EventFilter, day: date, band_hz: tuple[float, float]) -> Lines:
    """Yield events as CSV; `file` is the input, and times are those of the session."""
    yield csv_line(COLUMNS, ",")
    for row in events_in_order(database, only):
        times = f"{row.onset:.3f}", f"{row.offset:.3f}"
        said = row.time, row.verdict or "", Path(row.clip_path).name if row.clip_path else ""
        yield csv_line([row.source, *times, row.label, f"{row.score:.4f}", *said], ",")


def raven_of(database: Path, only: EventFilter, day: date, band_hz: tuple[float, float]) -> Lines:
    """Yield events as a selection table for Raven, whose times count from the start of the day."""
    out = StringIO()
    writer = RavenWriter(out, band_hz=band_hz)
    midnight = datetime(day.year, day.month, day.day).timestamp()
    for row in events_in_order(database, only):
        onset = row.unix_time - midnight
        length = row.offset - row.onset
        writer.write(Event(onset, onset + length, row.label, row.score, row.source))
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


TABLES: dict[str, Callable[[Path, EventFilter, date, tuple[float, float]], Lines]] = {
    "csv": csv_of,
    "raven": raven_of,
}


def parts_of(lines: Iterator[str]) -> Iterator[bytes]:
    """Yield lines as UTF-8, many in one part."""
    waiting: list[str] = []
    n = 0
    for line in lines:
        waiting.append(line)
        n += len(line)
        if n >= PART_BYTES:
            yield "".join(waiting).encode("utf-8", "replace")
            waiting, n = [], 0
    yield "".join(waiting).encode("utf-8", "replace")


def zip_of(database: Path, only: EventFilter) -> Iterator[bytes]:
    """Yield a ZIP file of the clips of events; a clip that was deleted is left out.

    FLAC does not become smaller, so the clips are stored as they are.
    """
    out = _Parts()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for row in events_in_order(database, only):
            clip = clip_of(row)
            if clip is None:
                continue
            try:
                file = open(clip, "rb")  # noqa: SIM115  # closed below
            except OSError:
                continue
            with file:
                # Times in a ZIP have no zone, and begin in 1980.
                moment = datetime.fromisoformat(row.time).timetuple()[:6]
                entry = zipfile.ZipInfo(clip.name, max(moment, (1980, 1, 1, 0, 0, 0)))
                entry.file_size = os.fstat(file.fileno()).st_size
                with archive.open(entry, "w") as target:
                    while part := file.read(PART_BYTES):
                        target.write(part)
                        yield out.take()
            yield out.take()
    yield out.take()


def clip_of(row: StoredEvent) -> Path | None:
    """Return the clip of an event; None if it has none, it was deleted, or the file is no clip."""
    path = Path(row.clip_path or "")
    return path if path.suffix == ".flac" and path.is_file() else None


class _Parts:
    """What is written to a file that only moves forward, in parts."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Add a part."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing; `zipfile` expects it."""

    def close(self) -> None:
        """Do nothing; `zipfile` expects it."""

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken
