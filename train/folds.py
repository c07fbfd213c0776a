"""Which clips are learnt from and which are kept for judging: data, written to a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sed.errors import TableError, printable
from sed.files import written_whole
from train.config import DataConfig
from train.table import Clip

ALWAYS_TRAIN = -1  # the fold of clips that every fold learns from
NEVER = -2  # the fold of clips that nothing is learnt or fitted from


def assign_folds(clips: Sequence[Clip], config: DataConfig, *, seed: int) -> list[int]:
    """Return the fold of each clip, counted from 0.

    Official folds are kept, in the order of their names; otherwise folds are made, stratified by
    the first label and grouped by source. Classes with fewer sources than folds are learnt from
    in every fold, and never judged by.

    Raises
    ------
    TableError
        If a fold to hold out does not exist, or there are too few clips for the folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    official = sorted({clip.fold for clip in clips if clip.fold}, key=_natural)
    if missing := [name for name in config.hold_out if name not in official]:
        raise TableError(f"no fold {', '.join(missing)} to hold out; the table has {official}")
    folds = np.full(len(clips), ALWAYS_TRAIN)
    usable = np.array(
        [
            clip.fold not in config.hold_out
            and (not config.licences or clip.licence in config.licences)
            for clip in clips
        ]
    )
    folds[~usable] = NEVER
    if official and not config.remake_folds:
        kept = [name for name in official if name not in config.hold_out]
        for i in _where(usable):
            folds[i] = kept.index(clips[i].fold) if clips[i].fold else ALWAYS_TRAIN
        return [int(f) for f in folds]

    sources = {(clips[i].labels[0], clips[i].group) for i in _where(usable)}
    n_sources = Counter(label for label, _ in sources)
    common = [i for i in _where(usable) if n_sources[clips[i].labels[0]] >= config.n_folds]
    if not common:
        raise TableError(
            f"no class has {config.n_folds} sources, one for each fold; set fewer folds with "
            "n_folds in the recipe, or bring more clips"
        )
    splitter = StratifiedGroupKFold(config.n_folds, shuffle=True, random_state=seed)
    labels = [clips[i].labels[0] for i in common]
    groups = [clips[i].group for i in common]
    for fold, (_, members) in enumerate(splitter.split(common, labels, groups)):
        folds[np.asarray(common)[members]] = fold
    return [int(f) for f in folds]


def save_folds(path: str | os.PathLike[str], clips: Sequence[Clip], folds: Sequence[int]) -> None:
    """Write the table of folds, whole or not at all."""
    table = pd.DataFrame(
        {
            "file": _names(clips),
            "labels": [";".join(clip.labels) for clip in clips],
            "group": [clip.group for clip in clips],
            "official_fold": [clip.fold for clip in clips],
            "fold": list(folds),
        }
    )
    with written_whole(path) as part:
        table.to_csv(part, index=False)


def load_folds(path: str | os.PathLike[str], clips: Sequence[Clip]) -> list[int]:
    """Return the folds that were written for these clips.

    Raises
    ------
    TableError
        If the file is about other clips.
    """
    table = pd.read_csv(Path(path), keep_default_na=False)
    folds = dict(zip(table["file"], table["fold"], strict=True))
    names = _names(clips)
    unknown = [name for name in names if name not in folds]
    if unknown:
        raise TableError(
            f"{printable(os.fspath(path))}: says nothing of {len(unknown)} clips, the first "
            f"{printable(unknown[0])}. Delete it to make new folds, or train into another folder."
        )
    return [int(folds[name]) for name in names]


def _names(clips: Sequence[Clip]) -> list[str]:
    """Return the paths of clips from where they all lie, the same wherever that is."""
    paths = [os.path.abspath(clip.path) for clip in clips]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, common) for path in paths]


def _where(mask: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)]


def _natural(name: str) -> tuple[int, str]:
    """Sort "2" before "10"."""
    return (int(name), "") if name.isdigit() else (1 << 62, name)
