"""Write a report on the predictions for labelled clips.

::

    report.json      metrics of all clips, and means over the classes
    per_class.csv    metrics of each class
    predictions.csv  labels and probabilities of each clip
    confusion.png    confusion matrix
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.errors import UsageError
from sed.events.scoring.score import Score
from sed.files import written_csv, written_whole
from sed.models.metrics import (
    average_precision,
    clip_metrics,
    confusion_matrix,
    decision_report,
    has_several_labels,
    padded_cmap,
    roc_auc,
)
from train.data.clips import ClipPredictions
from train.evaluate.plots import plot_confusion

PREDICTIONS = "predictions.csv"
PREDICTION_COLUMNS = ("file", "start", "true", "predicted", "probability")  # then the classes


class ClassMetrics(NamedTuple):
    """Metrics of a class; NaN where they are undefined."""

    label: str
    average_precision: float
    auc: float
    precision: float  # of the class with the highest score, as the next two
    recall: float
    f1: float
    support: int  # clips that have the label


def class_metrics(labels: Sequence[str], predictions: ClipPredictions) -> list[ClassMetrics]:
    """Return the metrics of each class."""
    targets, clip_probs = predictions
    decisions = decision_report(targets, clip_probs)
    precisions, aucs = average_precision(targets, clip_probs), roc_auc(targets, clip_probs)
    support = (np.asarray(targets) > 0.5).sum(axis=0)
    return [
        ClassMetrics(
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


def overall_metrics(
    predictions: ClipPredictions, *, classes: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return the metrics of all clips, by name.

    Parameters
    ----------
    predictions
        Targets and probabilities, shape (clips, classes).
    classes
        Which classes the padded cmAP is a mean over, shape (classes,); all if not given. Since
        padding gives classes without a clip a value of one, classes that cannot occur have to be
        left out. The other means over classes leave those out in any case.
    """
    targets, clip_probs = predictions
    metrics: dict[str, Any] = {"n_clips": len(targets)} | clip_metrics(targets, clip_probs)
    if classes is not None:
        for padding in (5, 3):
            part = targets[:, classes], clip_probs[:, classes]
            metrics[f"padded_cmap_{padding}"] = padded_cmap(*part, padding=padding)
    decisions = decision_report(targets, clip_probs)
    return metrics | {"macro": decisions.macro(), "weighted": decisions.weighted()}


def write_report(
    folder: str | os.PathLike[str],
    labels: Sequence[str],
    predictions: ClipPredictions,
    *,
    files: Sequence[str],
    starts: Sequence[float] | None = None,
    classes: NDArray[np.bool_] | None = None,
    events: Score | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write report.json, per_class.csv, predictions.csv and confusion.png into a folder.

    Each is written whole or not at all.

    Parameters
    ----------
    folder
        Where to; it is created if it is missing.
    labels
        One per class.
    predictions
        Arrays of shape (clips, classes); targets above 0.5 are labels.
    files, starts
        The file of each clip, and where in it the clip starts, in seconds; 0 if not given.
    classes
        See `overall_metrics`.
    events
        Metrics of the events, where labels have times.
    facts
        Written before the metrics in report.json.

    Raises
    ------
    UsageError
        If the shapes do not match.
    OutputError
        If a file cannot be written.
    """
    folder = Path(folder)
    starts = [0.0] * len(files) if starts is None else starts
    _check_shapes(labels, predictions, files, starts)
    metrics = {**(facts or {}), **overall_metrics(predictions, classes=classes)}
    if events is not None:
        metrics["events"] = events.as_dict()
    write_json(folder / "report.json", metrics)
    with written_csv(folder / "per_class.csv") as table:
        table.writerow(ClassMetrics._fields)
        for row in class_metrics(labels, predictions):
            table.writerow(map(_cell, row))
    with written_csv(folder / PREDICTIONS) as table:
        table.writerow((*PREDICTION_COLUMNS, *labels))
        table.writerows(_prediction_rows(labels, predictions, files, starts))
    # Of clips with several labels, none is taken for another.
    if has_several_labels(predictions.targets):
        (folder / "confusion.png").unlink(missing_ok=True)
    else:
        plot_confusion(confusion_matrix(*predictions), labels, folder / "confusion.png")


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity become null.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with written_whole(path) as part:
        text = json.dumps(plain(values), indent=1, ensure_ascii=False)
        part.write_text(text + "\n", "utf-8", errors="surrogateescape")


def plain(value: Any) -> Any:
    """Return a value for JSON, with None in place of NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _prediction_rows(
    labels: Sequence[str],
    predictions: ClipPredictions,
    files: Sequence[str],
    starts: Sequence[float],
) -> list[list[str]]:
    rows = []
    for file, start, target, probs in zip(files, starts, *predictions, strict=True):
        true = ";".join(labels[int(c)] for c in np.flatnonzero(target > 0.5))
        top = int(np.argmax(probs))
        cells = [file, f"{start:.3f}", true, labels[top], f"{probs[top]:.6f}"]
        rows.append(cells + [f"{p:.6f}" for p in probs])
    return rows


def _cell(value: object) -> str:
    """Return a metric as text; nothing for NaN."""
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6f}"


def _check_shapes(
    labels: Sequence[str],
    predictions: ClipPredictions,
    files: Sequence[str],
    starts: Sequence[float],
) -> None:
    expected = (len(files), len(labels))
    shapes = [np.shape(array) for array in predictions]
    if not expected == shapes[0] == shapes[1] or len(starts) != len(files):
        raise UsageError(
            f"expected targets and clip_probs of {expected[0]} clips and {expected[1]} classes "
            f"and as many starts, got {shapes[0]}, {shapes[1]} and {len(starts)}"
        )
