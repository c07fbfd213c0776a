"""Buffer captured audio between an input and the model, and account for every sample.

::

    device ─ push ─▶ | chunk | chunk | chunk | ─ pop ─▶ listener    delivered = processed + dropped
                       ▲ full: whole hops are dropped here, oldest first           + waiting

Positions count the samples of the input from the first one, lost ones included, so times stay true
across gaps.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sed.types import Floats
from streaming.live.clock import SuspendClock, elapsed_seconds
from streaming.messages import Problem

TOO_SLOW = "the model was too slow: raise --hop or --threads, or choose a smaller model"
OVERFLOW = "the driver lost samples before they were read, and does not say how many"
SUSPENDED = "the machine was suspended"
OVERFLOW_REPORT_SECONDS = 1.0  # further overflows within this time are only counted


@dataclass(frozen=True)
class AudioChunk:
    """Audio that was captured."""

    start: int  # position of its first sample
    block: Floats  # (samples, channels)
    arrived: float  # when its last sample arrived, in seconds of `elapsed_seconds`

    @property
    def stop(self) -> int:
        """The position after its last sample."""
        return self.start + len(self.block)


@dataclass(frozen=True)
class SampleGap:
    """Audio that was lost."""

    start: int  # position of the first lost sample
    n_samples: int  # 0 if the number is unknown
    reason: str

    @property
    def stop(self) -> int:
        """The position after the last lost sample."""
        return self.start + self.n_samples


@dataclass(frozen=True)
class Disconnect:
    """The input is gone: events that still last end here."""


CaptureItem = AudioChunk | SampleGap | Disconnect | Problem


class CaptureBuffer:
    """Takes what an input delivers, keeps a few seconds of it, and returns it in order.

    An input calls `push`, `missed`, `overflow`, `disconnected`, `reconnected`, `notify`, `fail` and
    `end`; a listener calls `pop`. Each method may be called from any thread.

    Parameters
    ----------
    hop_length
        Audio is dropped in multiples of this number of samples.
    capacity_samples
        Samples that may wait, at least two hops. When more wait, half of the capacity is dropped at
        once: a model that is too slow then processes long stretches between long gaps, in which
        events can be detected, instead of every other hop, in which they cannot.
    wake
        Notified when there is something to pop.
    sample_rate
        Of the input, in Hz.

    Attributes
    ----------
    is_live
        Whether sound is lost while the machine is suspended; that of a file goes on afterwards.
    """

    def __init__(
        self,
        *,
        hop_length: int,
        capacity_samples: int,
        wake: threading.Condition,
        sample_rate: int,
    ) -> None:
        self.state = "listening"  # or lost, or ended
        self.failure = ""  # why it ended before its end
        self.n_delivered = self.n_processed = self.n_dropped = self.n_waiting = 0  # samples
        self.n_missing = 0  # samples that were never delivered
        self.n_overflows = self.n_gaps = 0
        self.is_live = True
        self._sample_rate, self._suspend_clock = sample_rate, SuspendClock()
        self._hop_length = hop_length
        self._capacity = max(2 * hop_length, capacity_samples)
        self._wake = wake
        self._items: deque[CaptureItem] = deque()
        self._position = 0  # after the last sample that was delivered or lost
        self._overflow_reported = -OVERFLOW_REPORT_SECONDS

    def push(self, block: Floats) -> None:
        """Take a captured block, shape (samples, channels), without a copy; never blocks."""
        with self._wake:
            suspended_seconds = self._suspend_clock.step()
            if suspended_seconds and self.is_live:
                n_missing = round(suspended_seconds * self._sample_rate)
                self.n_missing += n_missing
                self._add_gap(n_missing, SUSPENDED)
            self._items.append(AudioChunk(self._position, block, elapsed_seconds()))
            self._position += len(block)
            self.n_delivered += len(block)
            self.n_waiting += len(block)
            while self.n_waiting > self._capacity:
                self._drop()
            self._wake.notify_all()

    def wait_for_room(self, n_samples: int, stop: threading.Event) -> None:
        """Block until this many samples fit without loss, or `stop` is set."""
        with self._wake:
            while (
                self.n_waiting and self.n_waiting + n_samples > self._capacity and not stop.is_set()
            ):
                self._wake.wait(0.1)

    def overflow(self) -> None:
        """Record that the driver lost samples before the next block."""
        with self._wake:
            self.n_overflows += 1
            if time.monotonic() - self._overflow_reported >= OVERFLOW_REPORT_SECONDS:
                self._overflow_reported = time.monotonic()
                self._add_gap(0, OVERFLOW)

    def disconnected(self, text: str) -> None:
        """Record that the input is gone; `text` says so to people."""
        with self._wake:
            self.state = "lost"
            self._items += [Disconnect(), Problem(text)]
            self._wake.notify_all()

    def reconnected(self, n_missing: int, reason: str, text: str = "") -> None:
        """Record that the input is back, and how many samples were missed in between."""
        with self._wake:
            self.state = "listening"
            self.n_missing += n_missing
            self._add_gap(n_missing, reason)
            self._items += [Problem(text)] * bool(text)
            self._wake.notify_all()

    def missed(self, n_samples: int, reason: str) -> None:
        """Record that samples are missing before the next block, of an input that is connected."""
        with self._wake:
            self.n_missing += n_samples
            self._add_gap(n_samples, reason)
            self._wake.notify_all()

    def lose(self, n_samples: int) -> None:
        """Record that the last samples that were popped could not be processed."""
        with self._wake:
            self.n_processed -= n_samples
            self.n_dropped += n_samples
            self.n_gaps += 1

    def notify(self, text: str) -> None:
        """Pass on a message for people."""
        with self._wake:
            self._items.append(Problem(text))
            self._wake.notify_all()

    def fail(self, text: str) -> None:
        """Record that the input has ended because it failed; `text` says so to people."""
        with self._wake:
            self.state, self.failure = "ended", text
            self._items.append(Problem(text))
            self._wake.notify_all()

    def end(self) -> None:
        """Record that the input has ended."""
        with self._wake:
            self.state = "ended"
            self._wake.notify_all()

    @property
    def has_items(self) -> bool:
        """Whether `pop` has something to return."""
        return bool(self._items)

    @property
    def is_done(self) -> bool:
        """Whether the input has ended and everything was popped."""
        return self.state == "ended" and not self._items

    def pop(self, max_samples: int) -> CaptureItem | None:
        """Return the next item; consecutive chunks are joined up to `max_samples` samples."""
        with self._wake:
            if not self._items:
                return None
            if not isinstance(self._items[0], AudioChunk):
                item = self._items.popleft()
                self.n_gaps += isinstance(item, SampleGap)
                return item
            chunks: list[AudioChunk] = []
            room = max_samples
            while room and self._items and isinstance(chunk := self._items[0], AudioChunk):
                self._items.popleft()
                if len(chunk.block) > room:
                    chunk, rest = _split(chunk, room)
                    self._items.appendleft(rest)
                chunks.append(chunk)
                room -= len(chunk.block)
            self.n_waiting -= max_samples - room
            self.n_processed += max_samples - room
            self._wake.notify_all()
        block = np.concatenate([chunk.block for chunk in chunks])
        return AudioChunk(chunks[0].start, block, chunks[-1].arrived)

    def _add_gap(self, n_samples: int, reason: str) -> None:
        self._items.append(SampleGap(self._position, n_samples, reason))
        self._position += n_samples

    def _drop(self) -> None:
        """Drop half of the capacity, in whole hops, of what has waited longest."""
        n_left = self._capacity // 2 // self._hop_length * self._hop_length
        self.n_dropped += n_left
        self.n_waiting -= n_left
        passed: list[CaptureItem] = []
        while n_left:
            item = self._items.popleft()
            if not isinstance(item, AudioChunk):
                passed.append(item)
                continue
            if len(item.block) > n_left:
                item, rest = _split(item, n_left)
                self._items.appendleft(rest)
            n_left -= len(item.block)
            passed.append(SampleGap(item.start, len(item.block), TOO_SLOW))
        self._items.extendleft(reversed(_merge_gaps(passed)))


def _split(chunk: AudioChunk, n: int) -> tuple[AudioChunk, AudioChunk]:
    first = AudioChunk(chunk.start, chunk.block[:n], chunk.arrived)
    return first, AudioChunk(chunk.start + n, chunk.block[n:], chunk.arrived)


def _merge_gaps(items: Iterable[CaptureItem]) -> list[CaptureItem]:
    """Join adjacent gaps that have the same reason."""
    merged: list[CaptureItem] = []
    for item in items:
        last = merged[-1] if merged else None
        if (
            isinstance(item, SampleGap)
            and isinstance(last, SampleGap)
            and (last.stop, last.reason) == (item.start, item.reason)
        ):
            merged[-1] = SampleGap(last.start, last.n_samples + item.n_samples, last.reason)
        else:
            merged.append(item)
    return merged
