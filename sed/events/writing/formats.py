"""List the formats of events, and open a writer by the name of a format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TextIO

from sed.errors import UsageError
from sed.events.sites import site_name
from sed.events.tracker import Event
from sed.events.writing.kaleidoscope import KaleidoscopeWriter
from sed.events.writing.npz import FramesWriter
from sed.events.writing.parquet import ParquetWriter
from sed.events.writing.writers import (
    AudacityWriter,
    CsvWriter,
    EventWriter,
    JsonlWriter,
    LineWriter,
    RavenWriter,
    TsvWriter,
)
from sed.text import near, printable

TEXT_WRITERS: dict[str, type[LineWriter]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "audacity": AudacityWriter,
    "raven": RavenWriter,
    "tsv": TsvWriter,
    "kaleidoscope": KaleidoscopeWriter,
}
WRITERS: dict[str, type[EventWriter]] = {**TEXT_WRITERS, "parquet": ParquetWriter}
EXTENSIONS = {name: kind.extension for name, kind in WRITERS.items()}
EXTENSIONS["npz"] = FramesWriter.extension  # not events, but the probabilities of all frames
FORMATS = tuple(EXTENSIONS)
LIVE_FORMATS = tuple(
    n for n, kind in TEXT_WRITERS.items() if kind.many_recordings and kind.is_appendable
)
# Formats of one table of all recordings.
TABLE_FORMATS = tuple(n for n, kind in WRITERS.items() if kind.many_recordings)
COLUMN_FORMATS = ("csv", "jsonl", "tsv", "parquet")  # that columns can be added to


def open_writer(
    target: str | os.PathLike[str] | TextIO,
    format: str,
    *,
    dated: bool = False,
    band_hz: tuple[float, float] = (0.0, 8_000.0),
    channel: int = 1,
    labels: Sequence[str] = (),
    continued: bool = False,
    species: Mapping[str, tuple[str, str]] | None = None,
    spreadsheet_safe: bool = False,
    columns: Sequence[str] = (),
    root: str = "",
) -> EventWriter:
    """Open a writer of events.

    Parameters
    ----------
    target
        A path, which is replaced and closed with the writer, or an open text file, which stays
        open.
    format
        A key of `WRITERS`.
    dated
        Write the time of day of each event into CSV too; JSONL and Parquet have it where it is
        known.
    band_hz
        Lowest and highest frequency of the model's input in Hz, for Raven.
    channel
        Channel of the recordings that is read, for Raven; 1 for the mean of all.
    labels
        All labels of the model, for the metadata of Parquet.
    continued
        The file already holds lines of this format: write no header.
    species
        Scientific and common name of each label, for columns ``scientific_name`` and
        ``common_name`` in CSV, JSONL, Raven and Parquet; no such columns if there are none.
    spreadsheet_safe
        Let no cell of CSV and TSV be a formula; other formats do not change.
    columns
        More columns, of `sed.events.writing.writers.COLUMNS`: of CSV and TSV; of JSONL, whose
        time is always in ISO 8601, and of Parquet, which has times, those that it lacks.
    root
        Folder that was searched for the recordings, for sites and for Kaleidoscope.

    Raises
    ------
    UsageError
        If the format is unknown, or cannot be written to an open file.
    MissingExtraError
        If the format is parquet and pyarrow is not installed.
    OSError
        If the file cannot be written.
    """
    if format in TEXT_WRITERS:
        kind = TEXT_WRITERS[format]
        return kind(
            target,
            dated=dated,
            band_hz=band_hz,
            channel=channel,
            continued=continued,
            species=species,
            spreadsheet_safe=spreadsheet_safe,
            columns=columns,
            root=root,
        )
    if format not in WRITERS:
        raise UsageError(f"unknown format {format!r}. {near(format, WRITERS)}")
    if not isinstance(target, str | os.PathLike):
        raise UsageError(f"{format} needs a file of its own: give a path")
    return ParquetWriter(target, labels=labels, texts=_texts(species, columns, root))


def _texts(
    species: Mapping[str, tuple[str, str]] | None, columns: Sequence[str], root: str
) -> dict[str, Callable[[Event], str]]:
    """Return the columns of text that Parquet has besides those of all events."""
    texts: dict[str, Callable[[Event], str]] = {}
    if species:
        texts["scientific_name"] = lambda event: species.get(event.label, ("", ""))[0]
        texts["common_name"] = lambda event: species.get(event.label, ("", ""))[1]
    if "site" in columns:
        texts["site"] = lambda event: site_name(event.file, root)
    return texts


def format_of(path: str | os.PathLike[str], formats: Iterable[str] = FORMATS) -> str:
    """Return the format that the ending of a file name stands for.

    Parameters
    ----------
    path
        The file; it need not exist.
    formats
        The formats to choose from.

    Raises
    ------
    UsageError
        If the ending is of none of them.
    """
    name = os.path.basename(os.fspath(path)).lower()
    endings = {EXTENSIONS[format]: format for format in formats}
    if fitting := [ending for ending in endings if name.endswith(ending)]:
        return endings[max(fitting, key=len)]
    known = ", ".join(f"{ending} ({format})" for ending, format in endings.items())
    raise UsageError(
        f"{printable(os.fspath(path))}: the ending is of no format: expected {known}. Give one of "
        "these endings, or --format."
    )
