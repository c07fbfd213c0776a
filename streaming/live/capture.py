"""The bounded ring between what delivers sound and what hears it, and its account of every sample.

::

    device ─ push ─▶ | piece | piece | piece | ─ take ─▶ listener       delivered = heard + dropped
                       ▲ full: whole hops are dropped here, oldest first            + waiting

Positions count the samples of the input from the first one, lost ones included, so times stay true
across whatever is lost.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sed.types import Floats

TOO_SLOW = "the model was too slow: raise --hop or --threads, or choose a smaller model"
OVERFLOW = "the driver lost samples before we could have them, and does not say how many"
OVERFLOW_TOLD_SECONDS = 1.0  # further ones within this time are only counted


@dataclass(frozen=True)
class Piece:
    """Sound that arrived."""

    start: int  # position of its first sample
    block: Floats  # (samples, channels)
    arrived: float  # of the monotonic clock, when its last sample was here

    @property
    def stop(self) -> int:
        """The position behind its last sample."""
        return self.start + len(self.block)


@dataclass(frozen=True)
class Hole:
    """Sound that was lost."""

    start: int
    n_samples: int  # 0 if nobody knows
    reason: str

    @property
    def stop(self) -> int:
        """The position behind it."""
        return self.start + self.n_samples


@dataclass(frozen=True)
class Break:
    """The input is gone for now: what was begun ends here."""


@dataclass(frozen=True)
class Note:
    """Something to tell people, in its place between the sounds."""

    text: str


Item = Piece | Hole | Break | Note


class CaptureBuffer:
    """Takes what an input delivers, keeps a few seconds of it, and gives it out in order.

    Parameters
    ----------
    hop_length
        Sound is dropped in multiples of this.
    capacity_samples
        What may wait, at least two hops. When more does, half of it is dropped at once: a model
        that is too slow then hears long stretches between long gaps, of which it can make sense,
        instead of every other hop, of which it cannot.
    wake
        Notified when there is something to take.
    """

    def __init__(
        self,
        *,
        hop_length: int,
        capacity_samples: int,
        wake: threading.Condition,
    ) -> None:
        self.state = "listening"  # or lost, or ended
        self.n_delivered = self.n_processed = self.n_dropped = self.n_waiting = 0
        self.n_missing = self.n_overflows = self.n_gaps = 0
        self._hop_samples = hop_length
        self._capacity = max(2 * hop_length, capacity_samples)
        self._wake = wake
        self._items: deque[Item] = deque()
        self._position = 0  # behind the last sample that was delivered or lost
        self._overflow_told = -OVERFLOW_TOLD_SECONDS

    def push(self, block: Floats) -> None:
        """Take a block that arrived, shape (samples, channels), for good; never waits."""
        with self._wake:
            self._items.append(Piece(self._position, block, time.monotonic()))
            self._position += len(block)
            self.n_delivered += len(block)
            self.n_waiting += len(block)
            while self.n_waiting > self._capacity:
                self._drop()
            self._wake.notify_all()

    def wait_for_room(self, n_samples: int, stop: threading.Event) -> None:
        """Wait until so many samples may be pushed without loss, or `stop` is set."""
        with self._wake:
            while (
                self.n_waiting and self.n_waiting + n_samples > self._capacity and not stop.is_set()
            ):
                self._wake.wait(0.1)

    def overflowed(self) -> None:
        """Note that the driver lost samples before the next block."""
        with self._wake:
            self.n_overflows += 1
            if time.monotonic() - self._overflow_told >= OVERFLOW_TOLD_SECONDS:
                self._overflow_told = time.monotonic()
                self._lose(0, OVERFLOW)

    def lost(self, text: str) -> None:
        """Note that the input is gone."""
        with self._wake:
            self.state = "lost"
            self._items += [Break(), Note(text)]
            self._wake.notify_all()

    def found(self, n_missing: int, reason: str, text: str = "") -> None:
        """Note that the input is there again, and how many samples were missed meanwhile."""
        with self._wake:
            self.state = "listening"
            self.n_missing += n_missing
            self._lose(n_missing, reason)
            self._items += [Note(text)] * bool(text)
            self._wake.notify_all()

    def tell(self, text: str) -> None:
        """Pass on something for people."""
        with self._wake:
            self._items.append(Note(text))
            self._wake.notify_all()

    def end(self) -> None:
        """Note that nothing comes any more."""
        with self._wake:
            self.state = "ended"
            self._wake.notify_all()

    @property
    def has_items(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._items)

    @property
    def is_done(self) -> bool:
        """Whether all is given out and nothing comes any more."""
        return self.state == "ended" and not self._items

    def take(self, most: int) -> Item | None:
        """Return what comes next, of sound that hangs together at most so many samples."""
        with self._wake:
            if not self._items:
                return None
            if not isinstance(self._items[0], Piece):
                item = self._items.popleft()
                self.n_gaps += isinstance(item, Hole)
                return item
            pieces: list[Piece] = []
            room = most
            while room and self._items and isinstance(piece := self._items[0], Piece):
                self._items.popleft()
                if len(piece.block) > room:
                    piece, rest = _split(piece, room)
                    self._items.appendleft(rest)
                pieces.append(piece)
                room -= len(piece.block)
            self.n_waiting -= most - room
            self.n_processed += most - room
            self._wake.notify_all()
        block = np.concatenate([piece.block for piece in pieces])
        return Piece(pieces[0].start, block, pieces[-1].arrived)

    def _lose(self, n_samples: int, reason: str) -> None:
        self._items.append(Hole(self._position, n_samples, reason))
        self._position += n_samples

    def _drop(self) -> None:
        """Drop whole hops, half of what may wait, of what has waited longest."""
        missing = self._capacity // 2 // self._hop_samples * self._hop_samples
        self.n_dropped += missing
        self.n_waiting -= missing
        passed: list[Item] = []
        while missing:
            item = self._items.popleft()
            if not isinstance(item, Piece):
                passed.append(item)
                continue
            if len(item.block) > missing:
                item, rest = _split(item, missing)
                self._items.appendleft(rest)
            missing -= len(item.block)
            passed.append(Hole(item.start, len(item.block), TOO_SLOW))
        self._items.extendleft(reversed(_merged(passed)))


def _split(piece: Piece, n: int) -> tuple[Piece, Piece]:
    first = Piece(piece.start, piece.block[:n], piece.arrived)
    return first, Piece(piece.start + n, piece.block[n:], piece.arrived)


def _merged(items: Iterable[Item]) -> list[Item]:
    """Join holes that lie side by side for one reason."""
    merged: list[Item] = []
    for item in items:
        last = merged[-1] if merged else None
        if (
            isinstance(item, Hole)
            and isinstance(last, Hole)
            and (last.stop, last.reason) == (item.start, item.reason)
        ):
            merged[-1] = Hole(last.start, last.n_samples + item.n_samples, last.reason)
        else:
            merged.append(item)
    return merged
