"""The progress bar that the commands of the workshop share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars


def progress_bars(console: Console, *, shown: bool, field: str = "") -> Bars:
    """Return a bar that counts to a number; it is drawn on a terminal alone, and leaves no trace.

    Parameters
    ----------
    console
        Where to, on standard error.
    shown
        Whether to draw it at all.
    field
        Of the task, told beside the count.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    told = [TextColumn(f"{{task.fields[{field}]}}")] if field else []
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *told,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and sys.stderr.isatty()),
    )
