"""Find out what rules would have done with the events of a database."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sed.files import written_csv
from sed.text import iso_time
from streaming.live.rules.record import stored_sounds
from streaming.live.rules.rules import Alert, Rules

HEADER = ("rule", "time", "label", "source", "score", "duration", "sinks")
N_HOURS = 24


@dataclass(frozen=True)
class RuleSummary:
    """What one rule would have done.

    Attributes
    ----------
    rule
        Its name.
    n_alerts
        All of them.
    of_days
        Alerts on each local date that has some, by date.
    of_hours
        Alerts in each hour of the local day, 24 numbers.
    last
        Local time of the last one; empty if there is none.
    """

    rule: str
    n_alerts: int
    of_days: dict[str, int]
    of_hours: tuple[int, ...]
    last: str

    @property
    def most_on_a_day(self) -> tuple[str, int]:
        """The date with the most alerts, and their number."""
        return max(self.of_days.items(), key=lambda each: each[1], default=("", 0))


def replay(rules: Rules, path: str | os.PathLike[str]) -> list[Alert]:
    """Return the alerts that rules would have caused, in the order in which they come.

    The database has the score of an event at its end only, so that rules for onsets are given that
    one: they may alert here where the score at the onset was too low.

    Raises
    ------
    DatabaseError
        If the database cannot be read.
    """
    return [*rules.feed(stored_sounds(path)), *rules.flush()]


def summarize(rules: Rules, alerts: Sequence[Alert]) -> list[RuleSummary]:
    """Return what each rule would have done, in the order of the rules."""
    times: dict[str, list[str]] = {rule.name: [] for rule in rules.config.rules}
    for alert in alerts:
        times[alert.rule].append(iso_time(alert.sound.local_time()))
    summaries = []
    for rule, of_rule in times.items():
        days = Counter(time[:10] for time in of_rule)
        hours = Counter(int(time[11:13]) for time in of_rule)
        of_hours = tuple(hours[hour] for hour in range(N_HOURS))
        last = of_rule[-1] if of_rule else ""
        summaries.append(RuleSummary(rule, len(of_rule), dict(days), of_hours, last))
    return summaries


def write_alerts(path: str | os.PathLike[str], alerts: Sequence[Alert]) -> None:
    """Write a row for each alert to a CSV file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with written_csv(path) as writer:
        writer.writerow(HEADER)
        for rule, sound, sinks in alerts:
            times = iso_time(sound.local_time()), sound.label, sound.source
            numbers = f"{sound.score:.4f}", f"{sound.stop - sound.start:.3f}"
            writer.writerow([rule, *times, *numbers, " ".join(sinks)])
