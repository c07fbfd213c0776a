"""Keep what reviewers decide in an SQLite database.

::

    decisions  id, file, label, onset, offset, score, reviewer, verdict, true_label,
               true_onset, true_offset, reviewed_at

An event is known by its recording, label and borders, so that the same database goes on with the
same events from any table. Each decision is one commit, on the disk before the page shows it, and
adds a row; the last row of a reviewer about an event is what counts.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from sed.errors import UsageError
from sed.events.scoring.reviews import REVIEWS, REVIEWS_VERSION, majority
from sed.events.sqlite import DatabaseError, open_sqlite
from sed.text import near, printable

Verdict = Literal["right", "wrong", "relabelled", "unsure"]
VERDICTS = ("right", "wrong", "relabelled", "unsure")

SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file TEXT NOT NULL,
    label TEXT NOT NULL,
    onset REAL NOT NULL,
    offset REAL NOT NULL,
    score REAL NOT NULL,
    reviewer TEXT NOT NULL,
    verdict TEXT NOT NULL,
    true_label TEXT NOT NULL,
    true_onset REAL NOT NULL,
    true_offset REAL NOT NULL,
    reviewed_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_by_reviewer ON decisions (reviewer, id);
"""
COLUMNS = (
    *("file", "label", "onset", "offset", "score", "reviewer", "verdict", "true_label"),
    *("true_onset", "true_offset", "reviewed_at"),
)
TEXTS = ("file", "label", "reviewer", "verdict", "true_label", "reviewed_at")
REMEDY = "Choose another path with --db."
# Text is passed as bytes, since names of files may hold what is not UTF-8.
_INSERT = (
    f"INSERT INTO decisions ({', '.join(COLUMNS)}) VALUES "
    f"({', '.join('CAST(? AS TEXT)' if name in TEXTS else '?' for name in COLUMNS)})"
)


class EventKey(NamedTuple):
    """What an event is known by; times are seconds, rounded to milliseconds."""

    file: str
    label: str
    onset: float
    offset: float


@dataclass(frozen=True)
class Decision:
    """What a reviewer says about an event.

    Attributes
    ----------
    event
        The event as it was detected.
    score
        Its score.
    reviewer
        Name of the reviewer; may be empty.
    verdict
        ``right``; ``wrong``: nothing of this class is there; ``relabelled``: it is another class;
        ``unsure``.
    true_label
        The class that it is; empty if the verdict is ``wrong`` or ``unsure``.
    true_onset, true_offset
        Its borders in seconds.
    reviewed_at
        Time of the decision in UTC, ISO 8601.
    """

    event: EventKey
    score: float
    reviewer: str
    verdict: Verdict
    true_label: str
    true_onset: float
    true_offset: float
    reviewed_at: str = ""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.verdict not in VERDICTS:
            raise UsageError(f"unknown verdict {self.verdict!r}. {near(self.verdict, VERDICTS)}")
        if bool(self.true_label.strip()) != (self.verdict in ("right", "relabelled")):
            raise UsageError("expected the true label of an event that is right or relabelled")
        if not 0 <= self.true_onset < self.true_offset < float("inf"):
            raise UsageError(
                "expected an onset of 0 s or more and a later offset, got "
                f"{self.true_onset:g} and {self.true_offset:g}"
            )


def consensus(decisions: Collection[Decision]) -> Decision | None:
    """Return what most reviewers of an event say; None if they disagree, or all are unsure.

    Of decisions with the same true label the last one counts, with its borders.
    """
    certain = [each for each in decisions if each.verdict != "unsure"]
    most = majority(each.true_label for each in certain)
    agreed = (each for each in certain if each.true_label == most)
    return max(agreed, key=lambda each: each.reviewed_at, default=None)


class ReviewStore:
    """The decisions in a database; a context manager that closes it. Threads may share it.

    Parameters
    ----------
    path
        The file, which one process may use at a time.

    Attributes
    ----------
    decisions
        What counts: for each event, the last decision of each reviewer by name.

    Raises
    ------
    DatabaseError
        If the file belongs to another program, or is in use.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lock = threading.RLock()
        self.decisions: dict[EventKey, dict[str, Decision]] = {}
        with self._failures():
            self._connection = open_sqlite(
                path,
                application_id=REVIEWS,
                version=REVIEWS_VERSION,
                schema=SCHEMA,
                exclusive=True,
                timeout_seconds=0.5,
                remedy=REMEDY,
            )
            try:
                self._connection.text_factory = _text
                # A decision survives a power failure too; people decide slower than disks write.
                self._connection.execute("PRAGMA synchronous = FULL")
                for decision in self._rows("ORDER BY id"):
                    self.decisions.setdefault(decision.event, {})[decision.reviewer] = decision
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> ReviewStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def add(self, decision: Decision) -> Decision:
        """Store a decision, and return it with its time.

        Raises
        ------
        DatabaseError
            If the disk is full.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        decision = Decision(
            decision.event,
            decision.score,
            decision.reviewer,
            decision.verdict,
            decision.true_label,
            decision.true_onset,
            decision.true_offset,
            time,
        )
        values = {**decision.event._asdict(), **decision.__dict__}
        row = [_bytes(values[name]) if name in TEXTS else values[name] for name in COLUMNS]
        with self._lock, self._failures():
            self._connection.execute(_INSERT, row)
            self.decisions.setdefault(decision.event, {})[decision.reviewer] = decision
        return decision

    def undo(self, reviewer: str) -> Decision | None:
        """Take the last decision of a reviewer back, and return it; None if there is none.

        What the reviewer had said about that event before counts again.

        Raises
        ------
        DatabaseError
            If the database cannot be written.
        """
        with self._lock, self._failures():
            last = next(self._rows(f"{_BY} ORDER BY id DESC LIMIT 1", _bytes(reviewer)), None)
            if last is None:
                return None
            self._connection.execute(
                f"DELETE FROM decisions WHERE id = (SELECT max(id) FROM decisions {_BY})",
                [_bytes(reviewer)],
            )
            earlier = (each for each in self._rows(f"{_BY} ORDER BY id DESC", _bytes(reviewer)))
            before = next((each for each in earlier if each.event == last.event), None)
            if before is not None:
                self.decisions[last.event][reviewer] = before
            else:
                del self.decisions[last.event][reviewer]
                if not self.decisions[last.event]:
                    del self.decisions[last.event]
            return last

    def snapshot(self) -> dict[EventKey, tuple[Decision, ...]]:
        """Return the decisions of each event that has some, as they are now."""
        with self._lock:
            return {event: tuple(each.values()) for event, each in self.decisions.items()}

    def _rows(self, rest: str, *values: bytes) -> Iterator[Decision]:
        query = f"SELECT {', '.join(COLUMNS)} FROM decisions {rest}"
        for file, label, onset, offset, *others in self._connection.execute(query, values):
            yield Decision(EventKey(file, label, onset, offset), *others)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn errors of SQLite into ours."""
        try:
            yield
        except sqlite3.Error as error:
            name = printable(self.path)
            if "locked" in str(error):
                raise DatabaseError(
                    f"{name}: is in use by another `sed review`. Reviewers can share one page, "
                    "each with a name of their own."
                ) from error
            raise DatabaseError(f"{name}: cannot be used: {error}. {REMEDY}") from error


_BY = "WHERE reviewer = CAST(? AS TEXT)"


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        return text.encode("utf-8", "backslashreplace")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
