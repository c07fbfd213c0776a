"""Read which parts of recordings a table names: events of any format, or clips."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sed.errors import SedError, TableError, UsageError
from sed.events.formats import TEXT_WRITERS, format_of
from sed.events.parquet import read_parquet_events
from sed.events.tracker import Event
from sed.events.writers import read_events
from sed.text import printable

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
    name = printable(os.fspath(path))
    try:
        kind = _format(path)
        if kind == "parquet":
            return read_parquet_events(path)
        if kind in ("csv", "tsv"):
            return _read_table(path, "," if kind == "csv" else "\t")
        return read_events(path, kind)
    except OSError as error:
        raise TableError(
            f"{name}: cannot read: {error.strerror or error}. Check the name."
        ) from error
    except (KeyError, StopIteration, TypeError, ValueError, csv.Error) as error:
        if isinstance(error, SedError | UsageError):
            raise
        raise TableError(
            f"{name}: cannot be read as {kind} ({error}). Give events that sed wrote, or a CSV "
            "table with a column file."
        ) from error


def _format(path: str | os.PathLike[str]) -> str:
    try:
        return format_of(path, [*TEXT_WRITERS, "parquet"])
    except UsageError:
        if Path(path).suffix.lower() in (".txt", ".tab"):
            return "tsv"
        raise


def _read_table(path: str | os.PathLike[str], delimiter: str) -> list[Event]:
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        columns = rows.fieldnames or []
        name = next((c for c in FILE if c in columns), None)
        if name is None:
            raise TableError(
                f"{printable(os.fspath(path))}: expected a column {', '.join(FILE[:3])} or path, "
                f"got {', '.join(map(printable, columns)) or 'no columns'}. Name the column of "
                "files so."
            )
        clips, errors = [], []
        for number, row in enumerate(rows, start=2):
            try:
                clips.append(_clip(row, row[name] or ""))
            except (TypeError, ValueError) as error:
                errors.append(f"line {number}: {error}")
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
    if not file:
        raise ValueError("no file")
    cells = dict(_first_cells(row))
    onset = float(cells.get("onset", 0.0))
    offset = float(cells.get("offset", math.inf))
    if "offset" not in cells and "duration" in cells:
        offset = onset + float(cells["duration"])
    if not 0 <= onset < offset:
        raise ValueError(f"expected 0 <= onset < offset, got {onset:g} and {offset:g}")
    score = float(row.get("score") or 1.0)
    return Event(onset, offset, cells.get("label", ""), score, file)


def _first_cells(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each quantity of a row and its cell: of the first column that it has and is filled."""
    for what, names in (
        ("onset", ONSET),
        ("offset", OFFSET),
        ("duration", DURATION),
        ("label", LABEL),
    ):
        for name in names:
            if row.get(name):
                yield what, row[name]
                break
