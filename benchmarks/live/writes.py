"""Measure what `sed listen` writes to a disk: bytes and syncs of each event."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.live.year import ROOT
from benchmarks.live.year_session import DAY
from benchmarks.store import Results

FIRST_DAY = 140  # of the year, in May
SYNCS = re.compile(r"(\d+)(?: +\d+)? (?:fsync|fdatasync)$", re.MULTILINE)


def writes(days: int = 1, per_day: float = 600.0) -> Results:
    """Listen to simulated days with database, clips and a file of events; count what is written."""
    with tempfile.TemporaryDirectory() as name:
        blocks, seconds = _run(Path(name), days, per_day, [])
        n_events = len((Path(name) / "e.jsonl").read_text().splitlines())
        clip_bytes = sum(path.stat().st_size for path in Path(name).rglob("*.flac"))
    found: Results = {
        "days": days,
        "events": n_events,
        "events_per_hour": n_events / days / 24,
        "bytes_per_event": 512 * blocks / n_events,
        "clip_bytes_per_event": clip_bytes / n_events,
        "simulated_seconds": seconds,
    }
    if (strace := shutil.which("strace")) is not None:
        with tempfile.TemporaryDirectory() as name:
            counts = Path(name) / "counts"
            command = [strace, "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(counts)]
            _run(Path(name), days, per_day, command)
            # libsndfile syncs a stream in memory for each clip, which fails at once.
            n_syncs = sum(map(int, SYNCS.findall(counts.read_text())))
            n_failed = sum(
                int(line.split()[4]) for line in counts.read_text().splitlines()
                if line.endswith("fsync") and len(line.split()) == 6
            )  # fmt: skip
        found["syncs_per_event"] = (n_syncs - n_failed) / n_events
    return found


def _run(folder: Path, days: int, per_day: float, prefix: list[str]) -> tuple[int, float]:
    """Listen in a child; return the blocks of 512 bytes that it wrote, and its processor time."""
    values = {
        "folder": str(folder), "start": FIRST_DAY * DAY, "stop": (FIRST_DAY + days) * DAY,
        "seed": 0, "per_day": per_day, "steps": [(FIRST_DAY * DAY, 0.0)], "losses": [],
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*prefix, sys.executable, "-m", "benchmarks.live.year_session", json.dumps(values)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_oublock - before.ru_oublock, after.ru_utime - before.ru_utime
