"""Measure how long `sed --help` takes, and the delay of the Unix `sed` behind this one.

    python -m benchmarks.speed.entry

Saves medians of 21 alternating runs as docs/results/entry.json.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.store import save

THIS_SED = Path(sys.executable).with_name("sed")
RUNS = 21


def seconds(*command: str | Path) -> float:
    """Return how long a command takes."""
    started = time.perf_counter()
    subprocess.run(command, input=b"a\n", stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def measure() -> dict[str, object]:
    """Return the medians in milliseconds."""
    others = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != THIS_SED.parent]
    unix = shutil.which("sed", path=os.pathsep.join(others))
    if unix is None:
        return {"not_measured": "there is no Unix `sed` on this machine"}
    times: dict[str, list[float]] = {"help": [], "through_this_sed": [], "unix": []}
    for _ in range(RUNS):
        times["help"].append(seconds(THIS_SED, "--help"))
        times["through_this_sed"].append(seconds(THIS_SED, "s/a/b/"))
        times["unix"].append(seconds(unix, "s/a/b/"))
    return {"milliseconds": {key: 1000 * statistics.median(runs) for key, runs in times.items()}}


def main() -> None:
    save("entry", measure())
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
