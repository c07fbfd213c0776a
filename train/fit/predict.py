"""Predict recordings with a fitted head that is not part of a checkpoint."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sed.audio.find import find_recordings
from sed.errors import SedError, UsageError
from sed.events.tracker import Event
from sed.files import refuse_to_replace, written_whole
from train.fit.embeddings import OnProgress
from train.fit.fitted import FittedModel, load_fitted

TAG_THRESHOLD = 0.5


@dataclass
class FittedPredictions:
    """Predictions of recordings, and what could not be read."""

    files: list[str] = field(default_factory=list)
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)))
    failures: list[SedError] = field(default_factory=list)


def predict_fitted(
    path: str | os.PathLike[str],
    sources: Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    on_error: Callable[[SedError], None] | None = None,
) -> FittedPredictions:
    """Predict whole recordings, and write a CSV: ``filename,label`` and a column for each class.

    Parameters
    ----------
    path
        The model, see `train.fit.fitted`.
    sources
        Recordings, and folders to search for them.
    output
        The file; standard output if not given.
    device
        Where the encoder runs.
    on_progress
        Called with the number of recordings done, and in all.
    on_error
        Called with what cannot be read; the rest is predicted.

    Raises
    ------
    CheckpointError
        If the model cannot be loaded.
    UsageError
        If there is no recording, or the file is one of them.
    OutputError
        If the file cannot be written.
    """
    model = load_fitted(path)
    recordings, errors = find_recordings(sources)
    result = FittedPredictions()

    def report(error: SedError) -> None:
        result.failures.append(error)
        if on_error is not None:
            on_error(error)

    for error in errors:
        report(error)
    if not recordings:
        raise errors[0] if errors else UsageError("expected at least one recording")
    refuse_to_replace(output, [recording.path for recording in recordings])
    encoder = model.encoder
    parts = [Event(0.0, float("inf"), "", 1.0, recording.path) for recording in recordings]
    placed = type(encoder)(encoder.model, encoder.layer, encoder.pool, device)
    features = placed.embed(parts, report, on_progress)
    rows = [(part.file, row) for part, row in zip(parts, features, strict=True) if row is not None]
    result.files = [file for file, _ in rows]
    if rows:
        result.values = model.predict([row for _, row in rows])
    text = _table(model, result.files, result.values)
    if output is None:
        sys.stdout.write(text)
    else:
        with written_whole(output) as part:
            part.write_text(text, "utf-8", errors="surrogateescape", newline="")
    return result


def _table(model: FittedModel, files: Sequence[str], values: NDArray[np.float64]) -> str:
    names = [os.path.basename(file) for file in files]
    if len({*names}) < len(names):  # without folders they would be the same
        names = list(files)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["filename", "label", *model.labels])
    for name, row in zip(names, values, strict=True):
        cells = [f"{value:.6g}" for value in row]
        if not model.labels:
            writer.writerow([name, cells[0]])
            continue
        label = model.labels[int(np.argmax(row))]
        if model.task == "tag":
            chosen = zip(model.labels, row, strict=True)
            label = ";".join(name for name, value in chosen if value >= TAG_THRESHOLD)
        writer.writerow([name, label, *cells])
    return table.getvalue()
