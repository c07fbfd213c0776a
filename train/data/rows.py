"""Rows of tables: read as text, their files found, and all that is wrong with them told at once."""

from __future__ import annotations

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

# Where pyarrow is installed, pandas keeps text in it, and it refuses file names that are no UTF-8.
pd.set_option("mode.string_storage", "python")


def read_header(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns; none if it cannot be read as one."""
    try:
        return _cells(path, n_rows=1)[0]
    except (OSError, ValueError, IndexError):
        return ()


def read_rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, tuple[str, ...]]]]:
    """Return the names of a table's columns, and its rows: their numbers and cells.

    Cells are text, empty where a row is short. The names are row 1, as a spreadsheet counts; empty
    rows are left out.

    Raises
    ------
    TableError
        If it cannot be read as a table.
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
        header=None,  # else pandas takes the first column of a row too long for a name
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,  # they count
        nrows=n_rows,
        encoding_errors="surrogateescape",  # as file names have them
    ).fillna("")
    return list(table.itertuples(index=False, name=None))


def write_rows(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table, whole or not at all; whatever is in its texts comes back from `read_rows`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = table.to_csv(index=False, float_format="%.6f")
    if "\r" in text:  # which ends a row unless it is quoted, and pandas quotes only line feeds
        text = table.to_csv(index=False, float_format="%.6f", quoting=csv.QUOTE_NONNUMERIC)
    with written_whole(path) as part:
        part.write_text(text, "utf-8", errors="surrogateescape", newline="")


class Faults:
    """What is wrong with the rows of a table.

    Parameters
    ----------
    path
        Of the table, or of the folder that stands for it.
    n_rows
        Rows in all.
    """

    def __init__(self, path: Path, n_rows: int) -> None:
        self._path = path
        self._n_rows = n_rows
        self._reasons: list[str] = []

    @contextmanager
    def of_row(self, row: int, file: str) -> Iterator[None]:
        """Note a ValueError as the fault of this row."""
        try:
            yield
        except ValueError as error:
            self._reasons.append(f"row {row}: {printable(file) if file.strip() else '?'}: {error}")

    def check(self) -> None:
        """Raise a TableError that lists the faults, if there are any."""
        n_faults = len(self._reasons)
        if not n_faults:
            return
        raise TableError(
            f"{printable(str(self._path))}: {n_faults} faulty rows of {self._n_rows}; mend or "
            f"remove them:{lines(self._reasons)}"
        )


def audio_folders(table: Path, names: Sequence[str] = ("audio",)) -> list[Path]:
    """Return where the audio of a table may lie: in folders beside it, above it, or with it."""
    bases = table.parent, table.absolute().parent.parent
    beside = [base / name for base in bases for name in names]
    return [*(path for path in beside if path.is_dir()), table.parent]


def found_file(names: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the path of the first file of these names in the first folder that has one.

    Raises
    ------
    ValueError
        If none has it.
    """
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return str(folder / name)
    raise ValueError(f"no such file in {printable(str(folders[0]))}")


def require(row: Mapping[str, str], columns: Sequence[str]) -> None:
    """Refuse a row that has nothing in one of these columns.

    Raises
    ------
    ValueError
        If it has not.
    """
    if empty := [column for column in columns if not row[column].strip()]:
        raise ValueError(f"no {' and no '.join(empty)}")


def written_file(path: str, folder: Path) -> str:
    """Return a path as a table in this folder names it: from there if it lies there, else whole."""
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
