"""What is known before the first epoch: folds, labels, first weights, whether all is well.

Everything that can be wrong with a run is said here, before hours are spent on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from sed.errors import TableError, UsageError
from sed.text import printable, some
from train.config import TrainConfig
from train.data.clips import Clip
from train.data.folds import NEVER


@dataclass(frozen=True)
class Task:
    """What is learnt, from what, and judged by what."""

    learnt: list[Clip]
    judged: list[Clip]
    labels: tuple[str, ...]
    fold: int

    @property
    def digest(self) -> str:
        """What the clips are, in a few letters: their files, places and labels."""
        what = [
            (os.path.basename(c.path), c.begin_seconds, c.seconds, c.labels, c.secondary, c.group)
            for c in [*self.learnt, *self.judged]
        ]
        return hashlib.sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def description(self) -> str:
        """How many clips of what, and what a person might not expect."""
        names = {clip.fold for clip in self.judged}
        official = f" (official fold {names.pop()})" if len(names) == 1 and "" not in names else ""
        text = (
            f"{len(self.learnt)} clips to learn from, {len(self.judged)} of fold {self.fold}"
            f"{official} to judge by, {len(self.labels)} classes"
        )
        unjudged = set(self.labels) - {label for c in self.judged for label in c.labels}
        if unjudged:
            text += f"; fold {self.fold} has none of {some(sorted(unjudged))}"
        if n_soft := sum(clip.soft is not None for clip in self.learnt):
            text += f"; {n_soft} of those to learn from are pseudo-labelled"
        unknown = {x for c in self.learnt + self.judged for x in c.secondary} - set(self.labels)
        if unknown:
            text += f"; passed over, since no clip is of them: secondary {some(sorted(unknown))}"
        return text


def make_task(clips: Sequence[Clip], folds: Sequence[int], fold: int, config: TrainConfig) -> Task:
    """Return what a run learns from and is judged by.

    Raises
    ------
    UsageError
        If there is no such fold.
    TableError
        If nothing is left to learn from, there is only one class, or a class is only in the fold
        held out.
    """
    there = sorted({f for f in folds if f >= 0})
    if not there:
        raise TableError(
            "no clip is left to learn from or judge by. Check licences and hold_out in the recipe, "
            "that the table says the licence of its clips, and that a split has some for val."
        )
    if fold not in there:
        raise UsageError(f"no fold {fold}: the folds are {there[0]} to {there[-1]}")
    judged = [c for c, f in zip(clips, folds, strict=True) if f == fold]
    learnt = [c for c, f in zip(clips, folds, strict=True) if f not in (fold, NEVER)]
    labels = sorted({label for clip in learnt + judged for label in clip.labels})
    if config.data.learn_from == "fold":
        learnt = judged
    if not any(clip.labels for clip in judged):
        raise TableError(f"no clip of fold {fold} has a label: nothing to judge by. Try another.")
    lacking = {x for c in judged for x in c.labels} - {x for c in learnt for x in c.labels}
    if lacking:
        raise TableError(
            f"fold {fold} holds all clips of {', '.join(sorted(lacking))}: nothing to learn them "
            "from. Bring more clips, or make other folds with remake_folds in the recipe."
        )
    if len(labels) < 2 and not any(clip.events is not None for clip in learnt):
        raise TableError(
            f"all clips are {labels[0]!r}: with one class there is nothing to tell apart. Bring "
            "clips of something else, for example a folder of background sounds."
        )
    return Task(learnt, judged, tuple(labels), fold)


def with_pseudo_labels(task: Task, soft: Sequence[Clip], config: TrainConfig) -> Task:
    """Return a task with pseudo-labelled clips to learn from as well.

    Raises
    ------
    TableError
        If they are of other classes, of recordings that the model is judged by, or of longer
        windows than the model's.
    """
    known = {label for clip in soft if clip.soft for label in clip.soft.labels}
    if soft and not known & set(task.labels):
        raise TableError(
            f"pseudo-labels are of other classes ({some(sorted(known))}) than the clips "
            f"({some(task.labels)}). Predict them with a model of these classes."
        )
    judged = {os.path.realpath(clip.path) for clip in task.judged}
    if leaks := [clip.path for clip in soft if os.path.realpath(clip.path) in judged]:
        raise TableError(
            f"{len(leaks)} pseudo-labelled windows are of recordings to judge by, the first "
            f"{printable(leaks[0])}. Take their rows out."
        )
    longest = max((clip.seconds or 0.0 for clip in soft), default=0.0)
    if longest > config.data.window_seconds + 1e-6:
        raise TableError(
            f"pseudo-labels are of windows of {longest:g} s, and the model hears "
            f"{config.data.window_seconds:g} s. Predict them with a model of this window."
        )
    return dataclasses.replace(task, learnt=[*task.learnt, *soft])
