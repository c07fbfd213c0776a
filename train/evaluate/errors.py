"""Save the worst errors of an evaluation as clips to listen to."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import numpy as np

from sed.errors import SedError, UsageError
from sed.events.event_table import EventTable
from sed.events.tracker import Event
from train.data.audio import read_clip
from train.evaluate.evaluate import Evaluation
from train.evaluate.events import clip_key

FALSE_ALARM, MISSED = "false alarm", "missed"

_RATE = 8_000  # at which clips without a length are read to measure it


def save_errors(
    evaluation: Evaluation,
    output: str | os.PathLike[str],
    n_errors: int,
    *,
    on_clip: Callable[[int, int], None] = lambda *_: None,
    on_error: Callable[[SedError], None] = lambda _: None,
) -> int:
    """Write the worst false alarms and misses of each class as clips, see `sed.save_clips`.

    In ``clips.csv``, misses have a ``label``; false alarms have none, and their class is in the
    column ``predicted``. `train.data.tables.read_table` refuses the folder and its table.

    Parameters
    ----------
    evaluation
        Predictions for labelled clips.
    output
        The folder.
    n_errors
        Errors of each kind and class, at most.
    on_clip, on_error
        See `sed.save_clips`.

    Returns
    -------
    int
        Number of clips that were written.

    Raises
    ------
    UsageError
        If fewer than one error is asked for.
    OutputError
        If the folder cannot be written.
    """
    # Of another package, through its public names.
    sed = import_module("sed")
    if n_errors < 1:
        raise UsageError(f"expected 1 or more errors per class, got {n_errors}")
    worst = worst_errors(evaluation, n_errors)
    clips = sed.save_clips(
        EventTable.of_events([event for event, _ in worst]),
        output,
        sed.ChoiceConfig(per_class=None),
        kinds=[kind for _, kind in worst],
        wrong_kinds=(FALSE_ALARM,),
        on_clip=on_clip,
        on_error=on_error,
    )
    return len(clips)


def worst_errors(evaluation: Evaluation, n_errors: int) -> list[tuple[Event, str]]:
    """Return the worst errors of each class, worst first, with their kinds.

    Where labels have times, a false alarm is a detection that overlaps no reference event of its
    class, and a miss is a reference event that no detection of its class overlaps. Else both are
    clips, whose probability is compared with the threshold of the class. The score is the
    (highest) probability. Classes that are in the background of a clip, or about which its labels
    say nothing, are no false alarms in it.

    Parameters
    ----------
    evaluation
        Predictions for labelled clips.
    n_errors
        Errors of each kind and class, at most.

    Returns
    -------
    list[tuple[Event, str]]
        Times are those in the recordings.
    """
    errors: dict[tuple[str, str], list[tuple[Event, int]]] = defaultdict(list)
    has_times = set() if evaluation.detections is None else set(evaluation.frames)
    for event, kind, clip in [*_of_events(evaluation), *_of_clips(evaluation, has_times)]:
        errors[event.label, kind].append((event, clip))
    worst = []
    for (_, kind), found in sorted(errors.items(), key=lambda item: item[0]):
        found.sort(key=lambda pair: pair[0].score, reverse=kind == FALSE_ALARM)
        worst += [(_in_recording(evaluation, *pair), kind) for pair in found[:n_errors]]
    return worst


def _of_events(evaluation: Evaluation) -> list[tuple[Event, str, int]]:
    """Return the errors in clips whose labels have times; they count from the clip's start."""
    if evaluation.detections is None:
        return []
    found: dict[str, list[Event]] = defaultdict(list)
    for event in evaluation.detections.events():
        found[event.file].append(event)
    errors = []
    for i, frames in evaluation.frames.items():
        clip = evaluation.clips[i]
        true, own = clip.events or (), found[clip_key(i, clip)]
        not_false = {*clip.secondary, *clip.unknown}
        errors += [
            (event, FALSE_ALARM, i)
            for event in own
            if event.label not in not_false and not _overlaps_any(event, true)
        ]
        column = {label: c for c, label in enumerate(frames.labels)}
        for event in true:
            if event.label in column and not _overlaps_any(event, own):
                inside = (frames.edges[1:] > event.onset) & (frames.edges[:-1] < event.offset)
                highest = frames.probs[inside, column[event.label]].max(initial=0.0)
                errors.append((replace(event, score=float(highest)), MISSED, i))
    return errors


def _overlaps_any(event: Event, others: tuple[Event, ...] | list[Event]) -> bool:
    return any(
        event.label == other.label and event.onset < other.offset and other.onset < event.offset
        for other in others
    )


def _of_clips(evaluation: Evaluation, leave_out: set[int]) -> list[tuple[Event, str, int]]:
    """Return the errors in clips whose labels have no times; their offsets are infinite."""
    targets, probs = evaluation.predictions
    thresholds = 0.5 if evaluation.thresholds is None else evaluation.thresholds
    is_true, is_found = targets > 0.5, probs >= thresholds
    errors = []
    for i, c in np.argwhere(is_true != is_found).tolist():
        clip, label = evaluation.clips[i], evaluation.labels[c]
        if i in leave_out or (is_found[i, c] and label in {*clip.secondary, *clip.unknown}):
            continue
        kind = FALSE_ALARM if is_found[i, c] else MISSED
        errors.append((Event(0.0, np.inf, label, float(probs[i, c])), kind, i))
    return errors


def _in_recording(evaluation: Evaluation, event: Event, number: int) -> Event:
    clip = evaluation.clips[number]
    offset, start = event.offset, clip.start_seconds
    if offset == np.inf:
        offset = clip.duration_seconds or len(read_clip(clip, _RATE)) / _RATE
    return replace(event, onset=start + event.onset, offset=start + offset, file=clip.path)
