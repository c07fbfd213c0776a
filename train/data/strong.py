"""Read strong labels: the events of recordings, with their times.

They are one table for many recordings, with the columns ``filename, onset, offset,
event_label`` (a row with nothing but a filename: a recording without events), or as one file per
recording beside it: an Audacity label track (``NAME.txt``, ``NAME.labels.txt``) or a Raven
selection table (``NAME.Table.1.selections.txt``, ``NAME.selections.txt``, ``NAME.raven.txt``),
where NAME is that of the recording, with or without its ending. An empty file says that there are
no events; a recording without any file is unknown, and left out. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import TableError
from sed.events.tracker import Event
from sed.events.writers import unescaped
from sed.text import printable
from train.data.clips import Clip
from train.data.csv_rows import RowErrors, audio_folders, find_audio, number, read_rows, require

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")

_RAVEN_ENDINGS = (".Table.1.selections", ".selections", ".raven")
_AUDACITY_ENDING = ".labels"
_RAVEN_TIMES = ("Begin Time (s)", "End Time (s)")
_RAVEN_LABELS = ("Label", "Annotation", "Species", "Common Name", "Species Code")  # any of them

Annotation = tuple[int, str, str, str]  # number of its row; onset, offset, label as written


def read_strong(path: Path) -> list[Clip]:
    """Return a clip for each recording in a table with a row per event.

    Raises
    ------
    TableError
        If any row is faulty; all are listed.
    """
    header, rows = read_rows(path)
    folders = audio_folders(path)
    errors = RowErrors(path, len(rows))
    found: dict[str, str] = {}  # name of a recording -> its path
    events: dict[str, list[Event]] = {}
    for i, cells in rows:
        row = dict(zip(header, cells, strict=True))
        name = row["filename"]
        with errors.row(i, name):
            require(row, ["filename"])
            if name not in events:  # a missing file is reported once
                events[name] = []
                found[name] = find_audio([name], folders)
            if any(row[column].strip() for column in STRONG_COLUMNS[1:]):
                require(row, STRONG_COLUMNS)
                times = number("onset", row["onset"]), number("offset", row["offset"])
                events[name].append(checked_event(*times, row["event_label"].strip()))
    errors.raise_if_any()
    return [_clip(found[name], name, events[name]) for name in events]


def is_annotated(folder: Path) -> bool:
    """Return whether recordings of this folder have annotations beside them."""
    recordings = _by_name(folder.iterdir())
    return any(_subject(file) in recordings for file in folder.glob("*.txt"))


def read_annotated(folder: Path) -> list[Clip]:
    """Return a clip for each recording, in a folder or below, that has an annotation beside it.

    Raises
    ------
    TableError
        If there are none, or any row is faulty; all are listed.
    """
    recordings = _by_name(folder.rglob("*"))
    lines = {
        file: _lines(file)
        for file in sorted(folder.rglob("*.txt"))
        if _subject(file) in recordings or file.stem.endswith(_RAVEN_ENDINGS)
    }
    errors = RowErrors(folder, sum(max(1, len(rows)) for rows in lines.values()))
    clips: dict[Path, Clip] = {}
    for file in lines:
        name = str(file.relative_to(folder))
        with errors.row(1, name):
            recording = _only_one(recordings.get(_subject(file), []))
            if recording in clips:
                raise ValueError(f"a second annotation of {recording.name}; keep one")
            events = []
            for i, onset, offset, label in _annotations(lines[file]):
                with errors.row(i, name):
                    times = number("onset", onset), number("offset", offset)
                    events.append(checked_event(*times, label))
            clips[recording] = _clip(str(recording), str(recording.relative_to(folder)), events)
    errors.raise_if_any()
    if not clips:
        raise TableError(
            f"{printable(str(folder))}: no annotations beside recordings. Expected a table with "
            f"the columns {', '.join(STRONG_COLUMNS)}, or NAME.txt (Audacity) or "
            "NAME.Table.1.selections.txt (Raven) for each recording."
        )
    return list(clips.values())


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
        If the label is empty, or the times are not in order.
    """
    if not isinstance(label, str) or not label.strip():
        raise ValueError("no label")
    if not 0 <= onset < offset:
        raise ValueError(
            f"expected an onset of 0 or more and an offset after it, got {onset:g} and {offset:g}"
        )
    return Event(onset, offset, label, 1.0)


def _clip(path: str, group: str, events: Iterable[Event]) -> Clip:
    """Return the clip of a whole recording; an event that is listed twice counts once."""
    ordered = tuple(sorted(set(events), key=lambda event: (event.onset, event.offset, event.label)))
    return Clip(path, tuple(sorted({event.label for event in ordered})), group, events=ordered)


def _by_name(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """Return recordings by the names that annotations use: paths with and without suffix."""
    recordings: dict[Path, list[Path]] = {}
    for file in sorted(files):
        if file.suffix.lower() in SOUND_SUFFIXES | CONTAINER_SUFFIXES and file.name[0] != ".":
            for name in (file, file.with_suffix("")):
                recordings.setdefault(name, []).append(file)
    return recordings


def _subject(annotation: Path) -> Path:
    """Return the path, with or without suffix, of the recording that an annotation is about."""
    name = annotation.name.removesuffix(".txt")
    for ending in (*_RAVEN_ENDINGS, _AUDACITY_ENDING):
        name = name.removesuffix(ending)
    return annotation.with_name(name)


def _only_one(recordings: Sequence[Path]) -> Path:
    if len(recordings) != 1:
        names = " or ".join(file.name for file in recordings)
        raise ValueError(f"is it about {names}?" if names else "no such recording beside it")
    return recordings[0]


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise TableError(
            f"{printable(str(file))}: cannot be read: {error.strerror}. Correct or remove it."
        ) from error
    return text.removesuffix("\n").split("\n") if text else []  # labels may hold other line ends


def _annotations(lines: Sequence[str]) -> Iterator[Annotation]:
    if lines and _RAVEN_TIMES[0] in lines[0].split("\t"):
        yield from _of_raven(lines)
    else:
        yield from _of_audacity(lines)


def _of_raven(lines: Sequence[str]) -> Iterator[Annotation]:
    """Yield selections; Raven lists each once per view, so that some appear twice."""
    header = lines[0].split("\t")
    label = next((name for name in _RAVEN_LABELS if name in header), None)
    if label is None or _RAVEN_TIMES[1] not in header:
        raise ValueError(f"no column {_RAVEN_TIMES[1]}, or none of {', '.join(_RAVEN_LABELS)}")
    columns = [header.index(name) for name in (*_RAVEN_TIMES, label)]
    for i, line in enumerate(lines[1:], start=2):
        if line.strip():
            cells = line.split("\t")
            onset, offset, text = (cells[c] if c < len(cells) else "" for c in columns)
            yield i, onset, offset, unescaped(text).strip()


def _of_audacity(lines: Sequence[str]) -> Iterator[Annotation]:
    for i, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("\\\t"):  # a frequency range
            onset, offset, text = (*line.split("\t", 2), "", "")[:3]
            yield i, onset, offset, unescaped(text).strip()
