"""Write the figures of a score into a folder: JSON, tables and pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sed.errors import OutputError
from sed.events.scoring.psds import PsdRoc
from sed.events.scoring.score import Score
from sed.files import written_whole
from streaming.results.output import write_table

CLASS_HEADER = (
    *("label", "n_true", "n_found", "n_matched", "event_f1", "event_precision", "event_recall"),
    *("error_rate", "onset_f1", "segment_f1", "intersection_f1", "false_per_hour"),
)


def write_report(folder: str | os.PathLike[str], score: Score) -> None:
    """Write ``scores.json``, ``classes.csv``, ``psd_roc_1.csv`` and ``_2``, and pictures of them.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    # Importing matplotlib is slow.
    from streaming.results.score.plots import plot_classes, plot_psd_roc

    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(place, error) from error
    with written_whole(place / "scores.json") as part:
        part.write_text(json.dumps(score.as_dict(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    write_table(place / "classes.csv", CLASS_HEADER, class_rows(score))
    labels = tuple(score.intersections.classes)
    for i, roc in enumerate((score.psds1, score.psds2), start=1):
        write_table(place / f"psd_roc_{i}.csv", ("efpr", "etpr", *labels), _roc_rows(roc))
        plot_psd_roc(place / f"psd_roc_{i}.png", roc, labels, f"PSDS {i}")
    plot_classes(place / "classes.png", score)


def class_rows(score: Score) -> list[list[str]]:
    """Return the figures of each class, by `CLASS_HEADER`; empty where one is not defined."""
    rows = []
    for label, own in score.events.classes.items():
        inter = score.intersections.classes.get(label)
        values = [
            *(own.f1, own.precision, own.recall, own.error_rate),
            *(score.onsets.classes[label].f1, score.segments.classes[label].f1),
            np.nan if inter is None else inter.f1,
            score.false_per_hour(label),
        ]
        counts = [str(n) for n in (own.n_true, own.n_found, own.n_matched)]
        cells = ["" if v is None or np.isnan(v) else f"{v:.4f}" for v in values]
        rows.append([label, *counts, *cells])
    return rows


def _roc_rows(roc: PsdRoc) -> Iterable[list[str]]:
    for i, efpr in enumerate(roc.efpr):
        shares = [roc.etpr[i], *roc.tpr[:, i]]
        yield [f"{efpr:.4f}", *("" if np.isnan(share) else f"{share:.6f}" for share in shares)]
