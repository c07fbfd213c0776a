"""Measure the time and peak memory of a command.

A child is a copy of its parent until it runs something else, so the system counts the memory of the
parent as part of the peak of the child. Therefore a small process starts the command.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.perf_counter() - started
print(json.dumps([status, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
PER_MIB = 2**20 if platform.system() == "Darwin" else 2**10  # macOS counts bytes, Linux KiB


class Measured(NamedTuple):
    """Result and cost of a command."""

    status: int
    seconds: float
    peak_mib: float
    messages: str  # standard error


def run(command: Sequence[str | os.PathLike[str]]) -> Measured:
    """Run a command in a process of its own; its standard output is discarded."""
    launcher = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command], capture_output=True, text=True
    )
    if launcher.returncode:
        raise SystemExit(f"{command[0]} cannot be run:\n{launcher.stderr}")
    status, seconds, peak = json.loads(launcher.stdout)
    return Measured(status, seconds, peak / PER_MIB, launcher.stderr)
