"""Read events of any format, from any number of files and folders, into one table of columns."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.errors import SedError, TableError, UsageError
from sed.events.event_table import NO_ZONE, EventTable, repeated_rows
from sed.events.reading.annotations import is_annotation
from sed.events.reading.audio_files import Recordings, files_below, recording_name, stem
from sed.events.reading.events import read_events
from sed.events.reading.header import column_key, read_columns
from sed.events.reading.layouts import LAYOUTS, layout_of
from sed.events.reading.parquet import read_parquet_table
from sed.events.reading.table import log_once
from sed.events.reading.text_file import has_surrogates
from sed.events.sqlite import LIVE_RECORD, belongs_to, read_live_record
from sed.events.writing.formats import EXTENSIONS
from sed.events.writing.writers import GAP
from sed.text import lines, message_of, pluralize, printable, some, without_controls

_logger = logging.getLogger("sed.tables")

ENDINGS = (
    *(".csv", ".tsv", ".txt", ".tab", ".jsonl", ".parquet", ".textgrid", ".svl"),
    *(".sqlite", ".sqlite3", ".db"),
)
MAX_EVENT_SECONDS = 1e7  # four months
_SQLITE = b"SQLite format 3\0"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Names of the columns of tables that are read fast: those of `sed`, and of DCASE.
_PLAIN = (("file", "filename"), ("onset",), ("offset",), ("label", "event_label"))
# Endings of results, the best for reading first: those that store scores and times.
_OURS = tuple(
    EXTENSIONS[name]
    for name in ("csv", "jsonl", "parquet", "kaleidoscope", "raven", "tsv", "audacity")
)
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
    folders: dict[Path, Recordings] = {}
    for i, file in enumerate(dict.fromkeys(files), start=1):
        try:
            tables.append(read_event_table(file, folders))
        except SedError as error:
            errors.append(str(error))
        on_read(i)
    if errors:
        if len(errors) == 1:
            raise TableError(errors[0])
        raise TableError(f"{pluralize(len(errors), 'input')} cannot be read:{lines(errors)}")
    table = EventTable.concat(tables)
    repeated = repeated_rows(table, [*map(len, tables)])
    if n := int(repeated.sum()):
        _logger.warning("%s are in several tables: each counts once", pluralize(n, "event"))
    return table.take(~repeated) if n else table


def event_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return a file, or the tables of events in a folder and below, sorted.

    Of the results of one recording that a scan wrote in several formats, one is taken.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    return _once(
        path,
        [
            file
            for file in files_below(path)
            if file.suffix.lower() in ENDINGS and file.is_file() and _holds_events(file)
        ],
    )


def _once(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Return the first format of files that differ in the ending of a format of ours alone."""
    formats: dict[Path, list[tuple[int, Path]]] = {}
    for file in files:
        # The longest ending first: that of Raven ends as others do.
        ending = next((e for e in sorted(_OURS, key=len)[::-1] if file.name.endswith(e)), "")
        name = file.with_name(file.name.removesuffix(ending)) if ending else file
        rank = _OURS.index(ending) if ending else 0
        formats.setdefault(name, []).append((rank, file))
    chosen = {min(same)[1] for same in formats.values()}
    if len(chosen) < len(files):
        left = [str(file.relative_to(folder)) for file in files if file not in chosen]
        log_once(folder, f"the same recordings in several formats: left out {some(left, 3)}")
    return [file for file in files if file in chosen]


def read_event_table(
    path: str | os.PathLike[str], folders: dict[Path, Recordings] | None = None
) -> EventTable:
    """Return the events in one file of any format; see `read_event_tables`.

    Parameters
    ----------
    path
        The file.
    folders
        Recordings of folders that were listed before; others are added.

    Raises
    ------
    SedError
        If it cannot be read, or rows are faulty.
    """
    path = Path(path)
    try:
        table = _read(path)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise TableError(
            f"{printable(os.fspath(path))}: cannot be read as events: {message_of(error)}. Make it "
            "again, or correct it."
        ) from error
    _check_times(table, path)
    return _with_names(table, path, {} if folders is None else folders)


def _read(path: Path) -> EventTable:
    if _begins_with(path, _SQLITE):
        return _read_live_record(path)
    if path.suffix.lower() == ".parquet":
        return read_parquet_table(path)
    plain = _read_plain(path)
    if plain is not None:
        return plain
    return EventTable.of_events(read_events(path, _text_format(path)))


def _check_times(table: EventTable, path: Path) -> None:
    """Refuse events whose times are no numbers, negative, in the wrong order or far apart."""
    right = (table.onset >= 0) & (table.offset >= table.onset) & np.isfinite(table.offset)
    # What is counted by the second or the hour takes memory for each.
    right &= table.offset - table.onset <= MAX_EVENT_SECONDS
    if wrong := np.flatnonzero(~right).tolist():
        rows = [
            f"{without_controls(event.label)} from {event.onset:g} to {event.offset:g} s"
            for event in map(table.event, wrong[:20])
        ]
        raise TableError(
            f"{printable(os.fspath(path))}: {pluralize(len(wrong), 'event')} with times that "
            f"cannot be; correct or remove them:{lines(rows)}"
        )


def _holds_events(file: Path) -> bool:
    if _begins_with(file, _SQLITE):
        return belongs_to(file, LIVE_RECORD)
    if file.suffix.lower() in (".parquet", ".jsonl"):
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
            if any(len(names) != 1 for names in needed) or _has_doubles(header):
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
                times = columns["time"]
                if "date" in columns:
                    times = _with_days(times, columns["date"])
                local, minutes = _local_times(times)
    # Rows without events, decimal commas and faults are for the reader that explains them.
    except (OSError, csv.Error, ValueError):
        return None
    names = {*labels, *files}
    # So are apostrophes that keep a cell from being a formula.
    is_plain = all(np.isfinite(values).all() for values in (onsets, offsets, scores)) and not any(
        not name.strip() or name[0] == "'" for name in names
    )
    # And text that is not UTF-8, which names of files may be.
    is_plain = is_plain and not any(map(has_surrogates, {*labels}))
    if not is_plain:
        return None
    table = EventTable.of_columns(files, labels, onsets, offsets, scores, local, minutes)
    return table.take(table.label != table.labels.index(GAP)) if GAP in names else table


def _has_doubles(header: Sequence[str]) -> bool:
    return len({*map(column_key, header)}) < len(header)


def _with_days(times: Sequence[str], days: Sequence[str]) -> tuple[str, ...]:
    """Return times of a day with the day before each; times in ISO 8601 have one."""
    return tuple(
        f"{day}T{time}" if day and len(time) == len("04:30:01") else time
        for time, day in zip(times, days, strict=True)
    )


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
            hours, rest = int(zone[1:3]), int(zone[4:])
            if hours > 23 or rest > 59:
                raise ValueError(f"no such time zone: {zone}")
            minutes[zone] = int(zone[:1] + "1") * (60 * hours + rest)
    plain = [cell[:-6] if zone else cell or "NaT" for cell, zone in zip(cells, zones, strict=True)]
    if any(len(cell) not in (3, 19, 23, 26) for cell in plain):
        raise ValueError("a time in another form")
    return np.array(plain, "datetime64[us]"), np.array([minutes[zone] for zone in zones], np.int16)


def _read_live_record(path: Path) -> EventTable:
    """Return the events of the database that `sed listen` writes; recordings are its inputs."""
    query = "SELECT source, label, onset, offset, score, time FROM events ORDER BY id"
    with read_live_record(path) as connection:
        columns = [*zip(*connection.execute(query), strict=True)] or [()] * 6
    files, labels, onset, offset, score, times = columns
    return EventTable.of_columns(files, labels, onset, offset, score, *_local_times(times))


def _with_names(table: EventTable, path: Path, folders: dict[Path, Recordings]) -> EventTable:
    """Return events with a recording, and labels without spaces around them.

    Where events name no recording, it is that of the file's name. If a selection table of Raven
    names that one, without its folder, it is beside the table: those of several sites may have one
    name.
    """
    if path.suffix.lower() == ".txt":
        own_stem = stem(recording_name(path))
        names = [
            str(path.with_name(name))
            if stem(name) == own_stem and "/" not in name and not os.path.isfile(name)
            else name
            for name in table.files
        ]
        table = table.renamed(files=names)
    if "" in table.files:
        if path.parent not in folders:
            folders[path.parent] = Recordings(path.parent.iterdir())
        beside = folders[path.parent].beside(path)
        own = str(beside[0]) if len(beside) == 1 else str(path.with_name(recording_name(path)))
        table = table.renamed(files=[name or own for name in table.files])
    return table.renamed(labels=[label.strip() for label in table.labels])
