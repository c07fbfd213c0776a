"""Hold the events of any number of recordings as columns: a million rows take 50 MB."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import Event

NO_ZONE = np.iinfo(np.int16).min  # the UTC offset of times without one


@dataclass(frozen=True)
class EventTable:
    """Events as columns. All arrays have the shape (events,).

    Attributes
    ----------
    files
        Names of the recordings, each once.
    labels
        Names of the classes, each once.
    file, label
        Numbers of the recording and of the class of each event, int32.
    onset, offset
        Seconds from the start of the recording, float64.
    score
        Float64; 1 where a format stores none.
    local_time
        What a clock at the place showed at the onset, datetime64[us]; NaT where it is unknown.
    utc_offset_minutes
        Local time minus UTC, int16; `NO_ZONE` where it is unknown.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    file: NDArray[np.int32]
    label: NDArray[np.int32]
    onset: NDArray[np.float64]
    offset: NDArray[np.float64]
    score: NDArray[np.float64]
    local_time: NDArray[np.datetime64]
    utc_offset_minutes: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.onset)

    @classmethod
    def of_columns(
        cls,
        files: Sequence[str],
        labels: Sequence[str],
        onset: Sequence[float] | NDArray[np.float64],
        offset: Sequence[float] | NDArray[np.float64],
        score: Sequence[float] | NDArray[np.float64] | None = None,
        local_time: NDArray[np.datetime64] | None = None,
        utc_offset_minutes: NDArray[np.int16] | None = None,
    ) -> Self:
        """Return the table of columns with one value for each event; times default to unknown."""
        n = len(onset)
        file_names, file = _numbered(files)
        label_names, label = _numbered(labels)
        unknown_time = np.full(n, "NaT", "datetime64[us]")
        return cls(
            file_names,
            label_names,
            file,
            label,
            np.asarray(onset, np.float64),
            np.asarray(offset, np.float64),
            np.ones(n) if score is None else np.asarray(score, np.float64),
            unknown_time if local_time is None else local_time,
            np.full(n, NO_ZONE, np.int16) if utc_offset_minutes is None else utc_offset_minutes,
        )

    @classmethod
    def of_events(cls, events: Iterable[Event]) -> Self:
        """Return the table of events."""
        rows = list(events)
        times = [event.time for event in rows]
        local = [time and time.replace(tzinfo=None) for time in times]
        return cls.of_columns(
            [event.file for event in rows],
            [event.label for event in rows],
            [event.onset for event in rows],
            [event.offset for event in rows],
            [event.score for event in rows],
            np.array(local, "datetime64[us]"),
            np.array([_offset_minutes(time) for time in times], np.int16),
        )

    @classmethod
    def concat(cls, tables: Sequence[Self]) -> Self:
        """Return the rows of tables one below the other."""
        if len(tables) == 1:
            return tables[0]
        files, file = _merged([(table.files, table.file) for table in tables])
        labels, label = _merged([(table.labels, table.label) for table in tables])

        def joined(name: str, empty: Any) -> Any:
            return np.concatenate([empty, *(getattr(table, name) for table in tables)])

        return cls(
            files,
            labels,
            file,
            label,
            joined("onset", np.empty(0)),
            joined("offset", np.empty(0)),
            joined("score", np.empty(0)),
            joined("local_time", np.empty(0, "datetime64[us]")),
            joined("utc_offset_minutes", np.empty(0, np.int16)),
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Return some rows, by their numbers or by a mask; `files` and `labels` stay."""
        return type(self)(
            self.files,
            self.labels,
            self.file[rows],
            self.label[rows],
            self.onset[rows],
            self.offset[rows],
            self.score[rows],
            self.local_time[rows],
            self.utc_offset_minutes[rows],
        )

    def renamed(
        self, *, files: Sequence[str] | None = None, labels: Sequence[str] | None = None
    ) -> Self:
        """Return the events with other names in the place of `files` or `labels`, one for each.

        Names that are then equal become one.
        """
        new_files, file = _merged([(tuple(files or self.files), self.file)])
        new_labels, label = _merged([(tuple(labels or self.labels), self.label)])
        return dataclasses.replace(self, files=new_files, file=file, labels=new_labels, label=label)

    def events(self) -> Iterator[Event]:
        """Yield the rows as events."""
        for i in range(len(self)):
            yield self.event(i)

    def event(self, row: int) -> Event:
        """Return one row as an event."""
        time: datetime | None = self.local_time[row].item()
        minutes = int(self.utc_offset_minutes[row])
        if time is not None and minutes != NO_ZONE:
            time = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
        return Event(
            float(self.onset[row]),
            float(self.offset[row]),
            self.labels[self.label[row]],
            float(self.score[row]),
            self.files[self.file[row]],
            time,
        )


def repeated_rows(table: EventTable, n_rows: Sequence[int]) -> NDArray[np.bool_]:
    """Return which events of tables an earlier table has too, shape (events,).

    Parameters
    ----------
    table
        The tables, one below the other. Times are the same if they are to the millisecond.
    n_rows
        The number of rows of each table.
    """
    origin = np.repeat(np.arange(len(n_rows)), n_rows)
    pairs = np.unique(table.file.astype(np.int64) * len(n_rows) + origin)
    n_tables = np.bincount(pairs // len(n_rows), minlength=len(table.files))
    repeated = np.zeros(len(table), bool)
    # Most recordings are in one table alone.
    rows = np.flatnonzero((n_tables > 1)[table.file])
    times = (np.rint(seconds[rows] * 1e3) for seconds in (table.offset, table.onset))
    columns = (*times, table.label[rows], table.file[rows])
    order = np.lexsort((origin[rows], *columns))
    if len(order):
        new = np.any([np.diff(column[order]) != 0 for column in columns], axis=0)
        starts = np.concatenate([[0], np.flatnonzero(new) + 1])
        sorted_origin = origin[rows][order]
        first = np.repeat(sorted_origin[starts], np.diff([*starts, len(order)]))
        repeated[rows[order]] = sorted_origin != first
    return repeated


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return names once, in the order of their first row, and the number of each row's."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return tuple(numbers), np.fromiter(map(numbers.__getitem__, names), np.int32, len(names))


def _merged(
    parts: Sequence[tuple[tuple[str, ...], NDArray[np.int32]]],
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the names of several columns once, and the numbers of all rows among them."""
    numbers: dict[str, int] = {}
    rows = [np.empty(0, np.int32)]
    for names, column in parts:
        new = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
        rows.append(new[column])
    return tuple(numbers), np.concatenate(rows)


def _offset_minutes(time: datetime | None) -> int:
    offset = None if time is None else time.utcoffset()
    return NO_ZONE if offset is None else round(offset.total_seconds() / 60)
