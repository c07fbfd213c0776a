"""How good models are on labelled clips."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sed.errors import RecordingError, SedError, TableError, UsageError
from sed.models.checkpoint import Checkpoint, load_checkpoint
from sed.text import lines, printable
from sed.types import Floats
from train.config import DataConfig
from train.data.audio import read_clip
from train.data.clips import Clip, bare_name
from train.data.folds import ALWAYS_TRAIN, NEVER, assign_folds, load_folds
from train.data.tables import read_table
from train.evaluate.ensemble import Ensemble, Piece
from train.evaluate.report import ClassFigures, class_figures, overall_figures, write_report

OF_THE_TABLE = " of the table"  # folds that are not those of the run
OnProgress = Callable[[int, int], None]  # clips done, clips in all

_CLIPS_READ_TOGETHER = 32


class ClipPredictions(NamedTuple):
    """What an ensemble said about labelled clips."""

    targets: Floats  # (clips, classes): one for the labels of a clip, zero for all else
    clip_probs: Floats  # (clips, classes): of the window in which the class is surest


@dataclass(frozen=True)
class Evaluation:
    """What came out; arrays are (clips, classes)."""

    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    told: str  # which clips they are
    predictions: ClipPredictions
    judged: NDArray[np.bool_]  # classes that the table has, (classes,)

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of all clips, see `train.evaluate.report.overall_figures`."""
        targets, clip_probs = self.predictions
        return overall_figures(targets, clip_probs, judged=self.judged)

    @property
    def per_class(self) -> list[ClassFigures]:
        """The figures of each class."""
        targets, clip_probs = self.predictions
        return class_figures(self.labels, targets, clip_probs)


def evaluate(
    checkpoints: Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str],
    *,
    fold: str | None = None,
    format: str = "auto",
    tta: int = 1,
    blend: str = "arithmetic",
    output: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int = 32,
    on_progress: OnProgress = lambda *_: None,
) -> Evaluation:
    """Judge models, blended, by labelled clips.

    Labels that a clip has only as secondary ones are not expected of it. The padded cmAP is a
    mean over the classes of the table.

    Parameters
    ----------
    checkpoints
        Models of one class list, or run directories that hold them as ``best``.
    data
        A table of clips, a folder that holds one, or a folder per class.
    fold
        A fold counted from 0, ``test`` for what was never learnt or fitted from, or ``all``. If
        not given, the fold that the models held out; all if they held out none of these clips.
        Folds are those of the run that the first checkpoint lies in, if they are about these
        clips, else the table's.
    format
        Of the table; ``auto`` goes by its columns.
    tta, blend, device, batch_size
        See `train.evaluate.ensemble.Ensemble`.
    output
        A folder to write a report into, see `train.evaluate.report`.
    on_progress
        Told how many clips are done, and how many there are.

    Raises
    ------
    UsageError
        If the models do not fit one another, or there is no such fold.
    TableError
        If the table is faulty, has classes that the models do not know, or has clips that cannot
        be read; all are listed.
    """
    loaded = [load_checkpoint(path) for path in checkpoints]
    table = read_table(data, format=format)
    chosen, told = choose_clips(loaded, table, fold)
    there = {label for clip in table for label in clip.labels}
    predictions = predict_clips(
        loaded,
        chosen,
        tta=tta,
        blend=blend,
        device=device,
        batch_size=batch_size,
        on_progress=on_progress,
    )
    labels = loaded[0].labels
    judged = np.array([label in there for label in labels])
    evaluation = Evaluation(labels, tuple(chosen), told, predictions, judged)
    if output is not None:
        write_report(
            output,
            labels,
            predictions.targets,
            predictions.clip_probs,
            files=[clip.path for clip in chosen],
            begins=[clip.begin_seconds for clip in chosen],
            judged=judged,
            about={
                "checkpoints": [os.fspath(path) for path in checkpoints],
                "data": os.fspath(data),
                "clips": told,
                "tta": tta,
                "blend": blend,
            },
        )
    return evaluation


def predict_clips(
    checkpoints: Sequence[Checkpoint],
    clips: Sequence[Clip],
    *,
    tta: int = 1,
    blend: str = "arithmetic",
    device: str = "auto",
    batch_size: int = 32,
    on_progress: OnProgress = lambda *_: None,
) -> ClipPredictions:
    """Return what models, blended, say about labelled clips.

    All of a clip is heard, in windows one after the other. The probability of a class in the clip
    is the highest of all windows: a label says that it is somewhere in the clip.

    Raises
    ------
    UsageError
        If the models do not fit one another.
    TableError
        If clips have labels that the models do not know, or cannot be read; all are listed.
    """
    ensemble = Ensemble(checkpoints, tta=tta, blend=blend, device=device, batch_size=batch_size)
    _check_labels(clips, ensemble.labels)
    column = {label: i for i, label in enumerate(ensemble.labels)}
    targets = np.zeros((len(clips), len(column)), np.float32)
    for i, clip in enumerate(clips):
        targets[i, [column[label] for label in clip.labels]] = 1.0
    clip_probs = np.zeros_like(targets)
    faults: list[SedError] = []
    for heard in ensemble.hear(_pieces(ensemble, clips, faults)):
        clip_probs[heard.source] = np.maximum(clip_probs[heard.source], heard.clip_probs)
        on_progress(heard.source + 1, len(clips))
    if faults:
        raise TableError(
            f"{len(faults)} of {len(clips)} clips cannot be heard; mend them, or take them out of "
            f"the table:{lines([str(fault) for fault in faults])}"
        )
    return ClipPredictions(targets, clip_probs)


def choose_clips(
    checkpoints: Sequence[Checkpoint], clips: Sequence[Clip], fold: str | None = None
) -> tuple[list[Clip], str]:
    """Return the clips of a fold as `evaluate` knows them, and which they are, in words.

    Raises
    ------
    UsageError
        If there is no such fold, or each model held out another one and none is named.
    TableError
        If the table has no folds and none can be made.
    """
    folds, whose = _folds(checkpoints[0], clips, make=fold is not None and fold.isdigit())
    held_out = {c.metrics.get("validation", {}).get("fold") for c in checkpoints} - {None}
    if fold is None:
        fold = _held_out_fold(held_out, folds)
    if fold == "all":
        return list(clips), "all clips" + ", also those learnt from" * bool(held_out & {*folds})
    if fold == "test":
        chosen = [c for c, f in zip(clips, folds, strict=True) if f == NEVER]
        if not chosen:
            raise UsageError("no clip is kept for testing: give --fold N or all")
        return chosen, f"clips kept for testing{whose}"
    there = sorted({f for f in folds if f >= 0})
    if fold not in map(str, there):
        raise UsageError(f"no fold {fold}: expected all, test or one of {_listed(there)}")
    chosen = [clip for clip, f in zip(clips, folds, strict=True) if str(f) == fold]
    learnt = ", which not all models held out" * bool(held_out - {int(fold)})
    if whose.startswith(OF_THE_TABLE):
        learnt += _seen_before(checkpoints, chosen, held_out)
    return chosen, f"fold {fold}{whose}{learnt}"


def _seen_before(
    checkpoints: Sequence[Checkpoint], chosen: Sequence[Clip], held_out: set[Any]
) -> str:
    """Return a warning if clips have the names of files that a run learnt from."""
    seen: set[str] = set()
    for checkpoint in checkpoints:
        path = Path(checkpoint.path).parent / "folds.csv"
        if not checkpoint.path or not path.is_file():
            continue
        table = pd.read_csv(path, keep_default_na=False)
        if {"file", "fold"} <= set(table.columns):
            learnt = table[~table["fold"].isin([*held_out, NEVER])]["file"]
            seen |= {bare_name(name) for name in learnt}
    n_seen = sum(bare_name(clip.path) in seen for clip in chosen)
    if not n_seen:
        return ""
    return f"; WARNING: {n_seen} of them have the names of files that were learnt from"


def _held_out_fold(held_out: set[Any], folds: Sequence[int]) -> str:
    """Return the fold that all models held out, or all if none of these clips was."""
    held_out = held_out & {*folds}
    if len(held_out) > 1:
        raise UsageError(
            f"the models held out folds {_listed(held_out)}, so each clip was learnt from by some "
            "of them. Say which to judge by: --fold N, test or all"
        )
    return str(*held_out) if held_out else "all"


def _folds(checkpoint: Checkpoint, clips: Sequence[Clip], *, make: bool) -> tuple[list[int], str]:
    """Return the folds of the run that made a checkpoint, or of the table, and whose they are."""
    path = Path(checkpoint.path).parent / "folds.csv"
    if checkpoint.path and path.is_file():
        with suppress(TableError):  # they are about other clips
            return load_folds(path, clips), f" of {printable(str(path))}"
    if make or any(clip.fold not in ("", "train", "test") for clip in clips):
        return assign_folds(clips, DataConfig(), seed=0), OF_THE_TABLE
    return [NEVER if clip.fold == "test" else ALWAYS_TRAIN for clip in clips], ""


def _pieces(ensemble: Ensemble, clips: Sequence[Clip], faults: list[SedError]) -> Iterator[Piece]:
    """Yield the windows of clips; what is wrong with them is noted, and then only looked for."""

    def read(clip: Clip) -> dict[int, Floats] | SedError:
        try:
            sound = {rate: read_clip(clip, rate) for rate in ensemble.rates}
        except SedError as error:
            return error
        if all(map(len, sound.values())):
            return sound
        return RecordingError(
            clip.path, f"holds no sound from {clip.begin_seconds:g} s on. Check the table."
        )

    with ThreadPoolExecutor() as pool:
        for first in range(0, len(clips), _CLIPS_READ_TOGETHER):
            together = clips[first : first + _CLIPS_READ_TOGETHER]
            for i, sound in enumerate(pool.map(read, together), start=first):
                if isinstance(sound, SedError):
                    faults.append(sound)
                elif not faults:
                    yield from ensemble.cut(i, {rate: [s] for rate, s in sound.items()})


def _check_labels(clips: Sequence[Clip], known: Sequence[str]) -> None:
    if not clips:
        raise TableError("there is no clip to judge by. Check the table and --fold.")
    unknown = sorted({label for clip in clips for label in clip.labels} - set(known))
    if unknown:
        raise TableError(
            "the model does not know these classes of the table. Take their clips out, or give a "
            f"model that knows them:{lines([printable(name) for name in unknown])}"
        )


def _listed(folds: set[int] | list[int]) -> str:
    return ", ".join(map(str, sorted(folds)))
