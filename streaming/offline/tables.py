"""One table for the events of all recordings: text in one of the formats, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import tzinfo
from pathlib import Path
from typing import Protocol

from sed.events.parquet import ParquetWriter
from sed.events.tracker import Event
from sed.events.writers import WRITERS, CsvWriter, DatedCsvWriter, EventWriter
from sed.models.spec import ModelSpec

PARQUET = "parquet"


class Table(Protocol):
    """Takes events, one after the other."""

    def write(self, event: Event) -> None:
        """Write an event."""


def writer_kind(format: str, zone: tzinfo | None) -> type[EventWriter]:
    """Return what writes a format of text, with the time of day if it is wanted."""
    kind = WRITERS[format]
    return DatedCsvWriter if kind is CsvWriter and zone is not None else kind


def open_table(
    path: Path, format: str, spec: ModelSpec | None = None, zone: tzinfo | None = None
) -> AbstractContextManager[Table]:
    """Open a file that is not there yet for events in a format.

    Parameters
    ----------
    path
        The file.
    format
        parquet, or one of `WRITERS`.
    spec
        The model, if it is known; formats may tell of it.
    zone
        Given if text is to have a column for the time of day.
    """
    if format == PARQUET:
        return ParquetWriter(path, labels=() if spec is None else spec.labels)
    return _open_text(path, writer_kind(format, zone), spec)


@contextmanager
def _open_text(path: Path, kind: type[EventWriter], spec: ModelSpec | None) -> Iterator[Table]:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield kind(file) if spec is None else kind(file, band_of(spec))


def band_of(spec: ModelSpec) -> tuple[float, float]:
    """Return the lowest and the highest frequency that a model hears."""
    return spec.log_mel.f_min, spec.log_mel.f_max
