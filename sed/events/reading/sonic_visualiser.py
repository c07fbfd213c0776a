"""Read layers of Sonic Visualiser: ``.svl`` files, and CSV files that it exports.

Regions, notes and boxes have a duration, and a label each. XML that others wrote is parsed without
entities, with which a small file could grow without bounds or name files of this machine.
"""

from __future__ import annotations

import csv
import os
from typing import Any
from xml.parsers import expat

from sed.errors import TableError
from sed.events.reading.header import column_key
from sed.events.reading.text_file import from_windows_1252, lines_of, read_text_file
from sed.text import printable

Row = tuple[int, str, str, str]  # number; onset, offset and label as written

_DURATION_AT = {3: 1, 4: 2, 5: 2}  # its place in a row of so many cells, which ends with the label


def read_layer(path: str | os.PathLike[str]) -> tuple[list[Row], list[str]]:
    """Return the points with a duration of an ``.svl`` file, numbered from 1, and what was assumed.

    Raises
    ------
    TableError
        If it cannot be read, or is no such file.
    """
    name = printable(os.fspath(path))
    try:
        with open(path, "rb") as file:
            models, points = _parsed(file.read())
    except OSError as error:
        raise TableError(f"{name}: cannot be read: {error.strerror}. Check the name.") from error
    except (expat.ExpatError, ValueError, KeyError) as error:
        raise TableError(
            f"{name}: is no layer of Sonic Visualiser ({error}). Export the layer again."
        ) from error
    rows, n_without = [], 0
    for i, (dataset, point) in enumerate(points, start=1):
        rate = models.get(dataset, 0.0)
        try:
            frame, duration = float(point["frame"]), float(point.get("duration", 0))
        except (KeyError, ValueError):
            frame, duration = 0.0, 0.0
        if rate <= 0 or duration <= 0:
            n_without += 1
            continue
        onset = frame / rate
        rows.append((i, repr(onset), repr(onset + duration / rate), point.get("label", "").strip()))
    return rows, [f"no points without a duration ({n_without})"] * bool(n_without)


def read_csv_layer(
    path: str | os.PathLike[str], *, probe: bool = False
) -> tuple[list[Row], list[str]] | None:
    """Return the rows of a layer that was exported as CSV, and what was assumed.

    Such a file has no header, or one of ``TIME, VALUE, DURATION, LABEL``.

    Parameters
    ----------
    path
        The file.
    probe
        Look at the beginning only.

    Returns
    -------
    Numbered from 1; None if it is another table.

    Raises
    ------
    TableError
        If it cannot be read.
    """
    text, assumed = read_text_file(path, 4_096 if probe else None)
    try:
        records = list(csv.reader(map(from_windows_1252, lines_of(text))))
    except csv.Error:
        return None
    numbered = [(i, cells) for i, cells in enumerate(records, 1) if any(map(str.strip, cells))]
    if not numbered:
        return None
    columns = [column_key(cell) for cell in numbered[0][1]]
    if {"time", "duration", "label"} <= {*columns}:
        at = columns.index("time"), columns.index("duration"), columns.index("label")
        numbered = numbered[1:]
    elif len(columns) in _DURATION_AT and all(map(_is_number, columns[:-1])):
        at = 0, _DURATION_AT[len(columns)], len(columns) - 1
    else:
        return None
    rows = []
    for i, cells in numbered:
        onset, duration, label = (cells[c].strip() if c < len(cells) else "" for c in at)
        is_timed = _is_number(onset) and _is_number(duration)
        offset = repr(float(onset) + float(duration)) if is_timed else duration
        rows.append((i, onset, offset, label))
    return rows, list(assumed)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parsed(data: bytes) -> tuple[dict[str, float], list[tuple[str, dict[str, str]]]]:
    """Return the sample rate of each dataset, and the attributes of each point with its dataset."""
    rates: dict[str, float] = {}
    points: list[tuple[str, dict[str, str]]] = []
    elements: list[str] = []
    dataset = ""

    def refuse(*_: Any) -> int:
        raise ValueError("it declares entities")

    def start(element: str, attributes: dict[str, str]) -> None:
        nonlocal dataset
        if not elements and element != "sv":
            raise ValueError(f"it begins with {element!r}")
        elements.append(element)
        if element == "model" and "dataset" in attributes:
            rates[attributes["dataset"]] = float(attributes["sampleRate"])
        elif element == "dataset":
            dataset = attributes.get("id", "")
        elif element == "point":
            points.append((dataset, attributes))

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = start
    parser.Parse(data, True)
    if not elements:
        raise ValueError("it is empty")
    return rates, points
