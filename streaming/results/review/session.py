"""Hold together what a review works on: events, decisions, sounds, and the tables that result."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sed.audio.start_time import start_from_name
from sed.errors import SedError
from sed.events.event_table import EventTable
from sed.events.scoring.precision import precision_bins, thresholds_for
from sed.text import iso_time, to_utf8
from streaming.results.clips.excerpts import RecordingFinder
from streaming.results.review.excerpt import EventSounds
from streaming.results.review.export import export_reviews
from streaming.results.review.queue import (
    DECIDED,
    DISAGREED,
    OPEN,
    RIGHT,
    UNSURE,
    Queue,
    QueueConfig,
    Rows,
)
from streaming.results.review.store import Decision, ReviewStore, Verdict

N_QUEUES = 8  # that are kept; a queue stays as it is while a reviewer goes through it
EXPORT_SECONDS = 5.0  # from one export after a decision to the next

Json = dict[str, Any]


class ReviewSession:
    """A review of events. Threads may share it.

    Parameters
    ----------
    table
        The events.
    store
        The decisions; those about events of other tables stay as they are.
    audio
        Folders to look for recordings in, beside their paths as the table has them.
    tables
        Folders that paths in the table may begin at, too.
    pad_seconds
        Sound before and after an event.
    max_hz
        Frequency of the upper edge of spectrograms; half of the sample rate if None.
    reviewer
        Name that the page begins with.
    """

    def __init__(
        self,
        table: EventTable,
        store: ReviewStore,
        *,
        audio: Sequence[str | os.PathLike[str]] = (),
        tables: Sequence[str | os.PathLike[str]] = (),
        pad_seconds: float = 1.0,
        max_hz: float | None = None,
        reviewer: str = "",
    ) -> None:
        self.queue = Queue(with_times(table))
        self.store = store
        self.reviewer = reviewer
        self.sounds = EventSounds(RecordingFinder(audio, tables), pad_seconds, max_hz)
        self._queues: OrderedDict[int, Rows] = OrderedDict()
        self._n_queues = 0
        self._lock = threading.Lock()
        self._exported_at = float("-inf")
        for key, decisions in store.snapshot().items():
            self.queue.update(key, decisions)

    def open_queue(self, config: QueueConfig) -> tuple[int, Rows]:
        """Return the number of a new queue, and its rows."""
        rows = self.queue.rows(config)
        with self._lock:
            self._n_queues += 1
            self._queues[self._n_queues] = rows
            while len(self._queues) > N_QUEUES:
                self._queues.popitem(last=False)
            return self._n_queues, rows

    def kept_queue(self, number: int) -> Rows | None:
        """Return the rows of a queue that is kept."""
        with self._lock:
            if number in self._queues:
                self._queues.move_to_end(number)
            return self._queues.get(number)

    def decide(
        self,
        row: int,
        reviewer: str,
        verdict: Verdict,
        true_label: str = "",
        borders: tuple[float, float] | None = None,
    ) -> Json:
        """Store a decision and return the event as JSON.

        Parameters
        ----------
        row
            Row of the event.
        reviewer
            Name of the reviewer.
        verdict
            What it is; relabelling an event as what it was confirms it.
        true_label
            Another label, if the verdict is ``relabelled``.
        borders
            Onset and offset in seconds, if they were adjusted.

        Raises
        ------
        UsageError
            If these contradict each other.
        DatabaseError
            If the decision cannot be stored.
        """
        key = self.queue.key(row)
        if verdict == "right" or (verdict == "relabelled" and true_label.strip() == key.label):
            verdict, true_label = "right", key.label
        score = float(self.queue.table.score[row])
        event = self.queue.table.event(row)
        onset, offset = borders or (max(0.0, event.onset), max(event.offset, event.onset + 0.001))
        label = true_label.strip() if verdict == "relabelled" else true_label
        self.store.add(Decision(key, score, reviewer, verdict, label, onset, offset))
        self._changed(row)
        return self.event_json(row)

    def undo(self, reviewer: str) -> Json | None:
        """Take back the last decision of a reviewer, and return its event; None if there is none.

        Of an event that this table lacks only the name of the recording is returned.
        """
        undone = self.store.undo(reviewer)
        if undone is None:
            return None
        row = self.queue.row(undone.event)
        if row is None:
            return {"file": to_utf8(undone.event.file)}
        self._changed(row)
        return self.event_json(row)

    def _changed(self, row: int) -> None:
        key = self.queue.key(row)
        self.queue.update(key, self._decisions(row))

    def _decisions(self, row: int) -> tuple[Decision, ...]:
        return tuple(self.store.decisions.get(self.queue.key(row), {}).values())

    def export(self, *, at_most_every: float = 0.0) -> tuple[Path, Path] | None:
        """Write the tables and return their paths; None if that was done a moment ago.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        with self._lock:
            if time.monotonic() - self._exported_at < at_most_every:
                return None
            paths = export_reviews(self.store)
            self._exported_at = time.monotonic()
            return paths

    def export_soon(self) -> None:
        """Write the tables unless that was done a moment ago; what fails is tried again later."""
        try:
            self.export(at_most_every=EXPORT_SECONDS)
        except SedError:
            # The page says so when its button is pressed, and the command at its end.
            return

    def event_json(self, row: int) -> Json:
        """Return an event and the decisions about it."""
        event = self.queue.table.event(row)
        return {
            "id": row,
            "file": to_utf8(event.file),
            "site": to_utf8(self.queue.site(row)),
            "label": to_utf8(event.label),
            "onset": round(event.onset, 3),
            "offset": round(event.offset, 3),
            "score": round(event.score, 4),
            "time": iso_time(event.time),
            "decisions": [
                {
                    "reviewer": to_utf8(each.reviewer),
                    "verdict": each.verdict,
                    "true_label": to_utf8(each.true_label),
                    "onset": each.true_onset,
                    "offset": each.true_offset,
                    "reviewed_at": each.reviewed_at,
                }
                for each in self._decisions(row)
            ],
        }

    def overview_json(self) -> Json:
        """Return the classes with their counts, and what there is to filter by."""
        counts = self.queue.counts()
        known = {*self.queue.table.labels}
        names: set[str] = set()
        n_shared = n_agreed = 0
        for decisions in self.store.snapshot().values():
            names |= {each.reviewer for each in decisions}
            known |= {each.true_label for each in decisions if each.true_label}
            certain = [each.true_label for each in decisions if each.verdict != "unsure"]
            n_shared += len(certain) > 1
            n_agreed += len(certain) > 1 and len({*certain}) == 1
        return {
            "n_events": len(self.queue),
            "classes": [
                {"id": i, "label": to_utf8(label), "n": int(row.sum()), "open": int(row[OPEN]),
                 "right": int(row[RIGHT]), "unsure": int(row[UNSURE]),
                 "disagreed": int(row[DISAGREED])}
                for i, (label, row) in enumerate(
                    zip(self.queue.table.labels, counts, strict=True)
                )
                if row.any()
            ],
            "labels": sorted(map(to_utf8, known), key=str.casefold),
            "sites": [*map(to_utf8, self.queue.sites)],
            "days": [*self.queue.days],
            "reviewers": sorted(map(to_utf8, names)),
            "reviewer": self.reviewer,
            "agreement": {"shared": n_shared, "agreed": n_agreed},
        }  # fmt: skip

    def precision_json(self, label: str | None, wanted: float) -> Json:
        """Return the precision by score, and the thresholds for a wanted one, of a class or all."""
        table, states = self.queue.table, self.queue.states.copy()
        of_class = slice(None) if label is None else table.label == self.queue.label_number(label)
        score, states = table.score[of_class], states[of_class]
        reviewed = np.isin(states, DECIDED)
        right = states == RIGHT
        sure, estimated = thresholds_for(wanted, score, reviewed, right)
        return {
            "bins": [dataclasses.asdict(each) for each in precision_bins(score, reviewed, right)],
            "n_events": len(score),
            "sure": sure and dataclasses.asdict(sure),
            "estimated": estimated and dataclasses.asdict(estimated),
        }


def with_times(table: EventTable) -> EventTable:
    """Return events whose unknown times are those in the names of their recordings."""
    missing = np.isnat(table.local_time)
    if not missing.any():
        return table
    starts: list[datetime | None] = []
    for file in table.files:
        start = start_from_name(file)
        starts.append(start and start.replace(tzinfo=None))
    begin = np.array(starts, "datetime64[us]")[table.file]
    onset = np.rint(table.onset * 1e6).astype("timedelta64[us]")
    times = np.where(missing, begin + onset, table.local_time)
    return dataclasses.replace(table, local_time=times)
