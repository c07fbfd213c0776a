"""Read the rows of tables whose rows are clips; a clip without a group is one of its recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sed.events.reading.annotations import checked_event
from sed.events.reading.audio_files import table_finder
from sed.events.reading.table import number, read_text_table
from sed.events.tracker import Event
from train.data.audio import recording_seconds
from train.data.clips import SPLITS, Clip
from train.data.csv_rows import MAX_SHOWN, RowErrors, literal_list

Row = Mapping[str, str]  # its cells by the keys of their columns
Find = Callable[..., str]  # possible names of a file -> its path; ValueError if there is none

_N_URBAN_FOLDS = 10
_WINDOW = ("file", "start_time", "end_time")
_PRESENT = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def index_clip(row: Row, find: Find) -> Clip:
    """Return the clip of a row of an index, see `train.data.tables.write_index`.

    Raises
    ------
    ValueError
        If a cell is faulty.
    """
    labels, events = several(row["label"]), _events(row.get("events", ""))
    if not labels and events is None:
        raise ValueError("no label")
    if (split := row.get("split", "").strip()) not in ("", *SPLITS):
        raise ValueError(f"unknown split {split!r}: expected {', '.join(SPLITS)} or nothing")
    start = number("start", row["start"]) if row.get("start", "").strip() else 0.0
    duration = number("duration", row["duration"]) if row.get("duration", "").strip() else None
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError("expected a start of 0 or more, and a duration above 0")
    return Clip(
        find(row["file"]),
        labels,
        row.get("group", "").strip(),
        split or fold_name(row.get("fold", "")),
        row.get("licence", "").strip(),
        several(row.get("secondary", "")),
        events,
        start,
        duration,
    )


def esc50_clip(row: Row, find: Find) -> Clip:
    """Return the clip of a row of a table like that of ESC-50."""
    return Clip(
        find(row["filename"]),
        (row["category"].strip(),),
        row.get("src_file", ""),
        fold_name(row["fold"]),
        row.get("licence", ""),
    )


def urbansound8k_clip(row: Row, find: Find) -> Clip:
    """Return a slice. Its ``start`` and ``end`` are times in the source, not in its own file.

    Raises
    ------
    ValueError
        If the fold is unknown.
    """
    fold, name = fold_name(row["fold"]), row["slice_file_name"]
    if fold not in map(str, range(1, _N_URBAN_FOLDS + 1)):
        raise ValueError(f"unknown fold {fold!r}: expected 1 to {_N_URBAN_FOLDS}")
    return Clip(find(f"fold{fold}/{name}", name), (row["class"].strip(),), row["fsid"], fold)


def birdclef_clip(row: Row, find: Find) -> Clip:
    """Return a recording of birds; recordings of one author are one group.

    Raises
    ------
    ValueError
        If the secondary labels are no list.
    """
    label, name = row["primary_label"].strip(), row["filename"]
    return Clip(
        find(name, f"{label}/{name}"),  # the 2021 table names files without their folder
        (label,),
        row.get("author", "").strip(),
        licence=row.get("license", ""),
        secondary=tuple(x for x in literal_list(row.get("secondary_labels", "")) if x != label),
    )


def fsdkaggle2018_clip(row: Row, find: Find) -> Clip | None:
    """Return a clip, of the test set if it has a usage; None for the padding of the test set."""
    usage = row.get("usage", "").strip()
    if usage == "Ignored":
        return None
    return Clip(
        find(row["fname"]),
        (row["label"].strip(),),
        row.get("freesound_id", ""),
        "test" if usage else "",
        row.get("license", ""),
    )


def weak_clip(row: Row, find: Find) -> Clip:
    """Return the clip of a row of DCASE's weak labels, which commas separate."""
    return Clip(find(row["filename"]), several(row["event_labels"], ",;"), "")


def read_windows(path: Path) -> list[Clip]:
    """Return the windows of a table of OpenSoundscape, which has a column of 0 and 1 per class.

    A window is cut at the end of its recording, and one behind it left out; one of no class has no
    events.

    Raises
    ------
    TableError
        If any row is faulty, as those with scores are; all are listed.
    """
    table = read_text_table(path)
    finder = table_finder(path)
    errors = RowErrors(path, len(table.rows))
    classes = [c for c, key in enumerate(table.columns) if key not in ("", *_WINDOW)]
    clips, seconds = [], dict[str, float | None]()
    for i, cells in table.rows:
        name, *times = (cells[table.columns.index(key)] for key in _WINDOW)
        with errors.row(i, name):
            start, end = (number(key, x) for key, x in zip(_WINDOW[1:], times, strict=True))
            if not 0 <= start < end:
                raise ValueError(
                    f"expected a start of 0 or more and an end after it, got {start:g} and {end:g}"
                )
            file = finder.find_anywhere(name)
            if file not in seconds:
                seconds[file] = recording_seconds(file)
            if (longest := seconds[file]) is not None and start >= longest:
                errors.leave_out(i, name, f"starts after the recording, which has {longest:g} s")
                continue
            duration = min(end, longest or end) - start
            labels = tuple(
                table.header[c] for c in classes if _is_present(table.header[c], cells[c])
            )
            events = None if labels else ()
            clips.append(Clip(file, labels, name, "", "", (), events, start, duration))
    errors.finish((*table.assumed, *finder.assumed))
    return clips


def _is_present(name: str, cell: str) -> bool:
    found = _PRESENT.get(cell.strip().casefold())
    if found is None:
        raise ValueError(f"expected 0 or 1 for {name}, got {cell!r}")
    return found


def fold_name(cell: str) -> str:
    """Return the name of a fold; a whole number has no point, as programs write it.

    >>> fold_name("1.0"), fold_name(" 2 "), fold_name("a.0")
    ('1', '2', 'a.0')
    """
    number, point, rest = cell.strip().replace(",", ".").partition(".")
    is_whole = bool(point) and number.isdecimal() and not rest.strip("0")
    return number if is_whole else cell.strip()


def several(cell: str, separators: str = ";") -> tuple[str, ...]:
    """Return the labels in a cell, without the spaces around them.

    >>> several("dog; siren ;")
    ('dog', 'siren')
    """
    for separator in separators[1:]:
        cell = cell.replace(separator, separators[0])
    labels = (label.strip() for label in cell.split(separators[0]))
    return tuple(label for label in dict.fromkeys(labels) if label)


def _events(cell: str) -> tuple[Event, ...] | None:
    """Return the events in a cell of an index: [[onset, offset, label], …]; None if it is empty."""
    if not cell.strip():
        return None
    try:
        events = [(float(onset), float(offset), label) for onset, offset, label in json.loads(cell)]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"events are not a list of [onset, offset, label]: {cell[:MAX_SHOWN]!r}"
        ) from error
    return tuple(
        checked_event(onset, offset, label.strip() if isinstance(label, str) else label)
        for onset, offset, label in events
    )
