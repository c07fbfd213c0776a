"""Score detections against reference events with all metrics of the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sed.errors import TableError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.frames import FrameScores
from sed.events.scoring.collar import CollarConfig, CollarPairs
from sed.events.scoring.frames import runs_of
from sed.events.scoring.intersection import Curve, IntersectionConfig, Intersections
from sed.events.scoring.names import match_names
from sed.events.scoring.overlaps import Pairs, overlapping
from sed.events.scoring.psds import (
    SCENARIO_1,
    SCENARIO_2,
    OperatingPoints,
    PsdRoc,
    PsdsConfig,
    operating_points,
    psd_roc,
    roc_of_curves,
)
from sed.events.scoring.rates import ClassRates
from sed.events.scoring.reference import Events, Reference, align
from sed.events.scoring.segments import segment_rates
from sed.text import printable


@dataclass(frozen=True)
class ScoreConfig:
    """Parameters of the metrics; the defaults are those of DCASE's task 4.

    Attributes
    ----------
    collar
        Of event-based metrics.
    segment_seconds
        Length of a segment.
    intersection
        Tolerances of intersection-based metrics.
    psds1, psds2
        The two scenarios of the polyphonic sound detection score.
    threshold
        Detections with a lower score do not count in the F1 figures. Of frame probabilities, 0.5 if
        it is None.
    """

    collar: CollarConfig = field(default_factory=CollarConfig)
    segment_seconds: float = 1.0
    intersection: IntersectionConfig = field(default_factory=IntersectionConfig)
    psds1: PsdsConfig = SCENARIO_1
    psds2: PsdsConfig = SCENARIO_2
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(f"expected a threshold above 0 and up to 1, got {self.threshold:g}")


@dataclass(frozen=True)
class Score:
    """The metrics of detections.

    Attributes
    ----------
    labels
        Names of the classes: those of the truth, then those that only detections have.
    hours
        Length of all recordings.
    events
        Event-based, with onset and offset.
    onsets
        Event-based, with the onset alone.
    segments
        Segment-based.
    intersections
        Intersection-based; only the classes of the truth.
    psds1, psds2
        Curves and scores.
    onset_errors, offset_errors
        Detection minus reference in seconds, of the pairs whose onsets fit.
    n_points
        Operating points that PSDS rests on; None if all thresholds count.
    """

    labels: tuple[str, ...]
    hours: float
    events: ClassRates
    onsets: ClassRates
    segments: ClassRates
    intersections: ClassRates
    psds1: PsdRoc
    psds2: PsdRoc
    onset_errors: np.ndarray[tuple[int], np.dtype[np.float64]]
    offset_errors: np.ndarray[tuple[int], np.dtype[np.float64]]
    n_points: int | None

    def as_dict(self) -> dict[str, object]:
        """Return all figures for JSON; those that are not defined are None."""
        micro = self.events.micro
        return {
            "event_f1": _shares(self.events, "f1"),
            "event_precision": _shares(self.events, "precision"),
            "event_recall": _shares(self.events, "recall"),
            "error_rate": _shares(self.events, "error_rate")
            | {
                part: _defined(getattr(micro, f"{part}_rate"))
                for part in ("substitution", "deletion", "insertion")
            },
            "onset_f1": _shares(self.onsets, "f1"),
            "segment_f1": _shares(self.segments, "f1"),
            "segment_precision": _shares(self.segments, "precision"),
            "segment_recall": _shares(self.segments, "recall"),
            "segment_error_rate": _shares(self.segments, "error_rate"),
            "intersection_f1": _defined(self.intersections.macro("f1")),
            "intersection_f1_micro": _defined(self.intersections.micro.f1),
            "intersection_f1_classes": _shares(self.intersections, "f1")["classes"],
            "psds1": self.psds1.score,
            "psds2": self.psds2.score,
            "false_per_hour": {
                "all": self.false_per_hour(),
                "classes": {label: self.false_per_hour(label) for label in self.labels},
            },
            "onset_error_seconds": _errors(self.onset_errors),
            "offset_error_seconds": _errors(self.offset_errors),
            "n_true": micro.n_true,
            "n_found": micro.n_found,
            "hours": self.hours,
            "operating_points": self.n_points,
        }

    def false_per_hour(self, label: str | None = None) -> float | None:
        """Return false events per hour, of one class or of all; None if nothing was recorded."""
        rates = self.events.micro if label is None else self.events.classes[label]
        return (rates.n_found - rates.n_matched) / self.hours if self.hours else None


def score(
    truth: EventTable,
    predictions: EventTable | Sequence[EventTable] | Sequence[FrameScores],
    *,
    durations: Mapping[str, float] | None = None,
    config: ScoreConfig | None = None,
    detections: EventTable | None = None,
) -> Score:
    """Score detections of any system against reference events.

    Parameters
    ----------
    truth
        The reference events.
    predictions
        Detections with their scores: PSDS then counts all thresholds on the scores. Or several
        tables, each an operating point of the system: F1 figures are those of the table with the
        highest event-based F1. Or frame probabilities of recordings: PSDS counts all thresholds
        exactly, and F1 figures those frames that reach `ScoreConfig.threshold`.
    durations
        Seconds of all recordings, also those without reference events. Without it recordings end
        with their last event.
    config
        Parameters of the metrics.
    detections
        With frame probabilities: the events that F1 figures are of, in the place of the frames that
        reach the threshold.

    Raises
    ------
    TableError
        If names of recordings are ambiguous, some have no duration, or there are frame
        probabilities of one twice.
    UsageError
        If there are no predictions.
    """
    config = config or ScoreConfig()
    if isinstance(predictions, EventTable):
        return _of_scored(truth, predictions, durations, config)
    if not predictions:
        raise UsageError("there are no predictions to score")
    if isinstance(predictions[0], FrameScores):
        frames = [one for one in predictions if isinstance(one, FrameScores)]
        return _of_frames(truth, frames, durations, config, detections)
    tables = [one for one in predictions if isinstance(one, EventTable)]
    if len(tables) == 1:
        return _of_scored(truth, tables[0], durations, config)
    reference, points = align(truth, tables, durations)
    best, pairs, rocs = _best_and_rocs(reference, points, config)
    return _score(reference, *_above(best, pairs, config), config, rocs, len(points))


def _of_scored(
    truth: EventTable,
    predictions: EventTable,
    durations: Mapping[str, float] | None,
    config: ScoreConfig,
) -> Score:
    reference, (found,) = align(truth, [predictions], durations)
    rocs, pairs = [], overlapping(found, reference.events, config.collar.onset_collar)
    for psds in (config.psds1, config.psds2):
        inter = Intersections.of(reference, found, psds.intersection, pairs)
        curves = inter.curves(np.full(len(found), -np.inf), found.score)
        rocs.append(roc_of_curves(reference, curves, psds))
    n_points = None if len(np.unique(predictions.score)) > 1 else min(1, len(predictions))
    return _score(reference, *_above(found, pairs, config), config, rocs, n_points)


def _above(found: Events, pairs: Pairs, config: ScoreConfig) -> tuple[Events, Pairs]:
    """Return the detections that count in the F1 figures, and their pairs."""
    if config.threshold is None:
        return found, pairs
    kept = found.score >= config.threshold
    pairs = pairs.take(kept[pairs.found])
    return found.take(kept), Pairs((np.cumsum(kept) - 1)[pairs.found], pairs.true)


def _of_frames(
    truth: EventTable,
    frames: Sequence[FrameScores],
    durations: Mapping[str, float] | None,
    config: ScoreConfig,
    detections: EventTable | None,
) -> Score:
    lengths = _lengths(truth, frames) if durations is None else durations
    reference, events = align(truth, [] if detections is None else [detections], lengths)
    number = {name: i for i, name in enumerate(lengths)}
    names = match_names([one.file for one in frames], [*lengths])
    # As detections are, those of other recordings are left out.
    scored: dict[int, FrameScores] = {}
    for one, name in zip(frames, names, strict=True):
        if name is not None and scored.setdefault(number[name], one) is not one:
            own = printable(one.file)
            raise TableError(f"there are frame probabilities of {own} twice. Give one of them.")
    found = runs_of([*scored.values()], [*scored], reference.labels)
    rocs, pairs = [], overlapping(found.events, reference.events)
    for psds in (config.psds1, config.psds2):
        inter = Intersections.of(reference, found.events, psds.intersection, pairs)
        rocs.append(roc_of_curves(reference, inter.curves(found.first, found.last), psds))
    threshold = 0.5 if config.threshold is None else config.threshold
    at = (found.first < threshold) & (threshold <= found.last)
    chosen = events[0] if events else found.events.take(at)
    pairs = overlapping(chosen, reference.events, config.collar.onset_collar)
    return _score(reference, chosen, pairs, config, rocs, None)


def _lengths(truth: EventTable, frames: Sequence[FrameScores]) -> dict[str, float]:
    """Return the seconds of each recording: its last frame ends there, or its last event."""
    ends = np.zeros(len(truth.files))
    np.maximum.at(ends, truth.file, truth.offset)
    lengths = dict(zip(truth.files, ends.tolist(), strict=True))
    names = match_names([one.file for one in frames], truth.files)
    for one, name in zip(frames, names, strict=True):
        own = one.file if name is None else name
        lengths[own] = max(lengths.get(own, 0.0), float(one.edges[-1]))
    return lengths


def _best_and_rocs(
    reference: Reference, points: Sequence[Events], config: ScoreConfig
) -> tuple[Events, Pairs, list[PsdRoc]]:
    """Return the first point with the highest F1, its pairs, and the curves of all points."""
    scenarios = config.psds1, config.psds2
    counts: list[list[list[Curve]]] = [[] for _ in scenarios]
    best, best_pairs, highest = points[0], Pairs.none(), -np.inf
    for found in points:
        pairs = overlapping(found, reference.events, config.collar.onset_collar)
        kept = found.score >= (-np.inf if config.threshold is None else config.threshold)
        f1 = CollarPairs.of(reference, found, config.collar, pairs).rates(kept).micro.f1
        if (own_f1 := np.nan_to_num(f1, nan=-1.0)) > highest:
            best, best_pairs, highest = found, pairs, own_f1
        everywhere = np.full(len(found), -np.inf), np.ones(len(found))
        for psds, own in zip(scenarios, counts, strict=True):
            inter = Intersections.of(reference, found, psds.intersection, pairs)
            own.append(inter.curves(*everywhere))
    rocs = [
        _roc_of_points(reference, own, psds) for psds, own in zip(scenarios, counts, strict=True)
    ]
    return best, best_pairs, rocs


def _roc_of_points(
    reference: Reference, counts: Sequence[Sequence[Curve]], config: PsdsConfig
) -> PsdRoc:
    """Return the curve of the counts of each point."""
    classes: list[OperatingPoints] = []
    for c in range(reference.n_true_labels):
        # At one threshold, a curve has one point, or none without detections.
        n_found, n_false = (
            np.array([int(getattr(curves[c], name).sum()) for curves in counts])
            for name in ("n_found", "n_false")
        )
        n_cross = np.stack([curves[c].n_cross.sum(axis=0) for curves in counts])
        classes.append(operating_points(reference, c, n_found, n_false, n_cross, config))
    return psd_roc(classes, config)


def _score(
    reference: Reference,
    found: Events,
    pairs: Pairs,
    config: ScoreConfig,
    rocs: Sequence[PsdRoc],
    n_points: int | None,
) -> Score:
    """Return all metrics; `pairs` are those within an onset collar."""
    onset_only = CollarConfig(config.collar.onset_collar, None)
    near = CollarPairs.of(reference, found, onset_only, pairs)
    i, j = near.matches()
    truth = reference.events
    return Score(
        reference.labels,
        reference.hours,
        CollarPairs.of(reference, found, config.collar, near.pairs).rates(),
        near.rates(),
        segment_rates(reference, found, config.segment_seconds),
        Intersections.of(reference, found, config.intersection, pairs).rates(),
        rocs[0],
        rocs[1],
        found.onset[i] - truth.onset[j],
        found.offset[i] - truth.offset[j],
        n_points,
    )


def _shares(rates: ClassRates, name: str) -> dict[str, object]:
    return {
        "micro": _defined(getattr(rates.micro, name)),
        "macro": _defined(rates.macro(name)),
        "classes": {label: _defined(getattr(own, name)) for label, own in rates.classes.items()},
    }


def _errors(seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, float | None]:
    """Return the mean with its sign, and the mean and the median without."""
    if not len(seconds):
        return {"mean": None, "mean_absolute": None, "median_absolute": None}
    size = np.abs(seconds)
    return {
        "mean": float(seconds.mean()),
        "mean_absolute": float(size.mean()),
        "median_absolute": float(np.median(size)),
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
