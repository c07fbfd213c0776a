"""How long `sed --help` takes, and how much later the Unix `sed` starts behind ours.

    python -m benchmarks.speed.entry

Prints Markdown; medians of 21 runs, in turn.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

OURS = Path(sys.executable).with_name("sed")
RUNS = 21


def seconds(*command: str | Path) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, input=b"a\n", stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def report() -> str:
    """Return the table."""
    others = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != OURS.parent]
    unix = shutil.which("sed", path=os.pathsep.join(others))
    if unix is None:
        return "Not measured: there is no Unix `sed` here."
    times: dict[str, list[float]] = {"help": [], "ours": [], "unix": []}
    for _ in range(RUNS):
        times["help"].append(seconds(OURS, "--help"))
        times["ours"].append(seconds(OURS, "s/a/b/"))
        times["unix"].append(seconds(unix, "s/a/b/"))
    middle = {key: 1000 * statistics.median(values) for key, values in times.items()}
    return "\n".join(
        [
            "| command | milliseconds, median |",
            "|---|---|",
            f"| `sed --help` | {middle['help']:.0f} |",
            f"| the Unix `sed s/a/b/` by its own path | {middle['unix']:.1f} |",
            f"| the same through ours | {middle['ours']:.1f} |",
        ]
    )


if __name__ == "__main__":
    print(report())
