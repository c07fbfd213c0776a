"""Read what a head is fitted to: clips with labels, or with numbers, and where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import TableError, UsageError
from sed.events.reading.audio_files import table_finder
from sed.events.reading.header import column_key
from sed.events.reading.table import number, read_text_table
from sed.events.tracker import Event
from sed.text import near, printable
from train.data.clips import Clip
from train.data.csv_rows import RowErrors
from train.data.row_formats import several
from train.data.tables import read_table

TASKS = ("classify", "tag", "regress")
FILE_COLUMNS = ("file", "filename", "fname", "path", "recording")
GROUP_COLUMNS = ("group", "author", "src", "src_file", "fsid", "freesound_id", "recording")

# Annotated recordings are negatives of a class where they are not annotated, if that is this long.
SMALLEST_GAP_SECONDS = 1.0


@dataclass(frozen=True)
class Part:
    """A part of a recording with what is known about it."""

    event: Event  # where; its file names the recording
    labels: tuple[str, ...]  # classes that are in it
    group: str  # parts of one group are never on both sides of a split
    value: float = np.nan  # the target of a regression


@dataclass(frozen=True)
class FitTable:
    """Labelled parts of recordings, and the task that they are for.

    Attributes
    ----------
    parts
        What to embed.
    task
        ``classify``: each clip is of one class; ``tag``: of any number; ``regress``: a number.
    target
        Name of the column; ``label`` where the table has its own.
    labels
        Names of the classes, sorted; none for a number.
    missing
        Rows whose recording is not there, in words.
    """

    parts: tuple[Part, ...]
    task: str
    target: str
    labels: tuple[str, ...]
    missing: tuple[str, ...] = ()


def read_fit_table(
    source: str | os.PathLike[str],
    *,
    target: str | None = None,
    task: str = "auto",
    table_format: str | None = "auto",
) -> FitTable:
    """Return the parts of a table, of a folder per class, or of one folder of clips of a class.

    Parameters
    ----------
    source
        A table as for training, a folder that holds one, or a folder with sounds in it, which are
        clips of one class with the name of the folder.
    target
        Column of the targets in a CSV: numbers, or labels separated by semicolons.
    task
        ``auto`` is ``regress`` if at least half of the targets are numbers, ``tag`` if some clip
        has not exactly one label or there is one class, else ``classify``.
    table_format
        As in `train.data.tables.read_table`.

    Raises
    ------
    TableError
        If there is no clip, or a row is faulty.
    UsageError
        If the task or the column is unknown, or they do not fit together.
    """
    if task not in ("auto", *TASKS):
        raise UsageError(f"unknown task {task!r}. {near(task, ('auto', *TASKS))}")
    path = Path(source)
    values: list[float] | None = None
    missing: list[str] = []
    if target is not None:
        clips, values, missing = _read_target(path, target, task)
    elif os.path.isdir(path) and (sounds := _sounds(path)):
        label = path.resolve().name
        clips = [Clip(str(file), (label,), str(file)) for file in sounds]
    else:
        clips = read_table(path, table_format=table_format)
    if not clips:
        raise TableError(f"{printable(str(path))}: no clip is there to fit to. Check the table.")
    if task == "auto":
        task = _task_of(clips) if values is None else "regress"
    if task == "regress" and values is None:
        raise UsageError("a regression needs --target with a column of numbers")
    if values is not None:
        rows = zip(clips, values, strict=True)
        parts = [Part(_event(clip), (), clip.group, value) for clip, value in rows]
        return FitTable(tuple(parts), task, target or "", (), tuple(missing))
    parts = [part for clip in clips for part in _parts(clip)]
    labels = tuple(sorted({label for part in parts for label in part.labels}))
    if not labels:
        raise TableError(f"{printable(str(path))}: no clip has a label. Check the table.")
    return FitTable(tuple(parts), task, target or "label", labels, tuple(missing))


def _task_of(clips: Sequence[Clip]) -> str:
    labels = {label for clip in clips for label in clip.labels}
    is_single = all(len(clip.labels) == 1 and clip.events is None for clip in clips)
    return "classify" if is_single and len(labels) > 1 else "tag"


def _sounds(folder: Path) -> list[Path]:
    """Return the sounds in a folder that holds nothing else of a table; else none."""
    files = sorted(file for file in folder.iterdir() if file.name[0] != ".")
    suffixes = SOUND_SUFFIXES | CONTAINER_SUFFIXES
    tables = (".csv", ".tsv", ".txt")
    if any(os.path.isdir(file) or file.suffix.lower() in tables for file in files):
        return []
    return [file for file in files if file.suffix.lower() in suffixes]


def _event(clip: Clip) -> Event:
    end = np.inf if clip.duration_seconds is None else clip.start_seconds + clip.duration_seconds
    return Event(clip.start_seconds, float(end), "", 1.0, clip.path)


def _parts(clip: Clip) -> list[Part]:
    """Return a clip as it is; of an annotated one its events, and the gaps between them."""
    if clip.events is None:
        return [Part(_event(clip), clip.labels, clip.group)]
    whole, parts, last = _event(clip), [], 0.0
    for event in sorted(clip.events, key=lambda event: event.onset):
        at = clip.start_seconds
        # What overlaps is in the part as well.
        labels = {e.label for e in clip.events if e.onset < event.offset and e.offset > event.onset}
        if event.onset - last >= SMALLEST_GAP_SECONDS:
            gap = Event(at + last, at + event.onset, "", 1.0, clip.path)
            parts.append(Part(gap, (), clip.group))
        own = Event(at + event.onset, min(at + event.offset, whole.offset), "", 1.0, clip.path)
        parts.append(Part(own, tuple(sorted(labels)), clip.group))
        last = max(last, event.offset)
    # Where the end of the recording is not known, nothing is sure to follow the last event.
    at = clip.start_seconds + last
    if not parts or SMALLEST_GAP_SECONDS <= whole.offset - at < np.inf:
        parts.append(Part(Event(at, whole.offset, "", 1.0, clip.path), (), clip.group))
    return parts


def _read_target(
    path: Path, target: str, task: str
) -> tuple[list[Clip], list[float] | None, list[str]]:
    """Return the clips of a CSV, their numbers if it holds numbers, and what is missing."""
    if not os.path.isfile(path):
        raise TableError(f"{printable(str(path))}: no such table. --target needs a CSV.")
    table = read_text_table(path)
    header, key = table.columns, column_key(target)
    name = next((column for column in FILE_COLUMNS if column in header), None)
    if name is None or key not in header:
        what = f"column {target!r}" if name else f"column of files ({', '.join(FILE_COLUMNS)})"
        raise UsageError(f"{printable(str(path))}: no {what}. {near(target, table.header)}")
    group = next((column for column in GROUP_COLUMNS if column in header), name)
    errors = RowErrors(path, len(table.rows))
    cells = list(table.records())
    # Half of them, so that a gap among numbers is an error, and not a class.
    n_numbers = sum(_is_number(row[key]) for _, row in cells)
    numbers = task == "regress" or (task == "auto" and 2 * n_numbers >= max(1, len(cells)))
    finder = table_finder(path)
    clips, values, missing = [], [], []
    for i, row in cells:
        with errors.row(i, row[name]):
            start, seconds = _times(row)
            labels = () if numbers else several(row[key])
            value = _target_number(target, row[key], task) if numbers else np.nan
            try:
                file = finder.find(row[name])
            except ValueError as error:
                missing.append(f"row {i}: {printable(row[name])}: {error}")
                continue
            clips.append(
                Clip(
                    file, labels, row[group] or file, start_seconds=start, duration_seconds=seconds
                )
            )
            values.append(value)
    errors.finish((*table.assumed, *finder.assumed))
    return clips, values if numbers else None, missing


def _times(row: Mapping[str, str]) -> tuple[float, float | None]:
    """Return start and duration of a clip in seconds; None: to the end of the recording."""
    start = number("start", row["start"]) if row.get("start", "").strip() else 0.0
    seconds = number("duration", row["duration"]) if row.get("duration", "").strip() else None
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"expected start >= 0 and duration > 0, got {start:g} and {seconds}")
    return start, seconds


def _target_number(target: str, cell: str, task: str) -> float:
    try:
        return number(target, cell)
    except ValueError as error:
        hint = " where most are numbers; for labels give --task classify or tag"
        raise ValueError(f"{error}{hint if task == 'auto' else ''}") from None


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
