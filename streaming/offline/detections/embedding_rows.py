"""Embed parts of a recording: cut its frames into rows, and pool each row into a vector."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from sed.errors import RecordingError, UsageError
from sed.events.timestamps import with_timestamps
from sed.events.tracker import Event
from sed.text import pluralize
from sed.timeline import Timeline, seconds_from_samples
from sed.types import Floats
from streaming.pipeline.decoder import Detection, FrameEmbeddings
from streaming.pipeline.pooling import Pool, check_statistics

HELD_SECONDS = 600.0  # frames that are kept for events that end


@dataclass(frozen=True)
class EmbeddingConfig:
    """Which parts of recordings are embedded, how, and where the vectors go.

    Attributes
    ----------
    store
        Folder of a store, see `sed.events.embedding_store`; if None, rows are in `JobProgress`
        instead.
    layer
        Layer of the network; see `sed.models.inference.layers`.
    pool
        Statistics over the frames of a part, see `streaming.pipeline.pooling`; if empty, the frames
        themselves, which no store takes.
    every_seconds
        Length of consecutive parts; a window of the model if None.
    clips
        The parts of each recording to embed, by the path of the recording, instead of consecutive
        ones.
    of_events
        Whether to embed the events that are detected, instead. Of an event that lasts longer than
        ten minutes, the last ten minutes count.
    """

    store: str | None = None
    layer: str = "features"
    pool: tuple[str, ...] = ("mean",)
    every_seconds: float | None = None
    clips: Mapping[str, tuple[Event, ...]] | None = None
    of_events: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if self.pool:
            check_statistics(self.pool)
        elif self.store is not None:
            raise UsageError("a store keeps one vector per part: name statistics to pool by")
        if self.every_seconds is not None and not 0 < self.every_seconds < math.inf:
            raise UsageError(f"expected a length of parts above 0 s, got {self.every_seconds:g}")
        if (self.every_seconds is not None) + (self.clips is not None) + self.of_events > 1:
            raise UsageError("embed one of: parts of equal length, clips, or events")

    @property
    def cut(self) -> str:
        """How recordings are cut into parts, in words."""
        if self.of_events:
            return "detected events"
        if self.clips is not None:
            return "clips"
        return "windows" if self.every_seconds is None else f"every {self.every_seconds:g} s"


class EmbeddingRow(NamedTuple):
    """A part of a recording, and its embedding."""

    event: Event  # where; its label and score are those of the clip or the event
    vector: Floats  # (statistics · features,), or the frames themselves, (frames, features)


class EmbeddingRows:
    """Takes the detections of a recording; returns the rows that they complete.

    A part has the frames whose middle lies in it; a part between two middles has the frame around
    its own middle.

    Parameters
    ----------
    config
        Which parts.
    timeline
        Grid of frames.
    window_seconds
        Length of the model's windows.
    path
        The recording.
    start
        When it began; rows then carry their time of day.
    """

    def __init__(
        self,
        config: EmbeddingConfig,
        timeline: Timeline,
        window_seconds: float,
        path: str,
        start: datetime | None = None,
    ) -> None:
        self._config = config
        self._timeline = timeline
        self._path = path
        self._start = start
        self._n_frames = 0  # so far
        self._half_frame = timeline.frame_seconds / 2
        self._last: FrameEmbeddings | None = None  # the last frame, not counted yet
        self._n_samples = 0
        self._end = math.inf  # of the recording in seconds, once it is known
        self._open: list[_OpenPart] = []
        self._held: deque[FrameEmbeddings] = deque()  # the last frames, for events
        self._n_held = 0
        if config.of_events:
            self._parts: Iterator[Event] = iter(())
        elif config.clips is not None:
            clips = sorted(config.clips.get(path, ()), key=lambda clip: clip.onset)
            self._parts = iter(clips)
        else:
            self._parts = _consecutive(config.every_seconds or window_seconds)
        self._next = next(self._parts, None)

    def push(self, detection: Detection) -> list[EmbeddingRow]:
        """Take the next detection; return the rows that are complete."""
        frames = detection.frame_embeddings
        assert frames is not None  # `open_store` has checked the engine
        self._n_samples = detection.n_samples
        if self._config.of_events:
            self._hold(frames)
            return [self._event_row(event) for event in detection.events]
        # The middle of the last frame may lie behind the end, so it waits until the end is known.
        if self._last is not None:
            frames = FrameEmbeddings.concat([self._last, frames])
        n_sure = max(0, len(frames.vectors) - 1)
        self._last = frames[n_sure:]
        return self._take(frames[:n_sure])

    def flush(self) -> list[EmbeddingRow]:
        """End the recording; return the rows that reach up to its end, or beyond."""
        self._end = seconds_from_samples(self._n_samples, self._timeline.sample_rate)
        rows = []
        if self._last is not None:
            n_before = self._n_frames
            is_inside = self._timeline.frame_time(n_before) < self._end - self._half_frame
            rows = self._take(self._last if is_inside or not n_before else self._last[:0])
            # A clip at the very end may have no middle of a frame: it takes the last frame.
            while self._config.clips and self._next and self._next.onset < self._end:
                self._open.append(self._opened(self._next, n_before, n_before + 1))
                self._open[-1].push(self._last, n_before)
                self._next = next(self._parts, None)
        rows += [self._row(part.event, part.pool) for part in sorted(self._open, key=_stop_of)]
        self._open = []
        return rows

    @property
    def failure(self) -> RecordingError | None:
        """What is wrong at the end of the recording: clips that start behind it."""
        if self._config.clips is None or self._next is None:
            return None
        left = [self._next, *self._parts]
        return RecordingError(
            self._path,
            f"{pluralize(len(left), 'clip')} of the table start behind its end at "
            f"{self._end:g} s, the first at {left[0].onset:g} s. Check the table.",
        )

    def _take(self, frames: FrameEmbeddings) -> list[EmbeddingRow]:
        """Take frames whose middle is in the recording; return the rows that they complete."""
        first, self._n_frames = self._n_frames, self._n_frames + len(frames.vectors)
        self._open_parts()
        for part in self._open:
            part.push(frames, first)
        complete = [part for part in self._open if part.stop <= self._n_frames]
        self._open = [part for part in self._open if part.stop > self._n_frames]
        # By their ends, whatever the number of frames that come at once.
        return [self._row(part.event, part.pool) for part in sorted(complete, key=_stop_of)]

    def _open_parts(self) -> None:
        """Start the parts that have a frame among those so far."""
        while self._next is not None:
            first, stop = frames_between(self._timeline, self._next.onset, self._next.offset)
            if first >= self._n_frames:
                return
            self._open.append(self._opened(self._next, first, stop))
            self._next = next(self._parts, None)

    def _opened(self, event: Event, first: int, stop: int) -> _OpenPart:
        pool = Pool(self._config.pool) if self._config.pool else _Frames()
        return _OpenPart(event, first, stop, pool)

    def _hold(self, frames: FrameEmbeddings) -> None:
        self._n_frames += len(frames.vectors)
        self._held.append(frames)
        self._n_held += len(frames.vectors)
        limit = self._timeline.frames_from_seconds(HELD_SECONDS)
        while self._n_held - len(self._held[0].vectors) >= limit:
            self._n_held -= len(self._held.popleft().vectors)

    def _event_row(self, event: Event) -> EmbeddingRow:
        at = self._n_frames - self._n_held
        first, stop = frames_between(self._timeline, event.onset, event.offset)
        # The last event may end behind the middle of the last frame.
        stop = max(at + 1, min(stop, self._n_frames))
        part = self._opened(event, min(max(first, at), stop - 1), stop)
        for frames in self._held:
            part.push(frames, at)
            at += len(frames.vectors)
        return self._row(event, part.pool)

    def _row(self, event: Event, pool: Pool | _Frames) -> EmbeddingRow:
        placed = dataclasses.replace(event, offset=min(event.offset, self._end), file=self._path)
        (timed,) = with_timestamps([placed], self._start)
        return EmbeddingRow(timed, pool.result())


def frames_between(timeline: Timeline, onset: float, offset: float) -> tuple[int, int]:
    """Return the first frame of a part of a recording, and the first one after it.

    Parameters
    ----------
    timeline
        Grid of frames.
    onset, offset
        The part, in seconds; its end may be infinite.
    """
    frame = timeline.frame_seconds
    # 1e-6 of a frame: times that were rounded to a microsecond are the same times.
    first = max(0, math.ceil(onset / frame - 0.5 - 1e-6))
    if math.isinf(offset):
        return first, 2**62
    stop = math.ceil(offset / frame - 0.5 - 1e-6)
    if stop <= first:
        first = max(0, math.floor((onset + offset) / 2 / frame))
        stop = first + 1
    return first, stop


class _OpenPart:
    """A part whose frames are not all there."""

    def __init__(self, event: Event, first: int, stop: int, pool: Pool | _Frames) -> None:
        self.event, self.stop, self.pool = event, stop, pool
        self._first = first

    def push(self, frames: FrameEmbeddings, at: int) -> None:
        """Take frames, of which the first has the number `at`."""
        chosen = slice(max(0, self._first - at), max(0, self.stop - at))
        self.pool.push(frames[chosen])


def _stop_of(part: _OpenPart) -> int:
    return part.stop


class _Frames:
    """Collects frames, in place of a `Pool`."""

    def __init__(self) -> None:
        self.n_frames = 0
        self._parts: list[Floats] = []

    def push(self, frames: FrameEmbeddings) -> None:
        self.n_frames += len(frames.vectors)
        self._parts.append(frames.vectors)

    def result(self) -> Floats:
        return np.concatenate(self._parts)


def _consecutive(seconds: float) -> Iterator[Event]:
    """Yield parts of equal length without end."""
    n = 0
    while True:
        yield Event(n * seconds, (n + 1) * seconds, "", 1.0)
        n += 1
