"""Measure this machine: writes docs/benchmarks.md and the figures in the README.

python benchmarks/run.py
"""

from __future__ import annotations

from pathlib import Path

import accuracy
import entry
import speed_and_memory
import torch
from results import machine

import sed

ROOT = Path(__file__).parents[1]
DOCS, README = ROOT / "docs", ROOT / "README.md"
BEGIN, END = "<!-- figures: written by benchmarks/run.py -->", "<!-- end of figures -->"


def main() -> None:
    is_there = torch.cuda.is_available()
    rightness = accuracy.report([("default", sed.load_model())])
    speed = speed_and_memory.report()
    parts = [
        "# Benchmarks",
        "Written by `make bench` (`benchmarks/run.py`); do not edit.",
        machine(),
        "## Accuracy (`benchmarks/accuracy.py`)",
        rightness,
        "## Speed and memory of `sed detect` (`benchmarks/speed_and_memory.py`)",
        speed,
        "## The command itself (`benchmarks/entry.py`)",
        entry.report(),
        "## GPU",
        "The engine column above says so." if is_there else "Not measured: none on this machine.",
    ]
    DOCS.mkdir(exist_ok=True)
    (DOCS / "benchmarks.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    readme = README.read_text("utf-8")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    figures = "\n\n".join(["", machine(), rightness, speed, ""])
    README.write_text(before + BEGIN + figures + END + after, "utf-8")
    print(f"written: {DOCS / 'benchmarks.md'} and the figures in {README}")


if __name__ == "__main__":
    main()
