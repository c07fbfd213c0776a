"""Read a table of text as spreadsheets, R and other programs write it.

The delimiter (comma, semicolon, tab or bar), a first line ``sep=;``, comments before the header,
the encoding, line ends, decimal commas and row names of R are recognised. What is not plain about
a table is in `TextTable.assumed`, for the one line that `log_assumed` logs.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sed.errors import TableError
from sed.events.reading.header import (
    DELIMITERS,
    FILE_KEYS,
    KNOWN_KEYS,
    LABEL_KEYS,
    NUMBER_KEYS,
    SPELLINGS,
    Head,
    column_key,
    find_header,
)
from sed.events.reading.text_file import from_windows_1252, has_bytes, read_text_file
from sed.text import printable, some

_logger = logging.getLogger("sed.tables")

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_DECIMAL_POINT = re.compile(r"\s*[-+]?\d*\.\d+\s*")
_WHOLE = re.compile(r"\s*[-+]?\d*\s*")
_QUOTED_BEHIND_SPACE = re.compile(' +"')
_SPACED = re.compile(r"^\s+\S|\S\s+$|\S\s+;|;\s+\S")

# Errors of Excel and LibreOffice in the languages of Europe, such as #REF!, #NOM? and #ÜBERLAUF!
_ERROR = re.compile(r"#[¡¿]?[A-ZÀ-Ý]+(/0)?[!?]|#(N/A|N/D|NV|NB|GETTING_DATA)|Err:\d{3}")

_logged: set[tuple[str, str]] = set()  # so that a table that is read again is not reported again


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes
    ----------
    path
        The file.
    header
        Names of the columns as they are written, without spaces around them.
    rows
        The number of each row that is not empty, and its cells as they are written, one per column;
        empty where the row is short. Rows count from 1, as in a spreadsheet. File names may hold
        bytes that are not UTF-8, as lone surrogates; other cells do not.
    assumed
        What is not plain about the table, in words.
    """

    path: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    assumed: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns as `column_key` returns them."""
        return tuple(map(column_key, self.header))

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the number of each row, and its cells by the names in `columns`.

        Raises
        ------
        TableError
            If two columns of one name, however it is spelled, differ where neither is empty.
        """
        columns = self.columns
        doubles = [
            (columns.index(name), c)
            for c, name in enumerate(columns)
            if name in KNOWN_KEYS and name in columns[:c]
        ]
        for number_, cells in self.rows:
            row = dict(zip(columns, cells, strict=True))
            for first, c in doubles:
                own, other = cells[first].strip(), cells[c].strip()
                if own and other and own != other:
                    raise TableError(
                        f"{printable(self.path)}: columns {self.header[first]} and "
                        f"{self.header[c]} differ in row {number_}. Remove one of them, or rename "
                        "it."
                    )
                row[columns[c]] = cells[first] if own else cells[c]
            yield number_, row


def read_text_table(path: str | os.PathLike[str], *, quoted: bool = True) -> TextTable:
    """Return a table with a header.

    Parameters
    ----------
    path
        The file.
    quoted
        False if cells between tabs are never quoted, as those of Raven.

    Raises
    ------
    TableError
        If it cannot be read, is no text, or its rows do not fit its header.
    """
    name = printable(os.fspath(path))
    decoded = read_text_file(path)
    try:
        head = find_header(decoded.text, path)
        records, unquoted = _parsed(head, quoted=quoted)
    except csv.Error as error:
        raise TableError(f"{name}: cannot be read as a table: {error}. Correct it.") from error
    if not records:
        return TextTable(os.fspath(path), (), ())
    header, *rows = records
    header = [from_windows_1252(cell).strip() for cell in header]
    numbered = [
        (i, cells)
        for i, cells in enumerate(rows, head.n_before + 2)
        if any(cell.strip() for cell in cells)
    ]
    assumed = [*decoded.assumed, *head.assumed, *unquoted]
    header, even = _even_rows(name, header, numbered, head.delimiter, assumed)
    columns = [column_key(column) for column in header]
    other = {
        cell: column_key(cell)
        for cell in header
        if column_key(cell) in KNOWN_KEYS and cell not in SPELLINGS
    }
    if other:
        assumed.append(f"columns {some(list(other))} as {some(list(other.values()))}")
    if has_bytes(decoded.text):
        even = _without_bytes(even, columns, assumed)
    if "#" in decoded.text or "Err:" in decoded.text:
        even = _without_errors(even, assumed)
    even = _decimal_points(even, columns, assumed)
    _note_spaces(even, columns, assumed)
    cells = tuple((i, tuple(row)) for i, row in even)
    return TextTable(os.fspath(path), tuple(header), cells, tuple(assumed))


def log_assumed(path: str | os.PathLike[str], assumed: Sequence[str]) -> None:
    """Log in one line what was assumed about a table, once for each table."""
    if assumed:
        log_once(path, f"read {'; '.join(assumed)}")


def log_once(path: str | os.PathLike[str], message: str) -> None:
    """Log a warning about a table, also if it is read several times."""
    if (os.path.abspath(path), message) not in _logged:
        _logged.add((os.path.abspath(path), message))
        _logger.warning("%s: %s", printable(os.fspath(path)), message)


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
        hint = ""
        if _DECIMAL_COMMA.fullmatch(cell):
            hint = "; the column has numbers with a decimal point too: write all of them so"
        raise ValueError(f"expected a number for {name}, got {cell!r}{hint}")
    return value


def _parsed(head: Head, *, quoted: bool) -> tuple[list[list[str]], list[str]]:
    """Return the cells of all records, and whether quotes were read as they are, in words."""
    delimiter = head.delimiter
    is_tab = delimiter == "\t"
    if not quoted and is_tab:
        return _records(head.text, delimiter, quoting=csv.QUOTE_NONE), []
    try:
        records = _records(head.text, delimiter)
        # A quote behind a space is one of the text, unless the program puts a space before each
        # cell, as that of AudioSet does.
        if any(
            cell.startswith(" ") and cell.lstrip().startswith('"') for r in records for cell in r
        ):
            return _records(head.text, delimiter, skipinitialspace=True), []
        return records, []
    except csv.Error:
        if not is_tab:
            return _records(head.text, delimiter, skipinitialspace=True), []
    return _records(head.text, delimiter, quoting=csv.QUOTE_NONE), ["quotes as characters"]


def _records(text: str, delimiter: str, **options: int) -> list[list[str]]:
    """Return the cells of all records, also of those that are empty.

    Raises
    ------
    csv.Error
        If quotes are not closed; the message has the line.
    """
    # The limit is there for the whole program, and smaller than a cell of events may be.
    limit = csv.field_size_limit(max(len(text), 131_072))
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        **options,  # type: ignore[arg-type]
    )
    try:
        return list(reader)
    except csv.Error as error:
        reason = str(error).replace("unexpected end of data", "a quote that is never closed")
        raise csv.Error(f"{reason} (line {reader.line_num} from the header on)") from error
    finally:
        csv.field_size_limit(limit)


def _even_rows(
    name: str,
    header: list[str],
    rows: list[tuple[int, list[str]]],
    delimiter: str,
    assumed: list[str],
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, and rows with as many cells: without empty ones at the end.

    Raises
    ------
    TableError
        If a row has more cells than the header.
    """
    rows = [(i, _trimmed(cells, len(header))) for i, cells in rows]
    n_columns = len(header)
    is_longer = bool(rows) and all(len(cells) == n_columns + 1 for _, cells in rows)
    if is_longer and [cells[0] for _, cells in rows] == [str(i + 1) for i in range(len(rows))]:
        assumed.append("the first cell of each row as its number in R")
        rows = [(i, cells[1:]) for i, cells in rows]
    while header and not header[-1] and not any("".join(c[len(header) - 1 :]) for _, c in rows):
        header = header[:-1]
    for i, cells in rows:
        if len(cells) > n_columns:
            raise TableError(
                f"{name}: cannot be read as a table: row {i} has {len(cells)} cells, and the "
                f"header {n_columns}. Quote cells that hold {DELIMITERS.get(delimiter, delimiter)}."
            )
    n_columns = len(header)
    return header, [(i, (cells + [""] * n_columns)[:n_columns]) for i, cells in rows]


def _trimmed(cells: list[str], n_columns: int) -> list[str]:
    """Return cells without empty ones beyond the header."""
    while len(cells) > n_columns and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _without_errors(
    rows: Sequence[tuple[int, list[str]]], assumed: list[str]
) -> list[tuple[int, list[str]]]:
    """Return rows in which cells with errors of a spreadsheet are empty."""
    errors = {c for _, cells in rows for c in cells if _ERROR.fullmatch(c.strip())}
    if not errors:
        return list(rows)
    assumed.append(
        f"errors of a spreadsheet as empty cells ({some(sorted(map(str.strip, errors)))})"
    )
    return [(i, ["" if cell in errors else cell for cell in cells]) for i, cells in rows]


def _without_bytes(
    rows: Sequence[tuple[int, list[str]]], columns: Sequence[str], assumed: list[str]
) -> list[tuple[int, list[str]]]:
    """Return rows whose cells, except for file names, are text."""
    fixed, example = [], ""
    for i, cells in rows:
        new = [
            cell if column in FILE_KEYS else from_windows_1252(cell)
            for column, cell in zip(columns, cells, strict=True)
        ]
        if not example:
            changed = [b for a, b in zip(cells, new, strict=True) if a != b]
            example = changed[0].strip() if changed else ""
        fixed.append((i, new))
    if example:
        assumed.append(f"text that is not UTF-8 as Windows-1252 ({printable(example)})")
    return fixed


def _decimal_points(
    rows: Sequence[tuple[int, list[str]]], columns: Sequence[str], assumed: list[str]
) -> list[tuple[int, list[str]]]:
    """Return rows whose numbers have decimal points, where all those of a column have commas."""
    fixed = [(i, list(cells)) for i, cells in rows]
    example = ""
    for c, column in enumerate(columns):
        cells = [cells[c] for _, cells in fixed]
        if column in KNOWN_KEYS - NUMBER_KEYS or not any(map(_DECIMAL_COMMA.fullmatch, cells)):
            continue
        if column in NUMBER_KEYS:
            is_comma = not any(map(_DECIMAL_POINT.fullmatch, cells))
        else:  # all cells of an unknown column have to be numbers
            is_comma = all(_DECIMAL_COMMA.fullmatch(x) or _WHOLE.fullmatch(x) for x in cells)
        if is_comma:
            example = example or next(x for x in cells if _DECIMAL_COMMA.fullmatch(x)).strip()
            for _, row in fixed:
                if _DECIMAL_COMMA.fullmatch(row[c]):
                    row[c] = row[c].replace(",", ".")
    if example:
        assumed.append(f"decimal commas ({example} as {example.replace(',', '.')})")
    return fixed


def _note_spaces(
    rows: Sequence[tuple[int, list[str]]], columns: Sequence[str], assumed: list[str]
) -> None:
    """Note labels with spaces around them; those who read labels remove them."""
    labels = [c for c, column in enumerate(columns) if column in LABEL_KEYS]
    for _, cells in rows:
        for c in labels:
            if _SPACED.search(cells[c]):
                assumed.append(f"labels without the spaces around them ({cells[c]!r})")
                return


def cell_of(row: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the first of some cells of a row that is not empty, without spaces around it."""
    return next((cell for name in names if (cell := row.get(name, "").strip())), "")
