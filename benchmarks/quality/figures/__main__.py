"""Measure how good models are at naming and finding sounds that they were not trained on.

    python -m benchmarks.quality.figures [--model NAME|FILE ...] [--quick]

Without --model the shipped models are measured. --quick prints, in about two minutes and without
saving, what compares checkpoints: events of quiet scenes, and clips of three collections. Needs the
data folder; recordings are built once and kept in runs/figures.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.quality.figures import quick
from benchmarks.quality.figures.subjects import SedSubject


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.figures")
    parser.add_argument("--model", action="append", help="name or path of a checkpoint")
    parser.add_argument("--quick", action="store_true", help="print a short comparison")
    arguments = parser.parse_args()
    for model in arguments.model or [None]:
        begin = time.perf_counter()
        subject = SedSubject(model or "default", model)
        print(quick.report(subject), flush=True)
        print(f"({time.perf_counter() - begin:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
