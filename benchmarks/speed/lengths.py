"""Measure what overlapping windows and a longer recording cost."""

from __future__ import annotations

from benchmarks.speed.command import RUNS, detect, in_turn, median
from benchmarks.speed.recordings import Setup
from benchmarks.store import Results

HOPS = (5.0, 2.5, 1.0, 0.5)
LONG = 24  # factor of length, against the other recordings


def hops(setup: Setup) -> Results:
    """Measure the cost of overlapping windows."""
    path = setup.recording("ogg", 32)
    runs = in_turn({f"{hop:g}": (path, "--hop", f"{hop:g}") for hop in HOPS})
    reference = median(runs[f"{HOPS[0]:g}"]).seconds
    rows = []
    for hop, of_hop in runs.items():
        middle = median(of_hop)
        rows.append({"hop": float(hop), "ratio": middle.seconds / reference} | middle._asdict())
    return {"rows": rows}


def long(setup: Setup) -> Results:
    """Measure a long recording against a shorter one."""
    short = median([detect(setup.recording("flac", 32), "--hop", "5") for _ in range(RUNS)])
    whole = detect(setup.recording("flac", 32, LONG), "--hop", "5")
    return {
        "times_as_long": LONG,
        "short": short._asdict(),
        "long": whole._asdict(),
        "ratio_of_time": whole.seconds / short.seconds,
        "ratio_of_memory": whole.peak_mib / short.peak_mib,
    }
