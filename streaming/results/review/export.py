"""Write decisions as tables: strong labels for `sed train` and the rest, and all columns."""

from __future__ import annotations

from pathlib import Path

from sed.files import written_csv
from streaming.results.review.store import ReviewStore, consensus

TSV_HEADER = ("filename", "onset", "offset", "event_label")
CSV_HEADER = (
    *("file", "onset", "offset", "label", "score", "verdict", "reviewer", "reviewed_at"),
    *("true_label", "true_onset", "true_offset"),
)


def export_reviews(store: ReviewStore) -> tuple[Path, Path]:
    """Write the tables of all decisions beside their database, and return their paths.

    ``reviews.tsv`` has the events that most reviewers confirm or relabel, with adjusted borders:
    a table of strong labels. ``reviews.csv`` has a row for each decision.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    path = Path(store.path)
    labels, everything = path.with_suffix(".tsv"), path.with_suffix(".csv")
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
