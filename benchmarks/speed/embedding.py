"""Measure `sed embed` beside `sed detect`, and kill it many times.

    python -m benchmarks.speed.embedding [--rounds N] [--kills N]

Runs `sed detect`, `sed embed --every 5` and `sed detect --embeddings STORE --every 5` in turn on an
hour of OGG, and compares them round by round. Then embeds an hour of short recordings with worker
processes, kills the command with SIGKILL again and again, resumes it, and compares the store with
that of an undisturbed run. Saves docs/results/embedding.json.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import peak
from benchmarks.speed.command import SED
from benchmarks.speed.recordings import write_example
from benchmarks.store import NOT_MEASURED, read, save

N_RECORDINGS, SECONDS_EACH = 120, 30.0


def pairs(folder: Path, n_rounds: int) -> dict[str, Any]:
    """Return wall seconds and peak memory of each command, and its time over that of detect."""
    hour = folder / "hour.ogg"
    write_example(hour, 32_000, 3600.0)
    store = folder / "store"
    commands = {
        "detect": ("detect", hour, "-o", folder / "events.csv"),
        "embed": ("embed", hour, "-o", store, "--every", "5"),
        "both": (
            "detect",
            hour,
            "-o",
            folder / "events.csv",
            "--embeddings",
            store,
            "--every",
            "5",
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for n in range(n_rounds + 1):
        for name, command in commands.items():
            shutil.rmtree(store, ignore_errors=True)
            status, wall_seconds, peak_mib, messages = peak.run([SED, *command, "--quiet"])
            if status:
                raise SystemExit(f"sed {name} failed:\n{messages}")
            if n:  # the first round measures engines, once
                seconds[name].append(wall_seconds)
                peaks[name].append(peak_mib)
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "ratio": statistics.median(np.divide(seconds[name], seconds["detect"]).tolist()),
            "peak_mib": statistics.median(peaks[name]),
        }
        for name in commands
    } | {"rounds": n_rounds}


def kills(folder: Path, n_kills: int) -> dict[str, Any]:
    """Return what a store has lost and doubled after as many kills."""
    archive = folder / "archive"
    archive.mkdir()
    for n in range(N_RECORDINGS):
        write_example(archive / f"{n:03}.ogg", 32_000, SECONDS_EACH - n / 20)
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    command = [SED, "embed", archive, "--every", "5", "--workers", "2", "--quiet", "-o"]
    subprocess.run([*command, undisturbed], check=True)
    chance = random.Random(0)
    n_killed = 0
    for n in range(n_kills):
        with subprocess.Popen([*command, killed, "--resume"]) as process:
            if n % 4:  # one time in four while it starts
                n_before = n_finished(killed)
                while n_finished(killed) == n_before and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.2))
            else:
                time.sleep(chance.uniform(0, 2))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                n_killed += 1
    subprocess.run([*command, killed, "--resume"], check=True)
    expected, found = rows(undisturbed), rows(killed)
    return {
        "kills": n_killed,
        "rows": sum(expected.values()),
        "lost": sum((expected - found).values()),
        "doubled": sum((found - expected).values()),
    }


def n_finished(store: Path) -> int:
    """Return the number of recordings in a store that is not merged yet."""
    return len(list(store.glob("recordings/*.parquet")))


def rows(store: Path) -> Counter[tuple[str, float, float, bytes]]:
    """Return how often a store has each row and vector."""
    from sed.events.embedding_store.store import EmbeddingStore

    opened = EmbeddingStore(store)
    every = np.arange(opened.n_rows)
    vectors = opened.vectors(every)
    return Counter(
        (event.file, event.onset, event.offset, vector.tobytes())
        for event, vector in zip(opened.events(every), vectors, strict=True)
    )


def report() -> str:
    """Return the section of docs/performance.md."""
    results = read("embedding")
    if results is None:
        return NOT_MEASURED
    names = {
        "detect": "`sed detect`",
        "embed": "`sed embed --every 5`",
        "both": "`sed detect --embeddings STORE --every 5`",
    }
    cost, kill = results["pairs"], results["kills"]
    return "\n".join(
        [
            "An hour of OGG at 32 kHz, whole commands in turn; medians of "
            f"{cost['rounds']} rounds, times as ratios within a round.",
            "",
            "| command | seconds | time / that of `sed detect` | peak memory, MiB |",
            "|---|---|---|---|",
            *(
                f"| {text} | {cost[name]['seconds']:.2f} | {cost[name]['ratio']:.3f} | "
                f"{cost[name]['peak_mib']:.0f} |"
                for name, text in names.items()
            ),
            "",
            f"An hour in {N_RECORDINGS} recordings, two workers, killed {kill['kills']} times with "
            f"SIGKILL and resumed: of {kill['rows']} rows {kill['lost']} lost and "
            f"{kill['doubled']} doubled.",
            "",
            results["machine"],
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kills", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "pairs": pairs(Path(folder), arguments.rounds),
            "kills": kills(Path(folder), arguments.kills),
        }
    print(results)
    save("embedding", results)
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
