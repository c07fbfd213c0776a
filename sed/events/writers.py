r"""Events to lines of text, and back; frame probabilities to NPZ.

Times are seconds with milliseconds, scores have four decimals. Labels and file names survive
whatever is in them: CSV and TSV quote (as pandas and spreadsheets do), JSON escapes, and the two
formats that know no quotes (Audacity, Raven) write a tab as ``\t``, a line break as ``\n`` and a
backslash as ``\\``.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TextIO

from sed.errors import UsageError
from sed.events.tracker import Event
from sed.text import iso_time, near

GAP = "[gap]"  # the label of sound that was lost, in formats that know only events


class EventWriter:
    """Writes events to an open text file, one line each, flushed as it comes.

    Parameters
    ----------
    out
        Where to; opened with ``newline=""`` if it is a file.
    band_hz
        What the model hears, lowest and highest frequency, for formats that want it.
    continued
        Something of this format is there already, with what stands before the first event.
    """

    extension = ""  # of the files in this format
    many_recordings = True  # whether lines say which recording they are about

    def __init__(
        self,
        out: TextIO,
        band_hz: tuple[float, float] = (0.0, 8_000.0),
        *,
        continued: bool = False,
    ) -> None:
        self.out = out
        self.band_hz = band_hz
        if not continued:
            self.begin()
        self.out.flush()

    def begin(self) -> None:
        """Write what stands before the first event."""

    def write(self, event: Event) -> None:
        """Write an event."""
        self.line(event)
        self.out.flush()

    def write_gap(self, gap: Event, n_samples: int, reason: str) -> None:
        """Write a stretch of live sound that was lost, as an event of the label `GAP`."""
        self.write(gap)

    def line(self, event: Event) -> None:
        """Write the line of an event."""
        raise NotImplementedError


class CsvWriter(EventWriter):
    """``file,onset,offset,label,score``: for people and pandas."""

    extension = ".csv"
    columns: tuple[str, ...] = ("file", "onset", "offset", "label", "score")

    def begin(self) -> None:
        """Write the names of the columns."""
        self.out.write(_quoted(self.columns, ","))

    def line(self, event: Event) -> None:
        """Write the row of an event."""
        self.out.write(_quoted(self.cells(event), ","))

    def cells(self, event: Event) -> list[str]:
        """Return what stands in the columns."""
        times = f"{event.onset:.3f}", f"{event.offset:.3f}"
        return [event.file, *times, event.label, f"{event.score:.4f}"]


class DatedCsvWriter(CsvWriter):
    """``file,onset,offset,label,score,time``: of live sound, with the time of the onset."""

    columns = (*CsvWriter.columns, "time")

    def cells(self, event: Event) -> list[str]:
        """Return what stands in the columns."""
        return [*super().cells(event), iso_time(event.time)]


class JsonlWriter(EventWriter):
    """One JSON object a line."""

    extension = ".jsonl"

    def line(self, event: Event) -> None:
        """Write the object of an event."""
        self._object(event, {"label": event.label, "score": round(event.score, 4)})

    def write_gap(self, gap: Event, n_samples: int, reason: str) -> None:
        """Write an object with `gap` and `samples` instead of `label` and `score`."""
        self._object(gap, {"gap": reason, "samples": n_samples})
        self.out.flush()

    def _object(self, event: Event, what: dict[str, object]) -> None:
        times = {"onset": round(event.onset, 3), "offset": round(event.offset, 3)}
        dated = {"time": iso_time(event.time)} if event.time else {}
        values = {"file": event.file} | times | what | dated
        self.out.write(json.dumps(values, ensure_ascii=False) + "\n")


class TsvWriter(EventWriter):
    """``filename onset offset event_label``: what tools for sound-event detection compare."""

    extension = ".tsv"

    def begin(self) -> None:
        """Write the names of the columns."""
        self.out.write(_quoted(["filename", "onset", "offset", "event_label"], "\t"))

    def line(self, event: Event) -> None:
        """Write the row of an event."""
        times = f"{event.onset:.3f}", f"{event.offset:.3f}"
        self.out.write(_quoted([event.file, *times, event.label], "\t"))


class AudacityWriter(EventWriter):
    """A label track for Audacity's File > Import > Labels. The score is not in it."""

    extension = ".labels.txt"
    many_recordings = False

    def line(self, event: Event) -> None:
        """Write the label of an event."""
        self.out.write(f"{event.onset:.6f}\t{event.offset:.6f}\t{_escaped(event.label)}\n")


class RavenWriter(EventWriter):
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

    def begin(self) -> None:
        """Write the names of the columns."""
        self._n_written = 0
        self.out.write("\t".join(self.columns) + "\n")

    def line(self, event: Event) -> None:
        """Write the selection of an event."""
        self._n_written += 1
        values = (
            str(self._n_written),
            "Spectrogram 1",
            "1",
            f"{event.onset:.6f}",
            f"{event.offset:.6f}",
            *(f"{hz:.1f}" for hz in self.band_hz),  # no model says more: the box is all it hears
            _escaped(os.path.basename(event.file)),
            _escaped(event.label),
            f"{event.score:.4f}",
        )
        self.out.write("\t".join(values) + "\n")


WRITERS: dict[str, type[EventWriter]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "audacity": AudacityWriter,
    "raven": RavenWriter,
    "tsv": TsvWriter,
}


def read_events(path: str | os.PathLike[str], format: str) -> list[Event]:
    """Return the events that a writer wrote, without gaps.

    Raises
    ------
    UsageError
        If the format is unknown.
    """
    readers: dict[str, Callable[[TextIO], Iterator[Event]]] = {
        "csv": _read_csv,
        "jsonl": _read_jsonl,
        "audacity": _read_audacity,
        "raven": _read_raven,
        "tsv": _read_tsv,
    }
    if format not in readers:
        raise UsageError(f"unknown format {format!r}. {near(format, readers)}")
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [event for event in readers[format](file) if event.label != GAP]


def _read_csv(file: TextIO) -> Iterator[Event]:
    for row in csv.DictReader(file):
        times = float(row["onset"]), float(row["offset"])
        score, time = float(row["score"]), _read_time(row.get("time"))
        yield Event(*times, row["label"], score, row["file"], time)


def _read_jsonl(file: TextIO) -> Iterator[Event]:
    for line in file:
        values = json.loads(line)
        if "gap" not in values:
            yield Event(**values | {"time": _read_time(values.get("time"))})


def _read_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _read_tsv(file: TextIO) -> Iterator[Event]:
    for row in csv.DictReader(file, delimiter="\t"):
        times = float(row["onset"]), float(row["offset"])
        yield Event(*times, row["event_label"], 1.0, row["filename"])


def _read_audacity(file: TextIO) -> Iterator[Event]:
    for line in file:
        onset, offset, label = line.rstrip("\n").split("\t")
        yield Event(float(onset), float(offset), unescaped(label), 1.0)


def _read_raven(file: TextIO) -> Iterator[Event]:
    names = next(file).rstrip("\n").split("\t")
    for line in file:
        row = dict(zip(names, line.rstrip("\n").split("\t"), strict=True))
        times = float(row["Begin Time (s)"]), float(row["End Time (s)"])
        name = unescaped(row["Begin File"])
        yield Event(*times, unescaped(row["Label"]), float(row["Score"]), name)


def _quoted(values: Sequence[str], delimiter: str) -> str:
    """Return a line of CSV. The module quotes only what is in its own line end: hence CR and LF."""
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"


_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def unescaped(text: str) -> str:
    """Return a label or a name as it was before a format without quotes escaped it."""
    plain = {written[1]: character for character, written in _ESCAPES.items()}
    characters = iter(text)
    return "".join(
        plain.get(following := next(characters, ""), "\\" + following) if c == "\\" else c
        for c in characters
    )
