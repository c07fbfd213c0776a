"""Read what `sed score` compares: truth, predictions of any system, durations, names of labels."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import compress
from pathlib import Path

import numpy as np

from sed.audio.decode import open_recording
from sed.errors import SedError, TableError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.audio_files import AudioFinder, stem
from sed.events.reading.event_tables import ENDINGS, event_files, read_event_tables
from sed.events.reading.frames import FrameScores, read_frame_scores
from sed.events.reading.table import cell_of, log_assumed, number, read_text_table
from sed.events.scoring.names import match_names
from sed.text import lines, near, pluralize, printable, some

_logger = logging.getLogger("sed.score")

FILE_CELLS = ("filename", "file", "fname", "path", "recording")
DURATION_CELLS = ("duration", "duration_seconds", "seconds", "length")

Predictions = list[EventTable] | list[FrameScores]


def read_predictions(paths: Sequence[Path]) -> Predictions:
    """Return frame probabilities, if all paths hold such, or else a table for each path.

    Parameters
    ----------
    paths
        NPZ files and folders of them; or tables of events, or folders of tables, each path an
        operating point of a system.

    Raises
    ------
    SedError
        If some cannot be read; all are listed.
    UsageError
        If there are both kinds.
    """
    archives = [file for path in paths for file in _archives(path)]
    if not archives:
        return [read_event_tables([path]) for path in paths]
    if any(path.is_file() and path.suffix.lower() != ".npz" for path in paths):
        raise UsageError("both frame probabilities and tables of events: give one kind")
    beside = (file for path in paths if path.is_dir() for file in path.rglob("*"))
    if any(file.suffix.lower() in ENDINGS for file in beside):
        _logger.warning(
            "frame probabilities are scored (NPZ), and the tables of events beside them left out"
        )
    frames, errors = [], []
    for file in archives:
        try:
            frames.append(read_frame_scores(file))
        except TableError as error:
            errors.append(str(error))
    if errors:
        raise TableError(f"{pluralize(len(errors), 'file')} cannot be read:{lines(errors)}")
    return frames


def _archives(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("*.npz"))
    return [path] if path.suffix.lower() == ".npz" else []


def read_durations(path: Path) -> dict[str, float]:
    """Return the seconds of recordings in a table with columns ``filename`` and ``duration``.

    Raises
    ------
    TableError
        If it cannot be read, or rows are faulty; all are listed.
    """
    table = read_text_table(path)
    log_assumed(path, table.assumed)
    if not ({*FILE_CELLS} & {*table.columns} and {*DURATION_CELLS} & {*table.columns}):
        raise TableError(
            f"{printable(str(path))}: expected columns filename and duration, got "
            f"{some(table.header) or 'none'}. Name them so."
        )
    durations: dict[str, float] = {}
    faults: list[str] = []
    for row, cells in table.records():
        try:
            seconds = number("duration", cell_of(cells, DURATION_CELLS))
            if seconds <= 0:
                raise ValueError(f"expected a duration above 0, got {seconds:g}")
            name = cell_of(cells, FILE_CELLS)
            if durations.setdefault(name, seconds) != seconds:
                raise ValueError(f"{name} lasts {seconds:g} s, and above {durations[name]:g} s")
        except ValueError as error:
            faults.append(f"row {row}: {error}")
    if faults:
        raise TableError(f"{printable(str(path))}: cannot be read:{lines(faults)}")
    if not durations:
        raise TableError(f"{printable(str(path))}: has no rows. Add the recordings.")
    return durations


def found_durations(
    files: Sequence[str],
    truth: Sequence[Path],
    predicted: Sequence[str] = (),
    audio: Sequence[Path] = (),
) -> tuple[dict[str, float], list[str]]:
    """Return the seconds of the recordings of the truth, and why those of others are unknown.

    They are looked for where the names lead to from here, from the tables of the truth and from
    other folders; where predictions have them; and below all of these folders.

    Parameters
    ----------
    files
        Names of the recordings.
    truth
        The tables.
    predicted
        Names of the recordings in predictions.
    audio
        More folders.
    """
    folders = [path if path.is_dir() else path.parent for path in truth]
    finder = AudioFinder([Path.cwd(), *folders, *audio], below=audio or folders)
    there = [name for name in predicted if os.path.isfile(name)]
    durations, missing = {}, []
    for file in files:
        try:
            place = finder.find(file)
        except ValueError:
            place = _same_recording(file, there)
        try:
            place = place or finder.find_anywhere(file, stem(file))
            durations[file] = _seconds(place)
        except (ValueError, SedError) as error:
            missing.append(f"{printable(file)}: {error}")
    return durations, missing


def left_out(predictions: Predictions, durations: Mapping[str, float]) -> str:
    """Return what predictions have in recordings that have no duration, in words; may be nothing.

    Raises
    ------
    TableError
        If names are ambiguous.
    """
    known = list(durations)
    n, others = 0, list[str]()
    for one in predictions:
        if isinstance(one, EventTable):
            own = np.array([name is None for name in match_names(one.files, known)], bool)
            n += int(own[one.file].sum())
            others += compress(one.files, own)
        elif match_names([one.file], known) == [None]:
            others.append(one.file)
    names = list(dict.fromkeys(others))
    if not names:
        return ""
    what = f"{pluralize(n, 'detection')} in " if n else ""
    where = pluralize(len(names), "recording")
    return f"{what}{where} without reference events or duration: {some(names, 3)}"


def _same_recording(file: str, names: Sequence[str]) -> str:
    """Return the name of the same recording among some; nothing if there is none, or several."""
    try:
        return match_names([file], names)[0] or ""
    except TableError:
        return ""


def _seconds(path: str) -> float:
    with closing(open_recording(path)) as decoder:
        if decoder.n_samples is None:
            raise ValueError("its header has no length")
        return decoder.n_samples / decoder.sample_rate


def read_label_map(path: Path) -> dict[str, str]:
    """Return the new name of each label in a table of two columns; empty names leave labels out.

    Raises
    ------
    TableError
        If it cannot be read, or has fewer than two columns.
    """
    table = read_text_table(path)
    log_assumed(path, table.assumed)
    if len(table.header) < 2:
        raise TableError(
            f"{printable(str(path))}: expected two columns, a label and its new name. Add them."
        )
    return {cells[0].strip(): cells[1].strip() for _, cells in table.rows}


def with_labels(
    table: EventTable, mapped: Mapping[str, str], classes: Sequence[str] = ()
) -> EventTable:
    """Return the events of some classes, with the new names of labels.

    Parameters
    ----------
    table
        Events.
    mapped
        New names by old ones; labels without one keep theirs, those with an empty one are left out.
    classes
        New names of the classes to keep; all if empty.
    """
    table = table.renamed(labels=[mapped.get(label, label) for label in table.labels])
    kept = [bool(label) and (not classes or label in classes) for label in table.labels]
    if all(kept):
        return table
    fewer = table.take(np.array(kept)[table.label])
    numbers = (np.cumsum(kept) - 1).astype(np.int32)
    labels = tuple(compress(table.labels, kept))
    return dataclasses.replace(fewer, labels=labels, label=numbers[fewer.label])


def frames_with_labels(frames: FrameScores, mapped: Mapping[str, str]) -> FrameScores:
    """Return frame probabilities with the new names of labels; of equal names the highest."""
    names = [mapped.get(label, label) for label in frames.labels]
    new = [name for name in dict.fromkeys(names) if name]
    if tuple(names) == frames.labels:
        return frames
    columns = [
        frames.probs[:, [i for i, name in enumerate(names) if name == own]].max(axis=1)
        for own in new
    ]
    probs = np.stack(columns, axis=1) if columns else frames.probs[:, :0]
    return FrameScores(frames.file, tuple(new), frames.edges, probs)


def check_classes(classes: Sequence[str], truth: EventTable) -> None:
    """Refuse classes that the truth does not have.

    Raises
    ------
    UsageError
        With names that are near.
    """
    for name in classes:
        if name not in truth.labels:
            known = near(name, truth.labels)
            raise UsageError(f"no reference event of the class {name!r}. {known}")


def named_recordings(truth: Sequence[Path]) -> list[str]:
    """Return the recordings that tables of the truth name, also those without an event."""
    names = (
        cell_of(cells, FILE_CELLS)
        for path in truth
        for file in event_files(path)
        if file.suffix.lower() in (".csv", ".tsv", ".txt")
        for _, cells in read_text_table(file).records()
    )
    return [name for name in dict.fromkeys(names) if name]
