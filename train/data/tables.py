"""Read tables of labelled clips, and write the index of prepared ones."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sed.errors import TableError, UsageError
from sed.events.reading.table import log_once
from sed.text import near, printable, some
from train.data.clips import SPLITS, Clip
from train.data.csv_rows import relative_path, write_rows
from train.data.formats import FORMATS, read_file, read_folder

_MISSING = ("na", "nan", "n/a", "#n/a", "null", "none")  # as programs write them

INDEX_COLUMNS = (
    "file",
    "label",
    "secondary",
    "group",
    "fold",
    "split",
    "licence",
    "start",
    "duration",
    "source",
    "events",
)


def read_table(source: str | os.PathLike[str], *, table_format: str | None = "auto") -> list[Clip]:
    """Return the clips of a table, of a folder that holds one, or of a folder of sounds.

    Parameters
    ----------
    source
        A table, or a folder that holds one (also in a folder of its own, ``meta`` or
        ``metadata``), recordings with annotations beside them, or a folder per class.
    table_format
        One of `train.data.formats`, as ``index`` (see `write_index`), ``strong`` (see
        `train.data.strong`) or ``folders``; auto or None chooses by the columns.

    Raises
    ------
    TableError
        If there is nothing of the kind, or any row is faulty; all faulty rows are listed.
    UsageError
        If the format is unknown.
    """
    path = Path(source)
    if table_format in (None, "auto"):
        kinds = tuple(FORMATS)
    elif table_format in FORMATS:
        kinds = (table_format,)
    else:
        raise UsageError(f"unknown table format {table_format!r}. {near(table_format, FORMATS)}")
    if os.path.isdir(path):
        clips = read_folder(path, kinds)
    elif not os.path.isfile(path):
        raise TableError(f"{printable(str(path))}: no such table or folder. Check the name.")
    else:
        clips = read_file(path, kinds)
    _note_labels(path, clips)
    return clips


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
        The table to write; files in its folder or below get relative names.
    clips
        Clips with labels or events; for pseudo-labels see `train.data.pseudo_labels`.
    splits
        '', train, val or test for each clip; None: '' for all.
    sources
        The file that each clip was made from, for information.

    Raises
    ------
    UsageError
        If a split is unknown, or clips cannot be written to an index; all reasons are listed.
    OutputError
        If the file cannot be written.
    """
    splits = [""] * len(clips) if splits is None else splits
    if errors := _unwritable(clips, splits):
        raise UsageError(f"an index cannot hold these clips: {'; '.join(errors)}")
    folder = Path(path).parent
    table = pd.DataFrame(
        [
            _index_row(clip, folder) | {"split": split, "source": source}
            for clip, split, source in zip(clips, splits, sources, strict=True)
        ],
        columns=INDEX_COLUMNS,
    )
    write_rows(path, table)


def _note_labels(path: Path, clips: Sequence[Clip]) -> None:
    """Log a warning about labels that are probably no classes, or twice the same."""
    labels = sorted({label for clip in clips for label in clip.labels})
    if missing := [label for label in labels if label.casefold() in _MISSING]:
        log_once(path, f"has clips of the class {some(missing)}: is that a missing label?")
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(unicodedata.normalize("NFC", label).casefold(), []).append(label)
    if same := [" and ".join(one) for one in spellings.values() if len(one) > 1]:
        log_once(path, f"has classes that differ only in case or in Unicode's form: {some(same)}")


def _unwritable(clips: Sequence[Clip], splits: Sequence[str]) -> list[str]:
    names = {name for clip in clips for name in clip.labels + clip.secondary}
    errors = [
        f"label {name!r} holds a ;, which separates labels" for name in sorted(names) if ";" in name
    ]
    errors += [f"unknown split {split!r}" for split in sorted({*splits} - {"", *SPLITS})]
    if n_pseudo := sum(clip.pseudo is not None for clip in clips):
        errors.append(f"{n_pseudo} have pseudo-labels")
    return errors


def _index_row(clip: Clip, folder: Path) -> dict[str, str]:
    """Return the cells of a clip, all but its split and its source."""
    events = [[event.onset, event.offset, event.label] for event in clip.events or ()]
    return {
        "file": relative_path(clip.path, folder),
        "label": ";".join(clip.labels),
        "secondary": ";".join(clip.secondary),
        "group": clip.group,
        "fold": clip.fold,
        "licence": clip.licence,
        "start": repr(float(clip.start_seconds)),
        "duration": "" if clip.duration_seconds is None else repr(float(clip.duration_seconds)),
        "events": "" if clip.events is None else json.dumps(events, ensure_ascii=False),
    }
