"""What is written about the predictions for labelled clips: tables, a picture, figures.

::

    report.json      the figures of all clips, and of all classes
    per_class.csv    a row per class
    predictions.csv  a row per clip
    confusion.png    which class was taken for which
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.files import written_whole
from sed.models.metrics import (
    average_precision,
    clip_metrics,
    confusion_matrix,
    decision_report,
    padded_cmap,
    roc_auc,
)
from sed.types import Floats
from train.evaluate.plots import plot_confusion


class ClassFigures(NamedTuple):
    """How well a class is found; nan where there is nothing to judge by."""

    label: str
    average_precision: float
    auc: float
    precision: float  # of the class with the highest score, as the next two
    recall: float
    f1: float
    support: int  # clips that have the label


def class_figures(labels: Sequence[str], targets: Floats, clip_probs: Floats) -> list[ClassFigures]:
    """Return the figures of each class; arrays are (clips, classes)."""
    decisions = decision_report(targets, clip_probs)
    precisions, aucs = average_precision(targets, clip_probs), roc_auc(targets, clip_probs)
    support = (np.asarray(targets) > 0.5).sum(axis=0)
    return [
        ClassFigures(
            label,
            float(precisions[c]),
            float(aucs[c]),
            float(decisions.precision[c]),
            float(decisions.recall[c]),
            float(decisions.f1[c]),
            int(support[c]),
        )
        for c, label in enumerate(labels)
    ]


def overall_figures(
    targets: Floats, clip_probs: Floats, *, judged: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return the figures of all clips; arrays are (clips, classes).

    Parameters
    ----------
    targets, clip_probs
        What is there, and what was heard.
    judged
        Classes, shape (classes,), that the padded cmAP is a mean over; all if not given. The
        padding gives classes without a clip a value of one, so classes that cannot occur do not
        belong to it. The other means over classes leave those out by themselves.
    """
    figures: dict[str, Any] = {"n_clips": len(targets)} | clip_metrics(targets, clip_probs)
    if judged is not None:
        for padding in (5, 3):
            part = targets[:, judged], clip_probs[:, judged]
            figures[f"cmap{padding}"] = padded_cmap(*part, padding=padding)
    decisions = decision_report(targets, clip_probs)
    return figures | {"macro": decisions.macro(), "weighted": decisions.weighted()}


def write_report(
    folder: str | os.PathLike[str],
    labels: Sequence[str],
    targets: Floats,
    clip_probs: Floats,
    *,
    files: Sequence[str],
    begins: Sequence[float] | None = None,
    judged: NDArray[np.bool_] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write report.json, per_class.csv, predictions.csv and confusion.png into a folder.

    Each is written whole or not at all.

    Parameters
    ----------
    folder
        Where to; it is made if it is missing.
    labels
        One per class.
    targets, clip_probs
        Shape (clips, classes); what is above 0.5 in `targets` is there.
    files, begins
        The file of each clip, and the second of it where the clip begins; 0 if not given.
    judged
        See `overall_figures`.
    about
        Put in front of the figures in report.json.

    Raises
    ------
    UsageError
        If the shapes do not fit one another.
    OutputError
        If a file cannot be written.
    """
    folder = Path(folder)
    begins = [0.0] * len(files) if begins is None else begins
    _check_shapes(labels, targets, clip_probs, files, begins)
    figures = overall_figures(targets, clip_probs, judged=judged)
    per_class = class_figures(labels, targets, clip_probs)
    write_json(folder / "report.json", {**(about or {}), **figures})
    write_table(
        folder / "per_class.csv",
        ClassFigures._fields,
        [[_cell(value) for value in row] for row in per_class],
    )
    header = ("file", "begin", "true", "predicted", "probability", *labels)
    rows = _prediction_rows(labels, targets, clip_probs, files, begins)
    write_table(folder / "predictions.csv", header, rows)
    plot_confusion(confusion_matrix(targets, clip_probs), labels, folder / "confusion.png")


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write readable JSON; what is no number becomes null."""
    with written_whole(path) as part:
        text = json.dumps(plain(values), indent=1, ensure_ascii=False)
        part.write_text(text + "\n", "utf-8", errors="surrogateescape")


def write_table(
    path: str | os.PathLike[str], header: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Write a CSV file, whole or not at all."""
    with (
        written_whole(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: null where a number is none."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _prediction_rows(
    labels: Sequence[str],
    targets: Floats,
    clip_probs: Floats,
    files: Sequence[str],
    begins: Sequence[float],
) -> list[list[str]]:
    rows = []
    for file, begin, target, probs in zip(files, begins, targets, clip_probs, strict=True):
        truth = ";".join(labels[int(c)] for c in np.flatnonzero(target > 0.5))
        top = int(np.argmax(probs))
        cells = [file, f"{begin:.3f}", truth, labels[top], f"{probs[top]:.6f}"]
        rows.append(cells + [f"{p:.6f}" for p in probs])
    return rows


def _cell(value: object) -> str:
    """Return a figure as it stands in a table: nothing where there is none."""
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6f}"


def _check_shapes(
    labels: Sequence[str],
    targets: Floats,
    clip_probs: Floats,
    files: Sequence[str],
    begins: Sequence[float],
) -> None:
    expected = (len(files), len(labels))
    if not expected == np.shape(targets) == np.shape(clip_probs) or len(begins) != len(files):
        raise UsageError(
            f"expected targets and clip_probs of {expected[0]} clips and {expected[1]} classes "
            f"and as many begins, got {np.shape(targets)}, {np.shape(clip_probs)} and "
            f"{len(begins)}"
        )
