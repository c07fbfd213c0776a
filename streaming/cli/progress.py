"""What `sed detect` says on standard error while it works, and at the end."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from sed.errors import SedError
from sed.text import pluralize
from streaming.offline.scan import Progress, Summary


def bar(*, shown: bool) -> Bars | nullcontext[None]:
    """Return one bar over all recordings, drawn on stderr, or nothing."""
    if not shown:
        return nullcontext()
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def reporter(bars: Bars | None) -> Progress:
    """Return what moves the bar, and what says at once what is wrong with a recording."""

    def on_trouble(error: SedError) -> None:
        if bars is not None:
            bars.console.print(f"sed: {error}", markup=False, highlight=False, soft_wrap=True)
        else:
            print(f"sed: {error}", file=sys.stderr)

    if bars is None:
        return Progress(on_trouble=on_trouble)
    task = bars.add_task("loading", total=None, speed="")
    began = time.perf_counter()

    def on_start(n_recordings: int, n_bytes: int) -> None:
        noun = "recording" if n_recordings == 1 else "recordings"
        bars.update(task, description=f"{n_recordings} {noun}", total=n_bytes or None)

    def on_progress(n_bytes: float, seconds: float) -> None:
        speed = seconds / max(1e-3, time.perf_counter() - began)
        bars.update(task, completed=n_bytes, speed=f"{speed:,.0f} × real time")

    return Progress(on_start, on_progress, on_trouble)


def told(summary: Summary) -> str:
    """Return the last line: what was heard, how fast, and what was not."""
    hours = summary.audio_seconds / 3600
    length = f"{hours:.2f} h" if hours >= 0.1 else f"{summary.audio_seconds:.1f} s"
    parts = [
        pluralize(summary.n_files, "file"),
        f"{length} of sound",
        pluralize(summary.n_events, "event"),
        f"{summary.wall_seconds:.1f} s",
        f"{summary.times_real_time:,.0f} × real time",
    ]
    if summary.n_skipped:
        parts.append(f"{summary.n_skipped} skipped")
    parts.append(pluralize(summary.n_failures, "failure"))
    return " · ".join(parts)
