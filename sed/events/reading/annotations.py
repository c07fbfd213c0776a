"""Read annotations of others: which sounds are where in a recording, or in several.

==================  ================================================================================
``raven``           selection table of Raven, also those of BirdNET
``audacity``        label track: lines of onset, offset and label
``birdnet``         CSV of BirdNET, also its table for R
``kaleidoscope``    ``cluster.csv`` and ``id.csv`` of Kaleidoscope, also that of BirdNET
``opensoundscape``  table of annotations of OpenSoundscape
``audioset``        strong labels of AudioSet
``strong``          ``filename, onset, offset, event_label``, as DCASE has them
``events``          ``file, onset, offset, label``, as `sed detect` writes them
``textgrid``        Praat, see `sed.events.reading.textgrid`
``sonic_visualiser``  a layer of Sonic Visualiser, see `sed.events.reading.sonic_visualiser`
==================  ================================================================================
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import NamedTuple

from sed.errors import TableError
from sed.events.reading.header import column_key, read_columns
from sed.events.reading.layouts import LAYOUTS, AnnotationColumns, label_columns, layout_of
from sed.events.reading.sonic_visualiser import read_csv_layer, read_layer
from sed.events.reading.table import TextTable, cell_of, number, read_text_table
from sed.events.reading.text_file import (
    from_windows_1252,
    has_surrogates,
    lines_of,
    read_text_file,
)
from sed.events.reading.textgrid import read_textgrid
from sed.events.tracker import Event
from sed.events.writing.writers import unescaped
from sed.text import printable

_NUMBERS = re.compile(r"\s*[-+]?\d+(?:[.,]\d*)?\t\s*[-+]?\d+(?:[.,]\d*)?(?:\t|\s*$)")


class Annotation(NamedTuple):
    """A row of an annotation, with its cells as they are written."""

    row: int
    onset: str
    offset: str  # empty if there is a duration
    label: str
    file: str = ""  # of tables of several recordings
    duration: str = ""
    file_offset: str = ""  # the onset in its file, where the other times are of several in a row
    score: str = ""

    def times(self) -> tuple[float, float]:
        """Return onset and offset in the recording.

        Raises
        ------
        ValueError
            If they are no numbers.
        """
        onset = number("onset", self.onset)
        if self.offset.strip():
            offset = number("offset", self.offset)
        else:
            offset = onset + number("duration", self.duration)
        if self.file_offset.strip():
            start = number("file offset", self.file_offset)
            return start, start + (offset - onset)
        return onset, offset

    def event(self) -> Event:
        """Return the annotated event; its score is 1, and its label has no spaces around it.

        Raises
        ------
        ValueError
            If its times are no numbers, or not in order, or the label is empty or no text.
        """
        return checked_event(*self.times(), self.label.strip())


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds.

    Attributes
    ----------
    format
        See `sed.events.reading.annotations`.
    rows
        Its rows, also those without a label.
    assumed
        What is not plain about the file, in words.
    """

    format: str
    rows: tuple[Annotation, ...]
    assumed: tuple[str, ...] = ()


def is_annotation(path: str | os.PathLike[str]) -> bool:
    """Return whether a file looks like annotations, or is empty, which says that there are none."""
    ending = os.path.splitext(path)[1].lower()
    if ending in (".textgrid", ".svl"):
        return True
    columns = read_columns(path)
    if layout_of(columns) == "events" and "score" in columns:
        return False  # detected, and not checked
    if layout_of(columns) or {"begin_time_(s)", "start_(s)"} & {*columns}:
        return True
    try:
        first = _first_line(path)
    except TableError:
        return False
    if ending == ".csv":
        return bool(first) and read_csv_layer(path, probe=True) is not None
    return not first or _NUMBERS.match(first) is not None


def is_empty(path: str | os.PathLike[str]) -> bool:
    """Return whether a file has no text in it, but for spaces.

    Raises
    ------
    TableError
        If it cannot be read.
    """
    return not _first_line(path)


def names_recordings(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a table of annotations with a column of its recordings."""
    columns = read_columns(path)
    layout = LAYOUTS.get(layout_of(columns) or "")
    return layout is not None and bool({*layout.files} & {*columns})


def read_annotations(path: str | os.PathLike[str], format: str | None = None) -> Annotations:
    """Return the annotations in a file of any format.

    Parameters
    ----------
    path
        The file.
    format
        Which it is; by its ending and its content if not given.

    Raises
    ------
    TableError
        If it cannot be read, or is of no such format.
    """
    ending = os.path.splitext(path)[1].lower()
    if format == "textgrid" or (format is None and ending == ".textgrid"):
        return Annotations("textgrid", *_rows(read_textgrid(path)))
    if (format == "sonic_visualiser" and ending != ".csv") or (format is None and ending == ".svl"):
        return Annotations("sonic_visualiser", *_rows(read_layer(path)))
    columns = read_columns(path)
    kind = layout_of(columns) if format in (None, "birdnet") else format
    is_layer = kind == "sonic_visualiser" or (kind is None and ending == ".csv")
    if is_layer and (layer := read_csv_layer(path)) is not None:
        return Annotations("sonic_visualiser", *_rows(layer))
    if kind in LAYOUTS:
        return _of_table(path, str(kind))
    if "begin_time_(s)" in columns:
        return _of_table(path, "raven")  # which names the column that is missing
    return _of_audacity(path)


def checked_event(onset: float, offset: float, label: str) -> Event:
    """Return an annotated event; its score is 1.

    Parameters
    ----------
    onset, offset
        In seconds.
    label
        Not empty.

    Raises
    ------
    ValueError
        If the label is empty or no text, or the times are not in order.
    """
    if not isinstance(label, str) or not label.strip():
        raise ValueError("no label")
    if not label.isprintable() and has_surrogates(label):
        raise ValueError(f"the label {label!r} is not valid Unicode")
    if not 0 <= onset < offset:
        raise ValueError(
            f"expected an onset of 0 or more and an offset after it, got {onset:g} and {offset:g}"
        )
    return Event(onset, offset, label, 1.0)


def _first_line(path: str | os.PathLike[str]) -> str:
    """Return the first line that is not empty."""
    text = read_text_file(path, 4_096).text
    return next((line for line in lines_of(text) if line.strip()), "")


def _rows(
    layer: tuple[list[tuple[int, str, str, str]], list[str]],
) -> tuple[tuple[Annotation, ...], tuple[str, ...]]:
    rows, assumed = layer
    return tuple(Annotation(i, *cells) for i, *cells in rows), tuple(assumed)


def _of_table(path: str | os.PathLike[str], format: str) -> Annotations:
    table = read_text_table(path, quoted=format != "raven")
    layout = LAYOUTS[format]
    name = printable(os.fspath(path))
    records = list(table.records())
    names = [label for label in layout.labels if label in table.columns]
    is_usual = bool(names)
    if not names and format == "raven":
        names = label_columns(table.columns, [row for _, row in records])
        if len(names) > 1:
            some_names = " or ".join(_spelled(table, label) for label in names)
            raise TableError(f"{name}: which column has the labels, {some_names}? Name it Label.")
    missing = [column for column in layout.needs if column not in table.columns]
    if missing or (not names and (records or format != "raven")):
        raise TableError(
            f"{name}: no column {', '.join(missing) or 'label'}: a table of {format} "
            f"has {', '.join(layout.needs)}, and one of {', '.join(layout.labels)}. Add it."
        )
    # A table without the first of its columns of labels, or with nothing in it, has the next.
    filled = (label for label in names if any(row[label].strip() for _, row in records))
    label = next(filled, names[0] if names else "")
    assumed = list(table.assumed)
    if format == "kaleidoscope" and label != "manual_id":
        assumed.append(f"labels of the column {_spelled(table, label)}, which a program wrote")
    if not is_usual and label:
        assumed.append(f"labels of the column {_spelled(table, label)}")
    rows = [_annotation(i, row, layout, label, is_escaped=format == "raven") for i, row in records]
    return Annotations(format, tuple(_once(rows, records)), tuple(assumed))


def _spelled(table: TextTable, column: str) -> str:
    return next(name for name in table.header if column_key(name) == column)


def _annotation(
    i: int, row: dict[str, str], layout: AnnotationColumns, label: str, *, is_escaped: bool
) -> Annotation:
    text = row[label]
    file = cell_of(row, layout.files)
    if layout.needs[0] == "in_file":  # Kaleidoscope has the folder in a cell of its own
        file = _place(row.get("indir", "").strip(), row.get("folder", "").strip(), file)
    return Annotation(
        i,
        row[layout.onset],
        row[layout.offset] if layout.offset else "",
        unescaped(text) if is_escaped else text,
        unescaped(file) if is_escaped else file,
        row[layout.duration] if layout.duration else "",
        row.get(layout.file_offset, ""),
        cell_of(row, layout.scores),
    )


def _place(above: str, folder: str, file: str) -> str:
    """Return the path of a recording of Kaleidoscope; of Windows, that below the input folder."""
    if "\\" in above + folder:
        return str(PureWindowsPath(folder, file)) if file else ""
    return posixpath.join(above, folder, file) if file else ""


def _once(
    rows: Sequence[Annotation], records: Sequence[tuple[int, dict[str, str]]]
) -> Iterator[Annotation]:
    """Yield selections once that Raven lists once for each view, preferably one with a label."""
    kept: dict[tuple[str, ...], Annotation] = {}
    for annotation, (_, row) in zip(rows, records, strict=True):
        number_ = row.get("selection", "").strip()
        own = number_ if number_ and row.get("view", "").strip() else f"row {annotation.row}"
        key = (own, annotation.file, annotation.onset, annotation.offset)
        if key not in kept or not kept[key].label.strip():
            kept[key] = annotation
    yield from kept.values()


def _of_audacity(path: str | os.PathLike[str]) -> Annotations:
    text, assumed = read_text_file(path)
    rows, notes = [], list(assumed)
    for i, line in enumerate(lines_of(text), start=1):
        if not line.strip() or line.startswith("\\\t"):  # a frequency range
            continue
        cells = from_windows_1252(line)
        if cells != line and not any("Windows-1252" in note for note in notes):
            notes.append("text that is not UTF-8 as Windows-1252")
        onset, offset, label = (*cells.split("\t", 2), "", "")[:3]
        if "," in onset + offset:
            if not any("decimal" in note for note in notes):
                notes.append(f"decimal commas ({onset} as {onset.replace(',', '.')})")
            onset, offset = onset.replace(",", "."), offset.replace(",", ".")
        rows.append(Annotation(i, onset, offset, unescaped(label)))
    return Annotations("audacity", tuple(rows), tuple(notes))
