"""Tables of labelled clips.

What a clip is, how a table of any kind becomes a list of them, and how a list is written down as
an index, the one kind of table that is ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import TableError, UsageError, near, printable
from sed.events.tracker import Event
from train.data.rows import write_rows, written_file

SPLITS = ("train", "val", "test")  # learnt from always, judged by, never touched
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


@dataclass(frozen=True)
class SoftLabels:
    """What an ensemble made of a clip: probabilities in place of labels."""

    labels: tuple[str, ...]
    clip_probs: NDArray[np.float32]  # (classes,)
    frame_probs: NDArray[np.float16]  # (frames, classes), evenly over the clip


@dataclass(frozen=True)
class Clip:
    """A labelled piece of audio."""

    path: str
    labels: tuple[str, ...]
    group: str  # clips of one source share it, and are never on both sides of a split
    fold: str = ""  # official fold, if the table has one
    licence: str = ""
    secondary: tuple[str, ...] = ()  # labels of what is heard behind
    events: tuple[Event, ...] | None = (
        None  # what sounds when, from the clip's start; None: unknown
    )
    begin_seconds: float = 0.0  # where in the file the clip begins
    seconds: float | None = None  # how long it is; None: to the end of the file
    soft: SoftLabels | None = field(default=None, compare=False)


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


def bare_name(path: str) -> str:
    """Return the name of a file without folder and endings of sound; prepared ones have one more.

    >>> bare_name("audio/1-100032-A-0.ogg.wav")
    '1-100032-A-0'
    """
    name = os.path.basename(path)
    while (ending := os.path.splitext(name)[1].lower()) in SOUND_SUFFIXES | CONTAINER_SUFFIXES:
        name = name[: -len(ending)]
    return name


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
