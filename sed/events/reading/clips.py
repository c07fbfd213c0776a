"""Read which parts of recordings a table names: events of any format, or clips."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from sed.errors import TableError, UsageError
from sed.events.reading.events import read_events
from sed.events.reading.table import cell_of, log_assumed, number, read_text_table
from sed.events.reading.text_file import from_windows_1252
from sed.events.tracker import Event
from sed.events.writing.formats import TEXT_WRITERS, format_of
from sed.events.writing.parquet import read_parquet_events
from sed.text import from_spreadsheet_cell, printable

# Names of columns in tables of clips, the first that is there counts.
FILE = ("file", "filename", "fname", "filepath", "path", "recording", "slice_file_name")
ONSET = ("onset", "start", "start_seconds", "start_time", "begin")
OFFSET = ("offset", "end", "stop", "end_seconds", "end_time")
LABEL = ("label", "event_label", "category", "primary_label", "class")
DURATION = ("duration", "duration_seconds")


def read_clips(path: str | os.PathLike[str]) -> list[Event]:
    """Return the parts of recordings that a table names, in its order.

    Parameters
    ----------
    path
        Events in any format that `sed detect` writes, by the ending of the name; or any other CSV
        or TSV table with a column ``file`` (also ``filename``, ``path``, …) and, if it has them,
        ``onset`` or ``start``, ``offset``, ``end`` or ``duration`` in seconds, and ``label``.

    Returns
    -------
    list[Event]
        A clip without times starts at 0; without an end, its offset is infinite.

    Raises
    ------
    TableError
        If it cannot be read, has no such columns, or rows are faulty; the first rows are listed.
    UsageError
        If the ending is of no format.
    """
    kind = _format(path)
    if kind in ("csv", "tsv"):
        return _read_table(path)
    if kind != "parquet":
        return read_events(path, kind)
    name = printable(os.fspath(path))
    try:
        return read_parquet_events(path)
    except OSError as error:
        reason = error.strerror or error
        raise TableError(f"{name}: cannot be read: {reason}. Check the name.") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise TableError(
            f"{name}: cannot be read as parquet ({error}). Give events that sed wrote, or a CSV "
            "table with a column file."
        ) from error


def _format(path: str | os.PathLike[str]) -> str:
    try:
        return format_of(path, [*TEXT_WRITERS, "parquet"])
    except UsageError:
        if Path(path).suffix.lower() in (".txt", ".tab"):
            return "tsv"
        raise


def _read_table(path: str | os.PathLike[str]) -> list[Event]:
    table = read_text_table(path)
    log_assumed(path, table.assumed)
    if not {*FILE} & {*table.columns}:
        raise TableError(
            f"{printable(os.fspath(path))}: expected a column {', '.join(FILE[:3])} or path, "
            f"got {', '.join(map(printable, table.header)) or 'no columns'}. Name the column of "
            "files so."
        )
    name = next(c for c in FILE if c in table.columns)
    clips, errors = [], []
    for line, row in table.records():
        try:
            clips.append(_clip(row, row[name]))
        except ValueError as error:
            errors.append(f"line {line}: {error}")
    if errors:
        more = f"; and {len(errors) - 5} more" * (len(errors) > 5)
        raise TableError(
            f"{printable(os.fspath(path))}: {'; '.join(errors[:5])}{more}. Correct these rows."
        )
    return clips


def _clip(row: Mapping[str, str], file: str) -> Event:
    """Return the clip of a row.

    Raises
    ------
    ValueError
        If the file is missing, or a time is no number or out of order.
    """
    if not file.strip():
        raise ValueError("no file")
    onset, offset = 0.0, math.inf
    if cell := cell_of(row, ONSET):
        onset = number("onset", cell)
    if cell := cell_of(row, OFFSET):
        offset = number("offset", cell)
    elif cell := cell_of(row, DURATION):
        offset = onset + number("duration", cell)
    if not 0 <= onset < offset:
        raise ValueError(f"expected 0 <= onset < offset, got {onset:g} and {offset:g}")
    cell = cell_of(row, ("score",))
    score = number("score", cell) if cell else 1.0
    # As a table has them that was written for spreadsheets.
    label, name = (from_spreadsheet_cell(text) for text in (cell_of(row, LABEL), file))
    return Event(onset, offset, label, score, _existing(name))


def _existing(file: str) -> str:
    """Return the name of a file as it is on this machine, or as it is written."""
    plain = from_windows_1252(file)
    names = (file, file.strip(), plain, plain.replace("\\", "/"))
    return next((name for name in names if os.path.exists(name)), file.strip() or file)
