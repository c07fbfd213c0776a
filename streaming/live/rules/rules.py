"""Apply all rules to a stream of events."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from sed.errors import check_extra
from streaming.live.rules.config import SINKS, RuleConfig, RulesConfig
from streaming.live.rules.state import DAY_SECONDS, Identity, RuleState, Sound

Expand = Callable[[Sequence[str]], Collection[str]]


class Alert(NamedTuple):
    """An event that a rule passes on."""

    rule: str
    sound: Sound
    sinks: tuple[str, ...]

    @property
    def moment(self) -> float:
        """When it was decided, in seconds since 1970: at its onset, or at its end."""
        return self.sound.stop


class Rules:
    """Decides which events are passed on, and to which alerts.

    Parameters
    ----------
    config
        The rules.
    expand
        Returns the labels of classes and kinds.

    Raises
    ------
    UsageError
        If `expand` does not know a class.
    MissingExtraError
        If a rule depends on the sun, and astral is not installed.
    """

    def __init__(self, config: RulesConfig, expand: Expand) -> None:
        if any(span.needs_sun for rule in config.rules for span in rule.spans()):
            check_extra("astral", "sunrise and sunset in rules")
        self.config = config
        self._states = [_state(rule, config, expand) for rule in config.rules]
        self._needed: dict[tuple[str, str], list[RuleState]] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether an event waits for what follows it."""
        return any(state.has_waiting for state in self._states)

    def start(self, sound: Sound) -> list[Alert]:
        """Take an event that has started; return the alerts that it causes."""
        return [
            _alert(state, passed)
            for state in self._about(sound.label, "onset")
            for passed in state.start(sound)
        ]

    def end(self, sound: Sound) -> list[Alert]:
        """Take an event that is complete; return the alerts that it causes."""
        return [
            _alert(state, passed)
            for state in self._about(sound.label, "event")
            for passed in state.end(sound)
        ]

    def advance(self, source: str, until: float) -> list[Alert]:
        """Return the alerts that have waited enough; see `RuleState.advance`."""
        return [
            _alert(state, passed)
            for state in self._states
            if state.has_waiting
            for passed in state.advance(source, until)
        ]

    def flush(self) -> list[Alert]:
        """Return the alerts that still wait, as nothing follows."""
        return [_alert(state, passed) for state in self._states for passed in state.flush()]

    def waiting(self) -> set[Identity]:
        """Return the events that a rule has not decided about."""
        return {each for state in self._states for each in state.waiting()}

    def feed(self, sounds: Iterable[Sound]) -> Iterator[Alert]:
        """Take complete events as if they were found now, and yield the alerts that they cause.

        Events start and end in the order of their times. As only the score at the end is known,
        that is the one at the onset, too.

        Parameters
        ----------
        sounds
            In the order of their starts.
        """
        ends: list[tuple[float, int, Sound]] = []
        for number, sound in enumerate(sounds):
            # Of the same time, starts come first: an event of no length starts before it ends.
            while ends and ends[0][0] < sound.start:
                yield from self.end(heapq.heappop(ends)[2])
            if self.has_waiting:
                yield from self.advance(sound.source, sound.start)
            if self._about(sound.label, "onset"):
                yield from self.start(sound._replace(stop=sound.start))
            if self._about(sound.label, "event"):
                heapq.heappush(ends, (sound.stop, number, sound))
        while ends:
            yield from self.end(heapq.heappop(ends)[2])

    def adopt(self, other: Rules) -> None:
        """Go on with what the rules that are the same in both have counted."""
        known = {(state.config, state.labels, state.unless): state for state in other._states}
        self._states = [
            known.get((state.config, state.labels, state.unless), state)
            if self.config.location == other.config.location
            else state
            for state in self._states
        ]
        self._needed.clear()

    @property
    def memory_seconds(self) -> float:
        """How far back events count for a decision."""
        return max((_memory(state.config) for state in self._states), default=0.0)

    def restore(
        self, sounds: Iterable[Sound], alerts: Iterable[tuple[str, str, float]] = ()
    ) -> None:
        """Count what an earlier process has found, and take note of the alerts that it has sent.

        Parameters
        ----------
        sounds
            Complete events of the last `memory_seconds`, in the order of their starts.
        alerts
            Of the last alert of each rule and class: rule, label, moment in seconds since 1970.
        """
        for _ in self.feed(sounds):
            pass
        for state in self._states:
            state.forget_alerts()
            for rule, label, moment in alerts:
                if rule == state.config.name:
                    state.alerted(label, moment)

    def _about(self, label: str, moment: str) -> list[RuleState]:
        """Return the rules that need events of a class at a moment, "onset" or "event"."""
        if (label, moment) not in self._needed:
            needed = [state for state in self._states if state.needs(label, moment)]
            self._needed[label, moment] = needed
        return self._needed[label, moment]


def _state(rule: RuleConfig, config: RulesConfig, expand: Expand) -> RuleState:
    labels = frozenset(expand(rule.classes)) if rule.classes else None
    unless = frozenset(expand(rule.unless)) if rule.unless else frozenset()
    # A class does not prevent itself, also where a kind names it.
    return RuleState(rule, labels, unless - (labels or frozenset()), config.location)


def _alert(state: RuleState, sound: Sound) -> Alert:
    return Alert(state.config.name, sound, state.config.sinks or SINKS)


def _memory(rule: RuleConfig) -> float:
    waits = rule.unless_before_seconds + rule.unless_after_seconds
    counted = rule.within_seconds if rule.confirmations > 1 else 0.0
    days = rule.rare_days if rule.rare_fewer_than else float(rule.first_of_day)
    # A day has 25 hours where clocks are set back.
    return max(waits, days * DAY_SECONDS) + counted + 3_600.0 + 60.0
