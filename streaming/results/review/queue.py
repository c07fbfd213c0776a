"""Filter and order a million events in a tenth of a second."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.event_table import EventTable
from sed.events.sites import site_names
from sed.text import near
from streaming.results.review.store import Decision, EventKey, consensus

Rows = NDArray[np.intp]

State = Literal["all", "open", "mine", "reviewed", "unsure", "disagreed"]
STATES = ("all", "open", "mine", "reviewed", "unsure", "disagreed")
Order = Literal["best", "uncertain", "random", "time"]
ORDERS = ("best", "uncertain", "random", "time")

# Numbers of the states of events.
OPEN, RIGHT, WRONG, UNSURE, DISAGREED = range(5)
DECIDED = (RIGHT, WRONG)  # these count for precision
_OF_STATE = {
    "open": (OPEN,),
    "reviewed": (*DECIDED, DISAGREED),
    "unsure": (UNSURE,),
    "disagreed": (DISAGREED,),
}


@dataclass(frozen=True)
class QueueConfig:
    """Which events are in a queue, and their order.

    Attributes
    ----------
    label
        Only this class; all if None.
    min_score, max_score
        Only scores in this range, its ends included.
    site
        Only recordings of this site; all if None.
    day
        Only events of this local date, ``2026-05-01``; of an unknown date if empty, all if None.
    state
        ``open``: without a decision. ``mine``: without one of `reviewer`. ``reviewed``,
        ``unsure``, ``disagreed``: by what reviewers say, see `consensus`. ``all``.
    order
        ``best``: highest score first. ``uncertain``: scores nearest to 0.5 first. ``random``.
        ``time``: by date, recording and onset.
    reviewer
        Name of the reviewer, for ``mine``.
    seed
        Of the random order.
    """

    label: str | None = None
    min_score: float = float("-inf")
    max_score: float = float("inf")
    site: str | None = None
    day: str | None = None
    state: State = "open"
    order: Order = "best"
    reviewer: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.state not in STATES:
            raise UsageError(f"unknown state {self.state!r}. {near(self.state, STATES)}")
        if self.order not in ORDERS:
            raise UsageError(f"unknown order {self.order!r}. {near(self.order, ORDERS)}")


class Queue:
    """The events to be reviewed, and the state of each.

    Parameters
    ----------
    table
        Events of any number of recordings; one that is there twice counts once.

    Attributes
    ----------
    table
        The events, once each.
    sites, days
        Names of the sites and local dates, each once and sorted; a date is empty if unknown.
    states
        `OPEN`, `RIGHT` and so on of each event, shape (events,).
    """

    def __init__(self, table: EventTable) -> None:
        hashes = _hashes(table)
        # Hashes are sorted, and the first row of each is taken.
        self._sorted, first = np.unique(hashes, return_index=True)
        if len(first) < len(table):
            kept = np.sort(first)
            table = table.take(kept)
            first = np.searchsorted(kept, first)
        self._by_hash = first
        self.table = table
        names = site_names(table.files)
        self.sites = tuple(sorted(set(names)))
        numbers = {name: i for i, name in enumerate(self.sites)}
        self._site: NDArray[np.int32] = np.array([numbers[name] for name in names], np.int32)[
            table.file
        ]
        dates = table.local_time.astype("datetime64[D]")
        found, self._day = np.unique(dates, return_inverse=True)
        self.days = tuple("" if np.isnat(day) else str(day) for day in found)
        self.states = np.zeros(len(table), np.uint8)
        self._files = {name: i for i, name in enumerate(table.files)}
        self._labels = {name: i for i, name in enumerate(table.labels)}
        self._mine: dict[str, set[int]] = {}  # rows that each reviewer has decided on
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.table)

    def key(self, row: int) -> EventKey:
        """Return what the store knows an event by."""
        table = self.table
        return EventKey(
            table.files[table.file[row]],
            table.labels[table.label[row]],
            round(float(table.onset[row]), 3),
            round(float(table.offset[row]), 3),
        )

    def row(self, key: EventKey) -> int | None:
        """Return the row of an event; None if this table does not have it."""
        file, label = self._files.get(key.file), self.label_number(key.label)
        if file is None or label < 0:
            return None
        hashed = _hash(
            np.array([file]), np.array([label]), np.array([key.onset]), np.array([key.offset])
        )[0]
        place = int(np.searchsorted(self._sorted, hashed))
        if place == len(self._sorted) or self._sorted[place] != hashed:
            return None
        row = int(self._by_hash[place])
        return row if self.key(row) == key else None

    def site(self, row: int) -> str:
        """Return the site of an event."""
        return self.sites[int(self._site[row])]

    def label_number(self, label: str) -> int:
        """Return the number of a class in the table; -1 if no event has it."""
        return self._labels.get(label, -1)

    def update(self, key: EventKey, decisions: Collection[Decision]) -> None:
        """Set the state of an event by all that reviewers say about it."""
        row = self.row(key)
        if row is None:
            return
        with self._lock:
            self.states[row] = state_of(key.label, decisions)
            reviewers = {each.reviewer for each in decisions}
            for name in reviewers - self._mine.keys():
                self._mine[name] = set()
            for name, rows in self._mine.items():
                (rows.add if name in reviewers else rows.discard)(row)

    def rows(self, config: QueueConfig) -> Rows:
        """Return the rows of the events in a queue, in its order."""
        table = self.table
        # A score that is no number is in every range.
        kept = ~((table.score < config.min_score) | (table.score > config.max_score))
        if config.label is not None:
            kept &= table.label == self.label_number(config.label)
        if config.site is not None:
            kept &= self._site == _number(config.site, self.sites)
        if config.day is not None:
            kept &= self._day == _number(config.day, self.days)
        with self._lock:
            if config.state in _OF_STATE:
                kept &= np.isin(self.states, _OF_STATE[config.state])
            elif config.state == "mine":
                kept[list(self._mine.get(config.reviewer, ()))] = False
        return self._ordered(np.flatnonzero(kept), config)

    def _ordered(self, rows: Rows, config: QueueConfig) -> Rows:
        table = self.table
        if config.order == "random":
            return np.random.default_rng(config.seed).permutation(rows)
        if config.order == "time":
            keys = table.onset[rows], table.file[rows], table.local_time[rows]
            return rows[np.lexsort(keys)]
        score = table.score[rows]
        key = -score if config.order == "best" else np.abs(score - 0.5)
        return rows[np.argsort(key, kind="stable")]

    def counts(self) -> NDArray[np.int64]:
        """Return the number of events by class and state, shape (labels, 5)."""
        n = len(self.table.labels)
        flat = np.bincount(self.table.label * np.int64(5) + self.states, minlength=n * 5)
        return flat.reshape(n, 5)


def state_of(label: str, decisions: Collection[Decision]) -> int:
    """Return the state of an event of a class by what reviewers say."""
    if not decisions:
        return OPEN
    agreed = consensus(decisions)
    if agreed is not None:
        return RIGHT if agreed.true_label == label else WRONG
    return UNSURE if all(each.verdict == "unsure" for each in decisions) else DISAGREED


def _number(name: str, names: tuple[str, ...]) -> int:
    """Return the number of a name, or one that no event has."""
    return names.index(name) if name in names else -1


def _hashes(table: EventTable) -> NDArray[np.uint64]:
    return _hash(table.file, table.label, table.onset, table.offset)


def _hash(
    file: NDArray[np.int32] | NDArray[np.int64],
    label: NDArray[np.int32] | NDArray[np.int64],
    onset: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> NDArray[np.uint64]:
    """Return a number for each event that different events do not share but by great chance."""
    mixed = np.zeros(len(onset), np.uint64)
    milliseconds = (np.rint(np.round(times, 3) * 1e3) for times in (onset, offset))
    # The steps of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom generators").
    for column in (file, label, *milliseconds):
        mixed += column.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
