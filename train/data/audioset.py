"""Read the tables of AudioSet: segments of recordings that may have been downloaded."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from sed.errors import TableError
from sed.events.reading.audio_files import table_finder
from sed.events.reading.table import number, read_text_table
from sed.text import printable
from train.data.audio import recording_seconds
from train.data.clips import Clip
from train.data.csv_rows import RowErrors
from train.data.row_formats import several


def read_audioset(path: Path) -> list[Clip]:
    """Return the clips of a table of AudioSet's segments with the names of our classes as labels.

    Rows whose recording is not there are left out and reported: many are gone. A recording that is
    longer than its segment is that of the whole video.

    Raises
    ------
    TableError
        If any row is faulty, or none of the recordings is there.
    """
    table = read_text_table(path)
    finder = table_finder(path)
    errors = RowErrors(path, len(table.rows))
    names = audioset_names()
    clips = []
    for i, row in table.records():
        video = row["ytid"].strip()
        with errors.row(i, video):
            start = number("start_seconds", row["start_seconds"])
            end = number("end_seconds", row["end_seconds"])
            labels = several(row["positive_labels"], ",;")
            if not video or not labels or not 0 <= start < end:
                raise ValueError("expected YTID, start_seconds, end_seconds and positive_labels")
            try:
                file = finder.find_anywhere(*audioset_files(f"{video}_{round(1_000 * start)}"))
            except ValueError as error:
                errors.leave_out(i, video, str(error))
                continue
            labels = tuple(names.get(label, label) for label in labels)
            seconds = recording_seconds(file)
            is_whole = seconds is None or seconds < end - start + 1.0
            clip = Clip(file, labels, video)
            if not is_whole:
                clip = replace(clip, start_seconds=start, duration_seconds=end - start)
            clips.append(clip)
    errors.finish((*table.assumed, *finder.assumed))
    if not clips and table.rows:
        raise TableError(f"{printable(str(path))}: none of its recordings is there. Check --data.")
    return clips


@cache
def audioset_names() -> Mapping[str, str]:
    """Return the short name of each class of AudioSet by its id; others keep their ids."""
    path = resources.files("train") / "distill" / "audioset_classes.csv"
    with path.open(encoding="utf-8") as file:
        return {row["audioset_id"]: row["name"] for row in csv.DictReader(file)}


def audioset_files(segment: str) -> tuple[str, ...]:
    """Return the names that the recording of a segment, ``YTID_MILLISECONDS``, may have."""
    video, _, start = segment.rpartition("_")
    if not video or not start.isdigit():
        return (segment, f"Y{segment}")
    seconds = int(start) / 1_000
    starts = (start, f"{seconds:.3f}", f"{seconds:.0f}")
    pieces = [f"{video}_{text}" for text in starts]
    pieces += [f"{video}_{a}_{b}" for a, b in _ranges(int(start))]
    return tuple(f"{prefix}{name}" for name in [*pieces, video] for prefix in ("", "Y"))


def _ranges(milliseconds: int) -> tuple[tuple[str, str], ...]:
    """Return start and end of a segment of ten seconds, as downloading programs write them."""
    ends = milliseconds, milliseconds + 10_000
    return (
        (f"{ends[0]}", f"{ends[1]}"),
        (f"{ends[0] / 1_000:.3f}", f"{ends[1] / 1_000:.3f}"),
        (f"{ends[0] / 1_000:.0f}", f"{ends[1] / 1_000:.0f}"),
    )
