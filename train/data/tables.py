"""Tables of labelled clips.

What a clip is, how a table of any kind becomes a list of them, and how a list is written down as
an index, the one kind of table that is ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sed.errors import TableError, UsageError
from sed.text import near, printable
from train.data.clips import SPLITS, Clip
from train.data.rows import write_rows, written_file

INDEX_COLUMNS = (
    "file",
    "label",
    "secondary",
    "group",
    "fold",
    "split",
    "licence",
    "begin",
    "seconds",
    "source",
    "events",
)


def read_table(source: str | os.PathLike[str], *, format: str | None = "auto") -> list[Clip]:
    """Return the clips of a table, of a folder that holds one, or of a folder of sounds.

    Parameters
    ----------
    source
        A table, or a folder that holds one (also in a folder of its own, ``meta`` or
        ``metadata``), recordings with annotations beside them, or a folder per class.
    format
        ``esc50``, ``urbansound8k``, ``birdclef``, ``fsdkaggle2018``, ``index`` (see `write_index`),
        ``strong`` (see `train.data.strong`) or ``folders``; auto or None tells it from the columns.

    Raises
    ------
    TableError
        If there is nothing of the kind, or any row is faulty; all faulty rows are listed.
    UsageError
        If the format is unknown.
    """
    from train.data.formats import (  # they make the clips of this module
        FORMATS,
        read_file,
        read_folder,
    )

    path = Path(source)
    if format in (None, "auto"):
        kinds = tuple(FORMATS)
    elif format in FORMATS:
        kinds = (format,)
    else:
        raise UsageError(f"unknown format of tables {format!r}. {near(format, FORMATS)}")
    if path.is_dir():
        return read_folder(path, kinds)
    if not path.is_file():
        raise TableError(f"{printable(str(path))}: no such table or folder. Check the name.")
    return read_file(path, kinds)


def write_index(
    path: str | os.PathLike[str],
    clips: Sequence[Clip],
    splits: Sequence[str] | None,
    sources: Sequence[str],
) -> None:
    """Write the table of clips that `read_table` knows as ``index``, whole or not at all.

    Parameters
    ----------
    path
        Of the table; files that lie in its folder or below are named from there.
    clips
        With labels or events; soft labels have tables of their own (see `train.data.soft`).
    splits
        '', train, val or test for each clip; None: '' for all.
    sources
        What each clip was made from, for people to read.

    Raises
    ------
    UsageError
        If a split is unknown, or clips cannot be written like this; all reasons are told.
    OutputError
        If the file cannot be written.
    """
    splits = [""] * len(clips) if splits is None else splits
    if faults := _unwritable(clips, splits):
        raise UsageError(f"clips that no index can hold: {'; '.join(faults)}")
    folder = Path(path).parent
    table = pd.DataFrame(
        [
            _index_row(clip, folder) | {"split": split, "source": source}
            for clip, split, source in zip(clips, splits, sources, strict=True)
        ],
        columns=INDEX_COLUMNS,
    )
    write_rows(path, table)


def _unwritable(clips: Sequence[Clip], splits: Sequence[str]) -> list[str]:
    names = {name for clip in clips for name in clip.labels + clip.secondary}
    faults = [
        f"label {name!r} holds a ;, which separates labels" for name in sorted(names) if ";" in name
    ]
    faults += [f"unknown split {split!r}" for split in sorted({*splits} - {"", *SPLITS})]
    if n_soft := sum(clip.soft is not None for clip in clips):
        faults.append(f"{n_soft} have soft labels")
    return faults


def _index_row(clip: Clip, folder: Path) -> dict[str, str]:
    """Return the cells of a clip, all but its split and its source."""
    events = [[event.onset, event.offset, event.label] for event in clip.events or ()]
    return {
        "file": written_file(clip.path, folder),
        "label": ";".join(clip.labels),
        "secondary": ";".join(clip.secondary),
        "group": clip.group,
        "fold": clip.fold,
        "licence": clip.licence,
        "begin": repr(float(clip.begin_seconds)),
        "seconds": "" if clip.seconds is None else repr(float(clip.seconds)),
        "events": "" if clip.events is None else json.dumps(events, ensure_ascii=False),
    }
