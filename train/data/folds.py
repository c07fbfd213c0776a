"""Assign clips to folds and splits, and write folds to a file."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sed.errors import TableError, UsageError
from sed.events.reading.table import read_text_table
from sed.text import printable
from train.config.data import DataConfig
from train.data.clips import SPLITS, Clip, relative_names
from train.data.csv_rows import write_rows

TRAIN_ONLY = -1  # the fold of clips that are training clips whatever fold is held out
EXCLUDED = -2  # the fold of clips used neither for training nor for validation

_TRAIN, _VAL, _TEST = SPLITS
_NO_LABEL = "(no label)"


def assign_folds(clips: Sequence[Clip], config: DataConfig, *, seed: int) -> list[int]:
    """Return the fold of each clip, counted from 0.

    Official folds are kept, in the order of their names. Where a table has the folds train, val and
    test, val is fold 0, train is `TRAIN_ONLY` and test `EXCLUDED`. Otherwise folds are made,
    stratified by label and grouped by source. Classes with fewer sources than folds are
    `TRAIN_ONLY`.

    Parameters
    ----------
    clips
        The clips of the table.
    config
        Number of folds, folds to hold out, and licences.
    seed
        Of folds that are made.

    Raises
    ------
    TableError
        If a fold to hold out does not exist, or there are too few clips for the folds.
    """
    names = sorted({clip.fold for clip in clips if clip.fold}, key=_order)
    if missing := [name for name in config.hold_out if name not in names]:
        raise TableError(f"no fold {', '.join(missing)} to hold out; the table has {names}")
    folds = np.full(len(clips), TRAIN_ONLY)
    usable = np.array(
        [
            clip.fold not in (_TEST, *config.hold_out)
            and (not config.licences or clip.licence in config.licences)
            for clip in clips
        ],
        dtype=bool,
    )
    folds[~usable] = EXCLUDED
    official = [name for name in names if name not in (_TRAIN, _TEST, *config.hold_out)]
    if official and not config.remake_folds:
        for i in _where(usable):
            name = clips[i].fold
            folds[i] = official.index(name) if name in official else TRAIN_ONLY
    else:
        keep = not config.remake_folds
        always = [clip.pseudo is not None or (keep and clip.fold == _TRAIN) for clip in clips]
        free = usable & ~np.array(always, dtype=bool)
        folds[free] = _made_folds(
            [clips[i] for i in _where(free)],
            {clips[i].group for i in _where(usable & ~free)},
            config.n_folds,
            seed,
        )
    return [int(f) for f in folds]


def save_folds(path: str | os.PathLike[str], clips: Sequence[Clip], folds: Sequence[int]) -> None:
    """Write the table of folds, whole or not at all.

    Parameters
    ----------
    path
        The CSV file.
    clips, folds
        Clips, and the fold of each.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    table = pd.DataFrame(
        {
            "file": relative_names(clips),
            "start": [repr(float(clip.start_seconds)) for clip in clips],  # not rounded
            "labels": [";".join(clip.labels) for clip in clips],
            "group": [clip.group for clip in clips],
            "official_fold": [clip.fold for clip in clips],
            "fold": list(folds),
        }
    )
    write_rows(path, table)


def load_folds(path: str | os.PathLike[str], clips: Sequence[Clip]) -> list[int]:
    """Return the folds that were written for these clips, matched by file and start.

    Raises
    ------
    TableError
        If the file is of other clips, or not a table of folds.
    """
    name = printable(os.fspath(path))
    folds = {(file, start): fold for file, start, fold in read_folds(path)}
    wanted = list(
        zip(relative_names(clips), (float(clip.start_seconds) for clip in clips), strict=True)
    )
    if unknown := [file for file, start in wanted if (file, start) not in folds]:
        raise TableError(
            f"{name}: has no row for {len(unknown)} clips, the first {printable(unknown[0])}. "
            "Delete it to make new folds, or train into another folder."
        )
    return [int(folds[key]) for key in wanted]


def read_folds(path: str | os.PathLike[str]) -> list[tuple[str, float, int]]:
    """Return file, start in seconds and fold of each row of a table of folds.

    Raises
    ------
    TableError
        If it is no such table.
    """
    table = read_text_table(path)
    try:
        if missing := {"file", "start", "fold"} - {*table.columns}:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        return [
            (row["file"], float(row["start"]), _number(row["fold"])) for _, row in table.records()
        ]
    except ValueError as error:
        raise TableError(
            f"{printable(os.fspath(path))}: is not a table of folds ({error}). Delete it to make "
            "new folds."
        ) from error


def _number(cell: str) -> int:
    """Return the number of a fold, which a spreadsheet may have written as 1.0."""
    if (number := float(cell)).is_integer():
        return int(number)
    raise ValueError(f"expected a whole number for fold, got {cell!r}")


def split_clips(
    clips: Sequence[Clip], shares: Sequence[float] = (0.7, 0.15, 0.15), *, seed: int
) -> list[str]:
    """Return train, val or test for each clip: a new split, whatever the table says.

    Each class is divided in these shares as far as its sources allow, from the rarest class to the
    most common; later classes compensate for deviations of earlier ones. All clips of a source are
    on one side, and every class is in train. Iterative stratification with whole sources, after
    Sechidis et al., "On the stratification of multi-label data", ECML PKDD 2011.

    Parameters
    ----------
    clips
        What to split.
    shares
        Of the clips in train, val and test.
    seed
        Of the order in which sources are assigned.

    Raises
    ------
    UsageError
        If the shares are not three that add up to 1, the first above 0.
    """
    wanted = np.asarray(shares, dtype=float)
    is_split = wanted.shape == (len(SPLITS),) and (wanted >= 0).all() and wanted[0] > 0
    if not is_split or not np.isclose(wanted.sum(), 1.0):
        raise UsageError(
            f"expected three shares that add up to 1 (train, above 0; val; test), got {(*shares,)}"
        )
    groups = sorted({clip.group for clip in clips})
    n_clips, n_labelled = _counts(clips, groups)
    sides = _assigned_sides(n_clips, n_labelled, wanted, np.random.default_rng(seed))
    side_of = dict(zip(groups, sides, strict=True))
    return [SPLITS[side_of[clip.group]] for clip in clips]


def balance_report(clips: Sequence[Clip], sides: Sequence[str] | Sequence[int]) -> str:
    """Return a table to print: the number of clips and sources of each class on each side.

    Parameters
    ----------
    clips
        The clips that were split; one with several labels counts for each.
    sides
        The side of each clip, from `split_clips` or `assign_folds`.
    """
    rows = [
        (label, side, clip.group)
        for clip, side in zip(clips, sides, strict=True)
        for label in _labels(clip)
    ]
    table = pd.DataFrame(rows, columns=["class", "side", "group"])
    order = sorted({*sides}, key=_side_order)
    counts = pd.crosstab(table["class"], table["side"])[order]
    counts["clips"] = counts.sum(axis=1)
    counts["sources"] = table.groupby("class")["group"].nunique()
    n_on = Counter(sides)
    n_clips = [n_on[side] for side in order]
    last = [*n_clips, len(clips), len({clip.group for clip in clips})]
    counts = pd.concat([counts, pd.DataFrame([last], ["all clips"], counts.columns)])
    counts["share"] = [f"{n / len(clips):.1%}" for n in counts["clips"]]
    report = counts.astype(str)
    report.loc["share"] = [*(f"{n / len(clips):.1%}" for n in n_clips), "100.0%", "", ""]
    report.columns = [_side_name(side) for side in order] + ["clips", "sources", "share"]
    return report.to_string()


def _made_folds(clips: Sequence[Clip], train_only: set[str], n_folds: int, seed: int) -> list[int]:
    """Return folds; `TRAIN_ONLY` for the sources `train_only` and those of rare classes."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = np.full(len(clips), TRAIN_ONLY)
    n_sources = Counter(label for label, _ in {(x, c.group) for c in clips for x in _labels(c)})
    rare = {c.group for c in clips if min(n_sources[x] for x in _labels(c)) < n_folds}
    common = [i for i, clip in enumerate(clips) if clip.group not in train_only | rare]
    groups = [clips[i].group for i in common]
    if clips and len({*groups}) < n_folds:
        raise TableError(
            f"no class has {n_folds} sources, one for each fold; set fewer folds with "
            "n_folds in the recipe, or bring more clips"
        )
    if not clips:
        return []
    strata = [min(_labels(clips[i]), key=lambda x: (n_sources[x], x)) for i in common]
    # Without enough clips per class there is nothing to stratify, and folds differ by source only.
    if max(Counter(strata).values()) < n_folds:
        strata = [_NO_LABEL] * len(common)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    # Classes with sources in `train_only` may have fewer than n_folds left.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, members) in enumerate(splitter.split(common, strata, groups)):
            folds[np.asarray(common)[members]] = fold
    return [int(f) for f in folds]


def _counts(
    clips: Sequence[Clip], groups: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of clips of each source, (groups,), and per class, (groups, classes)."""
    labels = sorted({label for clip in clips for label in _labels(clip)})
    row = {group: i for i, group in enumerate(groups)}
    column = {label: i for i, label in enumerate(labels)}
    n_clips = np.zeros(len(groups), np.int64)
    n_labelled = np.zeros((len(groups), len(labels)), np.int64)
    for clip in clips:
        n_clips[row[clip.group]] += 1
        for label in {*_labels(clip)}:
            n_labelled[row[clip.group], column[label]] += 1
    return n_clips, n_labelled


def _assigned_sides(
    n_clips: NDArray[np.int64],
    n_labelled: NDArray[np.int64],
    shares: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the side of each source, (groups,), as `split_clips` assigns them."""
    order = generator.permutation(len(n_clips))
    sides = np.full(len(n_clips), -1)
    for column in np.argsort(n_labelled.sum(0), kind="stable"):
        n_of = n_labelled[:, column]
        total, largest = n_of.sum(), n_of.max()
        owed = shares * n_clips[sides >= 0].sum() - _on_sides(n_clips, sides)
        holders = order[n_of[order] > 0]
        if not (sides[holders] == 0).any():  # every class is in train
            waiting = holders[sides[holders] < 0]
            candidates = waiting if len(waiting) else holders
            deviations = abs(n_of[candidates] - shares[0] * total)
            sides[candidates[np.argmin(deviations)]] = 0
        room = shares * total - _on_sides(n_of, sides)
        room += owed * min(1.0, largest / max(abs(owed).max(), 1.0))  # by no more than one source
        waiting = holders[sides[holders] < 0]
        for group in waiting[np.argsort(-n_of[waiting], kind="stable")]:
            sides[group] = np.argmax(room)
            room[sides[group]] -= n_of[group]
    return sides


def _on_sides(counts: NDArray[np.int64], sides: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.array([counts[sides == side].sum() for side in range(len(SPLITS))])


def _labels(clip: Clip) -> tuple[str, ...]:
    return clip.labels or (_NO_LABEL,)


def _where(mask: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)]


def _order(fold: str) -> tuple[bool, int, str]:
    """Sort "val" first, which is fold 0, and "2" before "10"."""
    return (fold != _VAL, *((int(fold), "") if fold.isdecimal() else (1 << 62, fold)))


def _side_order(side: str | int) -> tuple[bool, int, str]:
    """Sort train before val before test, and folds before clips in no fold."""
    if isinstance(side, str):
        return (side not in SPLITS, SPLITS.index(side) if side in SPLITS else 0, side)
    return (side < 0, abs(side), "")


def _side_name(side: str | int) -> str:
    if isinstance(side, str):
        return side or "none"
    return {TRAIN_ONLY: "train only", EXCLUDED: "excluded"}.get(side, f"fold {side}")
