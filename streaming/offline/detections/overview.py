"""Summarise a stream of any length in bounded memory, and plot it: as a whole, and in pages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sed.events.tracker import Event
from sed.types import Floats
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector

MAX_EVENTS_DRAWN = 1_000  # more could not be distinguished in a plot
PAGE_SECONDS = 600.0
MIN_PAGES = 1.5  # a recording up to so many pages is one picture
MAX_PAGES = 72  # twelve hours; what follows is in the picture of the whole


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


@dataclass(frozen=True)
class PlotConfig:
    """What a picture shows besides the detections.

    Attributes
    ----------
    title
        Name of the recording, with its site.
    start
        When the recording began; None if that is unknown.
    sample_rate
        Of the recording, in Hz; None if that is unknown.
    pages
        Folder for pages of a long recording; there are none if None.
    """

    title: str
    start: datetime | None = None
    sample_rate: int | None = None
    pages: Path | None = None


class _Part:
    """Collects the detections of a part of a recording in bounded memory."""

    def __init__(self) -> None:
        self.log_mel = _Downsampler("mean")
        self.probs = _Downsampler("max")
        self.events: list[Event] = []  # the first ones
        self.n_events = 0

    def add(self, event: Event) -> None:
        """Add an event."""
        self.n_events += 1
        if len(self.events) < MAX_EVENTS_DRAWN:
            self.events.append(event)


class DetectionPlot:
    """Collects the detections of a recording in bounded memory, and plots them.

    A recording that lasts longer than a picture can show in detail gets pages besides. A page is
    drawn when the next one is complete, so that few events still go on; these are drawn to its end.

    Parameters
    ----------
    detector
        Gives the labels, and the time scale of spectrogram and frames.
    config
        What is shown besides.
    """

    def __init__(self, detector: Detector, config: PlotConfig) -> None:
        self._detector = detector
        self._config = config
        timeline = detector.timeline
        frames = round(PAGE_SECONDS / timeline.frame_seconds)
        # A page is a whole number of frames, and a frame is one of columns.
        self._page_columns = frames * timeline.frame_columns
        self._page_frames = frames
        self._page_seconds = frames * timeline.frame_seconds
        self._whole = _Part()
        self._pages: dict[int, _Part] = {}  # that are not drawn yet, by their numbers from 0
        self._started: dict[tuple[str, float], Event] = {}  # events that go on
        self._n_columns = self._n_frames = self._n_drawn = 0

    def add(self, detection: Detection) -> None:
        """Add the next detection of the recording.

        Raises
        ------
        OutputError
            If a page cannot be written.
        """
        log_mel = self._detector.shown(detection.log_mel)
        self._whole.log_mel.push(log_mel)
        self._whole.probs.push(detection.frame_probs)
        for event in detection.events:
            self._whole.add(event)
        if self._config.pages is None:
            return
        for page, rows in _by_page(log_mel, self._n_columns, self._page_columns):
            self._page(page).log_mel.push(rows)
        for page, rows in _by_page(detection.frame_probs, self._n_frames, self._page_frames):
            self._page(page).probs.push(rows)
        self._n_columns += len(log_mel)
        self._n_frames += len(detection.frame_probs)
        self._add_to_pages(detection)
        # Both have to be there: frames lag behind columns.
        n_complete = min(self._n_columns // self._page_columns, self._n_frames // self._page_frames)
        while self._n_drawn + 1 < n_complete:
            self._draw_page()

    def draw(self, path: Path) -> None:
        """Write the plot of the whole as PNG, and the last pages; nothing if there are no frames.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        if not self._n_drawn and self._n_frames <= MIN_PAGES * self._page_frames:
            self._pages.clear()
        while self._pages:
            self._draw_page()
        if self._config.pages is not None:
            self._remove_others(self._config.pages)
        self._plot(path, self._whole)

    def _page(self, number: int) -> _Part:
        # Beyond the last page parts are made and dropped.
        return self._pages.setdefault(number, _Part()) if number < MAX_PAGES else _Part()

    def _add_to_pages(self, detection: Detection) -> None:
        for event in detection.started:
            self._started[event.label, event.onset] = event
        for event in detection.events:
            self._started.pop((event.label, event.onset), None)
            after = math.ceil(event.offset / self._page_seconds)
            for number in range(int(event.onset // self._page_seconds), after):
                if number in self._pages:
                    self._pages[number].add(event)

    def _draw_page(self) -> None:
        number, part = self._n_drawn, self._pages.pop(self._n_drawn, None)
        self._n_drawn += 1
        if part is None or self._config.pages is None:
            return
        first = number * self._page_seconds
        end = first + self._page_seconds
        for event in self._started.values():
            if event.onset < end:
                part.add(dataclasses.replace(event, offset=end))
        self._plot(self._config.pages / f"{number + 1:02}.png", part, first, number + 1)

    def _remove_others(self, folder: Path) -> None:
        """Remove pages that an earlier, longer recording of this name left."""
        for path in folder.glob("[0-9][0-9].png"):
            if int(path.stem) > min(self._n_drawn, MAX_PAGES):
                path.unlink(missing_ok=True)

    def _plot(
        self, path: Path, part: _Part, first_seconds: float = 0.0, page: int | None = None
    ) -> None:
        # Importing matplotlib is slow.
        from sed.events.plots import plot_detections

        timeline = self._detector.timeline
        if not len(part.probs.rows()) or not len(part.log_mel.rows()):
            return
        plot_detections(
            path,
            title=self._config.title,
            log_mel=part.log_mel.rows(),
            column_seconds=part.log_mel.rows_each * timeline.hop_length / timeline.sample_rate,
            config=self._detector.spec.spectrogram,
            frame_probs=part.probs.rows(),
            frame_seconds=part.probs.rows_each * timeline.frame_seconds,
            labels=self._detector.labels,
            events=part.events,
            n_events=part.n_events,
            thresholds=self._detector.decoder.onset_thresholds,
            first_seconds=first_seconds,
            start=self._config.start,
            sample_rate=self._config.sample_rate,
            page=page,
        )


def _by_page(rows: Floats, n_before: int, n_each: int) -> Iterator[tuple[int, Floats]]:
    """Yield the pages that rows belong to, with their rows."""
    first = 0
    while first < len(rows):
        page, used = divmod(n_before + first, n_each)
        stop = min(len(rows), first + n_each - used)
        yield page, rows[first:stop]
        first = stop
