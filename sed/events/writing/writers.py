r"""Write events as lines of text.

Times are in seconds with milliseconds, scores have four decimals. Every label and file name can be
read back: CSV and TSV quote (as pandas and spreadsheets do), JSON escapes, and the two formats
without quotes (Audacity, Raven) write a tab as ``\t``, a line break as ``\n`` and a backslash as
``\\``.
"""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TextIO

from sed.events.sites import site_name
from sed.events.tracker import Event
from sed.text import iso_time, spreadsheet_cell, without_controls

GAP = "[gap]"  # label of lost live sound, in CSV and TSV
NAME_COLUMNS = ("scientific_name", "common_name")  # of events of models that know species
COLUMNS = ("date", "time", "site")  # that are written on request


class EventWriter(ABC):
    """Writes events in one format; a context manager that closes what it has opened.

    The attributes of a class describe its format. `sed.events.writing.formats.open_writer` opens
    one.
    """

    extension = ""  # of files in this format
    many_recordings = True  # each event names its recording
    is_appendable = True  # text, to which later runs may append lines

    @abstractmethod
    def write(self, event: Event) -> None:
        """Write an event."""

    @abstractmethod
    def close(self) -> None:
        """Write what is buffered; close a file that this writer has opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class EventWriters(EventWriter):
    """Writes each event with several writers, which others close.

    Parameters
    ----------
    writers
        The writers.
    """

    def __init__(self, writers: Sequence[EventWriter]) -> None:
        self._writers = writers

    def write(self, event: Event) -> None:
        """Write an event with each."""
        for writer in self._writers:
            writer.write(event)

    def close(self) -> None:
        """Do nothing."""


class LineWriter(EventWriter):
    """Base of the text formats: one line per event, flushed at once.

    Parameters
    ----------
    target
        A path, which is opened and replaced, or an open text file, which stays open. Open a file
        with ``newline=""``.
    dated
        Write the time of day of each event, in formats where this is an option (CSV).
    band_hz
        Lowest and highest frequency of the model's input in Hz, for formats that store it (Raven).
    channel
        Channel of the recordings that is read, for Raven; 1 for the mean of all.
    continued
        The file already holds lines of this format: write no header.
    species
        Scientific and common name of each label, of models that know both: CSV, JSON Lines and
        Raven then have columns for them.
    spreadsheet_safe
        Let no cell of CSV and TSV be a formula; see `sed.text.spreadsheet_cell`.
    columns
        More columns of CSV and TSV, of `COLUMNS`, in their order: the day and the time of day of
        the onset as a clock at the place showed them (2026-05-01, 04:30:01; empty if unknown), and
        the site. JSON Lines get the day and the site.
    root
        Folder that was searched for the recordings: sites are folders in it.

    Raises
    ------
    OSError
        If the file cannot be written; also from `write`.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | TextIO,
        *,
        dated: bool = False,
        band_hz: tuple[float, float] = (0.0, 8_000.0),
        channel: int = 1,
        continued: bool = False,
        species: Mapping[str, tuple[str, str]] | None = None,
        spreadsheet_safe: bool = False,
        columns: Sequence[str] = (),
        root: str = "",
    ) -> None:
        self._opened: TextIO | None = None
        if isinstance(target, str | os.PathLike):
            target = self._opened = open(  # noqa: SIM115  # closed by close
                target, "w", newline="", encoding="utf-8", errors="surrogateescape"
            )
        self.out = target
        # A terminal would obey what a label or a file name of others holds.
        self._is_shown = target.isatty()
        self._is_safe = spreadsheet_safe
        # Both would be called time.
        self._dated = dated and "time" not in columns
        self._columns = tuple(columns)
        self._root = root
        self._band_hz = band_hz
        self._channel = channel
        self._species = species or {}
        try:
            self._write_line("" if continued else self._header())
        except OSError:
            self.close()
            raise

    def write(self, event: Event) -> None:
        """Write the line of an event."""
        self._write_line(self._line(event))

    def close(self) -> None:
        """Close a file that this writer has opened."""
        if self._opened is not None:
            self._opened.close()

    def _write_line(self, line: str) -> None:
        self.out.write(without_controls(line) if self._is_shown else line)
        self.out.flush()

    def _header(self) -> str:
        """Return what comes before the first event."""
        return ""

    @abstractmethod
    def _line(self, event: Event) -> str:
        """Return the line of an event."""

    def _row(self, cells: Sequence[str], delimiter: str) -> str:
        """Return a line of CSV."""
        return csv_line([spreadsheet_cell(c) for c in cells] if self._is_safe else cells, delimiter)

    @property
    def _name_columns(self) -> list[str]:
        """Names of the columns for scientific and common names; none without species."""
        return list(NAME_COLUMNS) if self._species else []

    def _names(self, event: Event) -> list[str]:
        """Return the cells of these columns."""
        return list(self._species.get(event.label, ("", ""))) if self._species else []

    def _requested(self, event: Event) -> list[str]:
        """Return the cells of the columns that were requested."""
        return [column_cell(name, event, self._root) for name in self._columns]


class CsvWriter(LineWriter):
    """CSV with a header: ``file,onset,offset,label,score``, and ``time`` if `dated`.

    With species ``scientific_name,common_name`` follow the score. Columns on request are the last.
    """

    extension = ".csv"

    def _header(self) -> str:
        columns = ["file", "onset", "offset", "label", "score", *self._name_columns]
        return csv_line([*columns, *["time"] * self._dated, *self._columns], ",")

    def _line(self, event: Event) -> str:
        times = f"{event.onset:.3f}", f"{event.offset:.3f}"
        cells = [event.file, *times, event.label, f"{event.score:.4f}", *self._names(event)]
        cells += [iso_time(event.time)] * self._dated
        return self._row(cells + self._requested(event), ",")


class JsonlWriter(LineWriter):
    """One JSON object per line: file, onset, offset, label, score, and time where it is known.

    With species ``scientific_name`` and ``common_name`` follow the score. The time is always
    in ISO 8601; on request ``date`` and ``site`` follow it.
    """

    extension = ".jsonl"

    def _line(self, event: Event) -> str:
        times = {"onset": round(event.onset, 3), "offset": round(event.offset, 3)}
        fields = {"label": event.label, "score": round(event.score, 4)}
        names = dict(zip(self._name_columns, self._names(event), strict=True))
        dated = {"time": iso_time(event.time)} if event.time else {}
        more = dict(zip(self._columns, self._requested(event), strict=True))
        more.pop("time", None)
        values = {"file": event.file} | times | fields | names | dated | more
        return json.dumps(values, ensure_ascii=False) + "\n"


class TsvWriter(LineWriter):
    """TSV with a header, ``filename onset offset event_label``, as DCASE tools read it."""

    extension = ".tsv"

    def _header(self) -> str:
        return csv_line(["filename", "onset", "offset", "event_label", *self._columns], "\t")

    def _line(self, event: Event) -> str:
        times = f"{event.onset:.3f}", f"{event.offset:.3f}"
        return self._row([event.file, *times, event.label, *self._requested(event)], "\t")


class AudacityWriter(LineWriter):
    """A label track for Audacity's File > Import > Labels, without scores."""

    extension = ".labels.txt"
    many_recordings = False

    def _line(self, event: Event) -> str:
        return f"{event.onset:.6f}\t{event.offset:.6f}\t{_escaped(event.label)}\n"


class RavenWriter(LineWriter):
    """A selection table for Raven's File > Open Selection Table."""

    extension = ".selections.txt"
    many_recordings = False
    columns = (
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
        "Begin File",
        "Label",
        "Score",
    )
    _n_written = 0  # selections, which are numbered from 1

    def _header(self) -> str:
        names = [name.replace("_", " ").title() for name in self._name_columns]
        return "\t".join([*self.columns, *names]) + "\n"

    def _line(self, event: Event) -> str:
        self._n_written += 1
        values = (
            str(self._n_written),
            "Spectrogram 1",
            str(self._channel),
            f"{event.onset:.6f}",
            f"{event.offset:.6f}",
            # The model does not locate events in frequency: each box spans its whole input.
            *(f"{hz:.1f}" for hz in self._band_hz),
            _escaped(os.path.basename(event.file)),
            _escaped(event.label),
            f"{event.score:.4f}",
            *map(_escaped, self._names(event)),
        )
        return "\t".join(values) + "\n"


def column_cell(name: str, event: Event, root: str) -> str:
    """Return the cell of one of `COLUMNS`; see `LineWriter`."""
    if name == "site":
        return site_name(event.file, root)
    if event.time is None:
        return ""
    # Whole seconds, and the day beside them: a spreadsheet takes other forms for text.
    return f"{event.time:%Y-%m-%d}" if name == "date" else f"{event.time:%H:%M:%S}"


def csv_line(values: Sequence[str], delimiter: str) -> str:
    """Return a line of CSV."""
    # The csv module quotes a line break only if it occurs in its own line terminator. With CR and
    # LF there, cells with either are quoted.
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"


_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def unescaped(text: str) -> str:
    """Return a label or a file name from a format without quotes, unescaped."""
    plain = {written[1]: character for character, written in _ESCAPES.items()}
    characters = iter(text)
    return "".join(
        plain.get(following := next(characters, ""), "\\" + following) if c == "\\" else c
        for c in characters
    )
