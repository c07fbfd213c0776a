"""Draw when classes are active: heat maps by hour and by date, and counts with the effort."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sed.events.plot_axes import label_text
from sed.events.plots import save_figure
from sed.text import pluralize
from streaming.results.summary.counts import UNKNOWN, Grouped

MAX_CLASSES = 30  # rows of a heat map
MAX_DAYS = 92  # columns; of longer times weeks are drawn
HOURS = tuple(f"{hour:02d}" for hour in range(24))


def plot_by_hour(path: str | os.PathLike[str], by_hour: Grouped, labels: Sequence[str]) -> None:
    """Draw a heat map of classes by the hour of the day.

    Parameters
    ----------
    path
        The PNG to write.
    by_hour
        Counts by hour.
    labels
        The classes.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    grid, effort = _columns(by_hour, HOURS)
    _heat_map(path, grid, effort, labels, HOURS, "hour of the day")


def plot_by_date(
    path: str | os.PathLike[str], by_day: Grouped, by_week: Grouped, labels: Sequence[str]
) -> None:
    """Draw a heat map of classes by date: days, or weeks where there are many; else as by hour."""
    days = _every_day([name for name in by_day.groups if name != UNKNOWN])
    if len(days) <= MAX_DAYS:
        grid, effort = _columns(by_day, days)
        _heat_map(path, grid, effort, labels, days, "date")
        return
    weeks = list(dict.fromkeys(_week(day) for day in days))
    grid, effort = _columns(by_week, weeks)
    _heat_map(path, grid, effort, labels, weeks, "week")


def plot_activity(path: str | os.PathLike[str], by_hour: Grouped) -> None:
    """Draw the events of all classes by the hour of the day, and the hours that were recorded."""
    grid, effort = _columns(by_hour, HOURS)
    events = grid.sum(axis=1)
    figure = Figure(figsize=(9, 4.6 if effort is not None else 3.2), layout="constrained")
    places = np.arange(24) + 0.5
    if effort is None:
        top = figure.subplots()
        top.bar(places, events, 0.85, color="#2f5f8f")
        top.set_ylabel("events")
        _hour_axis(top)
    else:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        hours = effort / 3600
        rate = np.divide(events, hours, out=np.full(24, np.nan), where=hours > 0)
        top.bar(places, rate, 0.85, color="#2f5f8f")
        top.set_ylabel("events per\nrecorded hour")
        bottom.bar(places, hours, 0.85, color="#a9a59a")
        bottom.set_ylabel("hours recorded")
        _hour_axis(bottom)
    top.set_title(
        f"{pluralize(int(events.sum()), 'event')} by the hour of the day", loc="left", weight="bold"
    )
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    save_figure(figure, path, dpi=130)


def _hour_axis(axes: Axes) -> None:
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 3), [f"{hour}:00" for hour in range(0, 25, 3)])


def _columns(
    grouped: Grouped, names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the events and the recorded seconds of some groups; zeros if there is none."""
    grid = np.zeros((len(names), grouped.events.shape[1]))
    effort = None if grouped.recorded_seconds is None else np.zeros(len(names))
    places = {name: i for i, name in enumerate(grouped.groups)}
    for i, name in enumerate(names):
        if name in places:
            grid[i] = grouped.events[places[name]]
            if effort is not None and grouped.recorded_seconds is not None:
                effort[i] = grouped.recorded_seconds[places[name]]
    return grid, effort


def _heat_map(
    path: str | os.PathLike[str],
    grid: NDArray[np.float64],
    effort: NDArray[np.float64] | None,
    labels: Sequence[str],
    columns: Sequence[str],
    axis: str,
) -> None:
    """Draw events, or events per recorded hour, of the classes with most events."""
    totals = grid.sum(axis=0)
    shown = [c for c in np.argsort(-totals, kind="stable")[:MAX_CLASSES].tolist() if totals[c]]
    values = grid[:, shown].T
    unit = "events"
    if effort is not None:
        values = np.divide(
            values, effort / 3600, out=np.full(values.shape, np.nan), where=effort > 0
        )
        unit = "events per recorded hour"
    values = np.where(values > 0, values, np.nan)
    height = 1.5 + 0.27 * max(2, len(shown))
    figure = Figure(
        figsize=(min(14.0, 4.2 + 0.27 * max(12, len(columns))), height), layout="constrained"
    )
    axes = figure.subplots()
    axes.set_facecolor("#f3f1ec")
    if len(shown) and np.isfinite(values).any():
        low, high = np.nanmin(values), np.nanmax(values)
        mesh = axes.pcolormesh(
            values, cmap="YlGnBu", edgecolors="white", linewidth=0.4,
            norm=LogNorm(low * 0.7, max(high, low * 1.01)),
        )  # fmt: skip
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30, ticks=_ticks(low, high))
        bar.ax.set_ylabel(unit)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.3g}")
        bar.ax.minorticks_off()
    if effort is not None:
        for i in np.flatnonzero(effort == 0).tolist():
            axes.axvspan(i, i + 1, facecolor="none", edgecolor="#c9c5ba", hatch="////", lw=0)
    names = [f"{label_text(labels[c])}  {int(totals[c]):,}" for c in shown]
    axes.set_yticks(np.arange(len(shown)) + 0.5, names, parse_math=False)
    axes.set_ylim(max(1, len(shown)), 0)
    axes.set_xlim(0, max(1, len(columns)))
    step = max(1, -(-len(columns) // 24)) if axis != "hour of the day" else 2
    ticks = range(0, len(columns), step)
    turned = axis != "hour of the day"
    axes.set_xticks(
        [i + 0.5 for i in ticks],
        [columns[i] for i in ticks],
        rotation=45 if turned else 0,
        ha="right" if turned else "center",
    )
    axes.tick_params(length=0)
    axes.set_xlabel(axis)
    hidden = int((totals > 0).sum()) - len(shown)
    more = f", the {len(shown)} classes with most events" if hidden else ""
    hatched = "; hatched: not recorded" if effort is not None and (effort == 0).any() else ""
    axes.set_title(f"{unit} by {axis}{more}{hatched}", loc="left", fontsize=10)
    axes.spines[:].set_visible(False)
    save_figure(figure, path, dpi=130)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers on a logarithmic axis, at least two; the ends where there are none."""
    steps = (1, 2, 5) if high < 50 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    round_ = [step * 10.0**power for power in powers for step in steps]
    within = [tick for tick in round_ if low <= tick <= high]
    return within if len(within) > 1 else sorted({low, high})


def _every_day(names: Sequence[str]) -> list[str]:
    """Return all days from the first to the last."""
    if not names:
        return []
    first, last = date.fromisoformat(min(names)), date.fromisoformat(max(names))
    # Clocks that were never set are years away; then only the days that there are.
    if (last - first).days > 3_660:
        return sorted(names)
    return [str(first + timedelta(days=i)) for i in range((last - first).days + 1)]


def _week(day: str) -> str:
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"
