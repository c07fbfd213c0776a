"""Join parts between rises and falls to events, class by class; see `change_detection`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.events.tracking.runs import LiveEvent, TracedEvent
from sed.events.tracking.step_filter import QUIET, RISE, SCALE
from sed.types import Floats

Sums = Callable[[int], int]  # of the frames before a place


@dataclass(frozen=True)
class ChangeParameters:
    """Values of the classes, each of shape (classes,).

    Attributes
    ----------
    onsets, offsets
        Thresholds, float32.
    medians
        Lengths of the median filters, in frames.
    halves
        Half the length of the step filters, in frames, at least 1.
    absolute, relative
        Merge thresholds.
    is_max
        Whether the score is the maximum, and not the mean.
    min_frames, gap_frames
        Shortest event, and longest gap that is closed; -1 also keeps events apart that touch.
    """

    onsets: Floats
    offsets: Floats
    medians: NDArray[np.int64]
    halves: NDArray[np.int64]
    absolute: NDArray[np.float64]
    relative: NDArray[np.float64]
    is_max: NDArray[np.bool_]
    min_frames: Sequence[int]
    gap_frames: Sequence[int]


@dataclass(slots=True)
class _Part:
    """What lies after the last border."""

    start: int
    sum: int  # of the frames before it
    rose: bool  # whether the border is a rise
    belongs: bool = False  # whether it is part of the event, whatever follows
    peak: int = 0  # its maximum so far, if that is the score


@dataclass(slots=True)
class _Box:
    """An event with which a later part may be merged.

    Attributes
    ----------
    start, stop
        Its frames, as far as known.
    sum_start, sum_stop, sum_wait
        Sums of the frames before its start, its stop, and the end of the wait once that has passed.
    peak
        Highest score of its parts, if that is the score.
    live
        What is known outside, once its score has been decided to reach the threshold.
    is_decided
        Whether its mean is.
    """

    start: int
    stop: int
    sum_start: int
    sum_stop: int
    peak: int
    sum_wait: int | None = None
    live: Any = None
    is_decided: bool = False


@dataclass(slots=True)
class _Sound:
    """A class that is not quiet."""

    sum: int = 0  # of the frames so far
    now: int = 0  # the place up to which it is processed
    part: _Part | None = None
    box: _Box | None = None


class EventBoxes:
    """Follows the classes that are not quiet from border to border.

    Parameters
    ----------
    parameters
        Of the classes.
    numbers
        Of each of them its number among all classes, for the events.
    wait_frames
        The wait in frames.
    before
        Frames before a block, in the arrays that `follow` takes.
    traced
        Whether to note how events grow, for `sed.events.tracking.specific`.
    """

    def __init__(
        self,
        parameters: ChangeParameters,
        numbers: Sequence[int],
        wait_frames: int,
        before: int,
        *,
        traced: bool,
    ) -> None:
        self._values = parameters
        self._numbers = list(numbers)
        self._place = {number: c for c, number in enumerate(numbers)}
        self._wait, self._before = wait_frames, before
        self._absolute: list[float] = parameters.absolute.tolist()
        self._relative: list[float] = parameters.relative.tolist()
        self._is_max: list[bool] = parameters.is_max.tolist()
        self._halves: list[int] = parameters.halves.tolist()
        self._on: list[float] = parameters.onsets.tolist()
        self._traced = traced
        self._new_event: Callable[..., Any] = TracedEvent if traced else LiveEvent
        self.live: dict[int, Any] = {}  # events that are certain and may grow, by number
        self._sounds: dict[int, _Sound] = {}

    def is_quiet(self, c: int) -> bool:
        """Return whether nothing of a class has begun."""
        return c not in self._sounds

    def release(self, n: int, done: list[Any]) -> None:
        """End the events that nothing can extend any more, given what happens before `n`."""
        for c in [self._place[number] for number in self.live]:
            self._release(c, self._sounds.get(c), n, done)

    def finish(self, n: int) -> list[Any]:
        """End the recording of `n` frames; return the remaining events."""
        done: list[Any] = []
        for c, sound in self._sounds.items():
            self._finish(c, sound, n, done)
        for live in self.live.values():
            live.decided_at = n
        done += self.live.values()
        self._sounds, self.live = {}, {}
        return done

    def follow(
        self,
        c: int,
        points: list[tuple[int, int, int]],
        sums: NDArray[np.int64],
        values: NDArray[np.int64],
        start: int,
        stop: int,
        done: list[Any],
    ) -> None:
        """Follow a class through the places [start, stop).

        Parameters
        ----------
        c
            The class.
        points
            What happens where, see `Changes`.
        sums, values
            Of the frames of the block with those around it.
        start, stop
            Places of the block.
        done
            Gets the events that end.
        """
        sound = self._sounds.setdefault(c, _Sound(now=start))
        shift = self._before - start
        base = sound.sum - int(sums[self._before])

        def total(place: int) -> int:
            return base + int(sums[place + shift])

        def peak(until: int) -> None:
            part = sound.part
            if self._is_max[c] and part is not None and not part.belongs:
                highest = values[sound.now + shift : until + shift].max(initial=part.peak)
                part.peak = int(highest)
            sound.now = until

        for place, what, before in points:
            place += start
            self._wait_until(c, sound, place, total, peak, done)
            if self.live:
                self._release(c, sound, place, done)
            peak(place)
            if what == QUIET:
                self._go_on(c, sound, place, base + before)
                self._finish(c, sound, place, done)
                sound.part = None
            else:
                self._border(c, sound, place, base + before, done, rose=what == RISE)
        self._wait_until(c, sound, stop, total, peak, done)
        peak(stop)
        sound.sum = total(stop)
        if points and points[-1][1] == QUIET:
            del self._sounds[c]
        else:
            self._go_on(c, sound, stop, sound.sum)

    def _wait_until(
        self,
        c: int,
        sound: _Sound,
        place: int,
        total: Sums,
        peak: Callable[[int], None],
        done: list[Any],
    ) -> None:
        """Decide what has lasted for the wait before a place."""
        while True:
            box, part = sound.box, sound.part
            of_box = box.start + self._wait if box and box.sum_wait is None else place
            of_part = part.start + self._wait if part and not part.belongs else place
            now = min(of_box, of_part)
            if now >= place:
                return
            if of_box == now and box is not None:
                box.sum_wait = total(now)
                self._decide(c, box, now, done)
            elif part is not None:
                self._release(c, sound, now, done)
                peak(now)
                self._add(c, sound, part, now, total(now), done)
                part.belongs = True

    def _border(
        self, c: int, sound: _Sound, place: int, total: int, done: list[Any], *, rose: bool
    ) -> None:
        """End what lies before a border, and begin what lies after it."""
        part = sound.part
        if part is not None and part.belongs and sound.box is not None:
            self._extend(c, sound.box, place, total, place)
            self._decide(c, sound.box, place, done)
        elif part is not None and (part.rose or not rose):
            self._add(c, sound, part, place, total, done)
        sound.part = _Part(place, total, rose)
        if live := self.live.get(self._numbers[c]):
            live.decided_at = max(live.decided_at, place)

    def _add(
        self, c: int, sound: _Sound, part: _Part, stop: int, total: int, done: list[Any]
    ) -> None:
        """Merge a part with the event before it, or end that and begin another."""
        box = sound.box
        if box is not None:
            score = self._scaled(c, part.peak, total - part.sum, stop - part.start)
            before = self._score(c, box)
            low = min(score, before)
            if part.start > box.stop:
                low = (part.sum - box.sum_stop) / ((part.start - box.stop) * SCALE)
            high = max(score, before)
            if high - low <= max(self._absolute[c], self._relative[c] * high):
                box.peak = max(box.peak, part.peak)
                self._extend(c, box, stop, total, stop)
                self._decide(c, box, stop, done)
                return
            self._finish(c, sound, stop, done)
        sound.box = _Box(part.start, stop, part.sum, total, part.peak)

    def _go_on(self, c: int, sound: _Sound, place: int, total: int) -> None:
        """Let the event last that is known to go on; the last frames may turn out to be quiet."""
        part, box, stop = sound.part, sound.box, place - 2 * self._halves[c]
        if part is not None and part.belongs and box is not None and stop > box.stop:
            self._extend(c, box, stop, total, None)

    def _extend(self, c: int, box: _Box, stop: int, total: int, known_from: int | None) -> None:
        """Let an event last until `stop`, which is known from a place on, or has been before."""
        box.stop, box.sum_stop = stop, total
        if box.live is not None:
            box.live.stop = stop
            box.live.peak = max(box.live.peak, self._score(c, box))
            if self._traced:
                box.live.grow(known_from or 0, stop, self._values.min_frames[c])

    def _decide(
        self, c: int, box: _Box, now: int, done: list[Any], *, is_over: bool = False
    ) -> None:
        """Decide whether an event is one, as soon as its score is known."""
        if box.live is not None or (box.is_decided and not self._is_max[c]):
            return
        if not is_over and (box.sum_wait is None or box.stop < box.start + self._wait):
            return
        box.is_decided = True
        score = self._score(c, box)
        if score < self._on[c]:
            return
        number = self._numbers[c]
        live = self.live.get(number)
        if live is not None and box.start - live.stop > self._values.gap_frames[c]:
            done.append(self._end(c, live))
            live = None
        if live is None:
            live = self.live[number] = self._new_event(number, box.start, box.stop, score)
        else:
            live.stop, live.peak = box.stop, max(live.peak, score)
        box.live = live
        if self._traced:
            live.grow(now, box.stop, self._values.min_frames[c])

    def _finish(self, c: int, sound: _Sound, now: int, done: list[Any]) -> None:
        """End an event, with which nothing will be merged any more."""
        if sound.box is not None:
            self._decide(c, sound.box, now, done, is_over=True)
            sound.box = None
        if live := self.live.get(self._numbers[c]):
            live.decided_at = max(live.decided_at, now)

    def _release(self, c: int, sound: _Sound | None, n: int, done: list[Any]) -> None:
        """End what was certain, if nothing can come so soon after it that it would be merged."""
        live = self.live.get(self._numbers[c])
        if live is None:
            return
        last = live.stop + self._values.gap_frames[c]
        box, part = (None, None) if sound is None else (sound.box, sound.part)
        if n <= last or (box is not None and (box.live is live or box.start <= last)):
            return
        if part is None or part.start > last:
            done.append(self._end(c, live))

    def _end(self, c: int, live: Any) -> Any:
        del self.live[self._numbers[c]]
        live.decided_at = max(live.decided_at, live.stop + self._values.gap_frames[c])
        return live

    def _score(self, c: int, box: _Box) -> float:
        n = box.stop - box.start
        if n > self._wait and box.sum_wait is not None:
            return self._scaled(c, box.peak, box.sum_wait - box.sum_start, self._wait)
        return self._scaled(c, box.peak, box.sum_stop - box.sum_start, n)

    def _scaled(self, c: int, peak: int, total: int, n: int) -> float:
        return peak / SCALE if self._is_max[c] else total / (n * SCALE)
