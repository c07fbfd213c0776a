"""Evaluate models on labelled clips."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import RecordingError, SedError, TableError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.audio_files import stem
from sed.events.reading.frames import FrameScores
from sed.events.scoring.score import Score
from sed.models.checkpoint import Checkpoint, load_checkpoint
from sed.text import lines, printable
from sed.types import Floats
from train.config.data import DataConfig
from train.data.audio import read_clip
from train.data.clips import Clip, ClipPredictions
from train.data.folds import EXCLUDED, TRAIN_ONLY, assign_folds, load_folds, read_folds
from train.data.tables import read_table
from train.evaluate.ensemble import Ensemble, WindowInput
from train.evaluate.events import ClipFrames, score_clips, warn_of_short_events
from train.evaluate.report import ClassMetrics, class_metrics, overall_metrics, write_report

OF_THE_TABLE = " of the table"  # folds that are not those of the run
OnProgress = Callable[[int, int], None]  # clips done, clips in all

_CLIPS_READ_TOGETHER = 32


@dataclass(frozen=True)
class Evaluation:
    """Predictions for labelled clips, and the metrics that follow from them."""

    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    description: str  # which clips they are
    predictions: ClipPredictions  # arrays of shape (clips, classes)
    in_table: NDArray[np.bool_]  # whether the table has a class, (classes,)
    events: Score | None = None  # of the events, if labels have times
    detections: EventTable | None = None  # their recordings are `clip_key`s
    frames: Mapping[int, FrameScores] = field(default_factory=dict)  # of clips with events
    thresholds: Floats | None = None  # from which on a class is found, (classes,)

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of all clips, see `train.evaluate.report.overall_metrics`, and of events."""
        metrics = overall_metrics(self.predictions, classes=self.in_table)
        return metrics if self.events is None else metrics | {"events": self.events.as_dict()}

    @property
    def per_class(self) -> list[ClassMetrics]:
        """The metrics of each class."""
        return class_metrics(self.labels, self.predictions)


def evaluate(
    checkpoints: Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str],
    *,
    fold: str | None = None,
    table_format: str = "auto",
    tta: int = 1,
    blend: str = "arithmetic",
    output: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int = 32,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate an ensemble of models on labelled clips.

    Where labels have times, the events that the first model's thresholds give are scored too, see
    `sed.events.scoring.score`.

    Secondary labels do not count as labels of a clip. The padded cmAP is a mean over the classes
    of the table.

    Parameters
    ----------
    checkpoints
        Models of one class list, or run directories, of which ``best`` is used.
    data
        A table of clips, a folder that holds one, or a folder per class.
    fold
        A fold counted from 0, ``test`` for clips kept out of training and validation, or ``all``.
        If not given, the fold that the models held out, or all if they held out none of these
        clips. Folds are those in the run directory of the first checkpoint, if they are of these
        clips, else the table's.
    table_format
        Format of the table; ``auto`` chooses by its columns.
    tta, blend, device, batch_size
        See `train.evaluate.ensemble.Ensemble`.
    output
        A folder to write a report into, see `train.evaluate.report`.
    on_progress
        Called with the number of clips done and in all.

    Raises
    ------
    UsageError
        If the models cannot be blended, or there is no such fold.
    TableError
        If the table is faulty, has classes that the models do not have, or has clips that cannot
        be read; all are listed.
    """
    loaded = [load_checkpoint(path) for path in checkpoints]
    table = read_table(data, table_format=table_format)
    chosen, description = choose_clips(loaded, table, fold)
    table_labels = {label for clip in table for label in clip.labels}
    frames = ClipFrames(chosen)
    predictions = predict_clips(
        loaded,
        chosen,
        frames,
        tta=tta,
        blend=blend,
        device=device,
        batch_size=batch_size,
        on_progress=on_progress,
    )
    labels = loaded[0].labels
    in_table = np.array([label in table_labels for label in labels])
    spec = loaded[0].spec
    warn_of_short_events(chosen, spec.timeline.frame_seconds)
    frame_scores = frames.scores(labels)
    scored = score_clips(
        chosen,
        frame_scores,
        config=spec.post_processing,
        timeline=spec.timeline,
        hierarchy=spec.hierarchy,
    )
    events, detections = scored or (None, None)
    facts = (labels, tuple(chosen), description, predictions, in_table, events, detections)
    thresholds = np.broadcast_to(
        np.asarray(spec.post_processing.onset_threshold, np.float32), len(labels)
    )
    evaluation = Evaluation(*facts, frame_scores, thresholds)
    if output is not None:
        write_report(
            output,
            labels,
            predictions,
            files=[clip.path for clip in chosen],
            starts=[clip.start_seconds for clip in chosen],
            classes=in_table,
            events=events,
            facts={
                "checkpoints": [os.fspath(path) for path in checkpoints],
                "data": os.fspath(data),
                "clips": description,
                "tta": tta,
                "blend": blend,
            },
        )
    return evaluation


def predict_clips(
    checkpoints: Sequence[Checkpoint],
    clips: Sequence[Clip],
    frames: ClipFrames | None = None,
    *,
    tta: int = 1,
    blend: str = "arithmetic",
    device: str = "auto",
    batch_size: int = 32,
    on_progress: OnProgress | None = None,
) -> ClipPredictions:
    """Predict labelled clips with an ensemble of models.

    Clips are processed as a whole, in consecutive windows. The probability of a class in a clip is
    the maximum over its windows, since a label means that it is somewhere in the clip.

    Parameters
    ----------
    checkpoints
        Models of one class list.
    clips
        Clips with labels.
    frames
        Collects the frame probabilities.
    tta, blend, device, batch_size
        See `train.evaluate.ensemble.Ensemble`.
    on_progress
        Called with the number of clips done and in all.

    Returns
    -------
    ClipPredictions
        Targets (one for labels, else zero) and probabilities, of shape (clips, classes).

    Raises
    ------
    UsageError
        If the models cannot be blended.
    TableError
        If clips have labels that the models do not have, or cannot be read; all are listed.
    """
    ensemble = Ensemble(checkpoints, tta=tta, blend=blend, device=device, batch_size=batch_size)
    _check_labels(clips, ensemble.labels)
    column = {label: i for i, label in enumerate(ensemble.labels)}
    targets = np.zeros((len(clips), len(column)), np.float32)
    for i, clip in enumerate(clips):
        targets[i, [column[label] for label in clip.labels]] = 1.0
    clip_probs = np.zeros_like(targets)
    errors: list[SedError] = []
    for window in ensemble.predict(_windows(ensemble, clips, errors)):
        clip_probs[window.source] = np.maximum(clip_probs[window.source], window.clip_probs)
        if frames is not None:
            frames.add(window)
        if on_progress is not None:
            on_progress(window.source + 1, len(clips))
    if errors:
        raise TableError(
            f"{len(errors)} of {len(clips)} clips cannot be read; repair them, or remove them from "
            f"the table:{lines([str(error) for error in errors])}"
        )
    return ClipPredictions(targets, clip_probs)


def choose_clips(
    checkpoints: Sequence[Checkpoint], clips: Sequence[Clip], fold: str | None = None
) -> tuple[list[Clip], str]:
    """Return the clips of a fold, see `evaluate`, and a description of which they are.

    Parameters
    ----------
    checkpoints
        The models; folds are those in the run directory of the first one, if it has any.
    clips
        All clips of the table.
    fold
        A fold counted from 0, ``test``, ``all``, or None for the one that the models held out.

    Raises
    ------
    UsageError
        If there is no such fold, or the models held out different ones and none is given.
    TableError
        If the table has no folds and none can be made.
    """
    folds, whose = _folds(checkpoints[0], clips, make=fold is not None and fold.isdigit())
    held_out = {c.metrics.get("validation", {}).get("fold") for c in checkpoints} - {None}
    if fold is None:
        fold = _held_out_fold(held_out, folds)
    if fold == "all":
        return list(clips), "all clips" + ", including training clips" * bool(held_out & {*folds})
    if fold == "test":
        chosen = [c for c, f in zip(clips, folds, strict=True) if f == EXCLUDED]
        if not chosen:
            raise UsageError("no clip is kept for testing: give --fold N or all")
        return chosen, f"clips kept for testing{whose}"
    present = sorted({f for f in folds if f >= 0})
    if fold not in map(str, present):
        raise UsageError(f"no fold {fold}: expected all, test or one of {_listed(present)}")
    chosen = [clip for clip, f in zip(clips, folds, strict=True) if str(f) == fold]
    warning = ", which not all models held out" * bool(held_out - {int(fold)})
    if whose.startswith(OF_THE_TABLE):
        warning += _seen_warning(checkpoints, chosen, held_out)
    return chosen, f"fold {fold}{whose}{warning}"


def _seen_warning(
    checkpoints: Sequence[Checkpoint], chosen: Sequence[Clip], held_out: set[Any]
) -> str:
    """Return a warning if clips have the names of files that a run was trained on."""
    seen: set[str] = set()
    not_trained = {*held_out, EXCLUDED}
    for checkpoint in checkpoints:
        path = Path(checkpoint.path).parent / "folds.csv"
        if not checkpoint.path or not path.is_file():
            continue
        with suppress(TableError):  # of another program
            seen |= {stem(f) for f, _, fold in read_folds(path) if fold not in not_trained}
    n_seen = sum(stem(clip.path) in seen for clip in chosen)
    if not n_seen:
        return ""
    return f"; WARNING: {n_seen} of them have the names of training files"


def _held_out_fold(held_out: set[Any], folds: Sequence[int]) -> str:
    """Return the fold that all models held out, or all if none of these clips was."""
    held_out = held_out & {*folds}
    if len(held_out) > 1:
        raise UsageError(
            f"the models held out folds {_listed(held_out)}, so some of them were trained on each "
            "clip. Choose one: --fold N, test or all"
        )
    return str(*held_out) if held_out else "all"


def _folds(checkpoint: Checkpoint, clips: Sequence[Clip], *, make: bool) -> tuple[list[int], str]:
    """Return the folds of the run of a checkpoint, or of the table, and which of both."""
    path = Path(checkpoint.path).parent / "folds.csv"
    if checkpoint.path and path.is_file():
        with suppress(TableError):  # they are of other clips
            return load_folds(path, clips), f" of {printable(str(path))}"
    if make or any(clip.fold not in ("", "train", "test") for clip in clips):
        return assign_folds(clips, DataConfig(), seed=0), OF_THE_TABLE
    return [EXCLUDED if clip.fold == "test" else TRAIN_ONLY for clip in clips], ""


def _windows(
    ensemble: Ensemble, clips: Sequence[Clip], errors: list[SedError]
) -> Iterator[WindowInput]:
    """Yield the windows of clips; after the first error, only collect further errors."""

    def read(clip: Clip) -> dict[int, Floats] | SedError:
        try:
            sound = {rate: read_clip(clip, rate) for rate in ensemble.rates}
        except SedError as error:
            return error
        if all(map(len, sound.values())):
            return sound
        return RecordingError(
            clip.path, f"holds no sound from {clip.start_seconds:g} s on. Check the table."
        )

    with ThreadPoolExecutor() as pool:
        for first in range(0, len(clips), _CLIPS_READ_TOGETHER):
            together = clips[first : first + _CLIPS_READ_TOGETHER]
            for i, sound in enumerate(pool.map(read, together), start=first):
                if isinstance(sound, SedError):
                    errors.append(sound)
                elif not errors:
                    yield from ensemble.windows(i, {rate: [s] for rate, s in sound.items()})


def _check_labels(clips: Sequence[Clip], known: Sequence[str]) -> None:
    if not clips:
        raise TableError("there is no clip to evaluate. Check the table and --fold.")
    unknown = sorted({label for clip in clips for label in clip.labels} - set(known))
    if unknown:
        raise TableError(
            "the model does not have these classes of the table. Remove their clips, or give a "
            f"model that has them:{lines([printable(name) for name in unknown])}"
        )


def _listed(folds: set[int] | list[int]) -> str:
    return ", ".join(map(str, sorted(folds)))
