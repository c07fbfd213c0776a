"""Bring reference events and detections to the same numbers of recordings and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed.errors import TableError
from sed.events.event_table import EventTable
from sed.events.scoring.names import match_names
from sed.text import pluralize, printable

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Events:
    """Events as arrays of the shape (events,); recordings and classes are those of a `Reference`.

    Attributes
    ----------
    file, label
        Numbers of the recording and the class.
    onset, offset
        In seconds.
    score
        In (0, 1].
    """

    file: Ints
    label: Ints
    onset: Reals
    offset: Reals
    score: Reals

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def lasts(self) -> NDArray[np.bool_]:
        """Which events are longer than 0 s; others overlap with nothing, shape (events,)."""
        lasts: NDArray[np.bool_] = self.offset > self.onset
        return lasts

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Events:
        """Return some events, by their numbers or by a mask."""
        return Events(
            self.file[rows], self.label[rows], self.onset[rows], self.offset[rows], self.score[rows]
        )


@dataclass(frozen=True)
class Reference:
    """What is true: the events of some recordings.

    Attributes
    ----------
    labels
        Names of the classes: all of the truth, then those that only detections have.
    n_true_labels
        The number of classes of the truth.
    durations
        Seconds of each recording, shape (recordings,).
    events
        The reference events.
    """

    labels: tuple[str, ...]
    n_true_labels: int
    durations: Reals
    events: Events

    @property
    def hours(self) -> float:
        """Length of all recordings."""
        return float(self.durations.sum()) / 3600


def align(
    truth: EventTable,
    predictions: Sequence[EventTable],
    durations: Mapping[str, float] | None = None,
) -> tuple[Reference, list[Events]]:
    """Return reference events and detections of the same recordings.

    Parameters
    ----------
    truth
        The reference events.
    predictions
        Detections, one table for each operating point. The names of their recordings may have other
        folders and endings, see `match_names`.
    durations
        Seconds of all recordings, also those without reference events. Without it recordings end
        with their last event.

    Raises
    ------
    TableError
        If names are ambiguous, or a recording of the truth has no duration.
    """
    names = list(dict.fromkeys([*(durations or ()), *truth.files]))
    if durations is not None:
        of_truth = match_names(truth.files, list(durations))
        lacking = [file for file, own in zip(truth.files, of_truth, strict=True) if own is None]
        if lacking:
            raise TableError(
                f"no duration of {pluralize(len(lacking), 'recording')} of the truth, such as "
                f"{printable(lacking[0])}. Add all to the table of durations."
            )
        names = list(durations)
        truth = truth.renamed(files=[own or "" for own in of_truth])
    labels = [*truth.labels]
    for table in predictions:
        labels += [label for label in table.labels if label not in labels]
    tables = []
    for table in predictions:
        own = match_names(table.files, names)
        new = [file if name is None else name for file, name in zip(table.files, own, strict=True)]
        names = list(dict.fromkeys([*names, *new]))
        tables.append(table.renamed(files=new))
    n_true = len(truth.labels)
    events = [_numbered(table, names, labels) for table in (truth, *tables)]
    lengths = np.zeros(len(names))
    for own_events in events if durations is None else ():
        np.maximum.at(lengths, own_events.file, own_events.offset)
    if durations is not None:
        lengths[: len(durations)] = list(durations.values())
        # A detection in a recording that is not scored cannot be.
        events = [one.take(one.file < len(durations)) for one in events]
        lengths = lengths[: len(durations)]
    return Reference(tuple(labels), n_true, lengths, events[0]), events[1:]


def _numbered(table: EventTable, names: Sequence[str], labels: Sequence[str]) -> Events:
    number = {name: i for i, name in enumerate(names)}
    column = {label: i for i, label in enumerate(labels)}
    files = np.array([number[file] for file in table.files], np.int64)
    classes = np.array([column[label] for label in table.labels], np.int64)
    return Events(files[table.file], classes[table.label], table.onset, table.offset, table.score)
