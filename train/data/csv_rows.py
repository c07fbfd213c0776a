"""Write rows of tables, check them, and collect all errors in them."""

from __future__ import annotations

import ast
import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from sed.errors import TableError
from sed.events.reading.header import column_key
from sed.events.reading.table import log_assumed, log_once
from sed.files import written_whole
from sed.text import lines, pluralize, printable

# Where pyarrow is installed, pandas stores text in it, and it refuses names that are not UTF-8.
pd.set_option("mode.string_storage", "python")

MAX_SHOWN = 60  # characters of a faulty cell in a message
_ERROR_COLUMNS = ("onset", "offset", "kind", "predicted")  # of errors as sed evaluate writes them


def write_rows(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table, whole or not at all; `read_text_table` returns any text in it unchanged.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = table.to_csv(index=False, float_format="%.6f")
    # A carriage return ends a row unless it is quoted, and pandas quotes line feeds only.
    if "\r" in text:
        text = table.to_csv(index=False, float_format="%.6f", quoting=csv.QUOTE_NONNUMERIC)
    with written_whole(path) as part:
        part.write_text(text, "utf-8", errors="surrogateescape", newline="")


def refuse_errors(path: Path, header: Sequence[str]) -> None:
    """Refuse the errors of an evaluation: their false alarms are no examples of the class.

    Raises
    ------
    TableError
        If the keys of the columns of a table are those of errors.
    """
    if {*_ERROR_COLUMNS} <= {*header}:
        raise TableError(
            f"{printable(str(path))}: holds errors of an evaluation, false alarms among them, not "
            "labels. Listen to them, correct the labels in the table that was evaluated, and give "
            "that."
        )


class RowErrors:
    """What is wrong with the rows of a table: reported together.

    Parameters
    ----------
    path
        The table, or the folder that stands for it.
    n_rows
        Number of rows.
    """

    def __init__(self, path: str | os.PathLike[str], n_rows: int) -> None:
        self._path = path
        self._n_rows = n_rows
        self._reasons: list[str] = []
        self._left_out: list[str] = []

    @contextmanager
    def row(self, number: int, file: str) -> Iterator[None]:
        """Collect a ValueError of the body as an error of this row."""
        try:
            yield
        except ValueError as error:
            self._reasons.append(_reason(number, file, str(error)))

    def leave_out(self, number: int, file: str, reason: str) -> None:
        """Note that a row is left out, and the others are used."""
        self._left_out.append(_reason(number, file, reason))

    def finish(self, assumed: Sequence[str] = ()) -> None:
        """Raise the collected errors, or log what was assumed and which rows are left out.

        Raises
        ------
        TableError
            If there are errors; it lists them.
        """
        if self._reasons:
            raise TableError(
                f"{printable(os.fspath(self._path))}: "
                f"{pluralize(len(self._reasons), 'faulty row')} of {self._n_rows}; "
                f"correct or remove them:{lines(self._reasons)}"
            )
        log_assumed(self._path, assumed)
        if self._left_out:
            log_once(
                self._path,
                f"{pluralize(len(self._left_out), 'faulty row')} of {self._n_rows} left out:"
                f"{lines(self._left_out, 5)}",
            )


def _reason(number: int, file: str, reason: str) -> str:
    return f"row {number}: {printable(file) if file.strip() else '?'}: {reason}"


def require(row: Mapping[str, str], columns: Sequence[str]) -> None:
    """Refuse a row that is empty in one of these columns.

    Raises
    ------
    ValueError
        If it is; the message names the columns.
    """
    if empty := [column for column in columns if not row[column_key(column)].strip()]:
        raise ValueError(f"no {' and no '.join(empty)}")


def relative_path(path: str, folder: Path) -> str:
    """Return a path relative to a folder if it lies in it, and absolute otherwise."""
    whole, base = os.path.abspath(path), os.path.abspath(folder)
    inside = os.path.commonpath([whole, base]) == base
    return Path(os.path.relpath(whole, base) if inside else whole).as_posix()


def literal_list(cell: str) -> list[str]:
    """Return the labels in a Python list literal, which is parsed and never evaluated.

    Raises
    ------
    ValueError
        If the cell holds anything else.
    """
    if not cell.strip():
        return []
    try:
        labels = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"secondary_labels is not a list of labels: {cell[:MAX_SHOWN]!r}")
    return [label for label in dict.fromkeys(map(str.strip, labels)) if label]
