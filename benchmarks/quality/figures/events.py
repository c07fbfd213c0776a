"""Count found and false events in scenes, with a model's own settings and at single thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.quality.figures import backgrounds
from benchmarks.quality.figures.matching import (
    COLLAR,
    NEAR,
    ONSET,
    Matcher,
    Tally,
    Tolerance,
    total,
)
from benchmarks.quality.figures.psds import psds
from benchmarks.quality.figures.scene_sets import Scene
from benchmarks.quality.figures.subjects import Subject
from sed.events.tracker import Event

THRESHOLDS = (
    *(0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35),
    *(0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98),
)
QUANTILES = (0.25, 0.5, 0.75, 0.9)  # of the onset errors
FALSE_PER_MINUTE = 0.7  # at most, for the share of found events at the best threshold


Detections = list[list[Event]]  # of each scene


def matcher(subject: Subject, scenes: Sequence[Scene]) -> Matcher:
    """Return what compares the events of a model with scenes of one background."""
    classes = backgrounds.CLASSES[scenes[0].background]
    return Matcher(subject.vocabulary, subject.vocabulary.ambient(classes))


def compare(
    matcher: Matcher,
    scenes: Sequence[Scene],
    detections: Detections,
    tolerance: Tolerance = NEAR,
) -> Tally:
    """Return the counts over scenes of one background."""
    return total(
        [
            matcher.compare(scene.truth, detected, scene.seconds, tolerance)
            for scene, detected in zip(scenes, detections, strict=True)
        ]
    )


def best_threshold(tallies: Mapping[float, Tally]) -> float:
    """Return the threshold that finds most at no more than `FALSE_PER_MINUTE`.

    If every threshold gives more, it is the one that gives the fewest false events.
    """
    allowed = {t: x for t, x in tallies.items() if x.false_per_minute <= FALSE_PER_MINUTE}
    if not allowed:
        return min(tallies, key=lambda t: tallies[t].false_per_minute)
    return max(allowed, key=lambda t: (allowed[t].found, t))


@dataclass(frozen=True)
class SceneResults:
    """What a model finds in scenes of one background."""

    scenes: Sequence[Scene]
    matcher: Matcher
    own: Detections  # with the model's own settings
    swept: Mapping[float, Detections]  # at single thresholds

    @cached_property
    def tally(self) -> Tally:
        """The counts with the model's own settings."""
        return compare(self.matcher, self.scenes, self.own)

    @cached_property
    def tallies(self) -> dict[float, Tally]:
        """The counts at each threshold."""
        return {t: compare(self.matcher, self.scenes, found) for t, found in self.swept.items()}

    def psds(self) -> dict[str, float]:
        """Return the polyphonic sound detection scores."""
        names = [str(number) for number in range(len(self.scenes))]
        truth = {
            name: [e for e in scene.truth if e.label in self.matcher.known]
            for name, scene in zip(names, self.scenes, strict=True)
        }
        durations = {name: s.seconds for name, s in zip(names, self.scenes, strict=True)}
        points = [
            {
                name: self.matcher.as_categories(events, truth[name])
                for name, events in zip(names, found, strict=True)
            }
            for found in self.swept.values()
        ]
        return psds(truth, durations, points)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        threshold = best_threshold(self.tallies)
        collar, onset = (
            compare(self.matcher, self.scenes, self.own, tolerance) for tolerance in (COLLAR, ONSET)
        )
        return {
            "own": summary(self.tally) | {"f1_collar": collar.f1, "f1_onset": onset.f1},
            "threshold": threshold,
            "at_threshold": summary(self.tallies[threshold]),
            "sweep": [
                [t, tally.found, tally.false_per_minute] for t, tally in self.tallies.items()
            ],
            **self.psds(),
        }


def measure(subject: Subject, scenes: Sequence[Scene]) -> SceneResults:
    """Run a model over scenes of one background."""
    own: Detections = []
    swept: dict[float, Detections] = {threshold: [] for threshold in THRESHOLDS}
    for scene in scenes:
        run = subject.run(scene.samples)
        own.append(run.events())
        for threshold, detections in swept.items():
            detections.append(run.events(threshold))
    return SceneResults(scenes, matcher(subject, scenes), own, swept)


def summary(tally: Tally) -> dict[str, Any]:
    """Return the figures of some counts."""
    errors = np.abs(tally.onset_errors)
    return {
        "events": tally.n_true,
        "minutes": tally.seconds / 60,
        "found": tally.found,
        "found_exactly": tally.n_found_exactly / max(1, tally.n_true),
        "found_by_kind": tally.found_by_kind,
        "false_per_minute": tally.false_per_minute,
        "excused_per_minute": tally.n_excused / tally.seconds * 60,
        "f1": tally.f1,
        "median_onset_error": tally.median_onset_error,
        "onset_error_quantiles": [float(q) for q in np.quantile(errors, QUANTILES)]
        if len(errors)
        else [],
        "median_signed_onset_error": float(np.median(tally.onset_errors)) if len(errors) else None,
        "false": dict(Counter(tally.false).most_common(12)),
        "missed": dict(Counter(tally.missed).most_common(12)),
    }
