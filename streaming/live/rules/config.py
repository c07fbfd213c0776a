"""Describe rules for alerts, as a configuration file has them.

::

    [location]                      where the microphones are, for sunrise and sunset
    latitude = 52.52
    longitude = 13.40

    [[rules]]
    name = "dog at night"
    classes = ["dog"]
    threshold = 0.8
    hours = ["sunset+30m to sunrise"]
    cooldown_seconds = 600
    sinks = ["push"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sed.config import config_from_dict
from sed.errors import UsageError
from sed.text import near, without_controls
from streaming.live.rules.schedule import DAYS, Location, Span, parse_days, parse_span

# Alerts, by the names of their options in a configuration file.
SINKS = ("on_event", "on_onset", "webhook", "mqtt", "push")
MOMENTS = ("event", "onset")
TABLES = ("location", "rules")  # of a configuration file


@dataclass(frozen=True)
class RuleConfig:
    """Which events one rule passes on to alerts. An event has to meet all that is set.

    Attributes
    ----------
    name
        For reports, and for what the database keeps; the classes if not given.
    classes
        Classes, and kinds with all that belongs to them; all classes if empty.
    inputs
        Names of inputs, or parts of them; all inputs if empty.
    threshold
        Score that an event has to reach.
    min_duration_seconds
        Seconds that an event has to last; only of complete events.
    at
        Decide when an event is complete ("event") or as soon as it starts ("onset").
    days
        Days of the week, such as "mon" or "sat-sun"; all if empty. Hours past midnight belong to
        the day on which they begin.
    hours
        Spans such as "22:00 to 06:00" or "sunset-30m to sunrise+1h"; all day if empty. There are
        also dawn and dusk.
    unless
        Classes and kinds that prevent an alert, where one of them is found in the same input.
    unless_before_seconds
        How long before the event such a class prevents it.
    unless_after_seconds
        How long after the event such a class prevents it. The alert waits for that.
    confirmations
        Events that have to be found within `within_seconds`; the last of them is passed on.
    within_seconds
        See confirmations.
    rare_fewer_than
        Only where there were fewer such events in the last `rare_days`; 0 is off.
    rare_days
        See rare_fewer_than.
    first_of_day
        Only the first event of a day, in local time.
    cooldown_seconds
        Seconds after an alert in which there is no other one.
    per_class
        Count confirmations, rare events, first events and cool-down for each class alone. By
        default all classes of the rule count as one.
    sinks
        Alerts that get the event: "on_event", "on_onset", "webhook", "mqtt", "push". All if empty.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    threshold: float = 0.0
    min_duration_seconds: float = 0.0
    at: Literal["event", "onset"] = "event"
    days: tuple[str, ...] = ()
    hours: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    unless_before_seconds: float = 0.0
    unless_after_seconds: float = 0.0
    confirmations: int = 1
    within_seconds: float = 60.0
    rare_fewer_than: int = 0
    rare_days: float = 7.0
    first_of_day: bool = False
    cooldown_seconds: float = 0.0
    per_class: bool = False
    sinks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for key in ("classes", "inputs", "days", "hours", "unless", "sinks"):
            if not all(isinstance(each, str) for each in getattr(self, key)):
                raise ValueError(f"expected {key} as a list of texts, got {getattr(self, key)!r}")
        if self.at not in MOMENTS:
            raise ValueError(f"unknown moment at = {self.at!r}. {near(self.at, MOMENTS)}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"expected a threshold from 0 to 1, got {self.threshold:g}")
        for key in ("min_duration", "unless_before", "unless_after", "within", "cooldown"):
            seconds = getattr(self, f"{key}_seconds")
            if not 0 <= seconds < math.inf:
                raise ValueError(f"expected {key}_seconds of 0 or more, got {seconds:g}")
        if self.confirmations < 1 or self.rare_fewer_than < 0 or not 0 < self.rare_days < math.inf:
            raise ValueError(
                "expected confirmations of 1 or more, rare_fewer_than of 0 or more, and rare_days "
                "above 0"
            )
        for sink in self.sinks:
            if sink not in SINKS:
                raise ValueError(f"unknown sink {sink!r}. {near(sink, SINKS)}")
        if (self.unless_before_seconds or self.unless_after_seconds) and not self.unless:
            raise ValueError("unless_before_seconds and unless_after_seconds need unless = [...]")
        if self.at == "onset" and (self.min_duration_seconds or self.unless_after_seconds):
            raise ValueError(
                'min_duration_seconds and unless_after_seconds wait for the end: use at = "event"'
            )
        if self.sinks == ("on_onset",) and self.at == "event":
            raise ValueError('the sink on_onset gets events only with at = "onset"')
        if not self.name:
            object.__setattr__(self, "name", ", ".join(self.classes) or "all classes")
        # Both are read here so that a wrong one is reported with the file.
        self.week_days()
        self.spans()

    def week_days(self) -> frozenset[int]:
        """Return the numbers of the days of the week, Monday is 0; all if none is set."""
        return parse_days(self.days) if self.days else frozenset(range(len(DAYS)))

    def spans(self) -> tuple[Span, ...]:
        """Return the spans of `hours`."""
        return tuple(map(parse_span, self.hours))


@dataclass(frozen=True)
class RulesConfig:
    """All rules of a configuration.

    Attributes
    ----------
    rules
        In the order of the file. Without any, alerts get every event.
    location
        Where the microphones are; needed for sunrise and sunset.
    """

    rules: tuple[RuleConfig, ...] = ()
    location: Location | None = None

    def __post_init__(self) -> None:
        """Refuse rules of the same name, and the sun without a place."""
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are named {name!r}. Give each a name of its own")
        for rule in self.rules:
            if self.location is None and any(span.needs_sun for span in rule.spans()):
                raise ValueError(
                    f"the rule {rule.name!r} needs sunrise or sunset: give [location] with "
                    "latitude and longitude"
                )

    @property
    def filtered_sinks(self) -> frozenset[str]:
        """The alerts that get only what rules pass on; the others get every event."""
        return frozenset(sink for rule in self.rules for sink in rule.sinks or SINKS)


def rules_from_tables(tables: Mapping[str, Any], source: str = "") -> RulesConfig:
    """Return the rules in the tables `TABLES` of a configuration.

    Parameters
    ----------
    tables
        Tables by name, each of which may be missing.
    source
        The file, for messages.

    Raises
    ------
    UsageError
        If a key is unknown, or a value cannot be.
    """
    try:
        location = tables.get("location")
        if location is not None and not isinstance(location, Mapping):
            raise ValueError("expected [location] as a table with latitude and longitude")
        place = None if location is None else config_from_dict(Location, location, "location")
        tables_of_rules = tables.get("rules", [])
        if not isinstance(tables_of_rules, Sequence) or isinstance(tables_of_rules, str):
            raise ValueError("expected rules as tables: [[rules]]")
        return RulesConfig(
            tuple(_rule(table, n) for n, table in enumerate(tables_of_rules, 1)), place
        )
    except ValueError as error:
        text = without_controls(str(error))
        raise UsageError(f"{source}: {text}" if source else text) from error


def _rule(table: Any, number: int) -> RuleConfig:
    if not isinstance(table, Mapping):
        raise ValueError("expected rules as tables: [[rules]]")
    # One name may stand alone: classes = "dog".
    values = {
        key: [value] if isinstance(value, str) and key in _LISTS else value
        for key, value in table.items()
    }
    where = f"rule {table.get('name') or number}"
    try:
        return config_from_dict(RuleConfig, values, where)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if where in text else f"{where}: {text}") from error


_LISTS = frozenset(["classes", "inputs", "days", "hours", "unless", "sinks"])
