"""Define the messages of live sound, and pass each to every sink.

::

    Listener ─ AudioBlock, EventStarted, EventEnded, Gap, Problem, Status ─▶ Dispatcher ─▶ sinks
                                                                                 ▲          │
                                                                                 └──────────┘
                                                            ClipSaved, RuleMatched, Problem

Times are seconds since listening started, on the clock of the samples. The `Event` of a message
also has the time of day of its onset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from sed.events.tracker import Event
from sed.text import pluralize
from sed.timeline import shifted
from sed.types import Floats

CLIPPED = 1.0 - 2.0**-15  # the largest sample of 16 bits


@dataclass(frozen=True)
class AudioBlock:
    """Audio that was processed, and the results that it completed; a few dozen per second."""

    source: str  # name of the input, as in `Event.file`
    start: int  # samples of the input before this block, lost ones included
    block: Floats  # (samples, channels), as captured
    sample_rate: int  # of the block, in Hz
    log_mel: Floats  # (columns, mels), the next columns; often none
    frame_probs: Floats  # (frames, classes), the next frames; often none

    @property
    def peak(self) -> float:
        """The largest absolute sample; full scale is 1."""
        return float(np.abs(self.block).max(initial=0.0))

    @property
    def rms(self) -> float:
        """The root mean square of all samples; full scale is 1."""
        return float(np.sqrt(np.mean(np.square(self.block)))) if self.block.size else 0.0


@dataclass(frozen=True)
class EventStarted:
    """An event has started and still lasts; its score may rise until it ends."""

    event: Event


@dataclass(frozen=True)
class EventEnded:
    """An event is complete; onset, label and file are those of its `EventStarted`."""

    event: Event


@dataclass(frozen=True)
class ClipSaved:
    """The clip of an event was saved, or failed to be; one for each `EventEnded`."""

    event: Event
    path: str | None  # None if it could not be saved; a `Problem` gives the reason


@dataclass(frozen=True)
class ClipMoved:
    """A saved clip has another name, as the time of its event was corrected."""

    path: str
    new_path: str


@dataclass(frozen=True)
class ClockStepped:
    """The clock of the system was set; messages before have the times of the clock before.

    Events that still last are ended with corrected times.
    """

    seconds: float  # by which it is later now


@dataclass(frozen=True)
class RuleMatched:
    """A rule for alerts has passed an event on; see `streaming.live.rules`."""

    rule: str  # its name
    label: str
    source: str
    start: float  # of the event, seconds since 1970
    stop: float  # when it was decided: at the end of the event, or at its onset


@dataclass(frozen=True)
class Gap:
    """Sound that was lost. No event extends across it, and times after it are still right.

    If the number of samples is unknown, neither holds: the gap has no length, and only the time of
    day of later events is corrected.
    """

    source: str
    onset: float  # seconds
    offset: float  # seconds
    n_samples: int  # at the rate of the input; 0 if the driver does not say how many it lost
    reason: str
    time: datetime  # of the onset, with its time zone


@dataclass(frozen=True)
class Problem:
    """Something fails, or works again; listening continues."""

    text: str


@dataclass(frozen=True)
class InputStatus:
    """State and sample counts of an input: delivered = processed + dropped + waiting."""

    name: str
    state: str  # listening, lost or ended
    sample_rate: int  # Hz
    n_channels: int
    n_delivered: int  # samples per channel that the input delivered
    n_processed: int  # of them, those that the model has processed
    n_dropped: int  # of them, those dropped because the model was too slow
    n_waiting: int  # of them, those in the buffer
    n_missing: int  # samples that were not delivered while the input was disconnected
    n_overflows: int  # times that the driver reported lost samples, of unknown number
    n_gaps: int


@dataclass(frozen=True)
class Status:
    """State of all inputs and of the model; sent about twice per second."""

    uptime_seconds: float
    real_time_factor: float  # seconds of work per second of sound, recently; below 1 keeps up
    latency_seconds: float  # from the arrival of a window's last sample to the model's output
    n_events: int
    sources: tuple[InputStatus, ...]

    @property
    def n_lost(self) -> int:
        """Samples lost in all inputs, dropped or missing."""
        return sum(source.n_dropped + source.n_missing for source in self.sources)


Message = (
    AudioBlock
    | EventStarted
    | EventEnded
    | ClipSaved
    | ClipMoved
    | RuleMatched
    | ClockStepped
    | Gap
    | Problem
    | Status
)


def with_shifted_time(event: Event, seconds: float) -> Event:
    """Return an event some seconds later in time; its onset is the same."""
    return replace(event, time=event.time and shifted(event.time, seconds))


class Sink(Protocol):
    """Handles messages. Listening waits until it returns, so it must be quick."""

    def handle(self, message: Message) -> Sequence[Message]:
        """Handle a message; return messages for all sinks."""
        ...

    def close(self) -> Sequence[Message]:
        """Finish pending work; return messages for the sinks that are still open."""
        ...


class Dispatcher:
    """Passes each message to every sink, and also the messages that sinks return.

    A sink that raises is tried again with the next message, for a fault may pass. Each kind of
    error is reported once, and once that the sink works again and how many messages it missed.

    Parameters
    ----------
    sinks
        In the order in which they handle a message: files come before the views that show it.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = [WatchedSink(sink) for sink in sinks]

    def add(self, sink: Sink) -> None:
        """Add a sink for the messages to come."""
        self._sinks.append(WatchedSink(sink))

    def replace(self, old: Sink, create: Callable[[], Sink]) -> Sink:
        """Close a sink and put another one, which is created then, in its place; return it.

        If it cannot be created, the error is raised, and nothing is in that place.
        """
        place = next(i for i, watched in enumerate(self._sinks) if watched.sink is old)
        last = self._sinks.pop(place).close()
        new = create()
        self._sinks.insert(place, WatchedSink(new))
        for message in last:
            self.handle(message)
        return new

    def handle(self, message: Message) -> None:
        """Pass a message to all sinks; one that raises misses it, which is reported."""
        returned: list[Message] = []
        reports: list[Message] = []
        for sink in self._sinks:
            returned += sink.handle(message, reports)
        for each in returned:
            self.handle(each)
        # A fault in a sink that shows reports would otherwise be reported without end.
        for report in reports:
            self._pass(report)

    def close(self) -> None:
        """Close the sinks in order; those still open handle what the closed ones return."""
        while self._sinks:
            for message in self._sinks.pop(0).close():
                self.handle(message)

    def _pass(self, report: Message) -> None:
        """Pass a report of this dispatcher to all sinks; faults on the way are only counted."""
        for each in [each for sink in self._sinks for each in sink.handle(report)]:
            self.handle(each)


class WatchedSink:
    """A sink, and what is known of its faults.

    Parameters
    ----------
    sink
        May raise any exception.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink, self._name = sink, type(sink).__name__
        # One for each type of message: a sink may handle some and fail with others.
        self._faults: dict[type[Message], FaultReporter] = {}
        self._n_missed: Counter[type[Message]] = Counter()  # since the sink last worked

    def handle(self, message: Message, reports: list[Message] | None = None) -> Sequence[Message]:
        """Return what the sink returns; append what has to be reported about the sink itself."""
        kind = type(message)
        try:
            returned = self.sink.handle(message)
        # A sink may fail in any way, which must not end listening or the other sinks.
        except Exception as error:
            self._n_missed[kind] += 1
            if reports is None:
                return ()
            faults = self._faults.setdefault(kind, FaultReporter())
            text = f"{self._name} failed: {error!r}. It is tried again with each message"
            reports += faults.update(text, kind=type(error).__name__)
            return ()
        if reports is not None and kind in self._faults:
            missed = pluralize(self._n_missed.pop(kind), "message")
            recovery = f"{self._name} works again; it missed {missed}"
            reports += self._faults.pop(kind).update(None, recovery=recovery)
        return returned

    def close(self) -> Sequence[Message]:
        """Close the sink; return its last messages, and what it missed."""
        messages: list[Message] = []
        if self._n_missed:
            missed = pluralize(self._n_missed.total(), "message")
            messages.append(Problem(f"{self._name}: closed after it missed {missed}"))
        try:
            messages += self.sink.close()
        except Exception as error:
            messages.append(Problem(f"{self._name} cannot be closed: {error!r}"))
        return messages


class FaultReporter:
    """Report each kind of fault once, and once that all faults are over.

    Parameters
    ----------
    recovery
        The text of the `Problem` that is reported when the faults are over.
    """

    def __init__(self, recovery: str = "") -> None:
        self._recovery = recovery
        self._kinds: set[str] = set()  # of faults that were reported and are not over

    @property
    def is_faulty(self) -> bool:
        """Whether a fault was reported that is not over."""
        return bool(self._kinds)

    def update(
        self, fault: str | None, *, kind: str = "", recovery: str | None = None
    ) -> list[Message]:
        """Take the current state; return the `Problem` to report, if the state is new.

        Parameters
        ----------
        fault
            What is wrong now; None if nothing is.
        kind
            Distinguishes faults that are each reported once.
        recovery
            Replaces the text of the reporter when the faults are over.
        """
        if fault is None:
            was_faulty, self._kinds = self.is_faulty, set()
            return [Problem(self._recovery if recovery is None else recovery)] * was_faulty
        is_new = kind not in self._kinds
        self._kinds.add(kind)
        return [Problem(fault)] * is_new
