"""Compute the polyphonic sound detection score (Bilen et al., ICASSP 2020) with `psds_eval`.

Scenario 1 needs exact times, scenario 2 counts confusions, as in DCASE's task 4. Detections take
the names of ESC-50's categories; those of classes that are no category are left out, so that they
cost nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import Event

SCENARIOS: dict[str, dict[str, float]] = {
    "psds_1": {"dtc": 0.7, "gtc": 0.7, "cttc": 0.3, "alpha_ct": 0.0},
    "psds_2": {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5},
}
ALPHA_ST, MAX_EFPR = 1.0, 100.0  # false positives per hour and class


def has_psds() -> bool:
    """Return whether the package is installed."""
    return find_spec("psds_eval") is not None


def psds(
    truth: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    operating_points: Sequence[Mapping[str, Sequence[Event]]],
) -> dict[str, float]:
    """Return the scores of both scenarios.

    Parameters
    ----------
    truth
        The events of each recording.
    durations
        The seconds of each recording.
    operating_points
        The detections of each recording, with the names of the truth, one mapping a threshold.
    """
    import pandas as pd
    from psds_eval import PSDSEval

    class Evaluation(PSDSEval):  # type: ignore[misc]
        """The package's, whose last version does not run with pandas 3 and NumPy 2.4."""

        step_curve = staticmethod(step_curve)
        _auc = staticmethod(area)

    lengths = pd.DataFrame(list(durations.items()), columns=["filename", "duration"])
    scores = {}
    for name, scenario in SCENARIOS.items():
        with warnings.catch_warnings():
            # Two thresholds may give the same detections.
            warnings.simplefilter("ignore")
            evaluation = Evaluation(
                dtc_threshold=scenario["dtc"],
                gtc_threshold=scenario["gtc"],
                cttc_threshold=scenario["cttc"],
                ground_truth=table(truth),
                metadata=lengths,
            )
            for detections in operating_points:
                evaluation.add_operating_point(table(detections))
            score = evaluation.psds(scenario["alpha_ct"], ALPHA_ST, MAX_EFPR)
        scores[name] = float(score.value)
    return scores


def step_curve(
    x: NDArray[np.float64], xp: NDArray[np.float64], yp: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return at each x the highest y of the points at or before it, 0 before the first."""
    order = np.argsort(np.asarray(xp, float), kind="stable")
    highest = np.maximum.accumulate(np.asarray(yp, float)[order])
    n_before = np.searchsorted(np.asarray(xp, float)[order], x, side="right")
    return np.concatenate([[0.0], highest])[n_before]


def area(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    max_x: float | None = None,
    decreasing_y: bool = False,
) -> float:
    """Return the area up to `max_x` under steps that are y high from each x, which ascend."""
    ends = np.append(x[1:], np.inf if max_x is None else max(max_x, x[-1]))
    limit = x[-1] if max_x is None else max_x
    widths = np.minimum(ends, limit) - np.minimum(x, limit)
    return float(np.sum(widths * y))


def table(events: Mapping[str, Sequence[Event]]) -> Any:
    """Return events as the package takes them: no two of one class overlap in a recording."""
    import pandas as pd

    rows = [
        (file, event.onset, event.offset, event.label)
        for file, found in events.items()
        for event in joined(found)
    ]
    columns = {"filename": str, "onset": float, "offset": float, "event_label": str}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def joined(events: Sequence[Event]) -> list[Event]:
    """Return events with those of one label that overlap joined."""
    result: list[Event] = []
    for event in sorted(events, key=lambda e: (e.label, e.onset)):
        last = result[-1] if result else None
        if last is not None and last.label == event.label and event.onset < last.offset:
            result[-1] = replace(last, offset=max(last.offset, event.offset))
        else:
            result.append(event)
    return result
