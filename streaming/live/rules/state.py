"""Hold what one rule has to remember, and decide whether an event is passed on."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import NamedTuple

from sed.events.tracker import Event
from streaming.live.rules.config import RuleConfig
from streaming.live.rules.schedule import Location, Schedule

DAY_SECONDS = 86_400.0
MAX_KEPT = 1_000  # events of `unless` that an input keeps


Identity = tuple[str, str, float]


class Sound(NamedTuple):
    """An event as rules look at it; times are seconds since 1970."""

    label: str
    source: str  # name of the input
    onset: float  # seconds on the clock of the samples; by it an event that ends is known
    start: float
    stop: float  # that of the onset while the event lasts
    score: float
    time: datetime | str | None  # of the onset, in local time; a text is read where a rule asks

    def local_time(self) -> datetime:
        """Return the local time of the onset."""
        time = datetime.fromisoformat(self.time) if isinstance(self.time, str) else self.time
        return time or datetime.fromtimestamp(self.start, UTC)

    @property
    def identity(self) -> Identity:
        """What an event that has started is found by when it ends."""
        return self.source, self.label, self.onset


def unix_time(event: Event) -> float:
    """Return the time of the onset of an event in seconds since 1970; 0 if it is unknown."""
    return 0.0 if event.time is None else event.time.timestamp()


def as_sound(event: Event) -> Sound:
    """Return a complete event as rules look at it."""
    start = unix_time(event)
    times = event.onset, start, start + event.offset - event.onset
    return Sound(event.label, event.file, *times, event.score, event.time)


class RuleState:
    """Decides about the events of a stream for one rule.

    Events are given in the order in which they are found. The decisions depend on nothing else.

    Parameters
    ----------
    config
        The rule.
    labels
        Labels of its classes; all if None.
    unless
        Labels of the classes that prevent an alert.
    location
        For sunrise and sunset.
    """

    def __init__(
        self,
        config: RuleConfig,
        labels: Collection[str] | None,
        unless: Collection[str] = (),
        location: Location | None = None,
    ) -> None:
        self.config = config
        self.labels = None if labels is None else frozenset(labels)
        self.unless = frozenset(unless)
        self._inputs = tuple(name.casefold() for name in config.inputs)
        self._of_input: dict[str, bool] = {}
        self._schedule = Schedule(config.spans(), config.week_days(), location)
        self._waiting: dict[str, deque[Sound]] = {}  # by input, until `unless_after_seconds`
        self._opposed: dict[str, _Opposed] = {}  # by input
        self._counts: dict[str, _Counts] = {}  # by class

    @property
    def has_waiting(self) -> bool:
        """Whether an event waits for what follows it."""
        return bool(self._waiting)

    def needs(self, label: str, moment: str) -> bool:
        """Return whether events of a class count for this rule at a moment, "onset" or "event"."""
        is_of_rule = self.labels is None or label in self.labels
        return label in self.unless or (is_of_rule and moment == self.config.at)

    def start(self, sound: Sound) -> list[Sound]:
        """Take an event that has started; return it if it is passed on now."""
        if sound.label in self.unless:
            self._opposed_of(sound.source).start(sound)
        return self._decide(sound) if self.config.at == "onset" else []

    def end(self, sound: Sound) -> list[Sound]:
        """Take an event that is complete; return it if it is passed on now."""
        if sound.label in self.unless:
            self._opposed_of(sound.source).end(sound)
        return self._decide(sound) if self.config.at == "event" else []

    def advance(self, source: str, until: float) -> list[Sound]:
        """Return the events of an input that have waited enough: all before a time is decided.

        Parameters
        ----------
        source
            The input.
        until
            Seconds since 1970; all that started before has been given.
        """
        passed: list[Sound] = []
        waiting = self._waiting.get(source)
        while waiting and waiting[0].stop + self.config.unless_after_seconds < until:
            passed += self._count(waiting.popleft())
        if waiting is not None and not waiting:
            del self._waiting[source]
        return passed

    def flush(self) -> list[Sound]:
        """Return all events that still wait and are passed on, as nothing follows."""
        return [
            sound for source in [*self._waiting] for sound in self.advance(source, float("inf"))
        ]

    def waiting(self) -> set[Identity]:
        """Return the events about which it is still open whether they are passed on."""
        return {sound.identity for each in self._waiting.values() for sound in each}

    def alerted(self, label: str, moment: float) -> None:
        """Take note of an alert that an earlier process has sent, for the cool-down."""
        counts = self._counts_of(label)
        counts.alerted_at = max(moment, counts.alerted_at or moment)

    def forget_alerts(self) -> None:
        """Forget all alerts, so that those which were really sent can be noted."""
        for counts in self._counts.values():
            counts.alerted_at = None

    def _decide(self, sound: Sound) -> list[Sound]:
        config = self.config
        if (
            (self.labels is not None and sound.label not in self.labels)
            or sound.score < config.threshold
            or (config.min_duration_seconds and _duration(sound) < config.min_duration_seconds)
            or not self._is_of_input(sound.source)
            or not (self._schedule.is_always or self._schedule.contains(sound.local_time()))
        ):
            return []
        if config.unless_after_seconds:
            self._waiting.setdefault(sound.source, deque()).append(sound)
            return []
        return self._count(sound)

    def _count(self, sound: Sound) -> list[Sound]:
        """Return an event that is passed on after all that is counted."""
        if self.unless and self._opposed_of(sound.source).prevents(sound, self.config):
            return []
        return [sound] * self._counts_of(sound.label).add(sound, self.config)

    def _is_of_input(self, source: str) -> bool:
        if not self._inputs:
            return True
        if source not in self._of_input:
            name = source.casefold()
            self._of_input[source] = any(part in name for part in self._inputs)
        return self._of_input[source]

    def _opposed_of(self, source: str) -> _Opposed:
        if source not in self._opposed:
            self._opposed[source] = _Opposed()
        return self._opposed[source]

    def _counts_of(self, label: str) -> _Counts:
        key = label if self.config.per_class else ""
        if key not in self._counts:
            self._counts[key] = _Counts(self.config)
        return self._counts[key]


class _Opposed:
    """The events of one input that prevent alerts."""

    def __init__(self) -> None:
        self._open: dict[Identity, Sound] = {}
        self._ended: deque[tuple[float, float]] = deque(maxlen=MAX_KEPT)  # start and stop

    def start(self, sound: Sound) -> None:
        self._open[sound.identity] = sound

    def end(self, sound: Sound) -> None:
        self._open.pop(sound.identity, None)
        self._ended.append((sound.start, sound.stop))

    def prevents(self, sound: Sound, config: RuleConfig) -> bool:
        first = sound.start - config.unless_before_seconds
        last = sound.stop + config.unless_after_seconds
        if any(each.start <= last for each in self._open.values()):
            return True
        for start, stop in reversed(self._ended):
            if stop < first:  # and so are those before
                return False
            if start <= last:
                return True
        return False


class _Counts:
    """What a rule counts of one class; a moment is the one at which an event is decided on."""

    def __init__(self, config: RuleConfig) -> None:
        self.alerted_at: float | None = None
        self._recent: deque[float] = deque()  # moments within the seconds of confirmation
        self._earlier: deque[float] = deque(maxlen=config.rare_fewer_than)
        self._day: date | None = None  # of the last event that was confirmed

    def add(self, sound: Sound, config: RuleConfig) -> bool:
        """Count an event; return whether it is passed on."""
        moment = sound.start if config.at == "onset" else sound.stop
        if config.confirmations > 1 or config.rare_fewer_than:
            self._move(moment, config.within_seconds if config.confirmations > 1 else 0.0)
            oldest = moment - config.rare_days * DAY_SECONDS
            n_earlier = sum(each >= oldest for each in self._earlier)
            self._recent.append(moment)
            if len(self._recent) < config.confirmations:
                return False
            if config.rare_fewer_than and n_earlier >= config.rare_fewer_than:
                return False
        if config.first_of_day:
            day = sound.local_time().date()
            before, self._day = self._day, day
            if before == day:
                return False
        # The clock may have been set back, so the distance counts.
        last = self.alerted_at
        if last is not None and abs(moment - last) < config.cooldown_seconds:
            return False
        self.alerted_at = moment
        return True

    def _move(self, moment: float, within: float) -> None:
        """Keep as recent only what is; what is later than now is of a clock that was set back."""
        while self._recent and self._recent[0] < moment - within:
            self._earlier.append(self._recent.popleft())
        while self._recent and self._recent[-1] > moment + within:
            self._recent.pop()


def _duration(sound: Sound) -> float:
    # Times since 1970 have an accuracy of a quarter of a microsecond.
    return round(sound.stop - sound.start, 4)
