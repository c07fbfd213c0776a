"""A picture of a stream in bounded memory, however long the stream is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sed.audio.find import Recording
from sed.events.tracker import Event
from sed.types import Floats
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector


class Downsampler:
    """At most `most` rows that stand for all rows pushed, each for equally many of them.

    When the room is used up, pairs of rows become one, and each row stands for twice as many.

    Parameters
    ----------
    combine
        ``mean`` (of a spectrogram) or ``max`` (of probabilities, so that no peak is lost).
    most
        Rows to keep, even.
    """

    def __init__(self, combine: str, most: int = 4096) -> None:
        combinations: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max}
        self._combine = combinations[combine]
        self._most = most
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.rows_each = 1  # pushed rows that one kept row stands for
        self._kept: list[Floats] = []
        self._pending: Floats | None = None  # fewer than rows_each

    def push(self, rows: Floats) -> None:
        """Take rows, shape (n, values)."""
        if self._pending is not None:
            rows = np.concatenate([self._pending, rows])
        whole = len(rows) // self.rows_each * self.rows_each
        self._pending = rows[whole:].copy()
        if whole:
            self._kept.append(self._reduced(rows[:whole], self.rows_each))
        while sum(map(len, self._kept)) > self._most:
            kept = np.concatenate(self._kept)
            if len(kept) % 2:  # the odd one goes back to the pending rows, as copies of itself
                again = np.repeat(kept[-1:], self.rows_each, axis=0)
                self._pending = np.concatenate([again, self._pending])
                kept = kept[:-1]
            self._kept = [self._reduced(kept, 2)]
            self.rows_each *= 2

    def rows(self) -> Floats:
        """Return the rows kept, shape (rows, values); the last may stand for fewer."""
        rest = [] if self._pending is None or not len(self._pending) else [
            self._reduced(self._pending, len(self._pending))
        ]  # fmt: skip
        return np.concatenate(self._kept + rest) if self._kept or rest else np.empty((0, 0), "f4")

    def _reduced(self, rows: Floats, step: int) -> Floats:
        grouped = rows.reshape(-1, step, rows.shape[1])
        return np.asarray(self._combine(grouped, axis=1), np.float32)


MOST_EVENTS_DRAWN = 1_000


class Picture:
    """What `--plot` draws, gathered in bounded memory."""

    def __init__(self, detector: Detector, recording: Recording) -> None:
        self._detector = detector
        self._recording = recording
        self._columns = Downsampler("mean")
        self._probs = Downsampler("max")
        self._events: list[Event] = []  # the first ones; more could not be told apart anyway
        self._n_events = 0

    def take(self, detection: Detection) -> None:
        """Gather."""
        self._columns.push(detection.log_mel)
        self._probs.push(detection.frame_probs)
        self._n_events += len(detection.events)
        self._events += detection.events[: MOST_EVENTS_DRAWN - len(self._events)]

    def draw(self, path: Path) -> None:
        """Draw."""
        from sed.events.plots import (
            plot_detections,  # matplotlib takes its time: only when it is needed
        )

        timeline = self._detector.timeline
        if not len(self._probs.rows()):
            return
        plot_detections(
            path,
            title=os.path.basename(self._recording.path),
            columns=self._columns.rows(),
            column_seconds=self._columns.rows_each * timeline.hop_length / timeline.sample_rate,
            log_mel=self._detector.spec.log_mel,
            frame_probs=self._probs.rows(),
            frame_seconds=self._probs.rows_each * timeline.frame_seconds,
            labels=self._detector.labels,
            events=self._events,
            n_events=self._n_events,
        )
