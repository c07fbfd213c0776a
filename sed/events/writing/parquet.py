"""Write the events of any number of recordings into one Parquet file, and read them back.

::

    file                string, dictionary      path of the recording, as the caller gave it
    onset, offset       double                  seconds from the start of the recording
    label               string, dictionary
    score               float
    time                timestamp[us, UTC]      of the onset; null where it or its zone is unknown
    utc_offset_minutes  int16                   local time minus UTC at the place; or null
    local_time          timestamp[us]           what a clock at the place showed; or null
    scientific_name, common_name  string, dictionary    of models that know species only
    site                string, dictionary      on request

`pandas.read_parquet("events.parquet")`, `polars.scan_parquet("events.parquet")` and
`duckdb.sql("SELECT label, count(*) FROM 'events.parquet' GROUP BY label")` open it. The local hour
of the day is ``table.local_time.dt.hour`` in pandas.

The rows of an embedding store (`sed.events.embedding_store`) have these columns and ``recording``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import MissingExtraError, SedError
from sed.events.tracker import Event
from sed.events.writing.writers import EventWriter
from sed.files import parse_json
from sed.text import printable, to_utf8

ROWS_PER_GROUP = 65_536  # events in memory, and the unit that a reader can skip
# Smaller for embeddings: a search reads the group around each of its results.
STORE_ROWS_PER_GROUP = 16_384
RECORDINGS = "sed.recordings"  # key of the metadata with the recordings of an embedding store

# The rows of a recording in a file of an embedding store: its name, the first row, their number.
RecordingRows = tuple[str, int, int]


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
    texts
        Names of more columns, and what returns the text of an event there.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    OSError
        If the file cannot be written; also from `write` and `close`.
    """

    extension = ".parquet"
    is_appendable = False
    _columns: tuple[str, ...] = ()  # of text, behind those of all events

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        labels: Sequence[str] = (),
        rows_per_group: int = ROWS_PER_GROUP,
        texts: Mapping[str, Callable[[Event], str]] | None = None,
    ) -> None:
        self._texts = dict(texts or {})
        self._columns = (*self._columns, *self._texts)
        self._arrow = _pyarrow(path)
        metadata = {"sed.labels": json.dumps(list(labels))} if labels else {}
        self._schema = _schema(self._arrow, metadata, self._columns)
        self._rows_per_group = rows_per_group
        self._events: list[Event] = []
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  # closed by close
        self._writer = self._arrow.parquet.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            use_dictionary=["file", "label", *self._columns],
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
        if events:
            more = {name: [to_utf8(text(e)) for e in events] for name, text in self._texts.items()}
            self._writer.write_table(self._table(events, **more))

    def _table(self, events: Sequence[Event], **more: list[str]) -> Any:
        columns = {
            "file": [to_utf8(e.file) for e in events],
            "onset": [e.onset for e in events],
            "offset": [e.offset for e in events],
            "label": [to_utf8(e.label) for e in events],
            "score": [e.score for e in events],
            "time": [e.time.astimezone(UTC) if e.time and e.time.tzinfo else None for e in events],
            "utc_offset_minutes": [_offset_minutes(e.time) for e in events],
            "local_time": [e.time and e.time.replace(tzinfo=None) for e in events],
        }
        return self._arrow.table(columns | more, schema=self._schema)


class RowsWriter(ParquetWriter):
    """Writes the rows of an embedding store: events, and the recording of each.

    The metadata get the rows of each recording, a JSON list of ``[recording, first row, rows]``.

    Parameters
    ----------
    path
        The file; wrap it in `sed.files.written_whole` so that it is whole or absent.
    """

    _columns = ("recording",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, rows_per_group=STORE_ROWS_PER_GROUP)
        self._tables: list[Any] = []
        self._n_waiting = 0  # rows in those tables
        self._n_rows = 0
        self._recordings: list[RecordingRows] = []

    def begin(self, recording: str) -> None:
        """Begin the rows of a recording, which may be none."""
        self._recordings.append((to_utf8(recording), self._n_rows, 0))

    def write_rows(self, events: Sequence[Event]) -> None:
        """Write rows of the recording that was begun last."""
        name = self._recordings[-1][0]
        self._append(self._table(events, recording=[name] * len(events)))

    def copy_rows(self, path: str | os.PathLike[str], recordings: Iterable[RecordingRows]) -> None:
        """Copy the rows of recordings, in their order in the file, from another such file.

        Raises
        ------
        SedError
            If that file cannot be read.
        """
        wanted = list(recordings)
        names = [field.name for field in self._schema]
        batches = _read_slices(path, [(first, n_rows) for _, first, n_rows in wanted])
        for name, _, n_rows in wanted:
            self.begin(name)
            n_left = n_rows
            while n_left:
                batch = next(batches)
                self._append(self._arrow.Table.from_batches([batch]).select(names))
                n_left -= len(batch)
        batches.close()

    def close(self) -> None:
        """Write the last rows, the recordings and the footer, and close the file."""
        if not self._file.closed:
            metadata = {RECORDINGS: json.dumps(self._recordings)}
            with self._file, self._writer:
                self._write_group()
                self._writer.add_key_value_metadata(metadata)

    def _append(self, table: Any) -> None:
        name, first, n_rows = self._recordings[-1]
        self._recordings[-1] = name, first, n_rows + len(table)
        self._tables.append(table)
        self._n_rows += len(table)
        self._n_waiting += len(table)
        if self._n_waiting >= self._rows_per_group:
            self._write_group()

    def _write_group(self) -> None:
        tables, self._tables, self._n_waiting = self._tables, [], 0
        if tables:
            self._writer.write_table(self._arrow.concat_tables(tables).unify_dictionaries())


def read_parquet_events(path: str | os.PathLike[str]) -> list[Event]:
    """Return the events that a `ParquetWriter` wrote.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    SedError
        If the file cannot be read, or another program wrote it.
    """
    with open_parquet(path) as file:
        return [_event(row) for batch in file.iter_batches() for row in batch.to_pylist()]


def read_rows(path: str | os.PathLike[str], rows: NDArray[np.int64]) -> list[Event]:
    """Return some rows of a file as events; only the row groups that hold them are read.

    Parameters
    ----------
    path
        A file that a `RowsWriter` or a `ParquetWriter` wrote.
    rows
        Numbers of rows of the file, in any order.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    SedError
        If the file cannot be read, or another program wrote it.
    """
    events: dict[int, Event] = {}
    with open_parquet(path) as file:
        first = 0
        for i in range(file.metadata.num_row_groups):
            end = first + file.metadata.row_group(i).num_rows
            inside = np.unique(rows[(rows >= first) & (rows < end)])
            if len(inside):
                table = file.read_row_group(i).take(inside - first)
                events |= zip(inside.tolist(), map(_event, table.to_pylist()), strict=True)
            first = end
    return [events[row] for row in rows.tolist()]


def read_recordings(path: str | os.PathLike[str]) -> tuple[list[RecordingRows], int]:
    """Return the recordings of a file that a `RowsWriter` wrote, and its number of rows.

    Only the footer of the file is read.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    SedError
        If the file cannot be read, or another program wrote it.
    """
    with open_parquet(path) as file:
        recordings = parse_json(file.metadata.metadata[RECORDINGS.encode()])
        return [(name, first, n_rows) for name, first, n_rows in recordings], file.metadata.num_rows


@contextmanager
def open_parquet(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a Parquet file; errors of reading it become a `SedError` that names it."""
    arrow = _pyarrow(path)
    try:
        with arrow.parquet.ParquetFile(os.fspath(path)) as file:
            yield file
    except (OSError, LookupError, TypeError, ValueError, arrow.ArrowException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not written by sed"
        raise SedError(
            f"{printable(os.fspath(path))}: cannot be read as events ({reason}). "
            "Give a Parquet file that sed wrote."
        ) from error


def _read_slices(
    path: str | os.PathLike[str], slices: list[tuple[int, int]]
) -> Generator[Any, None, None]:
    """Yield the record batches of slices of a file, (first row, rows) each, in order."""
    wanted = iter([(first, first + n) for first, n in slices if n])
    begin, end = next(wanted, (0, 0))
    position = 0
    with open_parquet(path) as file:
        for batch in file.iter_batches(STORE_ROWS_PER_GROUP):
            while begin < end and begin < position + len(batch):
                part = batch.slice(begin - position, end - begin)
                yield part
                begin += len(part)
                if begin == end:
                    begin, end = next(wanted, (0, 0))
            position += len(batch)
        if begin < end:
            raise ValueError(f"row {end} is not in the file")


def _event(row: dict[str, Any]) -> Event:
    time = row["local_time"]
    if (minutes := row["utc_offset_minutes"]) is not None:
        time = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    return Event(row["onset"], row["offset"], row["label"], row["score"], row["file"], time)


def _schema(arrow: Any, metadata: dict[str, str], columns: Sequence[str]) -> Any:
    words = arrow.dictionary(arrow.int32(), arrow.string())
    types = {
        "file": words,
        "onset": arrow.float64(),
        "offset": arrow.float64(),
        "label": words,
        "score": arrow.float32(),
        "time": arrow.timestamp("us", "UTC"),
        "utc_offset_minutes": arrow.int16(),
        "local_time": arrow.timestamp("us"),
        **dict.fromkeys(columns, words),
    }
    return arrow.schema(types, metadata=metadata)


def _offset_minutes(time: datetime | None) -> int | None:
    offset = None if time is None else time.utcoffset()
    return None if offset is None else offset // timedelta(minutes=1)


def _pyarrow(path: str | os.PathLike[str]) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(f"{printable(os.fspath(path))}: Parquet", "parquet") from None
    return pyarrow
