"""Bring the labels and the frame probabilities of recordings together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.errors import TableError, UsageError
from sed.events.reading.frames import FrameScores
from sed.models.spec import ModelSpec
from sed.text import some
from sed.timeline import Timeline
from sed.types import Floats
from train.data.clips import Clip


class Truth(NamedTuple):
    """Labelled events of a stretch, arrays of the shape (events,)."""

    label: NDArray[np.int64]
    onset: NDArray[np.float64]
    offset: NDArray[np.float64]


@dataclass(frozen=True)
class Stretch:
    """A recording, or a part of one, with its labels.

    Attributes
    ----------
    group
        Stretches of one group are held out together.
    seconds
        Length.
    probs
        Frame probabilities, shape (frames, classes).
    truth
        What is labelled; a label without times lasts from the start to the end.
    unknown
        Numbers of the classes about which the labels say nothing.
    recording
        Path of the recording.
    """

    group: str
    seconds: float
    probs: Floats
    truth: Truth
    unknown: frozenset[int] = frozenset()
    recording: str = ""


@dataclass(frozen=True)
class TuningData:
    """Labelled frame probabilities.

    Attributes
    ----------
    labels
        The classes of the model that the labels name.
    timeline
        The grid of the frames.
    stretches
        Recordings, or parts of them.
    is_strong
        Whether the times of events are known.
    is_cut
        Whether parts of one recording are in several folds.
    """

    labels: tuple[str, ...]
    timeline: Timeline
    stretches: tuple[Stretch, ...]
    is_strong: bool
    is_cut: bool = False

    @property
    def n_recordings(self) -> int:
        """Number of recordings."""
        return len({one.recording for one in self.stretches})

    @property
    def hours(self) -> float:
        """Length of all stretches."""
        return sum(one.seconds for one in self.stretches) / 3600


def classes_of(clips: Sequence[Clip], spec: ModelSpec) -> tuple[dict[str, str], list[str]]:
    """Return the class of the model of each label of clips, and the labels without one.

    Raises
    ------
    UsageError
        If no label is a class of the model.
    """
    names = sorted({name for clip in clips for name in _names(clip)})
    own, classes = set(spec.labels), {}
    for name in names:
        found = spec.resolve([name])
        if len(found) == 1 and found[0] in own:
            classes[name] = found[0]
    unknown = [name for name in names if name not in classes]
    if not classes:
        raise UsageError(
            f"none of the labels is a class of the model: the data have {some(names)}, the model "
            f"has {some(spec.labels)}"
        )
    return classes, unknown


def tuning_data(
    clips: Sequence[Clip],
    scores: Mapping[str, FrameScores],
    classes: Mapping[str, str],
    timeline: Timeline,
    n_groups: int,
) -> TuningData:
    """Return the labelled frame probabilities of clips.

    Where there are fewer groups than are to be held out, recordings are cut into stretches.

    Parameters
    ----------
    clips
        With events: all of them, or none counts.
    scores
        Of the recordings, by their paths; clips of others are left out.
    classes
        Class of the model of each label.
    timeline
        The grid of the frames.
    n_groups
        Groups that are needed.

    Raises
    ------
    TableError
        If there is no frame, or the frames are not those of the model.
    """
    labels = tuple(sorted(set(classes.values())))
    number = {name: labels.index(label) for name, label in classes.items()}
    is_strong = all(clip.events is not None for clip in clips)
    stretches = []
    for clip in clips:
        if clip.path in scores:
            one = _stretch(clip, scores[clip.path], number, timeline, is_strong=is_strong)
            if len(one.probs):
                stretches.append(one)
    if not stretches:
        raise TableError("no recording of the table has frame probabilities")
    n_found = len({one.group for one in stretches})
    is_cut = n_found < n_groups
    if is_cut:
        if not is_strong:
            raise TableError(
                f"the clips are of {n_found} sources, and {n_groups} are needed to hold parts "
                "out. Bring more, or set fewer folds"
            )
        n_cuts = -(-n_groups // len(stretches))
        stretches = [
            part for one in stretches for part in _cut(one, n_cuts, timeline.frame_seconds)
        ]
    return TuningData(labels, timeline, tuple(stretches), is_strong, is_cut)


def folds_of(stretches: Sequence[Stretch], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each stretch: groups stay whole, and folds have as many events.

    Returns
    -------
    Numbers from 0, shape (stretches,).
    """
    groups = sorted({one.group for one in stretches})
    place = {group: i for i, group in enumerate(groups)}
    of_group = np.array([place[one.group] for one in stretches])
    n_events = np.bincount(of_group, [len(one.truth.label) for one in stretches], len(groups))
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(-n_events[order], kind="stable")]
    n_folds = min(n_folds, len(groups))
    totals, sizes = np.zeros(n_folds), np.zeros(n_folds)
    fold = np.zeros(len(groups), np.int64)
    for group in order:
        fold[group] = np.lexsort((sizes, totals))[0]
        totals[fold[group]] += n_events[group]
        sizes[fold[group]] += 1
    folds: NDArray[np.int64] = fold[of_group]
    return folds


def _names(clip: Clip) -> set[str]:
    return {*clip.labels, *(event.label for event in clip.events or ())}


def _stretch(
    clip: Clip,
    scores: FrameScores,
    number: Mapping[str, int],
    timeline: Timeline,
    *,
    is_strong: bool,
) -> Stretch:
    """Return the frames and the labels of a clip."""
    step = timeline.frame_seconds
    edges = scores.edges
    if len(edges) > 2 and not np.isclose(edges[1] - edges[0], step, rtol=1e-6):
        raise TableError(
            f"{scores.file}: has frames of {edges[1] - edges[0]:g} s, those of the model are of "
            f"{step:g} s. Give the model that made them."
        )
    first = round(clip.start_seconds / step)
    last = len(scores.probs)
    if clip.duration_seconds is not None:
        last = min(last, round((clip.start_seconds + clip.duration_seconds) / step))
    probs = scores.probs[first:last]
    seconds = len(probs) * step
    shift = first * step - clip.start_seconds
    if is_strong:
        rows = [
            (number[e.label], e.onset - shift, e.offset - shift)
            for e in clip.events or ()
            if e.label in number and e.offset > e.onset
        ]
    else:
        here = sorted({number[name] for name in clip.labels if name in number})
        rows = [(c, 0.0, seconds) for c in here]
    unknown = frozenset(number[name] for name in (*clip.secondary, *clip.unknown) if name in number)
    group = clip.group or clip.path
    unknown = frozenset() if is_strong else unknown
    return Stretch(group, seconds, probs, _truth(rows), unknown, clip.path)


def _truth(rows: Sequence[tuple[int, float, float]]) -> Truth:
    rows = sorted(rows, key=lambda row: row[1])
    return Truth(
        np.array([label for label, _, _ in rows], np.int64),
        np.array([onset for _, onset, _ in rows], np.float64),
        np.array([offset for _, _, offset in rows], np.float64),
    )


def _cut(one: Stretch, n: int, frame_seconds: float) -> list[Stretch]:
    """Return parts of equal length, each a group of its own; events are cut where they end."""
    parts = []
    edges = np.linspace(0, len(one.probs), n + 1).astype(int).tolist()
    label, onset, offset = one.truth
    for k, (first, last) in enumerate(pairwise(edges)):
        begin, end = first * frame_seconds, last * frame_seconds
        here = (offset > begin) & (onset < end)
        truth = Truth(
            label[here],
            np.maximum(onset[here] - begin, 0),
            np.minimum(offset[here], end) - begin,
        )
        probs = one.probs[first:last]
        if len(probs):
            group = f"{one.group}, stretch {k}"
            parts.append(Stretch(group, end - begin, probs, truth, recording=one.recording))
    return parts
