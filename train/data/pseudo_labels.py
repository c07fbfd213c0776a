"""Read and write pseudo-labels: probabilities that an ensemble predicts for recordings.

Such a table is two files. ``NAME.csv`` has the columns ``file, start, duration`` and one column of
clip probabilities per class; ``NAME.npz`` beside it holds ``frame_probs`` (rows, frames, classes)
in half precision, and ``labels`` (classes,).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sed.errors import TableError, UsageError
from sed.events.reading.audio_files import AudioFinder
from sed.events.reading.header import column_key
from sed.events.reading.table import number, read_text_table
from sed.files import written_whole
from sed.text import printable
from train.data.clips import Clip, PseudoLabels
from train.data.csv_rows import (
    RowErrors,
    relative_path,
    write_rows,
)

_POSITION = ("file", "start", "duration")


def write_pseudo_labels(
    path: str | os.PathLike[str],
    files: Sequence[str],
    starts: Sequence[float],
    durations: Sequence[float],
    labels: Sequence[str],
    clip_probs: ArrayLike,
    frame_probs: ArrayLike,
) -> None:
    """Write a table of pseudo-labels, each of its two files whole or not at all.

    Parameters
    ----------
    path
        The table, ``NAME.csv``; the frame probabilities go to ``NAME.npz``.
    files, starts, durations
        The recording of each row, where the clip starts in it and how long it is, in seconds.
    labels
        One per class.
    clip_probs, frame_probs
        Shapes (rows, classes) and (rows, frames, classes).

    Raises
    ------
    UsageError
        If the path does not end in .csv, or the shapes do not fit one another.
    OutputError
        If a file cannot be written.
    """
    path = _checked_name(path)
    clips, frames = np.asarray(clip_probs, np.float32), np.asarray(frame_probs)
    shape = (len(files), len(labels))
    if frames.ndim != 3 or {clips.shape, (frames.shape[0], frames.shape[2])} != {shape}:
        raise UsageError(
            f"expected clip_probs (rows, classes) and frame_probs (rows, frames, classes) of "
            f"{shape[0]} rows and {shape[1]} classes, got {clips.shape} and {frames.shape}"
        )
    if not len(files) == len(starts) == len(durations):
        raise UsageError("expected a file, a start and a duration for each row")
    position = {
        "file": [relative_path(file, path.parent) for file in files],
        "start": [repr(float(start)) for start in starts],  # as text, so that nothing is rounded
        "duration": [repr(float(duration)) for duration in durations],
    }
    table = pd.concat([pd.DataFrame(position), pd.DataFrame(clips, columns=list(labels))], axis=1)
    with written_whole(path.with_suffix(".npz")) as part, open(part, "wb") as file:
        np.savez_compressed(
            file, frame_probs=frames.astype(np.float16), labels=np.array(labels, dtype=np.str_)
        )
    write_rows(path, table)


def read_pseudo_labels(path: str | os.PathLike[str], *, min_prob: float) -> list[Clip]:
    """Return the clips of a table of pseudo-labels, for training and never for validation.

    Parameters
    ----------
    path
        The table, ``NAME.csv``.
    min_prob
        Clips whose highest clip probability is below this are left out.

    Raises
    ------
    TableError
        If the two files do not belong together, any row is faulty (all are listed), or no clip
        is left.
    """
    path = _checked_name(path)
    table = read_text_table(path)
    rows = table.rows
    labels, frame_probs = _read_frames(path.with_suffix(".npz"))
    name = printable(str(path))
    written = tuple(map(column_key, labels))
    if table.columns[:3] != _POSITION or table.columns[3:] != written:
        raise TableError(
            f"{name}: expected the columns file, start, duration and the {len(labels)} classes of "
            f"{path.stem}.npz in their order. Write both again with sed predict --pseudo-labels."
        )
    if len(rows) != len(frame_probs):
        raise TableError(
            f"{name}: has {len(rows)} rows, but {path.stem}.npz has {len(frame_probs)}. Write "
            "both again with sed predict --pseudo-labels."
        )
    errors = RowErrors(path, len(rows))
    finder = AudioFinder([path.parent])
    clips = []
    for (row, cells), frames in zip(rows, frame_probs, strict=True):
        with errors.row(row, cells[0]):
            clips.append(_clip(cells, labels, frames, finder))
    errors.finish((*table.assumed, *finder.assumed))
    kept = [clip for clip in clips if clip.pseudo and clip.pseudo.clip_probs.max() >= min_prob]
    if not kept:
        raise TableError(
            f"{name}: no clip has a probability of {min_prob:g} or more. Lower "
            "pseudo_label_min_prob in the recipe."
        )
    return kept


def _clip(
    cells: Sequence[str], labels: tuple[str, ...], frames: NDArray[np.float16], finder: AudioFinder
) -> Clip:
    start, duration = number("start", cells[1]), number("duration", cells[2])
    if start < 0 or duration <= 0:
        raise ValueError(f"expected start >= 0 and duration > 0, got {start:g} and {duration:g}")
    probs = np.array([number(*cell) for cell in zip(labels, cells[3:], strict=True)], np.float32)
    if not all(((p >= 0) & (p <= 1)).all() for p in (probs, frames)):
        raise ValueError("expected probabilities from 0 to 1")
    return Clip(
        finder.find(cells[0]),
        (),
        group=cells[0],
        fold="train",
        start_seconds=start,
        duration_seconds=duration,
        pseudo=PseudoLabels(labels, probs, frames),
    )


def _read_frames(path: Path) -> tuple[tuple[str, ...], NDArray[np.float16]]:
    """Return the classes and the frame probabilities (rows, frames, classes)."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            labels, frame_probs = archive["labels"], archive["frame_probs"]
    except Exception as error:
        # zipfile, zlib and NumPy raise exceptions of many classes about a damaged archive.
        raise TableError(
            f"{printable(str(path))}: cannot be read ({error}); it holds the frame probabilities "
            f"of {path.stem}.csv. Write both again with sed predict --pseudo-labels."
        ) from error
    if frame_probs.ndim != 3 or frame_probs.shape[2:] != labels.shape or not labels.size:
        raise TableError(
            f"{printable(str(path))}: expected frame_probs (rows, frames, classes) and labels "
            f"(classes,), got {frame_probs.shape} and {labels.shape}. Write both again with "
            "sed predict --pseudo-labels."
        )
    return tuple(str(label) for label in labels), frame_probs


def _checked_name(path: str | os.PathLike[str]) -> Path:
    if Path(path).suffix.lower() != ".csv":
        raise UsageError(
            f"{printable(os.fspath(path))}: expected a table of pseudo-labels, NAME.csv"
        )
    return Path(path)
