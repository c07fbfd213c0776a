"""Measure the speed of `sed detect`: against its limit, and against what else could be run.

    python -m benchmarks.speed.throughput                      # everything: about an hour
    python -m benchmarks.speed.throughput --minutes 2 stages hops
    python -m benchmarks.speed.throughput rivals --birdnet-python PYTHON --birdnet-model TFLITE

The recordings are the example, repeated to an hour unless --minutes says otherwise. Each part saves
its results in docs/results/throughput.json, with the machine; `benchmarks.pages` writes the page.
Nothing that imports torch is imported before it is needed: files that a process has mapped stay in
the memory of the system, and a cold start would not be one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.comparison import rivals
from benchmarks.speed.first_event import first
from benchmarks.speed.in_memory import gpu
from benchmarks.speed.lengths import hops, long
from benchmarks.speed.limits import b0, formats, stages
from benchmarks.speed.recordings import Setup
from benchmarks.store import Results, machine, read, save

PARTS: dict[str, Callable[[Setup], Results]] = {
    "first": first,  # before anything that imports torch
    "stages": stages,
    "formats": formats,
    "hops": hops,
    "rivals": rivals,
    "long": long,
    "b0": b0,
    "gpu": gpu,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast `sed detect` is.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=60.0, help="of each recording")
    parser.add_argument("--birdnet-python", help="an interpreter with birdnet installed")
    parser.add_argument("--birdnet-model", help="its .tflite file; the labels lie beside it")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as name:
        setup = Setup(Path(name), options.minutes, options.birdnet_python, options.birdnet_model)
        for part, measure in PARTS.items():
            if not options.parts or part in options.parts:
                save_part(part, {"minutes": setup.minutes} | measure(setup))


def save_part(part: str, results: Results) -> None:
    """Save the results of a part beside those of the others, with the machine."""
    others = {name: rest for name, rest in (read("throughput") or {}).items() if name != "machine"}
    save("throughput", others | {part: {"machine": machine()} | results})
    print(f"{part}: measured", flush=True)


if __name__ == "__main__":
    main()
