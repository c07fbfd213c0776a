"""Find the header of a table, its delimiter and the names of its columns."""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from functools import cache

from sed.errors import TableError
from sed.events.reading.text_file import from_windows_1252, read_text_file
from sed.text import pluralize

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

# Columns that readers know, as they or the programs that write them spell the names.
FILE_COLUMNS = (
    *("file", "filename", "fname", "filepath", "path", "recording", "slice_file_name"),
    *("File", "IN FILE", "FOLDER", "INDIR", "CHANNEL", "Begin File", "Begin Path", "url"),
    "audio_file",
)
LABEL_COLUMNS = (
    *("label", "event_label", "event_labels", "category", "class", "primary_label", "secondary"),
    *("Label", "Annotation", "Species", "Common Name", "Common name", "common_name"),
    *("MANUAL ID", "AUTO ID", "positive_labels"),
)
NUMBER_COLUMNS = (
    *("onset", "offset", "start", "end", "duration", "begin", "stop", "score"),
    *("start_seconds", "end_seconds", "start_time", "end_time", "duration_seconds"),
    *("Begin Time (s)", "End Time (s)", "File Offset (s)", "Start (s)", "End (s)"),
    *("OFFSET", "DURATION", "start_time_seconds", "end_time_seconds"),
    *("Confidence", "confidence", "Score"),
)
OTHER_COLUMNS = (
    *(
        "fold",
        "group",
        "split",
        "licence",
        "license",
        "source",
        "events",
        "author",
        "secondary_labels",
    ),
    *("src_file", "fsID", "classID", "salience", "freesound_id", "manually_verified", "usage"),
    *("Selection", "View", "Channel", "Low Freq (Hz)", "High Freq (Hz)", "Species Code"),
    *(
        "Scientific name",
        "Scientific Name",
        "scientific_name",
        "segment_id",
        "YTID",
        "name",
        "display_name",
        "mid",
    ),
    *("index", "id", "TIME", "time", "VALUE", "LABEL", "labels", "type", "rating", "filename"),
)
SPELLINGS = frozenset((*FILE_COLUMNS, *LABEL_COLUMNS, *NUMBER_COLUMNS, *OTHER_COLUMNS))

_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}  # delimiter of each ending

_N_HEADER_BYTES = 1 << 16
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.I)


@cache
def column_key(name: str) -> str:
    """Return the name of a column without differences of case and spaces.

    >>> column_key(" Begin Time (s)")
    'begin_time_(s)'
    """
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


KNOWN_KEYS = frozenset(map(column_key, SPELLINGS))
FILE_KEYS = frozenset(map(column_key, FILE_COLUMNS))
LABEL_KEYS = frozenset(map(column_key, LABEL_COLUMNS))
NUMBER_KEYS = frozenset(map(column_key, NUMBER_COLUMNS))


def read_columns(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of a table's columns as `column_key` does; none if it is no table."""
    try:
        head = find_header(read_text_file(path, _N_HEADER_BYTES).text, path)
        cells = next(csv.reader([head.line], delimiter=head.delimiter), [])
    except (TableError, csv.Error):
        return ()
    return tuple(column_key(from_windows_1252(cell)) for cell in cells)


@dataclass(frozen=True)
class Head:
    """A table's text from its header on.

    Attributes
    ----------
    text
        From the header on.
    line
        The first line of it.
    delimiter
        Between its columns.
    n_before
        Number of lines before the header.
    assumed
        What is not plain, in words.
    """

    text: str
    line: str
    delimiter: str
    n_before: int
    assumed: tuple[str, ...]


def find_header(text: str, path: str | os.PathLike[str]) -> Head:
    """Find the header of a table, behind empty lines, comments and a line ``sep=``.

    Parameters
    ----------
    text
        The text of the table.
    path
        Its file, whose ending says which delimiter is plain.
    """
    ending = os.path.splitext(path)[1].lower()
    usual = _USUAL.get(ending, ",")
    delimiter, n_before, n_comments = "", 0, 0
    stream = io.StringIO(text, newline="")
    while line := stream.readline():
        plain = line.strip("\r\n\ufeff \t")
        if not delimiter and (match := _SEPARATOR.fullmatch(line.rstrip("\r\n"))):
            delimiter = match[1]
        elif plain.startswith("#"):
            named = plain.lstrip("# ")
            if _n_known(named, found := _delimiter(named, usual)) > 1:
                rest = f"{named}\n{stream.read()}"
                return Head(rest, named, found, n_before, ("the last comment as the header",))
            n_comments += 1
        elif plain:
            break
        n_before += 1
    if not line:
        return Head("", "", usual, n_before, ())
    stated = bool(delimiter)
    delimiter = delimiter or _delimiter(line, usual)
    assumed = []
    if not stated and delimiter != usual and ending in _USUAL:
        assumed.append(f"columns separated by {DELIMITERS[delimiter]}")
    if n_comments:
        assumed.append(f"{pluralize(n_comments, 'line')} before the header as comments")
    return Head(line + stream.read(), line, delimiter, n_before, tuple(assumed))


def _delimiter(line: str, usual: str) -> str:
    """Return the delimiter of a header: that which gives most names that are known, then most."""

    def rank(delimiter: str) -> tuple[int, int, bool]:
        cells = next(csv.reader([line], delimiter=delimiter), [])
        return _n_known(line, delimiter), len(cells), delimiter == usual

    return max(DELIMITERS, key=rank)


def _n_known(line: str, delimiter: str) -> int:
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return sum(column_key(cell) in KNOWN_KEYS for cell in cells)
