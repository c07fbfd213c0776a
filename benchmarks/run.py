"""Measure this machine, and write docs/performance.md and the table of the README.

    python -m benchmarks.run            # everything: about an hour
    python -m benchmarks.run --keep     # without the throughput, which is measured already

All other arguments are passed to `throughput.py`: its parts, --minutes, and where BirdNET is.
"""

from __future__ import annotations

import subprocess
import sys


def main() -> None:
    arguments = sys.argv[1:]
    modules: dict[str, list[str]] = {
        "benchmarks.speed.throughput": arguments,
        "benchmarks.quality.accuracy": [],
        "benchmarks.speed.entry": [],
        "benchmarks.pages": [],
    }
    if "--keep" in arguments:
        del modules["benchmarks.speed.throughput"]
    for module, options in modules.items():
        subprocess.run([sys.executable, "-m", module, *options], check=True)


if __name__ == "__main__":
    main()
