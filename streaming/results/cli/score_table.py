"""Print a score as tables for people."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sed.events.scoring.score import Score
from sed.text import pluralize, without_controls
from streaming.results.score.report import class_rows

MAX_CLASSES = 60  # rows
COLUMNS = (
    *("class", "true", "found", "right", "F1", "prec.", "recall"),
    *("onset", "segm.", "inters.", "false/h"),
)
RATES = ("f1", "precision", "recall", "error_rate")


def print_score(score: Score) -> None:
    """Print the figures of all classes together, and of each."""
    console = Console(highlight=False)
    console.print(_overall(score))
    console.print()
    console.print(_classes(score))
    micro = score.events.micro
    parts = [
        pluralize(micro.n_true, "reference event"),
        pluralize(micro.n_found, "detection"),
        f"{score.hours:,.2f} h",
        f"{_number(score.false_per_hour(), 1)} false events an hour",
    ]
    if len(score.onset_errors):
        median = float(np.median(np.abs(score.onset_errors)))
        parts.append(f"median onset error {median:.3f} s")
    console.print()
    console.print(" · ".join(parts), soft_wrap=True)


def _overall(score: Score) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("", "F1", "precision", "recall", "error rate"):
        table.add_column(name, justify="right" if name else "left")
    kinds = (
        ("event-based", score.events),
        ("onset only", score.onsets),
        ("segment-based", score.segments),
        ("intersection-based", score.intersections),
    )
    for name, rates in kinds:
        # There, references and detections are not paired one to one.
        keys = RATES[:3] if name == "intersection-based" else RATES
        table.add_row(f"{name}, micro", *(_number(getattr(rates.micro, key)) for key in keys))
        table.add_row(f"{name}, macro", *(_number(rates.macro(key)) for key in keys))
    points = "" if score.n_points is None else f" ({pluralize(score.n_points, 'operating point')})"
    table.add_row(f"PSDS 1{points}", _number(score.psds1.score))
    table.add_row(f"PSDS 2{points}", _number(score.psds2.score))
    return table


def _classes(score: Score) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(COLUMNS[0], min_width=12, overflow="fold")
    for name in COLUMNS[1:]:
        table.add_column(name, justify="right", min_width=len(name), no_wrap=True)
    rows = sorted(class_rows(score), key=lambda row: (-int(row[1]), row[0]))
    for label, n_true, n_found, n_matched, *cells in rows[:MAX_CLASSES]:
        f1, precision, recall, _, onset, segment, inter, false = cells
        rates = f1, precision, recall, onset, segment, inter
        shown = [cell and f"{float(cell):.2f}" for cell in rates]
        last = false and f"{float(false):.1f}"
        table.add_row(Text(without_controls(label)), n_true, n_found, n_matched, *shown, last)
    if len(rows) > MAX_CLASSES:
        table.caption = f"and {pluralize(len(rows) - MAX_CLASSES, 'more class')}"
    return table


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"
