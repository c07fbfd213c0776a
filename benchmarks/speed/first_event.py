"""Measure the time from the start of the process to the first event."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.speed.command import RUNS, SED
from benchmarks.speed.recordings import EXAMPLE, Setup
from benchmarks.store import Results

FIRST = 10  # factor of length, against the other recordings


def first(setup: Setup) -> Results:
    """Measure the time to the first event of a long recording, from the start of the process."""
    path = setup.recording("flac", 32, FIRST)
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        drop_from_page_cache([path, *program_files()])
        engine_not_chosen = first_event(path, cache)
        drop_from_page_cache([path, *program_files(), *cache.rglob("*")])
        cold = first_event(path, cache)
        warm = [first_event(path, cache) for _ in range(RUNS)]
    return {
        "times_as_long": FIRST,
        "engine_not_chosen": engine_not_chosen,
        "cold": cold,
        "warm": sorted(warm, key=lambda result: result["seconds"])[RUNS // 2],
    }


def first_event(path: Path, cache: Path) -> Results:
    """Return the time to the first event, and how much was read from disk for it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [SED, "detect", path, "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"SED_CACHE": str(cache)},
    )
    assert process.stdout
    line = process.stdout.readline()
    seconds = time.perf_counter() - started
    process.kill()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not line:
        raise SystemExit("sed detect found no event")
    return {"seconds": seconds, "read_mib": usage.ru_inblock * 512 / 2**20}


def program_files() -> Iterable[Path]:
    """Yield the files of Python, its packages and this package."""
    for folder in {sys.prefix, sys.base_prefix}:
        yield from Path(folder, "lib").rglob("*")
    for package in ("sed", "streaming"):
        yield from (EXAMPLE.parents[1] / package).rglob("*")


def drop_from_page_cache(paths: Iterable[Path]) -> None:
    """Remove files from the memory of the system, as if it had just started."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
