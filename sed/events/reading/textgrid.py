"""Read TextGrids of Praat, in the long and the short text format.

Praat reads the same way: what counts are strings in quotes, numbers that stand alone and flags; all
the rest, as ``intervals [1]:`` and ``xmin =`` of the long format, is for people.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from sed.errors import TableError
from sed.events.reading.text_file import from_windows_1252, read_text_file
from sed.text import printable, some

_TOKEN = re.compile(
    r'"((?:[^"]|"")*)"|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|<(exists|absent)>|![^\n\r]*'
)

Row = tuple[int, str, str, str]  # number; onset, offset and label as written


def read_textgrid(path: str | os.PathLike[str]) -> tuple[list[Row], list[str]]:
    """Return the intervals with text in all tiers of a TextGrid, and what was assumed, in words.

    Intervals are numbered from 1 over all tiers. Points have no duration, and are left out.

    Raises
    ------
    TableError
        If it cannot be read, or is no TextGrid.
    """
    text, assumed = read_text_file(path)
    notes = list(assumed)
    if (plain := from_windows_1252(text)) != text:
        notes.append("text that is not UTF-8 as Windows-1252")
    rows: list[Row] = []
    tiers: list[str] = []
    n_points = 0
    try:
        for kind, tier, cells in _tiers(_tokens(plain)):
            n_points += kind == "TextTier"
            if kind == "IntervalTier":
                rows += [(len(rows) + i, *row) for i, row in enumerate(cells, 1) if row[2].strip()]
                tiers.append(tier)
    except (StopIteration, RuntimeError, ValueError) as error:
        raise TableError(
            f"{printable(os.fspath(path))}: is no whole TextGrid. Save it again, as text."
        ) from error
    if len(tiers) > 1:
        notes.append(f"labels of all tiers: {some(tiers)}")
    if n_points:
        notes.append("no points, which have no duration")
    return [(i, onset, offset, label.strip()) for i, onset, offset, label in rows], notes


def _tokens(text: str) -> Iterator[str]:
    """Yield strings without their quotes behind a quote, numbers, and flags."""
    for match in _TOKEN.finditer(text):
        string, number, flag = match.groups()
        if string is not None:
            yield '"' + string.replace('""', '"')
        elif number is not None:
            yield number
        elif flag is not None:
            yield flag


def _tiers(tokens: Iterator[str]) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Yield the kind of each tier, its name, and its intervals; of points the time twice.

    Raises
    ------
    StopIteration, RuntimeError, ValueError
        If something is missing, or not what it should be.
    """
    if [_string(tokens), _string(tokens)] != ["ooTextFile", "TextGrid"]:
        raise ValueError("no TextGrid")
    float(next(tokens)), float(next(tokens))
    if next(tokens) == "absent":
        return
    for _ in range(int(next(tokens))):
        kind, name = _string(tokens), _string(tokens)
        float(next(tokens)), float(next(tokens))
        n_rows = int(next(tokens))
        if kind not in ("IntervalTier", "TextTier"):
            raise ValueError(f"unknown tier {kind}")
        rows = []
        for _ in range(n_rows):
            onset = next(tokens)
            offset = next(tokens) if kind == "IntervalTier" else onset
            rows.append((onset, offset, _string(tokens)))
        yield kind, name, rows


def _string(tokens: Iterator[str]) -> str:
    token = next(tokens)
    if not token.startswith('"'):
        raise ValueError(f"expected a string, got {token}")
    return token[1:]
