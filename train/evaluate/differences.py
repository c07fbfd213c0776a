"""Compare what two runs predict for the same clips, class by class, with intervals.

The figure is the average precision of a class, and its mean over classes (mAP). Intervals are those
of a paired bootstrap (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993): recordings
are drawn with replacement, as many as there are, the same for both runs, and the differences of all
draws are cut at their percentiles. Clips of one recording are drawn together, since they are alike.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.errors import TableError, UsageError
from sed.files import written_csv
from sed.models.metrics import average_precision
from sed.text import lines, printable, some
from train.data.clips import Clip, relative_names
from train.evaluate.compare import run_folders
from train.evaluate.report import PREDICTION_COLUMNS, PREDICTIONS

MACRO = "macro"  # the row of the mean over classes
N_DRAWS, CONFIDENCE = 1_000, 0.95

_CELLS_AT_ONCE = 1 << 24  # weights in memory, of clips in draws

Reals = NDArray[np.float64]
Weights = NDArray[np.int32]


class Difference(NamedTuple):
    """Average precision of a class in two runs.

    `low` and `high` are the bounds of the interval of `difference`, which is that of the second run
    minus that of the first.
    """

    label: str
    clips: int  # that have the label; of all classes, clips
    recordings: int  # that such clips are of
    first: float
    second: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class _Predictions:
    """What a run predicts for its clips, sorted by clip; arrays of the shape (clips, classes)."""

    labels: tuple[str, ...]
    clips: tuple[tuple[str, str], ...]  # file and start
    targets: NDArray[np.bool_]
    probs: Reals


def has_predictions(run: str | os.PathLike[str]) -> bool:
    """Return whether a run, or each of its folds, holds predictions."""
    folders = run_folders(run, PREDICTIONS)
    return bool(folders) and len(folders) >= len(run_folders(run))


def compare_predictions(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> list[Difference]:
    """Return the differences of two runs in the classes that both have, and in their mean.

    Parameters
    ----------
    first, second
        Run directories, or folders that `train.evaluate.evaluate` wrote a report into. The clips of
        ``fold0``, ``fold1``, … count together.
    n_draws
        Draws of the bootstrap.
    seed
        Of the draws.

    Returns
    -------
    list[Difference]
        Classes that some clip has, in the order of the first run, then `MACRO`. NaN: not defined.

    Raises
    ------
    UsageError
        If the number of draws is not positive.
    TableError
        If predictions cannot be read, or the runs were evaluated on different clips or labels.
    """
    if n_draws < 1:
        raise UsageError(f"expected 1 or more draws, got {n_draws}")
    one, other = _read(Path(first)), _read(Path(second))
    files = _check_same_clips(one, other, Path(first), Path(second))
    labels = [label for label in one.labels if label in other.labels]
    columns = ([run.labels.index(label) for label in labels] for run in (one, other))
    own, others = columns
    targets = one.targets[:, own]
    if not labels or (targets != other.targets[:, others]).any():
        raise TableError(
            f"{_named(first, second)} were evaluated with different labels of the same clips. "
            "Evaluate both on one table: sed evaluate RUN --data TABLE --output FOLDER."
        )
    probs = one.probs[:, own], other.probs[:, others]
    return _differences(labels, targets, probs, files, n_draws, np.random.default_rng(seed))


def write_differences(path: str | os.PathLike[str], rows: Sequence[Difference]) -> None:
    """Write differences as CSV, whole or not at all; what is not defined is empty.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with written_csv(path) as table:
        table.writerow(Difference._fields)
        for label, clips, recordings, *figures in rows:
            cells = ("" if np.isnan(value) else f"{value:.6f}" for value in figures)
            table.writerow((label, clips, recordings, *cells))


def _differences(
    labels: Sequence[str],
    targets: NDArray[np.bool_],
    probs: tuple[Reals, Reals],
    files: NDArray[np.intp],
    n_draws: int,
    rng: np.random.Generator,
) -> list[Difference]:
    precisions = [average_precision(targets.astype(np.float64), scores) for scores in probs]
    there = np.flatnonzero(targets.any(axis=0))
    drawn = np.full((len(there), n_draws), np.nan)
    first = 0
    for weights in _draws(files, n_draws, rng):
        columns = slice(first, first := first + weights.shape[1])
        for row, c in enumerate(there.tolist()):
            before, after = (drawn_precision(targets[:, c], p[:, c], weights) for p in probs)
            drawn[row, columns] = after - before
    n_drawn = (~np.isnan(drawn)).sum(axis=0)
    means = np.full(n_draws, np.nan)
    np.divide(np.nansum(drawn, axis=0), n_drawn, out=means, where=n_drawn > 0)
    rows = []
    for c, values in zip(there.tolist(), drawn, strict=True):
        clips = np.flatnonzero(targets[:, c])
        counts = len(clips), len(np.unique(files[clips]))
        rows.append(_difference(labels[c], counts, [p[c] for p in precisions], values))
    counts = len(targets), len(np.unique(files))
    overall = [p[there].mean() if len(there) else np.nan for p in precisions]
    rows.append(_difference(MACRO, counts, overall, means))
    return rows


def _difference(
    label: str, counts: tuple[int, int], figures: Sequence[float], drawn: Reals
) -> Difference:
    first, second = map(float, figures)
    tail = (1 - CONFIDENCE) / 2
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist() if len(drawn) else (np.nan, np.nan)
    return Difference(label, *counts, first, second, second - first, low, high)


def _draws(files: NDArray[np.intp], n_draws: int, rng: np.random.Generator) -> Iterator[Weights]:
    """Yield how often each clip is in some of the draws, shape (clips, draws)."""
    n_files = int(files.max()) + 1
    at_once = max(1, _CELLS_AT_ONCE // len(files))
    for start in range(0, n_draws, at_once):
        n = min(at_once, n_draws - start)
        weights = np.empty((n_files, n), np.int32)
        # One after the other, so that draws do not depend on how many there are at once.
        for column in range(n):
            drawn = rng.integers(0, n_files, n_files)
            weights[:, column] = np.bincount(drawn, minlength=n_files)
        yield weights[files]


def drawn_precision(is_true: NDArray[np.bool_], scores: Reals, weights: Weights) -> Reals:
    """Return the average precision of a class in each draw, shape (draws,); NaN without a positive.

    It is that of `sed.models.metrics.average_precision` of clips that are repeated.

    Parameters
    ----------
    is_true
        Whether each clip has the class, shape (clips,); some do.
    scores
        Shape (clips,).
    weights
        How often each clip is in each draw, shape (clips, draws).
    """
    order = np.argsort(-scores, kind="stable")
    ranked, is_hit = scores[order], is_true[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ranked)) + 1])  # of equal scores
    ends = np.append(starts[1:], len(order))
    # Precision counts where recall grows, so equal scores without a positive join the next ones.
    ends = ends[np.add.reduceat(is_hit, starts, dtype=np.int64) > 0]
    starts = np.concatenate([[0], ends[:-1]])
    n_hits_before = np.concatenate([[0], np.cumsum(is_hit)])[starts]
    hits = np.add.reduceat(weights[order[is_hit]], n_hits_before, axis=0)
    n_found = np.cumsum(np.add.reduceat(weights[order[: ends[-1]]], starts, axis=0), axis=0)
    n_hits = np.cumsum(hits, axis=0)
    precision = n_hits / np.maximum(n_found, 1)
    result = np.full(weights.shape[1], np.nan)
    np.divide((hits * precision).sum(axis=0), n_hits[-1], out=result, where=n_hits[-1] > 0)
    return result


def _read(run: Path) -> _Predictions:
    """Return the predictions of a run, or of all of its folds."""
    parts = [_read_file(folder / PREDICTIONS) for folder in run_folders(run, PREDICTIONS)]
    if not parts:
        raise TableError(
            f"{printable(str(run))}: holds no {PREDICTIONS}. Give a run that has ended, or a "
            "folder that sed evaluate --output wrote."
        )
    labels = parts[0].labels
    if any(part.labels != labels for part in parts):
        raise TableError(
            f"{printable(str(run))}: its folds have different classes. Train it again."
        )
    clips = [clip for part in parts for clip in part.clips]
    order = sorted(range(len(clips)), key=clips.__getitem__)
    return _Predictions(
        labels,
        tuple(clips[i] for i in order),
        np.concatenate([part.targets for part in parts])[order],
        np.concatenate([part.probs for part in parts])[order],
    )


def _read_file(path: Path) -> _Predictions:
    n_facts = len(PREDICTION_COLUMNS)
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = csv.reader(file, strict=True)
        labels = tuple(header[n_facts:])
        if tuple(header[:n_facts]) != PREDICTION_COLUMNS or not rows:
            raise ValueError("no predictions")
        probs = np.array([row[n_facts:] for row in rows], np.float64)
        if probs.shape != (len(rows), len(labels)):
            raise ValueError("rows of different lengths")
        column = {label: c for c, label in enumerate(labels)}
        targets = np.zeros(probs.shape, bool)
        for target, row in zip(targets, rows, strict=True):
            names = [row[2]] if row[2] in column or not row[2] else row[2].split(";")
            if unknown := [name for name in names if name and name not in column]:
                raise ValueError(f"no column of {some(unknown)}")
            target[[column[name] for name in names if name]] = True
    except (OSError, csv.Error, ValueError) as error:
        raise TableError(
            f"{printable(str(path))}: cannot be read as predictions ({error}). Write it again with "
            "sed evaluate --output."
        ) from error
    return _Predictions(labels, tuple((row[0], row[1]) for row in rows), targets, probs)


def _check_same_clips(
    one: _Predictions, other: _Predictions, first: Path, second: Path
) -> NDArray[np.intp]:
    """Return the number of the recording of each clip, if both runs have the same clips."""
    numbers = np.unique([file for file, _ in one.clips], return_inverse=True)[1]
    # Data may have been moved between the runs.
    own, others = _relative(one), _relative(other)
    if one.clips == other.clips or own == others:
        return numbers
    only = [
        f"only in {printable(str(run))}: {len(clips)}, as "
        + some([f"{printable(file)} from {start} s" for file, start in sorted(clips)], 3)
        for run, clips in ((first, {*own} - {*others}), (second, {*others} - {*own}))
        if clips
    ]
    raise TableError(
        f"{_named(first, second)} were evaluated on different clips, so that their figures cannot "
        "be compared. Evaluate both on the same ones, with sed evaluate RUN --data TABLE --fold N "
        f"--output FOLDER, and give those folders:{lines(only)}"
    )


def _relative(run: _Predictions) -> list[tuple[str, str]]:
    files = relative_names([Clip(file, (), "") for file, _ in run.clips])
    return [(file, start) for file, (_, start) in zip(files, run.clips, strict=True)]


def _named(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> str:
    return f"{printable(os.fspath(first))} and {printable(os.fspath(second))}"
