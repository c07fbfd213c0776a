"""Write the events of any number of recordings into one Parquet file, and read them back.

::

    file                string, dictionary      path of the recording, as the caller gave it
    onset, offset       double                  seconds from the start of the recording
    label               string, dictionary
    score               float
    time                timestamp[us, UTC]      of the onset; null where it is not known
    utc_offset_minutes  int16                   local time minus UTC at the place; or null

`pandas.read_parquet("events.parquet")`, `polars.scan_parquet("events.parquet")` and
`duckdb.sql("SELECT label, count(*) FROM 'events.parquet' GROUP BY label")` open it. The local hour
of the day is in pandas::

    (table.time + pandas.to_timedelta(table.utc_offset_minutes, "min")).dt.hour
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from types import TracebackType
from typing import IO, Any

from sed.errors import MissingExtraError, SedError
from sed.events.tracker import Event
from sed.events.writers import EventWriter
from sed.text import printable, to_utf8

ROWS_PER_GROUP = 65_536  # events in memory, and the unit that a reader can skip


class ParquetWriter(EventWriter):
    """Writes events into a Parquet file, one row group at a time, in bounded memory.

    The file can be read after `close`, or after the end of a ``with`` block, and not before.

    Parameters
    ----------
    path
        The file; wrap it in `sed.files.written_whole` so that it is whole or absent.
    labels
        All labels of the model, stored in the metadata as a JSON list, ``sed.labels``.
    rows_per_group
        Events in a row group.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    OSError
        If the file cannot be written; also from `write` and `close`.
    """

    extension = ".parquet"
    is_appendable = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        labels: Sequence[str] = (),
        rows_per_group: int = ROWS_PER_GROUP,
    ) -> None:
        self._arrow = _pyarrow(path)
        metadata = {"sed.labels": json.dumps(list(labels))} if labels else {}
        self._schema = _schema(self._arrow, metadata)
        self._rows_per_group = rows_per_group
        self._events: list[Event] = []
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  # closed by close
        self._writer = self._arrow.parquet.ParquetWriter(
            self._file, self._schema, compression="zstd", use_dictionary=["file", "label"]
        )

    def write(self, event: Event) -> None:
        r"""Write an event; bytes of its file name that are not UTF-8 are stored as ``\xff``."""
        self._events.append(event)
        if len(self._events) >= self._rows_per_group:
            self._write_group()

    def close(self) -> None:
        """Write the last row group and the footer, and close the file."""
        if not self._file.closed:
            with self._file, self._writer:
                self._write_group()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; after an error, drop the events that are not written yet."""
        if error is not None:
            self._events = []
        self.close()

    def _write_group(self) -> None:
        events, self._events = self._events, []
        if not events:
            return
        columns = {
            "file": [to_utf8(e.file) for e in events],
            "onset": [e.onset for e in events],
            "offset": [e.offset for e in events],
            "label": [to_utf8(e.label) for e in events],
            "score": [e.score for e in events],
            "time": [e.time and e.time.astimezone(UTC) for e in events],
            "utc_offset_minutes": [e.time and _offset_minutes(e.time) for e in events],
        }
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))


def read_parquet_events(path: str | os.PathLike[str]) -> list[Event]:
    """Return the events that a `ParquetWriter` wrote.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    SedError
        If the file cannot be read, or another program wrote it.
    """
    arrow = _pyarrow(path)
    try:
        with arrow.parquet.ParquetFile(os.fspath(path)) as file:
            return [_event(row) for batch in file.iter_batches() for row in batch.to_pylist()]
    except (OSError, KeyError, arrow.ArrowException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not written by sed"
        raise SedError(
            f"{printable(os.fspath(path))}: cannot be read as events ({reason}). "
            "Give a Parquet file that sed wrote."
        ) from error


def _event(row: dict[str, Any]) -> Event:
    time, minutes = row["time"], row["utc_offset_minutes"]
    if time is not None:
        time = time.astimezone(timezone(timedelta(minutes=minutes)))
    return Event(row["onset"], row["offset"], row["label"], row["score"], row["file"], time)


def _schema(arrow: Any, metadata: dict[str, str] | None = None) -> Any:
    words = arrow.dictionary(arrow.int32(), arrow.string())
    types = {
        "file": words,
        "onset": arrow.float64(),
        "offset": arrow.float64(),
        "label": words,
        "score": arrow.float32(),
        "time": arrow.timestamp("us", "UTC"),
        "utc_offset_minutes": arrow.int16(),
    }
    return arrow.schema(types, metadata=metadata)


def _offset_minutes(time: datetime) -> int:
    offset = time.utcoffset()
    if offset is None:
        raise ValueError(f"expected a time with its zone, got {time}")
    return offset // timedelta(minutes=1)


def _pyarrow(path: str | os.PathLike[str]) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(f"{printable(os.fspath(path))}: Parquet", "parquet") from None
    return pyarrow
