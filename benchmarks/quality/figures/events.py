"""Count found and false events in scenes, with a model's own settings and at single thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.figures import backgrounds
from benchmarks.quality.figures.matching import Matcher, Tally, total
from benchmarks.quality.figures.scene_sets import Scene
from benchmarks.quality.figures.subjects import Run, Subject

THRESHOLDS = (
    *(0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3),
    *(0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
)
FALSE_PER_MINUTE = 0.7  # at most, for the share of found events at the best threshold


def compare(
    subject: Subject,
    scenes: Sequence[Scene],
    runs: Sequence[Run],
    threshold: float | None = None,
    onset_tolerance: float = 1.0,
) -> Tally:
    """Return the counts over scenes of one background; with the model's own settings if None."""
    ambient = subject.vocabulary.ambient(backgrounds.CLASSES[scenes[0].background])
    matcher = Matcher(subject.vocabulary, ambient)
    return total(
        [
            matcher.compare(scene.truth, run.events(threshold), scene.seconds, onset_tolerance)
            for scene, run in zip(scenes, runs, strict=True)
        ]
    )


def sweep(subject: Subject, scenes: Sequence[Scene], runs: Sequence[Run]) -> dict[float, Tally]:
    """Return the counts at each threshold."""
    return {t: compare(subject, scenes, runs, t) for t in THRESHOLDS}


def best_threshold(tallies: Mapping[float, Tally]) -> float:
    """Return the threshold that finds most at no more than `FALSE_PER_MINUTE`.

    If every threshold gives more, it is the one that gives the fewest false events.
    """
    allowed = {t: x for t, x in tallies.items() if x.false_per_minute <= FALSE_PER_MINUTE}
    if not allowed:
        return min(tallies, key=lambda t: tallies[t].false_per_minute)
    return max(allowed, key=lambda t: (allowed[t].found, t))


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
        "onset_error_quantiles": [float(q) for q in np.quantile(errors, (0.25, 0.5, 0.75, 0.9))]
        if len(errors)
        else [],
        "median_signed_onset_error": float(np.median(tally.onset_errors)) if len(errors) else None,
        "false": dict(Counter(tally.false).most_common(12)),
        "missed": dict(Counter(tally.missed).most_common(12)),
    }
