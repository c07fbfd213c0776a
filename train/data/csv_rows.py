"""Read and write rows of tables, find their files, and collect all errors in them."""

from __future__ import annotations

import ast
import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from sed.errors import TableError
from sed.files import written_whole
from sed.text import lines, printable

# Where pyarrow is installed, pandas stores text in it, and it refuses names that are not UTF-8.
pd.set_option("mode.string_storage", "python")

MAX_SHOWN = 60  # characters of a faulty cell in a message


def read_header(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns; none if it is not readable."""
    try:
        return _cells(path, n_rows=1)[0]
    except (OSError, ValueError, IndexError):
        return ()


def read_rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, tuple[str, ...]]]]:
    """Return the column names of a table, and the number and the cells of each row.

    Cells are text, empty where a row is short. The header is row 1, as in a spreadsheet; empty rows
    are left out.

    Raises
    ------
    TableError
        If the file is not readable as a table.
    """
    try:
        header, *rows = _cells(path)
    except (OSError, ValueError) as error:  # those of pandas are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TableError(
            f"{printable(str(path))}: cannot be read as a table: {reason}. Check the file."
        ) from error
    numbered = enumerate(rows, start=2)
    return header, [(i, cells) for i, cells in numbered if any(cell.strip() for cell in cells)]


def _cells(path: Path, n_rows: int | None = None) -> list[tuple[str, ...]]:
    """Return all cells, the names of the columns first."""
    table = pd.read_csv(
        path,
        sep="," if path.suffix.lower() == ".csv" else "\t",
        header=None,  # or pandas takes the first column of a long row for an index
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,  # so that row numbers stay true
        nrows=n_rows,
        encoding_errors="surrogateescape",  # as Python does in file names
    ).fillna("")
    return list(table.itertuples(index=False, name=None))


def write_rows(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table, whole or not at all; `read_rows` returns any text in it unchanged.

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


class RowErrors:
    """Errors in the rows of a table, collected and raised together.

    Parameters
    ----------
    path
        The table, or the folder that stands for it.
    n_rows
        Number of rows.
    """

    def __init__(self, path: Path, n_rows: int) -> None:
        self._path = path
        self._n_rows = n_rows
        self._reasons: list[str] = []

    @contextmanager
    def row(self, number: int, file: str) -> Iterator[None]:
        """Collect a ValueError of the body as an error of this row."""
        try:
            yield
        except ValueError as error:
            name = printable(file) if file.strip() else "?"
            self._reasons.append(f"row {number}: {name}: {error}")

    def raise_if_any(self) -> None:
        """Raise the collected errors.

        Raises
        ------
        TableError
            If there are any; it lists them.
        """
        if self._reasons:
            raise TableError(
                f"{printable(str(self._path))}: {len(self._reasons)} faulty rows of "
                f"{self._n_rows}; correct or remove them:{lines(self._reasons)}"
            )


def audio_folders(table: Path, names: Sequence[str] = ("audio",)) -> list[Path]:
    """Return folders that may hold the audio of a table: beside it, above it, or its own."""
    bases = table.parent, table.absolute().parent.parent
    beside = [base / name for base in bases for name in names]
    return [*(path for path in beside if path.is_dir()), table.parent]


def find_audio(names: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the path of the first file with one of these names in the first folder that has one.

    Raises
    ------
    ValueError
        If no folder has one.
    """
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return str(folder / name)
    raise ValueError(f"no such file in {printable(str(folders[0]))}")


def require(row: Mapping[str, str], columns: Sequence[str]) -> None:
    """Refuse a row that is empty in one of these columns.

    Raises
    ------
    ValueError
        If it is; the message names the columns.
    """
    if empty := [column for column in columns if not row[column].strip()]:
        raise ValueError(f"no {' and no '.join(empty)}")


def relative_path(path: str, folder: Path) -> str:
    """Return a path relative to a folder if it lies in it, and absolute otherwise."""
    whole, base = os.path.abspath(path), os.path.abspath(folder)
    inside = os.path.commonpath([whole, base]) == base
    return Path(os.path.relpath(whole, base) if inside else whole).as_posix()


def number(name: str, cell: str) -> float:
    """Return the finite number in a cell of the column `name`.

    Raises
    ------
    ValueError
        If there is none.
    """
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number for {name}, got {cell!r}")
    return value


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
    return [label for label in dict.fromkeys(labels) if label]
