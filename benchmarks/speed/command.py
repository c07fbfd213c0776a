"""Run `sed detect` in a process of its own, and read its speed."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import soundfile

from benchmarks.speed import peak

SED = Path(sys.executable).with_name("sed-engine")
RUNS = 3  # of every command, alternating, so that drift of the machine affects all alike


class Run(NamedTuple):
    """Cost of a whole command."""

    speed: float  # × real time as the command reports it, without start-up and loading
    seconds: float  # likewise
    wall_seconds: float  # including both
    peak_mib: float
    engine: str
    mode: str  # of inference


def detect(path: Path, *options: str) -> Run:
    """Run `sed detect` in a process of its own."""
    status, wall_seconds, peak_mib, messages = peak.run(
        [SED, "detect", path, "--verbose", *options]
    )
    found = re.search(r"· ([\d,]+) × real time", messages)
    if status or not found:
        raise SystemExit(f"sed detect failed:\n{messages}")
    speed = float(found[1].replace(",", ""))
    engine = next(line for line in messages.splitlines() if re.search(r" on (cpu|cuda)", line))
    mode = re.search("sliding_window|fully_convolutional", messages)
    return Run(
        speed,
        soundfile.info(path).duration / speed,
        wall_seconds,
        peak_mib,
        engine.removeprefix("sed: ").split(";")[0],
        mode[0] if mode else "",
    )


def in_turn(commands: dict[str, Sequence[Any]]) -> dict[str, list[Run]]:
    """Run each command `RUNS` times, alternating."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, (path, *options) in commands.items():
            runs[name].append(detect(path, *options))
    return runs


def median(runs: Sequence[Run]) -> Run:
    """Return the medians of some runs."""
    return Run(
        statistics.median(run.speed for run in runs),
        statistics.median(run.seconds for run in runs),
        statistics.median(run.wall_seconds for run in runs),
        statistics.median(run.peak_mib for run in runs),
        runs[0].engine,
        runs[0].mode,
    )
