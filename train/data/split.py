"""Split clips into training and validation by fold, and check that both are usable."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

from sed.errors import TableError, UsageError
from sed.events.reading.text_file import has_surrogates
from sed.text import printable, some
from train.config.train import TrainConfig
from train.data.clips import Clip, fingerprint_of
from train.data.folds import EXCLUDED


@dataclass(frozen=True)
class TrainingData:
    """Training clips, validation clips and the class list of a run."""

    train: list[Clip]
    val: list[Clip]
    labels: tuple[str, ...]  # one per class
    fold: int  # held out for validation

    @property
    def labelled(self) -> list[int]:
        """Indices of the classes that some clip has as a label."""
        found = {label for clip in self.train + self.val for label in clip.labels}
        return [i for i, label in enumerate(self.labels) if label in found]

    @property
    def fingerprint(self) -> str:
        """Hash of training and validation clips, see `fingerprint_of`."""
        return fingerprint_of([*self.train, *self.val])

    @property
    def description(self) -> str:
        """Numbers of clips and classes, and anything unexpected about them, on one line."""
        names = {clip.fold for clip in self.val}
        official = f" (official fold {names.pop()})" if len(names) == 1 and "" not in names else ""
        text = (
            f"{len(self.train)} training clips, {len(self.val)} validation clips of fold "
            f"{self.fold}{official}, {len(self.labels)} classes"
        )
        absent = {self.labels[i] for i in self.labelled} - {
            label for c in self.val for label in c.labels
        }
        if absent:
            text += f"; fold {self.fold} has none of {some(sorted(absent))}"
        if n_pseudo := sum(clip.pseudo is not None for clip in self.train):
            text += f"; {n_pseudo} of the training clips are pseudo-labelled"
        unknown = {x for c in self.train + self.val for x in c.secondary} - set(self.labels)
        if unknown:
            text += (
                f"; ignored, since no clip has them as labels: secondary {some(sorted(unknown))}"
            )
        return text


def split_by_fold(
    clips: Sequence[Clip],
    folds: Sequence[int],
    fold: int,
    config: TrainConfig,
    *,
    classes: Sequence[str] = (),
) -> TrainingData:
    """Return the training and validation clips of a run that holds out one fold.

    Parameters
    ----------
    clips
        All clips of the table.
    folds
        The fold of each, as `train.data.folds.assign_folds` returns them.
    fold
        The one to validate on, counted from 0.
    config
        Its `data.train_on` says whether the other folds or the one held out are trained on.
    classes
        The class list; the labels of the clips if empty.

    Raises
    ------
    UsageError
        If there is no such fold.
    TableError
        If no training clip is left, there is only one class, or all clips of a class are in the
        fold held out.
    """
    present = sorted({f for f in folds if f >= 0})
    if not present:
        raise TableError(
            "no clip is left for training and validation. Check licences and hold_out in the "
            "recipe, that the table has the licence of its clips, and that its split has some for "
            "val."
        )
    if fold not in present:
        raise UsageError(f"no fold {fold}: the folds are {present[0]} to {present[-1]}")
    val = [c for c, f in zip(clips, folds, strict=True) if f == fold]
    train = [c for c, f in zip(clips, folds, strict=True) if f not in (fold, EXCLUDED)]
    labels = sorted({label for clip in train + val for label in clip.labels})
    if odd := [label for label in labels if has_surrogates(label)]:
        raise TableError(f"labels are not valid Unicode: {some(odd)}. Rename these classes.")
    if config.data.train_on == "held_out":
        train = val
    if not any(clip.labels for clip in val):
        raise TableError(f"no clip of fold {fold} has a label to validate on. Try another fold.")
    lacking = {x for c in val for x in c.labels} - {x for c in train for x in c.labels}
    if lacking:
        raise TableError(
            f"fold {fold} holds all clips of {', '.join(sorted(lacking))}, and none is left for "
            "training. Add clips, or make other folds with remake_folds in the recipe."
        )
    if len(labels) < 2 and not any(clip.events is not None for clip in train):
        raise TableError(
            f"all clips are {labels[0]!r}: a classifier needs two classes or more. Add clips of "
            "something else, for example a folder of background sounds."
        )
    return TrainingData(train, val, tuple(classes or labels), fold)


def add_pseudo_labels(
    data: TrainingData, pseudo: Sequence[Clip], config: TrainConfig
) -> TrainingData:
    """Return training data with pseudo-labelled clips added to the training clips.

    Parameters
    ----------
    data
        Training data.
    pseudo
        Clips from `read_pseudo_labels`.
    config
        Its `data.window_seconds` is the longest duration.

    Raises
    ------
    TableError
        If they are of other classes, of recordings that the model is validated on, or longer than
        the model's window.
    """
    known = {label for clip in pseudo if clip.pseudo for label in clip.pseudo.labels}
    if pseudo and not known & set(data.labels):
        raise TableError(
            f"pseudo-labels are of other classes ({some(sorted(known))}) than the clips "
            f"({some(data.labels)}). Predict them with a model of these classes."
        )
    val = {os.path.realpath(clip.path) for clip in data.val}
    if leaks := [clip.path for clip in pseudo if os.path.realpath(clip.path) in val]:
        raise TableError(
            f"{len(leaks)} pseudo-labelled windows are of validation recordings, the first "
            f"{printable(leaks[0])}. Remove their rows."
        )
    longest = max((clip.duration_seconds or 0.0 for clip in pseudo), default=0.0)
    if longest > config.data.window_seconds + 1e-6:
        raise TableError(
            f"pseudo-labels are of windows of {longest:g} s, and the model's are "
            f"{config.data.window_seconds:g} s. Predict them with a model of this window."
        )
    return dataclasses.replace(data, train=[*data.train, *pseudo])
