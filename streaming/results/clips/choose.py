"""Choose which events of each class become clips."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.event_table import EventTable
from sed.text import near

Pick = Literal["best", "random", "spread", "uncertain"]
PICKS = ("best", "random", "spread", "uncertain")


@dataclass(frozen=True)
class ChoiceConfig:
    """Which events are chosen.

    Attributes
    ----------
    per_class
        Events of each class, at most; all if None.
    pick
        ``best``: the highest scores. ``random``: any. ``spread``: evenly over the ranks from the
        highest score to the lowest. ``uncertain``: scores nearest to 0.5.
    pad_seconds
        Sound before and after an event. Events of a class whose sound overlaps that of one that is
        chosen already are passed over while there are others.
    max_seconds
        Longest clip; of a longer event its start is taken.
    seed
        Of random choices, also among equal scores.
    """

    per_class: int | None = 10
    pick: Pick = "best"
    pad_seconds: float = 1.0
    max_seconds: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.pick not in PICKS:
            raise UsageError(f"unknown choice {self.pick!r}. {near(self.pick, PICKS)}")
        if self.per_class is not None and self.per_class < 1:
            raise UsageError(f"expected 1 or more clips per class, got {self.per_class}")
        if not 0 <= self.pad_seconds < float("inf"):
            raise UsageError(f"expected a padding of 0 s or more, got {self.pad_seconds:g}")
        if not 0 < self.max_seconds < float("inf"):
            raise UsageError(f"expected a longest clip above 0 s, got {self.max_seconds:g}")


def choose_events(table: EventTable, config: ChoiceConfig) -> list[NDArray[np.intp]]:
    """Return the rows that are chosen of each class, best first; the list is as long as `labels`.

    The choice depends on the events and the seed alone, not on their order in the table.
    """
    names = np.empty(len(table.files), np.intp)
    names[np.argsort(np.array(table.files, np.str_))] = np.arange(len(table.files))
    order = np.lexsort((table.score, table.offset, table.onset, names[table.file], table.label))
    bounds = np.searchsorted(table.label[order], np.arange(len(table.labels) + 1))
    return [_chosen(table, order[first:end], config) for first, end in pairwise(bounds)]


def _chosen(table: EventTable, rows: NDArray[np.intp], config: ChoiceConfig) -> NDArray[np.intp]:
    ranked = _ranked(table.score[rows], config)
    n_wanted = len(rows) if config.per_class is None else config.per_class
    chosen: list[int] = []
    passed: list[int] = []
    taken: dict[int, list[tuple[float, float]]] = {}
    for row in rows[ranked].tolist():
        if len(chosen) == n_wanted:
            break
        start = table.onset[row] - config.pad_seconds
        end = table.offset[row] + config.pad_seconds
        spans = taken.setdefault(int(table.file[row]), [])
        if config.per_class is not None and any(a < end and start < b for a, b in spans):
            passed.append(row)
            continue
        spans.append((start, end))
        chosen.append(row)
    chosen += passed[: n_wanted - len(chosen)]
    best_first = sorted(chosen, key=lambda row: -table.score[row])
    return np.array(best_first, np.intp)


def _ranked(scores: NDArray[np.float64], config: ChoiceConfig) -> NDArray[np.intp]:
    """Return the numbers of scores in the order in which they are chosen."""
    shuffled = np.random.default_rng(config.seed).permutation(len(scores))
    if config.pick == "random":
        return shuffled
    keys = np.abs(scores - 0.5) if config.pick == "uncertain" else -scores
    ranked = shuffled[np.argsort(keys[shuffled], kind="stable")]
    if config.pick != "spread" or config.per_class is None or config.per_class >= len(scores):
        return ranked
    places = np.rint(np.linspace(0, len(scores) - 1, config.per_class)).astype(np.intp)
    return np.concatenate([ranked[places], np.delete(ranked, places)])
