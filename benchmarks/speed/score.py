"""Measure how long the metrics of a million detections take.

    python -m benchmarks.speed.score

Saves docs/results/score.json. Events are made up: 100,000 reference events of ten classes in 1,000
recordings of an hour; 1,000,000 detections with scores, whose scores are swept by all thresholds;
and the detections at 50 thresholds as tables of their own, of which the lowest has all of them.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.store import save
from sed.events.event_table import NO_ZONE, EventTable
from sed.events.scoring.score import score

N_TRUE, N_FOUND, N_POINTS = 100_000, 1_000_000, 50
FILES = tuple(f"{number}.wav" for number in range(1_000))
LABELS = tuple(f"class {number}" for number in range(10))
SECONDS = 3_600.0
GOAL = 60.0  # seconds, on two cores


def made_up_events(rng: np.random.Generator, n: int) -> EventTable:
    """Return random events of a fifth of a second to four seconds, in no order."""
    onset = rng.uniform(0, SECONDS - 4, n).round(3)
    return EventTable(
        FILES,
        LABELS,
        rng.integers(0, len(FILES), n, np.int32),
        rng.integers(0, len(LABELS), n, np.int32),
        onset,
        onset + rng.uniform(0.2, 4, n).round(3),
        rng.uniform(0, 1, n),
        np.full(n, "NaT", "datetime64[us]"),
        np.full(n, NO_ZONE, np.int16),
    )


def main() -> None:
    """Measure both, and save the seconds of the clock and of the processor."""
    rng = np.random.default_rng(0)
    truth, found = made_up_events(rng, N_TRUE), made_up_events(rng, N_FOUND)
    durations = dict.fromkeys(FILES, SECONDS)
    points = [found.take(found.score >= t) for t in np.arange(N_POINTS) / N_POINTS]
    results = {"n_true": N_TRUE, "n_found": N_FOUND, "n_points": N_POINTS, "goal": GOAL}
    for name, predictions in {"scored": found, "points": points}.items():
        clock, processor = time.perf_counter(), time.process_time()
        score(truth, predictions, durations=durations)
        results |= {
            f"{name}_seconds": time.perf_counter() - clock,
            f"{name}_processor_seconds": time.process_time() - processor,
        }
        print(name, round(results[f"{name}_seconds"], 1), "s")
    results["points_rows"] = sum(map(len, points))
    save("score", results)


if __name__ == "__main__":
    main()
