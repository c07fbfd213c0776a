"""What a listener says, and who hears it: views, records and integrations all take messages.

::

    Listener ─ AudioBlock, EventStarted, EventEnded, Gap, Problem, Status ─▶ Dispatcher ─▶ Sink, Sink, Sink
                                                             ▲         │
                                                             └─ ClipSaved, Problem

Times are seconds from the moment that listening began, on the clock of the samples; an `Event` of
live sound also carries the time of its onset on the calendar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from sed.events.tracker import Event
from sed.types import Floats


@dataclass(frozen=True)
class AudioBlock:
    """A piece of sound that went through, a few dozen a second; what it completed goes with it."""

    source: str  # the input, as events call it in `file`
    start: int  # samples of the input before this piece, lost ones included
    block: Floats  # (samples, channels), as captured
    sample_rate: int  # of the block
    columns: Floats  # (columns, mels), the next ones; often none
    frame_probs: Floats  # (frames, classes), the next ones; often none

    @property
    def peak(self) -> float:
        """The largest sample without its sign; 1 is full scale, and clipped."""
        return float(np.abs(self.block).max(initial=0.0))

    @property
    def rms(self) -> float:
        """The root mean square of all samples."""
        return float(np.sqrt(np.mean(np.square(self.block)))) if self.block.size else 0.0


@dataclass(frozen=True)
class EventStarted:
    """An event is certain to come, and told while it still lasts; its score may yet rise."""

    event: Event


@dataclass(frozen=True)
class EventEnded:
    """An event is complete. Its onset, label and file are those of the `EventStarted` before it."""

    event: Event


@dataclass(frozen=True)
class ClipSaved:
    """The sound of an event was saved, or could not be; follows each `EventEnded` if clips are kept."""

    event: Event
    path: str | None  # None: it could not be saved, and a `Problem` said why


@dataclass(frozen=True)
class Gap:
    """Sound that was lost; times stay true across it, and events do not reach over it.

    Except where nobody knows how much it was: then only the time on the calendar follows.
    """

    source: str
    onset: float  # seconds
    offset: float  # seconds
    n_samples: int  # at the rate of the input; 0: the driver lost some and does not say how many
    reason: str
    time: datetime  # of the onset, with its time zone


@dataclass(frozen=True)
class Problem:
    """Something is wrong, or right again, and listening goes on."""

    text: str


@dataclass(frozen=True)
class InputStatus:
    """An input and its account: delivered = heard + dropped + waiting."""

    name: str
    state: str  # listening, lost or ended
    sample_rate: int
    n_channels: int
    n_delivered: int  # samples that the device gave us, per channel
    n_processed: int  # of them, those that went through the model
    n_dropped: int  # of them, those that the model was too slow for
    n_waiting: int  # of them, those in the ring
    n_missing: int  # samples never delivered, while the device was gone
    n_overflows: int  # times that the driver says it lost samples before we could have them
    n_gaps: int


@dataclass(frozen=True)
class Status:
    """How listening goes; once every hop."""

    uptime_seconds: float
    real_time_factor: float  # seconds of work per second of sound, recently; below 1 keeps up
    latency_seconds: float  # from the arrival of the newest sample of a window to its answer
    n_events: int
    sources: tuple[InputStatus, ...]

    @property
    def n_lost(self) -> int:
        """Samples lost, for whatever reason, in all inputs."""
        return sum(source.n_dropped + source.n_missing for source in self.sources)


Message = AudioBlock | EventStarted | EventEnded | ClipSaved | Gap | Problem | Status


class Sink(Protocol):
    """Takes messages. It must be quick: what it waits for, the model waits for too."""

    def handle(self, message: Message) -> Sequence[Message]:
        """Take a message; return what there is to say about it to the others."""
        ...

    def close(self) -> Sequence[Message]:
        """Finish what is under way; return what there is left to say."""
        ...


class Dispatcher:
    """Hands every message to every sink, and what they answer as well.

    Sinks are asked in their order, so a record comes before the view that tells of it.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = list(sinks)

    def add(self, sink: Sink) -> None:
        """Have one more sink take the messages to come."""
        self._sinks.append(sink)

    def handle(self, message: Message) -> None:
        """Hand a message to all."""
        answers: list[Message] = []
        for sink in list(self._sinks):
            try:
                answers += sink.handle(message)
            except Exception as error:
                self._sinks.remove(sink)
                answers.append(_failed(sink, error))
        for answer in answers:
            self.handle(answer)

    def close(self) -> None:
        """Close all in their order; those still open hear what the others had left to say."""
        while self._sinks:
            sink = self._sinks.pop(0)
            try:
                answers = sink.close()
            except Exception as error:
                answers = [_failed(sink, error)]
            for answer in answers:
                self.handle(answer)


def _failed(sink: Sink, error: Exception) -> Problem:
    """Return what is told of a sink that fails as nobody foresaw."""
    return Problem(f"{type(sink).__name__} failed and is left out from now on: {error!r}")


CLIPPED = 1.0 - 2.0**-15  # the largest sample of 16 bits


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
