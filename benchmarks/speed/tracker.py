"""Measure how fast one core turns frame probabilities into events, with hundreds of classes.

    python -m benchmarks.speed.tracker

Saves docs/results/tracker.json. Frames are made up: a background near zero in every class, and
events at random times in random classes.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.store import NOT_MEASURED, Results, read, save
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import EventTracker, TrackerConfig
from sed.timeline import Timeline
from sed.types import Floats

FRAME_SECONDS = 0.32
MINUTES = 40
N_CLASSES = 521
GOAL = 100_000  # × real time
EVENTS_PER_MINUTE = {"silent": 0, "sparse": 20, "busy": 60}
BLOCKS = (16, 256)  # frames that arrive together
RUNS = 7
CONFIG = TrackerConfig(0.5, 0.1, 3, 0.0, 1.0)  # as the default model has them


def made_up_frames(per_minute: float) -> Floats:
    """Return frame probabilities with so many events, of two seconds on average."""
    rng = np.random.default_rng(0)
    n_frames = round(60 * MINUTES / FRAME_SECONDS)
    probs = rng.beta(0.5, 60, (n_frames, N_CLASSES)).astype(np.float32)
    n = round(per_minute * MINUTES)
    starts, classes = rng.integers(0, n_frames, n), rng.integers(0, N_CLASSES, n)
    lengths = 1 + rng.exponential(2 / FRAME_SECONDS, n).astype(int)
    for start, c, length in zip(starts, classes, lengths, strict=True):
        event = probs[start : start + length, c]
        event[:] = rng.uniform(0.6, 1) * rng.uniform(0.7, 1, len(event))
    return probs


def made_up_hierarchy() -> Hierarchy:
    """Return one of four levels, in which each class has up to five children."""
    labels = [f"class {c}" for c in range(N_CLASSES)]
    parents = {label: [labels[c // 5 - 3]] for c, label in enumerate(labels) if c >= 15}
    return Hierarchy.from_dict(labels, parents)


def measure(probs: Floats, block: int, *, specific: bool) -> Results:
    """Return the speed of the tracker, in processor time, and how much there was to find.

    Parameters
    ----------
    probs
        Shape (frames, classes).
    block
        Frames that arrive together.
    specific
        Report the most specific classes of a hierarchy only.
    """
    timeline = Timeline(32000, 320, round(100 * FRAME_SECONDS))
    hierarchy = made_up_hierarchy()
    best, n_events = np.inf, 0
    for _ in range(RUNS):
        tracker = EventTracker(CONFIG, hierarchy.labels, timeline, hierarchy if specific else None)
        started, n_events = time.process_time(), 0
        for first in range(0, len(probs), block):
            n_events += len(tracker.push(probs[first : first + block]))
            tracker.started()
        n_events += len(tracker.flush())
        best = min(best, time.process_time() - started)
    seconds = len(probs) * FRAME_SECONDS
    return {
        "hierarchy": specific,
        "block_frames": block,
        "times_real_time": seconds / best,
        "events_per_minute": 60 * n_events / seconds,
        "active_classes": float((probs >= CONFIG.offset_threshold).sum(axis=1).mean()),
    }


def report() -> str:
    """Return the table for docs/performance.md."""
    results = read("tracker")
    if results is None:
        return NOT_MEASURED
    rows = [
        f"| {row['activity']}{', with a hierarchy' * row['hierarchy']} "
        f"| {row['events_per_minute']:.0f} | {row['active_classes']:.1f} "
        f"| {row['block_frames']} | {row['times_real_time']:,.0f} "
        f"| {'met' if row['times_real_time'] >= GOAL else '**not met**'} |"
        for row in results["rows"]
    ]
    return "\n".join(
        [
            f"Goal: {GOAL:,} × real time on one core with {N_CLASSES} classes and frames of "
            f"{FRAME_SECONDS:g} s, with a hierarchy of four levels and without.",
            "",
            "| | events a minute | classes active at once | frames in a block | × real time | |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            results["machine"],
        ]
    )


def main() -> None:
    rows = []
    for activity, per_minute in EVENTS_PER_MINUTE.items():
        probs = made_up_frames(per_minute)
        for block in BLOCKS:
            for specific in (False, True):
                row = {"activity": activity} | measure(probs, block, specific=specific)
                rows.append(row)
                print(row)
    save("tracker", {"rows": rows})
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
