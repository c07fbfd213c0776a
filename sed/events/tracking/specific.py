"""Report the most specific class of a sound only: a dog, and not also a pet and an animal.

::

    music   ______######################################______   on from here to there
    guitar  ______########____________________________________   reported
            ______________##############################______   and music, where guitar ended

    animal  __######__________________________________________   silent: dog is on
    dog     ____####__________________________________________   reported

The rule, for a class with descendants in the model:

- A moment (`HOLD_SECONDS`) after its event has become certain, and later if change detection finds
  events of its descendants, it is decided: if none of its descendants has been on since its start,
  or in the moment before, it is reported whole, whatever comes later. Else it is silent.
- A silent event that lasts `REST_SECONDS` longer than the last of its descendants is reported from
  there: sound that the more specific class does not explain.

An event is certain in the first frame in which it has reached its onset threshold and its minimum
duration. A descendant is on from the start of an event that is certain until nothing can extend it
any more. All of this is known in each frame from the frames up to it, so that it does not depend on
how the frames arrived.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from heapq import heappop, heappush

from sed.events.tracking.runs import TracedEvent

HOLD_SECONDS = 1.0
REST_SECONDS = 3.0
END = sys.maxsize  # as a number of frames: the recording has ended

# What happens in a frame, in this order.
_CERTAIN, _CHECK, _OVER = range(3)


class SpecificEvents:
    """Chooses the events that are reported, frame by frame, however the frames arrive.

    Parameters
    ----------
    ancestors
        Of each class the numbers of its ancestors.
    hold_frames, rest_frames
        The two durations of the rule in frames, the second of each class.
    wait_frames
        How much longer the decision waits, since change detection is certain of an event so much
        later.
    """

    def __init__(
        self,
        ancestors: Sequence[tuple[int, ...]],
        hold_frames: int,
        rest_frames: Sequence[int],
        wait_frames: int = 0,
    ) -> None:
        self.decision_frames = hold_frames + wait_frames  # after an event is certain
        self._hold_frames = hold_frames
        self._rest_frames = rest_frames
        self._ancestors = ancestors
        self._parents = {a for each in ancestors for a in each}
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        # Frame, what happens in it, class and start of the event, the event.
        self._queue: list[tuple[int, int, int, int, TracedEvent]] = []
        # Of each class with descendants: how many events of descendants are on, the frame until
        # which those that are over silence it, and where the last of them ended.
        self._n_on = dict.fromkeys(self._parents, 0)
        self._silent_until = dict.fromkeys(self._parents, -1)
        self._last_stop = dict.fromkeys(self._parents, 0)
        self._silent: dict[int, TracedEvent] = {}  # events of these classes that go on unreported
        self._started: list[TracedEvent] = []
        self._ended: list[TracedEvent] = []

    def push(
        self, live: Collection[TracedEvent], done: Collection[TracedEvent], n_frames: int
    ) -> tuple[list[TracedEvent], list[TracedEvent]]:
        """Take the events that go on and those that have ended since the last call.

        Parameters
        ----------
        live, done
            Events of all classes; `n_frames` is `END` if none goes on because the recording ended.
        n_frames
            Frames of the recording so far.

        Returns
        -------
        The events that are now certain to be reported, and the reported ones that are complete, in
        the order of the frames that decided it. They start at their `reported_from`.
        """
        for event in self._silent.values():
            self._schedule(event, 0)
        queue = self._queue
        for event in (*live, *done):
            if event.certain_at is not None and not event.is_started:
                event.is_started = True
                heappush(queue, (event.certain_at, _CERTAIN, event.c, event.start, event))
        for event in done:
            if event.is_started:
                heappush(queue, (event.decided_at, _OVER, event.c, event.start, event))
        while queue and queue[0][0] < n_frames:
            frame, what, _, _, event = heappop(queue)
            if what == _CERTAIN:
                self._begin(event, frame)
            elif what == _OVER:
                self._end(event, frame)
            else:
                self._check(event, frame)
        for event in live:
            event.known_stop = event.stop
            event.growth.clear()
        started, ended = self._started, self._ended
        self._started, self._ended = [], []
        return started, ended

    def _put_check(self, frame: int, event: TracedEvent) -> None:
        heappush(self._queue, (frame, _CHECK, event.c, event.start, event))

    def _begin(self, event: TracedEvent, frame: int) -> None:
        """Let an event that is certain silence its ancestors; report it if it is specific."""
        for a in self._ancestors[event.c]:
            self._n_on[a] += 1
        if event.c in self._parents:
            self._put_check(frame + self.decision_frames, event)
        else:
            self._report(event, event.start)

    def _check(self, event: TracedEvent, frame: int) -> None:
        """Decide if an event is reported, at its start or after its descendants."""
        c = event.c
        if event.reported_from >= 0 or (event.is_checked and event.is_over):
            return
        is_first, event.is_checked = not event.is_checked, True
        if is_first and not self._n_on[c] and self._silent_until[c] <= event.start:
            self._report(event, event.start)
        elif is_first and not event.is_over:
            self._silent[c] = event
            self._schedule(event, frame)
        elif not is_first and not self._n_on[c]:
            first = max(event.start, self._last_stop[c])
            reached = event.reaches(first + self._rest_frames[c])
            if reached is not None and reached <= frame:
                del self._silent[c]
                self._report(event, first)

    def _schedule(self, event: TracedEvent, frame: int) -> None:
        """Check a silent event where it has lasted long enough after its descendants."""
        first = max(event.start, self._last_stop[event.c])
        reached = event.reaches(first + self._rest_frames[event.c])
        if reached is not None and not self._n_on[event.c]:
            self._put_check(max(frame, reached), event)

    def _end(self, event: TracedEvent, frame: int) -> None:
        """End an event, and with it the silence of its ancestors."""
        until = max(event.decided_at, event.stop + self._hold_frames)
        for a in self._ancestors[event.c]:
            self._n_on[a] -= 1
            if until > self._silent_until[a]:
                self._silent_until[a] = until
            if event.stop > self._last_stop[a]:
                self._last_stop[a] = event.stop
            if a in self._silent:
                self._schedule(self._silent[a], frame)
        event.is_over = True
        if self._silent.get(event.c) is event:
            del self._silent[event.c]
        if event.reported_from >= 0:
            self._ended.append(event)

    def _report(self, event: TracedEvent, first: int) -> None:
        event.reported_from = first
        self._started.append(event)
        if event.is_over:
            self._ended.append(event)
