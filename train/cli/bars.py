"""Draw the progress bar of the commands of training."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars


def progress_bars(console: Console, *, shown: bool, field: str = "") -> Bars:
    """Return a progress bar that is drawn on terminals only, and removed at the end.

    Parameters
    ----------
    console
        Where to draw, on standard error.
    shown
        Whether to draw it at all.
    field
        Name of a field of the task to show beside the count.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    fields = [TextColumn(f"{{task.fields[{field}]}}")] if field else []
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *fields,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and sys.stderr.isatty()),
    )
