"""Show the progress of `sed detect` on standard error, and sum it up in the end."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sed.errors import SedError
from sed.text import pluralize, printable
from streaming.offline.summary import ScanCallbacks, Summary

MAX_NOTICES = 20  # recordings that are printed


def progress_bar(*, shown: bool) -> Progress | nullcontext[None]:
    """Return a bar over all recordings, drawn on standard error, or nothing."""
    if not shown:
        return nullcontext()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def progress_callbacks(bar: Progress | None) -> ScanCallbacks:
    """Return callbacks that move the bar, and print each error at once."""

    def on_error(error: SedError) -> None:
        if bar is not None:
            bar.console.print(f"sed: {error}", markup=False, highlight=False, soft_wrap=True)
        else:
            print(f"sed: {error}", file=sys.stderr)

    if bar is None:
        return ScanCallbacks(on_error=on_error)
    task = bar.add_task("loading", total=None, speed="")
    started = time.perf_counter()

    def on_start(n_recordings: int, n_bytes: int) -> None:
        bar.update(task, description=pluralize(n_recordings, "recording"), total=n_bytes or None)

    def on_progress(n_bytes: float, seconds: float) -> None:
        speed = seconds / max(1e-3, time.perf_counter() - started)
        bar.update(task, completed=n_bytes, speed=f"{speed:,.0f} × real time")

    return ScanCallbacks(on_start, on_progress, on_error)


def print_notices(summary: Summary) -> None:
    """Print a line for each of the first recordings that are odd, though nothing failed."""
    if not summary.notices:
        return
    print("look at these:", file=sys.stderr)
    for path, text in summary.notices[:MAX_NOTICES]:
        print(f"  {printable(path)}: {text}", file=sys.stderr)
    if n_more := summary.n_notices - min(MAX_NOTICES, len(summary.notices)):
        print(f"  and {pluralize(n_more, 'more recording')}", file=sys.stderr)


def summary_line(summary: Summary, *, has_events: bool = True) -> str:
    """Return one line about a scan: recordings, sound, results, time, speed and failures."""
    hours = summary.audio_seconds / 3600
    length = f"{hours:.2f} h" if hours >= 0.1 else f"{summary.audio_seconds:.1f} s"
    parts = [
        pluralize(summary.n_files, "file"),
        f"{length} of sound",
        *([pluralize(summary.n_events, "event")] if has_events else []),
        *([pluralize(summary.n_embeddings, "embedding")] if summary.n_embeddings else []),
        f"{summary.wall_seconds:.1f} s",
        f"{summary.times_real_time:,.0f} × real time",
    ]
    if summary.n_skipped:
        parts.append(f"{summary.n_skipped} skipped")
    if summary.n_notices:
        parts.append(f"{summary.n_notices} to look at")
    damaged = f" ({summary.n_damaged} damaged)" if summary.n_damaged else ""
    parts.append(pluralize(summary.n_failures, "failure") + damaged)
    return " · ".join(parts)
