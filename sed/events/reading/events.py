"""Read events: those that this package wrote, and annotations of other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from sed.errors import TableError, UsageError
from sed.events.reading.annotations import Annotation, read_annotations
from sed.events.reading.table import log_assumed, log_once, number, read_text_table
from sed.events.reading.text_file import read_text_file
from sed.events.tracker import Event
from sed.events.writing.writers import GAP, NAME_COLUMNS
from sed.text import from_spreadsheet_cell, lines, near, pluralize, printable

OF_OTHERS = (
    *("birdnet", "kaleidoscope", "opensoundscape", "audioset", "textgrid", "sonic_visualiser"),
)
_READERS = ("csv", "jsonl", "audacity", "raven", "tsv", *OF_OTHERS)

_Numbered = Iterator[tuple[int, Callable[[], Event | None]]]


def read_events(path: str | os.PathLike[str], format: str) -> list[Event]:
    """Return the events in a file, without gaps and without rows that have no label.

    Parameters
    ----------
    path
        A file that a `LineWriter` wrote, or another program.
    format
        csv, jsonl, audacity, raven or tsv, as this package writes them and others do: see
        `sed.events.reading.table` for what is recognised in tables. Audacity and TSV store no
        scores (1.0 here), Audacity no file names. Or one of birdnet, kaleidoscope,
        opensoundscape, audioset, textgrid and sonic_visualiser.

    Raises
    ------
    TableError
        If the file cannot be read, is of another format, or rows are faulty; they are listed.
    UsageError
        If the format is unknown.
    """
    if format not in _READERS:
        raise UsageError(f"unknown format {format!r}. {near(format, _READERS)}")
    if format == "jsonl":
        rows = _jsonl_rows(path)
    elif format in ("csv", "tsv"):
        rows = _table_rows(path, format)
    else:
        rows = _annotation_rows(path, format)
    events, faults, n_unlabelled = [], [], 0
    for i, make in rows:
        try:
            event = make()
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            faults.append(f"row {i}: {error}")
            continue
        if event is not None and not event.label.strip():
            n_unlabelled += 1
        elif event is not None and event.label != GAP:
            events.append(event)
    if faults:
        raise TableError(
            f"{printable(os.fspath(path))}: {pluralize(len(faults), 'row')} cannot be read as "
            f"{format}; correct or remove them:{lines(faults)}"
        )
    if n_unlabelled:
        log_once(path, f"{pluralize(n_unlabelled, 'row')} without a label left out")
    return events


def _table_rows(path: str | os.PathLike[str], format: str) -> _Numbered:
    table = read_text_table(path)
    log_assumed(path, table.assumed)
    label, file = ("label", "file") if format == "csv" else ("event_label", "filename")
    needed = (file, "onset", "offset", label)
    if table.header and (missing := [name for name in needed if name not in table.columns]):
        raise TableError(
            f"{printable(os.fspath(path))}: has no column {', '.join(missing)}. Expected a table "
            f"with the columns {', '.join(needed)}."
        )

    def event(row: dict[str, str]) -> Event | None:
        if not row[label].strip() and not row["onset"].strip():
            return None  # a recording without events
        score = number("score", row["score"]) if row.get("score", "").strip() else 1.0
        times = number("onset", row["onset"]), number("offset", row["offset"])
        # As a table has them that was written for spreadsheets.
        names = from_spreadsheet_cell(row[label]), from_spreadsheet_cell(row[file])
        return Event(*times, names[0], score, names[1], _time(row.get("time"), row.get("date")))

    for i, row in table.records():
        yield i, partial(event, row)


# Of events in JSON Lines, what an `Event` does not hold; the last ones are those of live events.
_OTHER_KEYS = (*NAME_COLUMNS, "date", "site", "type", "duration", "clip")


def _jsonl_rows(path: str | os.PathLike[str]) -> _Numbered:
    text, assumed = read_text_file(path)
    log_assumed(path, assumed)

    def event(line: str) -> Event | None:
        values = json.loads(line)
        if not isinstance(values, dict):
            raise ValueError("expected an object")
        if "gap" in values or values.get("type") in ("onset", "gap"):
            return None
        if "source" in values:  # live events name their input
            values["file"] = values.pop("source")
        fields = {key: value for key, value in values.items() if key not in _OTHER_KEYS}
        found = Event(**fields | {"time": _time(fields.get("time"))})
        if not all(isinstance(x, int | float) for x in (found.onset, found.offset, found.score)):
            raise ValueError("expected numbers for onset, offset and score")
        float(found.onset), float(found.offset)  # or they are too large for times
        if not isinstance(found.label, str) or not isinstance(found.file, str):
            raise ValueError("expected text for label and file")
        return found

    # Only line feeds end a line: the others may be in a label.
    for i, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        if line.strip():
            yield i, partial(event, line)


def _annotation_rows(path: str | os.PathLike[str], format: str) -> _Numbered:
    found = read_annotations(path, format)
    log_assumed(path, found.assumed)

    def event(row: Annotation) -> Event | None:
        if not (row.label + row.onset + row.offset + row.duration).strip():
            return None  # a recording without events
        score = number("score", row.score) if row.score.strip() else 1.0
        return Event(*row.times(), row.label, score, row.file)

    for row in found.rows:
        yield row.row, partial(event, row)


def _time(text: object, date: str | None = None) -> datetime | None:
    """Return a time in ISO 8601, or of a day and a time of that day; a time of no day is none."""
    if isinstance(text, str) and "-" not in text and "T" not in text:
        text = f"{date}T{text}" if date and text else None
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
