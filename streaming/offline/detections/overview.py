"""Summarise a stream of any length in bounded memory, and plot it."""

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

MAX_EVENTS_DRAWN = 1_000  # more could not be distinguished in a plot


class _Downsampler:
    """Reduces any number of rows to at most `max_rows`, each of equally many rows pushed.

    When there are more, pairs of rows are combined, and each row covers twice as many.

    Parameters
    ----------
    combine
        ``mean`` (of a spectrogram) or ``max`` (of probabilities, so that no peak is lost).
    max_rows
        Rows to keep; even.
    """

    def __init__(self, combine: str, max_rows: int = 4096) -> None:
        combinations: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max}
        self._combine = combinations[combine]
        self._max_rows = max_rows
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self.rows_each = 1  # pushed rows that a kept row covers
        self._kept: list[Floats] = []
        self._pending: Floats | None = None  # fewer than rows_each

    def push(self, rows: Floats) -> None:
        """Add rows, shape (rows, values)."""
        if self._pending is not None:
            rows = np.concatenate([self._pending, rows])
        whole = len(rows) // self.rows_each * self.rows_each
        self._pending = rows[whole:].copy()
        if whole:
            self._kept.append(self._reduced(rows[:whole], self.rows_each))
        while sum(map(len, self._kept)) > self._max_rows:
            kept = np.concatenate(self._kept)
            if len(kept) % 2:
                # The odd one goes back to the pending rows, as copies of itself.
                again = np.repeat(kept[-1:], self.rows_each, axis=0)
                self._pending = np.concatenate([again, self._pending])
                kept = kept[:-1]
            self._kept = [self._reduced(kept, 2)]
            self.rows_each *= 2

    def rows(self) -> Floats:
        """Return the rows, shape (rows, values); the last one may cover fewer."""
        rest = [] if self._pending is None or not len(self._pending) else [
            self._reduced(self._pending, len(self._pending))
        ]  # fmt: skip
        return np.concatenate(self._kept + rest) if self._kept or rest else np.empty((0, 0), "f4")

    def _reduced(self, rows: Floats, step: int) -> Floats:
        grouped = rows.reshape(-1, step, rows.shape[1])
        return np.asarray(self._combine(grouped, axis=1), np.float32)


class DetectionPlot:
    """Collects the detections of a recording in bounded memory, and plots them.

    Parameters
    ----------
    detector
        Gives the labels, and the time scale of spectrogram and frames.
    recording
        Gives the title.
    """

    def __init__(self, detector: Detector, recording: Recording) -> None:
        self._detector = detector
        self._recording = recording
        self._log_mel = _Downsampler("mean")
        self._probs = _Downsampler("max")
        self._events: list[Event] = []  # the first ones
        self._n_events = 0

    def add(self, detection: Detection) -> None:
        """Add the next detection of the recording."""
        self._log_mel.push(self._detector.shown(detection.log_mel))
        self._probs.push(detection.frame_probs)
        self._n_events += len(detection.events)
        self._events += detection.events[: MAX_EVENTS_DRAWN - len(self._events)]

    def draw(self, path: Path) -> None:
        """Write the plot as PNG; nothing if there are no frames.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        # Importing matplotlib is slow.
        from sed.events.plots import plot_detections

        timeline = self._detector.timeline
        if not len(self._probs.rows()):
            return
        plot_detections(
            path,
            title=os.path.basename(self._recording.path),
            log_mel=self._log_mel.rows(),
            column_seconds=self._log_mel.rows_each * timeline.hop_length / timeline.sample_rate,
            config=self._detector.spec.spectrogram,
            frame_probs=self._probs.rows(),
            frame_seconds=self._probs.rows_each * timeline.frame_seconds,
            labels=self._detector.labels,
            events=self._events,
            n_events=self._n_events,
        )
