"""Sum up what tuning gains on held-out parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from sed.events.post_processing import PostProcessing
from sed.text import pluralize
from train.tune.calibration import CalibrationResult
from train.tune.choose import WEIGHTS, HeldOut, TargetConfig
from train.tune.counts import Counts
from train.tune.settings import Setting

MODELS, SHARED, OWN = "model", "shared", "own"  # whose setting a class gets


@dataclass(frozen=True)
class ClassTuning:
    """What was chosen for a class.

    Attributes
    ----------
    label
        Name of the class.
    n_true
        Labelled events, segments or clips.
    model, tuned
        What is reached on held-out parts, with the settings of the model and with those chosen on
        the other parts: F1, PSDS, or the recall within a limit, negative beyond it.
    setting
        What was chosen on all data.
    source
        ``model``: it keeps that of the model; ``shared``: what is best for all classes; ``own``.
    """

    label: str
    n_true: int
    model: float
    tuned: float
    setting: Setting
    source: str


@dataclass(frozen=True)
class TuneResult:
    """What was tuned, and what that gains on held-out parts.

    Attributes
    ----------
    post_processing
        What is written: the classes with a gain, or with a calibration.
    target
        What was sought, in words.
    metric
        Name of the figures below.
    classes
        Of each class of the labels.
    model, tuned, spread
        The figure of all classes on held-out parts, with the settings of the model and with those
        chosen on the other parts; standard deviation of its gain over the folds.
    rates
        Precision, recall and false events per hour of both, by name, of all classes together.
    n_recordings, hours, n_folds
        Of the data.
    is_cut
        Whether parts of one recording are in several folds.
    calibration
        What calibration gains; None without.
    left_out
        Labels that are no class of the model.
    failures
        What could not be read.
    """

    post_processing: PostProcessing
    target: str
    metric: str
    classes: tuple[ClassTuning, ...]
    model: float
    tuned: float
    spread: float
    rates: dict[str, dict[str, float]]
    n_recordings: int
    hours: float
    n_folds: int
    is_cut: bool = False
    calibration: CalibrationResult | None = None
    left_out: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """Difference on held-out parts."""
        return self.tuned - self.model

    def comments(self, model: str) -> list[str]:
        """Return lines for the head of the file."""
        lines = [
            f"model: {model}",
            f"chosen for {self.target}, on {pluralize(self.n_recordings, 'recording')}, "
            f"{self.hours:.2f} h",
            f"{self.metric} on held-out parts: {self.model:.3f} with the settings of the model, "
            f"{self.tuned:.3f} tuned; gain {self.gain:+.3f}, standard deviation over "
            f"{self.n_folds} folds {self.spread:.3f}",
        ]
        if self.is_cut:
            lines.append(
                "the parts are stretches of the same recordings, which are alike: the gain on "
                "other recordings may be smaller"
            )
        found = self.calibration
        if found is not None and found.before is not None and found.after is not None:
            lines.append(
                f"expected calibration error on held-out parts: {found.before.error:.4f} before, "
                f"{found.after.error:.4f} after"
            )
        kept = [one.label for one in self.classes if one.source == MODELS]
        if kept:
            lines.append(f"{len(kept)} of {len(self.classes)} classes keep the model's settings")
        return lines


def figures(
    held_out: HeldOut, hours: NDArray[np.float64], target: TargetConfig
) -> tuple[float, float, float, dict[str, dict[str, float]]]:
    """Return the figure of the model, the tuned one, its spread over folds, and rates of both."""
    folds = list(range(len(hours)))
    model, tuned = (
        _overall(each, folds, hours, target) for each in (held_out.model, held_out.tuned)
    )
    gains = [
        _overall(held_out.tuned, [k], hours, target) - _overall(held_out.model, [k], hours, target)
        for k in folds
    ]
    rates = {
        name: _rates(reduce(add, each).total(folds), float(hours.sum()))
        for name, each in (("model", held_out.model), ("tuned", held_out.tuned))
    }
    return model, tuned, float(np.std(gains)), rates


def source_of(variant: int, target: TargetConfig) -> str:
    """Return whose setting a variant is, by its number in a `Choice`."""
    if not variant:
        return MODELS
    return SHARED if WEIGHTS[variant - 1] == np.inf and not target.is_limit else OWN


def class_figure(counts: Counts, hours: NDArray[np.float64], target: TargetConfig) -> float:
    """Return what a class reaches in all folds."""
    total = counts.total(range(len(hours)))
    return float(target.goals(total, float(hours.sum()))[0])


def _overall(
    classes: tuple[Counts, ...],
    folds: list[int],
    hours: NDArray[np.float64],
    target: TargetConfig,
) -> float:
    """Return F1 of all events, or the mean over classes with events: of PSDS, of the recall."""
    length = float(hours[folds].sum())
    totals = [counts.total(folds) for counts in classes]
    there = [one for one in totals if one.n_true[0]]
    if not there:
        return 0.0
    if target.is_limit:
        return float(np.mean([one.n_hit[-1, 0] / one.n_true[0] for one in there]))
    if target.maximise == "psds1":
        return float(np.mean([target.goals(one, length)[0] for one in there]))
    return float(target.goals(reduce(add, totals), length)[0])


def _rates(total: Counts, hours: float) -> dict[str, float]:
    n_found, n_false, n_hit = (
        float(each[-1, 0]) for each in (total.n_found, total.n_false, total.n_hit)
    )
    return {
        "precision": 1 - n_false / n_found if n_found else 1.0,
        "recall": n_hit / max(float(total.n_true[0]), 1.0),
        "false_per_hour": n_false / max(hours, 1e-9),
    }
