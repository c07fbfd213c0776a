"""Measure this machine: writes docs/benchmarks.md and the figures in the README.

    python -m benchmarks.run            # everything: about an hour
    python -m benchmarks.run --keep     # but for the throughput, whose figures are there already

Everything else that is given is for `throughput.py`: its parts, --minutes, and where BirdNET is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sed
from benchmarks.quality import accuracy
from benchmarks.quality.results import machine
from benchmarks.speed import entry, throughput_page

ROOT = Path(__file__).parents[1]
DOCS, README = ROOT / "docs", ROOT / "README.md"
BEGIN, END = "<!-- figures: written by benchmarks/run.py -->", "<!-- end of figures -->"


def main() -> None:
    arguments = sys.argv[1:]
    if "--keep" not in arguments:
        throughput = [sys.executable, "-m", "benchmarks.speed.throughput"]
        subprocess.run([*throughput, *arguments], check=True)
    rightness = accuracy.report([("default", sed.load_model())])
    parts = [
        "# Benchmarks",
        "Written by `make bench` (`benchmarks/run.py`); do not edit.",
        "## Throughput (`benchmarks/speed/throughput.py`)",
        throughput_page.report(),
        "## Accuracy (`benchmarks/quality/accuracy.py`)",
        rightness,
        "### Windows or long stretches",
        accuracy.modes_report(),
        machine(),
        "## The command itself (`benchmarks/speed/entry.py`)",
        entry.report(),
        machine(),
    ]
    DOCS.mkdir(exist_ok=True)
    (DOCS / "benchmarks.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    readme = README.read_text("utf-8")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    figures = "\n\n".join(["", machine(), rightness, throughput_page.summary(), ""])
    README.write_text(before + BEGIN + figures + END + after, "utf-8")
    print(f"written: {DOCS / 'benchmarks.md'} and the figures in {README}")


if __name__ == "__main__":
    main()
