"""Choose the threshold of each class from events that people have reviewed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sed.errors import UsageError
from sed.events.post_processing import ClassPostProcessing, PostProcessing
from sed.events.scoring.precision import Threshold, thresholds_for
from sed.events.scoring.reviews import REVIEWS, REVIEWS_VERSION, majority
from sed.events.sqlite import has_table, read_live_record, read_sqlite
from sed.events.tracking.config import OFFSET_RATIO
from sed.text import printable

MIN_REVIEWED = 10  # events of a class, below which nothing is chosen
_EVENTS = "SELECT source, label, onset, offset, score, {} FROM events {}"
_DECISIONS = """
SELECT file, label, onset, offset, reviewer, verdict, true_label
FROM decisions ORDER BY id
"""

Key = tuple[str, str, float, float]  # input, class, onset, offset


@dataclass(frozen=True)
class ReviewedClass:
    """What reviews say about a class.

    Attributes
    ----------
    label
        The class.
    n_events, n_reviewed, n_right
        Events in the database, those with a verdict, and those of them that are right.
    lowest
        The lowest score of an event.
    threshold
        The smallest with the wanted precision; None if there is none.
    """

    label: str
    n_events: int
    n_reviewed: int
    n_right: int
    lowest: float
    threshold: Threshold | None

    @property
    def outcome(self) -> str:
        """What is done: ``set``, or why nothing is."""
        if self.n_reviewed < MIN_REVIEWED:
            return f"fewer than {MIN_REVIEWED} reviewed"
        if self.threshold is None:
            return "no threshold is enough"
        return "set" if self.threshold.value > self.lowest else "good as it is"


def read_reviewed(
    path: str | os.PathLike[str], reviews: Sequence[str | os.PathLike[str]], min_precision: float
) -> list[ReviewedClass]:
    """Return what reviews say about each class of a database, the most reviewed first.

    Parameters
    ----------
    path
        The database of `sed listen`; verdicts that were given on its page count.
    reviews
        Databases of `sed review` about its events. What most reviewers of an event say counts, and
        before the verdict of the page.
    min_precision
        The share of right events that is wanted, above 0 and up to 1.

    Raises
    ------
    UsageError
        If the precision cannot be, or no event is reviewed.
    DatabaseError
        If a database cannot be read.
    """
    if not 0 < min_precision <= 1:
        raise UsageError(f"expected --min-precision above 0 and up to 1, got {min_precision:g}")
    decided: dict[Key, bool | None] = {}
    for each in reviews:
        decided |= _decisions(each)
    of_class: dict[str, list[tuple[float, bool | None]]] = {}
    for source, label, onset, offset, score, verdict in _events(path):
        right = None if verdict is None else verdict == "right"
        right = decided.get(_key(source, label, onset, offset), right)
        of_class.setdefault(label, []).append((score, right))
    if all(right is None for events in of_class.values() for _, right in events):
        hint = "are about other events" if decided else "have no verdicts"
        raise UsageError(
            f"{printable(os.fspath(path))}: no event is reviewed: the reviews {hint}. Mark events "
            "on the page of sed listen, or with sed review, and name its database with --reviews"
        )
    found = [_of_class(label, events, min_precision) for label, events in of_class.items()]
    return sorted(found, key=lambda one: (-one.n_reviewed, one.label))


def thresholds_of(classes: Iterable[ReviewedClass]) -> PostProcessing:
    """Return the thresholds that were chosen, for `write_post_processing`."""
    chosen = []
    for one in classes:
        if one.outcome == "set" and one.threshold is not None:
            # Rounded down, so that the event of this score still reaches it.
            onset = float(np.floor(one.threshold.value * 1e4) / 1e4)
            values = (
                ("offset_threshold", round(OFFSET_RATIO * onset, 5)),
                ("onset_threshold", onset),
            )
            chosen.append((one.label, ClassPostProcessing(values)))
    return PostProcessing(tuple(sorted(chosen)))


def _of_class(
    label: str, events: Sequence[tuple[float, bool | None]], min_precision: float
) -> ReviewedClass:
    score = np.array([each for each, _ in events], np.float64)
    reviewed = np.array([right is not None for _, right in events])
    right = np.array([bool(right) for _, right in events])
    _, estimated = thresholds_for(min_precision, score, reviewed, right)
    counts = len(events), int(reviewed.sum()), int(right.sum())
    return ReviewedClass(label, *counts, float(score.min()), estimated)


def _key(source: str, label: str, onset: float, offset: float) -> Key:
    # Reviews have times in milliseconds.
    return source, label, round(onset, 3), round(offset, 3)


def _events(path: str | os.PathLike[str]) -> list[tuple[str, str, float, float, float, str | None]]:
    with read_live_record(path) as connection:
        joined = ("verdict", "LEFT JOIN verdicts ON event_id = id")
        parts = joined if has_table(connection, "verdicts") else ("NULL", "")
        return connection.execute(_EVENTS.format(*parts)).fetchall()


def _decisions(path: str | os.PathLike[str]) -> dict[Key, bool]:
    """Return whether events are right; those without a majority are left out."""
    last: dict[Key, dict[str, str | None]] = {}  # None: unsure
    with read_sqlite(path, application_id=REVIEWS, version=REVIEWS_VERSION) as connection:
        for file, label, onset, offset, *said in connection.execute(_DECISIONS):
            reviewer, verdict, true_label = said
            of_event = last.setdefault(_key(file, label, onset, offset), {})
            of_event[reviewer] = None if verdict == "unsure" else true_label
    decided = {}
    for event, said in last.items():
        agreed = majority(label for label in said.values() if label is not None)
        if agreed is not None:
            decided[event] = agreed == event[1]
    return decided
