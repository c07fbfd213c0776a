"""Read the events and alerts of a database of live events, for rules."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from sed.events.sqlite import has_table, read_live_record
from sed.text import to_utf8
from streaming.live.rules.rules import Rules
from streaming.live.rules.state import Sound

_EVENTS = """
SELECT label, source, onset, unix_time, unix_time + offset - onset, score, time FROM events
WHERE unix_time >= ? AND unix_time < ? ORDER BY unix_time, id
"""
_LAST_ALERTS = "SELECT rule, label, max(decided) FROM alerts GROUP BY rule, label"


def stored_sounds(
    path: str | os.PathLike[str], since: float = -math.inf, until: float = math.inf
) -> Iterator[Sound]:
    """Yield the events of a database that start in a span, in the order of their starts.

    Parameters
    ----------
    path
        The database.
    since, until
        Seconds since 1970.

    Raises
    ------
    DatabaseError
        If it cannot be read.
    """
    # One text for all events of a class: a million labels are large.
    names: dict[str, str] = {}
    with read_live_record(path) as connection:
        for label, source, *rest in connection.execute(_EVENTS, (since, until)):
            label, source = names.setdefault(label, label), names.setdefault(source, source)
            yield Sound(label, source, *rest)


def last_alerts(path: str | os.PathLike[str]) -> list[tuple[str, str, float]]:
    """Return rule, label and moment of the last alert of each rule and class.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    with read_live_record(path) as connection:
        if not has_table(connection, "alerts"):
            return []
        return [
            (str(rule), str(label), float(at))
            for rule, label, at in connection.execute(_LAST_ALERTS)
        ]


def restore_rules(rules: Rules, path: str | os.PathLike[str], now: float) -> None:
    """Let rules go on where those of an earlier process ended.

    Parameters
    ----------
    rules
        New rules.
    path
        The database that the earlier process has written; nothing happens if there is none.
    now
        Seconds since 1970.
    """
    if not rules.config.rules or not Path(path).exists() or not Path(path).stat().st_size:
        return
    since = now - rules.memory_seconds
    names = {to_utf8(rule.name): rule.name for rule in rules.config.rules}
    alerts = [(names[rule], label, at) for rule, label, at in last_alerts(path) if rule in names]
    rules.restore(stored_sounds(path, since), alerts)
