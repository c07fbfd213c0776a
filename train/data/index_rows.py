"""Read the rows of an index, the table that `train.data.tables.write_index` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sed.events.tracker import Event
from train.data.clips import SPLITS, Clip
from train.data.csv_rows import MAX_SHOWN, number
from train.data.strong import checked_event

Row = Mapping[str, str]
Find = Callable[..., str]  # possible names of a file -> its path; ValueError if there is none


def index_clip(row: Row, find: Find) -> Clip:
    """Return the clip of a row of an index.

    Raises
    ------
    ValueError
        If a cell is faulty.
    """
    labels, events = _several(row["label"]), _events(row.get("events", ""))
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
        row.get("group") or row["file"],
        split or row.get("fold", "").strip(),
        row.get("licence", ""),
        _several(row.get("secondary", "")),
        events,
        start,
        duration,
    )


def _several(cell: str) -> tuple[str, ...]:
    return tuple(label for label in cell.split(";") if label)


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
    return tuple(checked_event(*event) for event in events)
