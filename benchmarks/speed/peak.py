"""What a command takes, its peak memory above all.

The system counts to the peak of a process what its parent held when it started it, for the child is
a copy of its parent until it runs something else. So a small process stands between.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

BETWEEN = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.perf_counter() - began
print(json.dumps([status, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
PER_MIB = 2**20 if platform.system() == "Darwin" else 2**10  # macOS counts bytes, Linux KiB


class Ran(NamedTuple):
    """What became of a command."""

    status: int
    seconds: float
    peak_mib: float
    told: str  # on standard error


def run(command: Sequence[str | os.PathLike[str]]) -> Ran:
    """Run a command in a process of its own; what it writes to standard output is dropped."""
    between = subprocess.run(
        [sys.executable, "-S", "-c", BETWEEN, *command], capture_output=True, text=True
    )
    if between.returncode:
        raise SystemExit(f"{command[0]} cannot be run:\n{between.stderr}")
    status, seconds, peak = json.loads(between.stdout)
    return Ran(status, seconds, peak / PER_MIB, between.stderr)
