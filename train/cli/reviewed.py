"""`sed tune --from`: thresholds from reviewed events."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sed.events.post_processing import write_post_processing
from sed.text import pluralize, printable
from train.tune.reviewed import read_reviewed, thresholds_of

MIN_PRECISION = 0.9  # where none is given


def tune_from_reviews(
    database: Path, reviews: list[Path], min_precision: float | None, output: Path, *, quiet: bool
) -> None:
    """Write the thresholds that reviewed events ask for, and print a row per class.

    Parameters
    ----------
    database
        That of `sed listen --db`.
    reviews
        Those of `sed review` about its events.
    min_precision
        The share of right events that is wanted; `MIN_PRECISION` if not given.
    output
        The file of thresholds.
    quiet
        Print nothing.

    Raises
    ------
    UsageError, SedError
        If a database cannot be read, no event is reviewed, or the file cannot be written.
    """
    wanted = MIN_PRECISION if min_precision is None else min_precision
    classes = read_reviewed(database, reviews, wanted)
    comments = (
        f"reviewed events of {printable(database.name)}, for a precision of {wanted:g}",
        "offset thresholds are half of the onset thresholds",
    )
    write_post_processing(output, thresholds_of(classes), comments)
    if quiet:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("class", overflow="fold", min_width=12)
    for name in ("events", "reviewed", "right", "threshold", "precision", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for one in (each for each in classes if each.n_reviewed):
        chosen = one.threshold
        cells = ["", "", ""]
        if chosen is not None:
            low, high = chosen.interval
            cells = [f"{chosen.value:.3f}", f"{chosen.precision:.2f}", f"{low:.2f}–{high:.2f}"]
        counts = (f"{n:,}" for n in (one.n_events, one.n_reviewed, one.n_right))
        table.add_row(Text(printable(one.label)), *counts, *cells, one.outcome)
    console = Console(stderr=True, highlight=False)
    console.print(table)
    if n_open := sum(not one.n_reviewed for one in classes):
        console.print(
            f"{pluralize(n_open, 'more class')} without a review"
            if n_open == 1
            else f"{n_open:,} more classes without a review"
        )
    name = printable(str(output))
    console.print(
        f"written: {name}. Use it: sed listen --thresholds {name}", markup=False, soft_wrap=True
    )
