"""Read the labels of a model, and lists of species, from text and CSV files of others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sed.errors import UsageError
from sed.events.reading.header import column_key
from sed.events.reading.table import log_assumed, read_text_table
from sed.events.reading.text_file import from_windows_1252, lines_of, read_text_file
from sed.text import printable, some, split_names

# Columns of a CSV file, by their names in lower case with underscores.
SCIENTIFIC = ("scientific_name", "scientific", "species")
COMMON = ("common_name", "common", "display_name", "english_name", "label", "class", "name")
INDEX = ("index", "id", "class_index")


@dataclass(frozen=True)
class Labels:
    """The classes of a model, in the order of its outputs.

    Attributes
    ----------
    names
        One label for each class: of species the common name.
    species
        Scientific and common name of each class; empty if the file has no scientific names.
    """

    names: tuple[str, ...]
    species: tuple[tuple[str, str], ...] = ()


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Return the labels in a file.

    A text file has one label a line. If all lines are like ``Erithacus rubecula_European Robin``,
    as those of BirdNET, they are split into scientific and common names. A file that ends in .csv
    has a header: columns like ``scientific_name``, ``common_name`` or ``label`` are found by their
    names, and a file of one column holds the labels, whatever its header.

    Raises
    ------
    SedError
        If the file cannot be read.
    UsageError
        If it is empty, has no column of labels, or names two classes alike.
    """
    path = Path(path)
    name = printable(str(path))
    if path.suffix.lower() == ".csv":
        labels = _csv_labels(path)
    else:
        lines = [line.strip() for line in lines_of(read_text(path))]
        while lines and not lines[-1]:
            lines.pop()
        labels = _split(lines)
    if not labels.names:
        raise UsageError(f"{name}: there are no labels in it: give one a line")
    if "" in labels.names:
        row = labels.names.index("") + 1
        raise UsageError(f"{name}: label {row} is empty. Every class needs a label.")
    twice = [label for label, n in Counter(labels.names).items() if n > 1]
    if twice:
        raise UsageError(f"{name}: the labels of several classes are the same: {some(twice, 3)}")
    return labels


def read_species_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the lines of a list of species, without empty ones and those that begin with #.

    Raises
    ------
    SedError
        If the file cannot be read.
    UsageError
        If it names nothing.
    """
    lines = [line.strip() for line in lines_of(read_text(Path(path)))]
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise UsageError(f"{printable(os.fspath(path))}: this list of species is empty")
    return names


def read_text(path: Path) -> str:
    """Return the text of a file, see `sed.events.reading.text_file`.

    Raises
    ------
    SedError
        If it cannot be read, or is no text.
    """
    text, assumed = read_text_file(path)
    plain = from_windows_1252(text)
    if plain != text:
        assumed = (*assumed, "text that is not UTF-8 as Windows-1252")
    log_assumed(path, assumed)
    return plain


def _split(lines: Sequence[str]) -> Labels:
    """Return labels, split into scientific and common names if all are written so.

    A scientific name has two words or more, and labels like car_horn do not begin so; a few classes
    besides the species may have one word (Siren_Siren).
    """
    parts = [line.split("_") for line in lines]
    n_binomials = sum(len(part[0].split()) > 1 for part in parts)
    is_species = all(len(part) == 2 and all(part) for part in parts)
    if not is_species or 2 * n_binomials < len(lines):
        return Labels(tuple(lines))
    return _of_species([(scientific, common) for scientific, common in parts])


def _of_species(species: Sequence[tuple[str, str]]) -> Labels:
    """Return labels that are the common names; with the scientific one where that is not unique."""
    common = [pair[1] or pair[0] for pair in species]
    counts = Counter(common)
    names = [
        f"{label} ({scientific})" if counts[label] > 1 else label
        for label, (scientific, _) in zip(common, species, strict=True)
    ]
    return Labels(tuple(names), tuple(species))


def _csv_labels(path: Path) -> Labels:
    """Return the labels of a CSV file with a header.

    Raises
    ------
    UsageError
        If no column can be the labels, or a column of numbers is not in the order of the rows.
    """
    name = printable(str(path))
    table = read_text_table(path)
    log_assumed(path, table.assumed)
    columns = {
        column_key(heading): [cells[i].strip() for _, cells in table.rows]
        for i, heading in enumerate(table.header)
    }
    for heading in INDEX:
        numbers = columns.get(heading, [])
        if all(n.isdigit() for n in numbers) and [*map(int, numbers)] != [*range(len(numbers))]:
            raise UsageError(
                f"{name}: the rows are not in the order of the outputs: sort them by {heading}, "
                "from 0 on, without gaps"
            )
    if not table.rows:
        return Labels(())
    if len(columns) == 1:
        (column,) = columns.values()
        return _split(column)
    scientific, common = _column(columns, SCIENTIFIC), _column(columns, COMMON)
    if scientific and common:
        return _of_species([*zip(scientific, common, strict=True)])
    if not (scientific or common):
        known = ", ".join(table.header) or "(none)"
        raise UsageError(
            f"{name}: none of the columns {known} is known as labels: call one label, or "
            "two scientific_name and common_name"
        )
    return _split(scientific or common)


def _column(columns: Mapping[str, list[str]], names: Sequence[str]) -> list[str]:
    return next((columns[name] for name in names if name in columns), [])


def class_names(classes: str, species_list: Path | None) -> tuple[str, ...]:
    """Return the classes that are requested by name or in a file.

    Raises
    ------
    UsageError
        If both are given, or the file is empty.
    SedError
        If the file cannot be read.
    """
    if species_list is None:
        return split_names(classes)
    if classes:
        raise UsageError("--classes and --species-list both choose classes: give one of them")
    return read_species_list(species_list)
