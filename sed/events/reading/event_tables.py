"""Read events of any format, from any number of files and folders, into one table of columns."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.errors import SedError, TableError
from sed.events.event_table import NO_ZONE, EventTable
from sed.events.reading.annotations import LAYOUTS, is_annotation, layout_of
from sed.events.reading.audio_files import Recordings, recording_name
from sed.events.reading.events import read_events
from sed.events.reading.header import read_columns
from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION, read_sqlite
from sed.events.writing.parquet import read_parquet_events
from sed.events.writing.writers import GAP
from sed.text import lines, pluralize, printable

ENDINGS = (
    *(".csv", ".tsv", ".txt", ".tab", ".jsonl", ".parquet", ".textgrid", ".svl"),
    *(".sqlite", ".sqlite3", ".db"),
)
_SQLITE = b"SQLite format 3\0"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Names of the columns of tables that are read fast: those of `sed`, and of DCASE.
_PLAIN = (("file", "filename"), ("onset",), ("offset",), ("label", "event_label"))
_ZONE = re.compile(r"[+-]\d\d:\d\d$")


def read_event_tables(
    paths: Iterable[str | os.PathLike[str]], on_read: Callable[[int], None] = lambda _: None
) -> EventTable:
    """Return the events in files and folders, with their recordings.

    The format of a file is recognised by its content: what `sed detect` and `sed listen` write
    (CSV, TSV, JSON Lines, Audacity, Raven, Parquet, the database of live events) and annotations of
    other programs, see `sed.events.reading.annotations`. Events without a recording are of the
    recording that has the name of their file: beside it, or where there is none, as a name without
    ending.

    Parameters
    ----------
    paths
        Files, and folders whose tables of events are read at any depth.
    on_read
        Called with the number of files read so far.

    Raises
    ------
    SedError
        If files cannot be read, or none holds events; all are listed.
    """
    files, errors, tables = [], [], []
    for path in paths:
        found = event_files(path)
        if not found:
            errors.append(
                f"{printable(os.fspath(path))}: no tables of events in it. Check the name."
            )
        files += found
    for i, file in enumerate(dict.fromkeys(files), start=1):
        try:
            tables.append(read_event_table(file))
        except SedError as error:
            errors.append(str(error))
        on_read(i)
    if errors:
        if len(errors) == 1:
            raise TableError(errors[0])
        raise TableError(f"{pluralize(len(errors), 'input')} cannot be read:{lines(errors)}")
    return EventTable.concat(tables)


def event_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return a file, or the tables of events in a folder and below, sorted."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    return [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
        and _holds_events(file)
    ]


def read_event_table(path: str | os.PathLike[str]) -> EventTable:
    """Return the events in one file of any format; see `read_event_tables`.

    Raises
    ------
    SedError
        If it cannot be read, or rows are faulty.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if _begins_with(path, _SQLITE):
        return _read_live_record(path)
    if ending == ".parquet":
        table = EventTable.of_events(read_parquet_events(path))
    elif (plain := _read_plain(path)) is not None:
        table = plain
    else:
        table = EventTable.of_events(read_events(path, _text_format(path)))
    return _with_names(table, path)


def _holds_events(file: Path) -> bool:
    if file.suffix.lower() in (".parquet", ".jsonl") or _begins_with(file, _SQLITE):
        return True
    return layout_of(read_columns(file)) is not None or is_annotation(file)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        reason = error.strerror or error
        raise TableError(
            f"{printable(os.fspath(path))}: cannot be read: {reason}. Check the name."
        ) from error


def _text_format(path: Path) -> str:
    """Return the name that `read_events` has for the format of a text file."""
    ending = path.suffix.lower()
    if ending in (".jsonl", ".textgrid", ".svl"):
        return {".jsonl": "jsonl", ".textgrid": "textgrid", ".svl": "sonic_visualiser"}[ending]
    columns = read_columns(path)
    layout = layout_of(columns)
    if layout is not None:
        own = {"events": "csv", "strong": "tsv", "birdnet_r": "birdnet"}
        return own.get(layout, layout)
    if "begin_time_(s)" in columns:
        return "raven"
    if is_annotation(path):
        return "sonic_visualiser" if ending == ".csv" else "audacity"
    known = "; ".join(", ".join(layout.needs) for layout in LAYOUTS.values())
    raise TableError(
        f"{printable(os.fspath(path))}: is no table of events: its header is none that is known. "
        f"Expected one with {known}."
    )


def _read_plain(path: Path) -> EventTable | None:
    """Return the events of plain CSV or TSV, which is read fast; None if it is not plain."""
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        return None
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(rows, [])
            needed = [[name for name in header if name in names] for names in _PLAIN]
            if any(len(names) != 1 for names in needed) or len({*header}) != len(header):
                return None
            cells = [*zip(*rows, strict=True)] or [()] * len(header)
            columns = dict(zip(header, cells, strict=True))
            files, onset, offset, labels = (columns[name] for (name,) in needed)
            score = columns.get("score", ("1",) * len(onset))
            onsets, offsets, scores = (
                np.fromiter(map(float, column), np.float64, len(column))
                for column in (onset, offset, score)
            )
            local, minutes = None, None
            if "time" in columns:
                local, minutes = _local_times(columns["time"])
    # Rows without events, decimal commas and faults are for the reader that explains them.
    except (OSError, csv.Error, ValueError):
        return None
    names = {*labels, *files}
    # So are apostrophes that keep a cell from being a formula.
    is_plain = all(np.isfinite(values).all() for values in (onsets, offsets, scores)) and not any(
        not name.strip() or name[0] == "'" for name in names
    )
    if not is_plain:
        return None
    table = EventTable.of_columns(files, labels, onsets, offsets, scores, local, minutes)
    return table.take(table.label != table.labels.index(GAP)) if GAP in names else table


def _local_times(cells: Sequence[str]) -> tuple[NDArray[np.datetime64], NDArray[np.int16]]:
    """Return local times and UTC offsets in minutes of times in ISO 8601.

    Raises
    ------
    ValueError
        If one is not in the form that `sed` writes.
    """
    minutes: dict[str, int] = {"": NO_ZONE}
    zones = [cell[-6:] if _ZONE.search(cell, 16) else "" for cell in cells]
    for zone in dict.fromkeys(zones):
        if zone:
            minutes[zone] = int(zone[:1] + "1") * (int(zone[1:3]) * 60 + int(zone[4:]))
    plain = [cell[:-6] if zone else cell or "NaT" for cell, zone in zip(cells, zones, strict=True)]
    if any(len(cell) not in (3, 19, 23, 26) for cell in plain):
        raise ValueError("a time in another form")
    return np.array(plain, "datetime64[us]"), np.array([minutes[zone] for zone in zones], np.int16)


def _read_live_record(path: Path) -> EventTable:
    """Return the events of the database that `sed listen` writes; recordings are its inputs."""
    query = "SELECT source, label, onset, offset, score, time FROM events ORDER BY id"
    with read_sqlite(path, application_id=LIVE_RECORD, version=LIVE_RECORD_VERSION) as connection:
        columns = [*zip(*connection.execute(query), strict=True)] or [()] * 6
    files, labels, onset, offset, score, times = columns
    return EventTable.of_columns(files, labels, onset, offset, score, *_local_times(times))


def _with_names(table: EventTable, path: Path) -> EventTable:
    """Return events with a recording, and labels without spaces around them.

    Where events name no recording, it is that of the file's name.
    """
    if "" in table.files:
        beside = Recordings(path.parent.iterdir()).beside(path)
        own = str(beside[0]) if len(beside) == 1 else str(path.with_name(recording_name(path)))
        table = table.renamed(files=[name or own for name in table.files])
    return table.renamed(labels=[label.strip() for label in table.labels])
