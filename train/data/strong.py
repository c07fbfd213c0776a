"""Read strong labels: the events of recordings, with their times.

They are one table for many recordings, see `sed.events.reading.annotations`, or a file per
recording beside it: NAME is that of the recording, with or without its ending, and the file is
``NAME.txt`` (Audacity), ``NAME.Table.1.selections.txt`` (Raven), ``NAME.BirdNET.results.csv``,
``NAME.TextGrid``, ``NAME.svl`` or alike. A selection table of Raven may also name its recordings
itself. An empty file says that there are no events; a recording without any file is unknown, and
left out. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sed.errors import TableError
from sed.events.reading.annotation_files import annotation_files, choose_annotation
from sed.events.reading.annotations import (
    Annotation,
    Annotations,
    read_annotations,
)
from sed.events.reading.audio_files import (
    AudioFinder,
    Recordings,
    files_below,
    table_finder,
)
from sed.events.reading.table import log_assumed, log_once
from sed.events.tracker import Event
from sed.text import pluralize, printable, some
from train.data.audio import recording_seconds
from train.data.audioset import audioset_files, audioset_names
from train.data.clips import Clip
from train.data.csv_rows import RowErrors

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")

_ANYWHERE = (
    "raven",
    "birdnet",
    "birdnet_r",
    "kaleidoscope",
    "opensoundscape",
    "start_end",
    "audioset",
)  # have bare file names
_PADDED = ("birdnet", "birdnet_r", "kaleidoscope")  # detections in windows of fixed length

# Annotations may end so much after the recording: programs round, and stop at whole frames.
ROUNDING_SECONDS = 0.1
PADDING_SECONDS = 3.0  # of detections: programs pad the last of their windows


def read_strong(path: Path) -> list[Clip]:
    """Return a clip for each recording that a table of annotations names, in its order.

    Rows without a label, events beyond the end of their recording and, of AudioSet, rows whose
    recording is not there are left out and reported, as are recordings that lose all their rows.

    Raises
    ------
    TableError
        If any row is faulty; all are listed.
    """
    found = read_annotations(path)
    finder = table_finder(path)
    errors = RowErrors(path, len(found.rows))
    lone = [] if any(row.file for row in found.rows) else _beside(path)
    files: dict[str, str | None] = {}  # path of the recording of each name; None: not there
    events = _Events(errors)
    for row in found.rows:
        name = row.file or (lone[0].name if lone else "")
        with errors.row(row.row, name):
            if not name:
                raise ValueError("no filename")
            if name not in files:  # a missing file is reported once
                files[name] = None
                try:
                    files[name] = _found(finder, name, found.format)
                except ValueError as error:
                    if found.format != "audioset":
                        raise
                    errors.leave_out(row.row, name, str(error))
            if (file := files[name]) is not None:
                events.add(file, row, name, format=found.format)
    if not found.rows and lone:
        events.register(str(lone[0]))
    errors.finish((*found.assumed, *finder.assumed))
    names = {file: name for name, file in reversed(files.items()) if file is not None}
    clips = [_clip(file, names.get(file, file), own) for file, own in events.kept(path).items()]
    return [_named(clip) for clip in clips] if found.format == "audioset" else clips


def is_beside_recording(file: Path) -> bool:
    """Return whether a file has the name of an annotation of a recording beside it."""
    return bool(_beside(file))


def read_annotated(folder: Path) -> list[Clip]:
    """Return a clip for each recording, in a folder or below, that has annotations.

    Rows without a label and events beyond the end of their recording are left out and reported, as
    are recordings that lose all their rows so, and those without annotations.

    Raises
    ------
    TableError
        If there are none, or any row is faulty; all are listed.
    """
    files = files_below(folder)
    recordings = Recordings(files)
    found = annotation_files(files, recordings)
    n_rows = sum(1 if isinstance(one, str) else max(1, len(one.rows)) for one in found.values())
    errors = RowErrors(folder, n_rows)
    finder = AudioFinder([folder])
    events = _Events(errors)
    source: dict[str, dict[Path, list[Annotation]]] = {}  # the annotations of each recording
    formats: dict[Path, str] = {}
    for file, own in found.items():
        with errors.row(1, str(file.relative_to(folder))):
            if isinstance(own, str):
                raise ValueError(own)
            log_assumed(file, own.assumed)
            formats[file] = own.format
            for recording, rows in _by_recording(file, own, recordings, finder, errors):
                source.setdefault(recording, {})[file] = rows
    choices = []  # what was read, and what not, in words
    for recording, several in source.items():
        file, other = choose_annotation(several)
        name = str(file.relative_to(folder))
        if other is not None:
            with errors.row(1, str(other.relative_to(folder))):
                of = Path(recording).name
                raise ValueError(f"a second annotation of {of}, beside {file.name}; keep one")
        elif len(several) > 1:
            others = some([str(x.relative_to(folder)) for x in several if x != file], 3)
            choices.append(f"{printable(name)}, and not {others}")
        events.register(recording)
        for row in several[file]:
            with errors.row(row.row, name):
                events.add(recording, row, name, format=formats[file])
    errors.finish(finder.assumed)
    if not source:
        raise TableError(
            f"{printable(str(folder))}: no annotations beside recordings. Expected a table with "
            f"the columns {', '.join(STRONG_COLUMNS)}, or NAME.txt (Audacity) or "
            "NAME.Table.1.selections.txt (Raven) for each recording."
        )
    _note_unread(folder, choices, sorted({*map(str, recordings.files)} - {*source}), len(source))
    return [
        _clip(file, str(Path(file).relative_to(folder)), own)
        for file, own in events.kept(folder).items()
    ]


def _note_unread(folder: Path, choices: list[str], lacking: list[str], n_used: int) -> None:
    """Log which annotations were read in place of others, and the recordings without any."""
    if choices:
        what = pluralize(len(choices), "recording")
        more = f" and {len(choices) - 3} more" * (len(choices) > 3)
        log_once(folder, f"{what} with several annotations: read {'; '.join(choices[:3])}{more}")
    if lacking:
        names = [str(Path(file).relative_to(folder)) for file in lacking]
        log_once(
            folder,
            f"{pluralize(len(names), 'recording')} without annotations left out, "
            f"{n_used} used: {some(names, 3)}",
        )


class _Events:
    """The events of each recording, and what is wrong with them."""

    def __init__(self, errors: RowErrors) -> None:
        self._of_files: dict[str, list[Event]] = {}
        self._reduced: set[str] = set()  # recordings of which rows are left out
        self._errors = errors
        self._seconds: dict[str, float | None] = {}

    def register(self, file: str) -> None:
        """Note that a recording is annotated, also if it has no events."""
        self._of_files.setdefault(file, [])

    def add(self, file: str, row: Annotation, name: str, *, format: str) -> None:
        """Add the event of a row, or note why it is left out; a row without times has none.

        Raises
        ------
        ValueError
            If its times are no numbers, or not in order.
        """
        self.register(file)
        if not row.label.strip():
            if (row.onset + row.offset + row.duration).strip():
                row.times()
                self._leave_out(file, row, name, "no label")
            return
        onset, offset = row.times()
        if onset == offset >= 0:
            self._leave_out(file, row, name, "a point in time, which has no length")
            return
        event = row.event()
        if file not in self._seconds:
            self._seconds[file] = recording_seconds(file)
        seconds = self._seconds[file]
        if seconds is not None and event.offset > seconds:
            is_padded = format in _PADDED or bool(row.score.strip())
            spare = PADDING_SECONDS if is_padded else ROUNDING_SECONDS
            if event.offset > seconds + spare or event.onset >= seconds:
                reason = f"ends at {event.offset:g} s, and the recording at {seconds:g} s"
                self._leave_out(file, row, name, reason)
                return
            event = Event(event.onset, seconds, event.label, event.score)
        self._of_files[file].append(event)

    def kept(self, source: Path) -> dict[str, list[Event]]:
        """Return the events of each recording, without those all of whose rows are left out.

        What is in these is not known, and they would count as recordings without events.

        Raises
        ------
        TableError
            If there were rows, and no recording is left.
        """
        lost = [file for file in self._reduced if not self._of_files[file]]
        if lost and len(lost) == len(self._of_files):
            raise TableError(f"{printable(str(source))}: no row can be used. Correct them.")
        if lost:
            left = f"{pluralize(len(lost), 'recording')} left out, no row of which can be used"
            log_once(source, f"{left}: {some(sorted(lost), 3)}")
        return {file: own for file, own in self._of_files.items() if file not in lost}

    def _leave_out(self, file: str, row: Annotation, name: str, reason: str) -> None:
        self._reduced.add(file)
        self._errors.leave_out(row.row, name, reason)


def _clip(path: str, group: str, events: Iterable[Event]) -> Clip:
    """Return the clip of a whole recording; an event that is listed twice counts once."""
    ordered = tuple(sorted(set(events), key=lambda event: (event.onset, event.offset, event.label)))
    return Clip(path, tuple(sorted({event.label for event in ordered})), group, events=ordered)


def _named(clip: Clip) -> Clip:
    """Return a clip of AudioSet with the names of classes in place of their ids."""
    names = audioset_names()
    events = [
        Event(event.onset, event.offset, names.get(event.label, event.label), event.score)
        for event in clip.events or ()
    ]
    return _clip(clip.path, clip.group, events)


def _found(finder: AudioFinder, name: str, format: str) -> str:
    names = audioset_files(name) if format == "audioset" else (name,)
    return finder.find_anywhere(*names) if format in _ANYWHERE else finder.find(*names)


def _by_recording(
    file: Path,
    own_rows: Annotations,
    recordings: Recordings,
    finder: AudioFinder,
    errors: RowErrors,
) -> list[tuple[str, list[Annotation]]]:
    """Return the recordings of an annotation, each with its rows.

    A table that names one recording is of the one beside it, which may have been renamed.

    Raises
    ------
    ValueError
        If there is no recording, or it is not clear which.
    """
    names = list(dict.fromkeys(row.file for row in own_rows.rows if row.file))
    about = recordings.about(file)
    own = _only_one(about) if about else None
    if own is not None and len(names) < 2:
        is_own = not names or _is_name_of(names[0], own)
        rows = list(own_rows.rows)
        if is_own or not _has(file.parent, names[0]):
            return [(str(own), rows)]
    if not names:
        raise ValueError("no such recording beside it")
    is_raven = own_rows.format == "raven" and len(names) > 1
    if is_raven and not all(row.file_offset.strip() for row in own_rows.rows if row.file):
        raise ValueError("names several recordings, and lacks a File Offset (s). Add it")
    found: dict[str, list[Annotation]] = {}
    beside = AudioFinder([file.parent])
    for row in own_rows.rows:
        with errors.row(row.row, file.name):
            if not row.file:
                raise ValueError("no Begin File")
            try:
                path = beside.find(row.file)
            except ValueError:
                path = finder.find_anywhere(row.file)
            found.setdefault(path, []).append(row)
    return list(found.items())


def _is_name_of(name: str, recording: Path) -> bool:
    base = name.replace("\\", "/").rsplit("/", 1)[-1].casefold()
    return base in (recording.name.casefold(), recording.stem.casefold())


def _has(folder: Path, name: str) -> bool:
    try:
        AudioFinder([folder]).find(name)
    except ValueError:
        return False
    return True


def _beside(annotation: Path) -> list[Path]:
    """Return the recordings beside an annotation that have its name."""
    return Recordings(annotation.parent.iterdir()).beside(annotation)


def _only_one(recordings: Sequence[Path]) -> Path:
    if len(recordings) != 1:
        names = " or ".join(file.name for file in recordings)
        raise ValueError(f"is it about {names}?")
    return recordings[0]
