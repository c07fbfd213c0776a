"""How fast `sed detect` is, and how much memory it takes, whole command and whole process.

    python benchmarks/speed_and_memory.py

The recordings are the example, played on and on. Prints Markdown; medians of three runs, each
option in turn, so that a machine whose speed drifts drifts for all.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

EXAMPLE = Path(__file__).parents[1] / "examples" / "village.ogg"
SED = Path(sys.executable).with_name("sed-engine")
RUNS = 3
SPEEDS = {
    "OGG 32 kHz, hop 5 s": ("hour.ogg", "--hop", "5"),
    "OGG 32 kHz, hop 2.5 s (the default)": ("hour.ogg",),
    "OGG 32 kHz, hop 2.5 s, fp32": ("hour.ogg", "--precision", "fp32"),
    "OGG 32 kHz, hop 1 s": ("hour.ogg", "--hop", "1"),
    "WAV 32 kHz, hop 2.5 s": ("hour.wav",),
}


def make(path: Path, hours: int) -> None:
    """Write the example again and again until so many hours are full."""
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    subtype = "VORBIS" if path.suffix == ".ogg" else "PCM_16"
    missing = hours * 3600 * rate
    with soundfile.SoundFile(path, "w", rate, 1, subtype=subtype) as out:
        while missing:
            for i in range(0, min(len(samples), missing), rate):
                out.write(samples[i : min(i + rate, missing)])
            missing -= min(len(samples), missing)


def run(path: Path, *options: str) -> tuple[float, float, float, str]:
    """Return x real time without start-up, whole seconds, peak MiB, and the engine of a run."""
    process = subprocess.Popen(
        [SED, "detect", path, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    told = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    found = re.search(r"· ([\d.]+) s · ([\d,]+) × real time", told)
    if status or not found:
        raise SystemExit(f"sed detect failed:\n{told}")
    return (
        float(found[2].replace(",", "")),
        float(found[1]),
        usage.ru_maxrss / 1024,
        told.splitlines()[0].split(";")[0],
    )


def report() -> str:
    """Return the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "hour.ogg", 1)
        make(folder / "hour.wav", 1)
        make(folder / "six.ogg", 6)
        speeds: dict[str, list[tuple[float, float, float, str]]] = {key: [] for key in SPEEDS}
        for _ in range(RUNS):
            for key, (file, *options) in SPEEDS.items():
                speeds[key].append(run(folder / file, *options))
        six = run(folder / "six.ogg")
    lines = [
        "| one hour | × real time, median | lowest – highest | engine |",
        "|---|---|---|---|",
    ]
    for key, runs in speeds.items():
        times = [r[0] for r in runs]
        lines.append(
            f"| {key} | {statistics.median(times):,.0f} | {min(times):,.0f} – {max(times):,.0f} | "
            f"{runs[0][3]} |"
        )
    hour = statistics.median(r[2] for r in speeds["OGG 32 kHz, hop 2.5 s (the default)"])
    long = six[2]
    lines += [
        "",
        "Without the start of the program and the loading of the model.",
        "",
        "| recording | peak memory of the process (1 h: median of three; 6 h: one run) |",
        "|---|---|",
        f"| 1 h | {hour:.0f} MiB |",
        f"| 6 h | {long:.0f} MiB, {long / hour:.3f} of that for 1 h |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
