"""Show what rules would have done with recorded events, and which classes are frequent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sed.errors import SedError, UsageError
from sed.events.sqlite import DatabaseError, read_live_record
from sed.models.registry import is_registered
from sed.text import pluralize, printable
from streaming.cli.live.classes import expander
from streaming.cli.live.run import open_live_engine
from streaming.cli.live.settings import LiveSettings
from streaming.live.rules.config import RulesConfig
from streaming.live.rules.noise import ClassRate, frequent_classes
from streaming.live.rules.replay import RuleSummary, replay, summarize, write_alerts
from streaming.live.rules.rules import Rules

BARS = " ▁▂▃▄▅▆▇█"
MAX_CLASSES = 20  # in the table
HOURS = "0 to 24 h"


def show_replay(path: Path, settings: LiveSettings, max_per_hour: float) -> None:
    """Print what the rules would have done with the events of a database.

    Parameters
    ----------
    path
        The database.
    settings
        The rules, the model that knows their classes, and the table to write.
    max_per_hour
        Events of a class per hour above which it is frequent.

    Raises
    ------
    UsageError, SedError
        If the database cannot be read, or a class of a rule does not exist.
    """
    if max_per_hour < 0:
        raise UsageError(f"expected --max-per-hour of 0 or more, got {max_per_hour:g}")
    if not path.exists():
        raise DatabaseError(f"{printable(os.fspath(path))}: there is no such database.")
    output, quiet = settings.values["output"], settings.values["quiet"]
    if output is not None and output.suffix.lower() != ".csv":
        raise UsageError(f"{printable(str(output))}: alerts are written as .csv")
    if output is not None and not settings.rules.rules:
        raise UsageError("there are no rules whose alerts could be written: give --config FILE")
    console = Console(highlight=False)
    if settings.rules.rules:
        rules = _rules(path, settings.rules, settings.values)
        alerts = replay(rules, path)
        if output is not None:
            write_alerts(output, alerts)
        console.print(_rule_table(summarize(rules, alerts)))
        if output is not None and not quiet:
            console.print(
                f"{pluralize(len(alerts), 'alert')} in {printable(str(output))}",
                markup=False,
                soft_wrap=True,
            )
    _show_noise(console, path, max_per_hour)


def _rules(path: Path, config: RulesConfig, values: Mapping[str, Any]) -> Rules:
    """Return rules that know the classes of the model that found the events."""
    with read_live_record(path) as connection:
        found = [label for (label,) in connection.execute("SELECT DISTINCT label FROM events")]
        query = "SELECT model FROM sessions ORDER BY id DESC LIMIT 1"
        (name,) = connection.execute(query).fetchone() or ("",)
    named = {name for rule in config.rules for name in (*rule.classes, *rule.unless)}
    if not named:
        return Rules(config, set)
    # The one of the last session, unless another one is given.
    is_there = is_registered(name) or (bool(name) and os.path.exists(name))
    model = values["model"] or (name if is_there else None)
    try:
        spec = open_live_engine({**values, "model": model}).spec
    except SedError:
        if named <= set(found):  # kinds are not needed
            return Rules(config, set)
        raise
    return Rules(config, expander(spec, found))


def _rule_table(summaries: Sequence[RuleSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("rule", overflow="fold", min_width=14)
    for name in ("alerts", "per day"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(HOURS, no_wrap=True)
    table.add_column("most on a day", no_wrap=True)
    table.add_column("last", no_wrap=True)
    for one in summaries:
        day, most = one.most_on_a_day
        n_days = len(one.of_days)
        table.add_row(
            Text(printable(one.rule)),
            f"{one.n_alerts:,}",
            f"{one.n_alerts / n_days:.1f}" if n_days else "",
            sparkline(one.of_hours),
            f"{most:,} on {day}" if day else "",
            one.last[:10],
        )
    return table


def _show_noise(console: Console, path: Path, max_per_hour: float) -> None:
    rates, hours = frequent_classes(path, max_per_hour)
    console.print()
    if hours < 1:
        console.print("which classes are frequent can be said when an hour was listened")
        return
    if not rates:
        console.print(f"no class was found more than {max_per_hour:g} times an hour")
        return
    console.print(
        f"{pluralize(len(rates), 'class') if len(rates) == 1 else f'{len(rates):,} classes'} found "
        f"more than {max_per_hour:g} times an hour, in {hours:,.1f} h:",
        soft_wrap=True,
    )
    console.print(_noise_table(rates[:MAX_CLASSES]))
    if len(rates) > MAX_CLASSES:
        console.print(f"and {len(rates) - MAX_CLASSES:,} more")
    suggested: dict[str, float] = {}
    for rate in rates:
        if rate.threshold is not None:
            suggested[rate.label] = max(rate.threshold, suggested.get(rate.label, 0.0))
    if suggested:
        text = ",".join(f"{label}={value:g}" for label, value in suggested.items())
        console.print(f'threshold = "{text}"', markup=False, soft_wrap=True)


def _noise_table(rates: Sequence[ClassRate]) -> Table:
    has_inputs = len({rate.source for rate in rates}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("class", overflow="fold", min_width=14)
    if has_inputs:
        table.add_column("input", overflow="fold")
    table.add_column("per hour", justify="right", no_wrap=True)
    table.add_column(HOURS, no_wrap=True)
    table.add_column("hours", justify="right", no_wrap=True)
    table.add_column("threshold", justify="right", no_wrap=True)
    table.add_column("leaves", justify="right", no_wrap=True)
    for rate in rates:
        names = [Text(printable(rate.label)), Text(printable(rate.source))]
        table.add_row(
            *names[: 1 + has_inputs],
            f"{rate.per_hour:,.1f}",
            sparkline(rate.of_hours),
            str(rate.n_hours_of_day),
            "none" if rate.threshold is None else f"{rate.threshold:.3f}",
            f"{rate.per_hour_left:,.1f}",
        )
    return table


def sparkline(counts: Sequence[int]) -> str:
    """Return a bar for each two numbers, relative to the largest; any sum but 0 has one."""
    # Two hours each, so that tables fit into 80 columns.
    counts = [sum(counts[n : n + 2]) for n in range(0, len(counts), 2)]
    most = max(counts, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
