"""Write decisions as tables: strong labels for `sed train` and the rest, and all columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sed.errors import UsageError
from sed.events.reading.event_tables import event_files
from sed.files import written_csv
from sed.text import printable
from streaming.results.review.store import ReviewStore, consensus

TSV_HEADER = ("filename", "onset", "offset", "event_label")
CSV_HEADER = (
    *("file", "onset", "offset", "label", "score", "verdict", "reviewer", "reviewed_at"),
    *("true_label", "true_onset", "true_offset"),
)


def export_paths(db: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the paths of the tables beside a database: strong labels, and all decisions."""
    path = Path(db)
    return path.with_suffix(".tsv"), path.with_suffix(".csv")


def tables_to_review(
    events: Sequence[str | os.PathLike[str]], db: str | os.PathLike[str]
) -> list[Path]:
    """Return the tables of events to review: without those that the review itself writes.

    Parameters
    ----------
    events
        Tables, and folders of them.
    db
        Database of the decisions.

    Raises
    ------
    UsageError
        If a review would replace a table that is not its own, or its own database.
    """
    own = export_paths(db)
    name = printable(os.fspath(db))
    if Path(db) in own:
        raise UsageError(f"{name} would be replaced by a table. Give --db a name ending in .sqlite")
    if not os.path.exists(db) and (there := [path for path in own if path.exists()]):
        raise UsageError(
            f"{printable(str(there[0]))} exists already, and would be replaced. Move it, or choose "
            "another name with --db"
        )
    written = {os.path.realpath(path) for path in own}
    for path in events:
        if os.path.isfile(path) and os.path.realpath(path) in written:
            raise UsageError(
                f"{printable(os.fspath(path))} would be replaced by the decisions about it. Choose "
                "another name with --db"
            )
    # An empty folder is an error of those who read it.
    files = [file for path in events for file in event_files(path) or [Path(path)]]
    return [file for file in files if os.path.realpath(file) not in written]


def export_reviews(store: ReviewStore) -> tuple[Path, Path]:
    """Write the tables of all decisions beside their database, and return their paths.

    ``reviews.tsv`` has the events that most reviewers confirm or relabel, with adjusted borders:
    a table of strong labels. ``reviews.csv`` has a row for each decision.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    labels, everything = export_paths(store.path)
    snapshot = store.snapshot()
    found = sorted(
        (each.event.file, each.true_onset, each.true_offset, each.true_label)
        for decisions in snapshot.values()
        if (each := consensus(decisions)) is not None and each.true_label
    )
    # Two events that were given the same label and borders are one.
    rows = (
        (file, f"{onset:.3f}", f"{offset:.3f}", label)
        for file, onset, offset, label in dict.fromkeys(found)
    )
    with written_csv(labels, delimiter="\t") as table:
        table.writerow(TSV_HEADER)
        table.writerows(rows)
    decisions = (each for of_event in snapshot.values() for each in of_event)
    columns = (
        (
            *(each.event.file, f"{each.event.onset:.3f}", f"{each.event.offset:.3f}"),
            *(each.event.label, f"{each.score:.4f}", each.verdict, each.reviewer),
            *(each.reviewed_at, each.true_label),
            *(f"{each.true_onset:.3f}", f"{each.true_offset:.3f}"),
        )
        for each in sorted(decisions, key=lambda each: each.reviewed_at)
    )
    with written_csv(everything) as table:
        table.writerow(CSV_HEADER)
        table.writerows(columns)
    return labels, everything
