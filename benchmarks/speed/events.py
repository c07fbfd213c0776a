"""Measure the commands that work on tables of events, with a million of them.

    python -m benchmarks.speed.events

Saves docs/results/events.json. Twenty recordings of an hour are made from the example, and a
million events at random times and scores, of 100 classes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.store import Results, save

N_EVENTS, N_CLASSES, N_RECORDINGS = 1_000_000, 100, 20
HOUR_SECONDS = 3600
EXAMPLE = Path(__file__).parents[2] / "examples" / "village.ogg"


def main() -> None:
    """Measure and save."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        place = Path(folder)
        files = recordings(place)
        table = place / "events.csv"
        write_events(table, files)
        results: Results = {
            "events": N_EVENTS,
            "summary_seconds": command("summary", table, "--output", place / "summary"),
            "clips": 10 * N_CLASSES,
            "clips_seconds": command("clips", table, "--output", place / "clips"),
            **review(table, place),
        }
    save("events", results)
    for name, value in results.items():
        print(f"{name:28} {value:,.2f}" if isinstance(value, float) else f"{name:28} {value:,}")


def recordings(place: Path) -> list[str]:
    """Write recordings of an hour each; return their paths."""
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    hour = np.tile(sound, 1 + HOUR_SECONDS * rate // len(sound))[: HOUR_SECONDS * rate]
    files = [str(place / f"202605{day + 1:02d}_050000.flac") for day in range(N_RECORDINGS)]
    for file in files:
        soundfile.write(file, hour, rate)
    return files


def write_events(path: Path, files: list[str]) -> None:
    """Write a million events as `sed detect` does."""
    rng = np.random.default_rng(0)
    onsets = rng.uniform(0, HOUR_SECONDS - 5, N_EVENTS)
    columns = (
        *(rng.integers(0, len(files), N_EVENTS), onsets, onsets + rng.uniform(0.3, 4, N_EVENTS)),
        *(rng.integers(0, N_CLASSES, N_EVENTS), rng.uniform(0.2, 1, N_EVENTS)),
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write("file,onset,offset,label,score\n")
        for f, onset, offset, c, value in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            file.write(f"{files[f]},{onset:.3f},{offset:.3f},class {c},{value:.4f}\n")


def command(name: str, table: Path, *arguments: object) -> float:
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "sed", name, str(table), *map(str, arguments), "--quiet"]
    subprocess.run(words, check=True)
    return time.perf_counter() - started


def review(table: Path, place: Path) -> Results:
    """Return the seconds until the page of `sed review` is there, and to load it again."""
    port = 8767
    words = [sys.executable, "-m", "sed", "review", str(table), "--web", f"127.0.0.1:{port}"]
    started = time.perf_counter()
    with subprocess.Popen([*words, "--db", str(place / "reviews.sqlite"), "--quiet"]) as process:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read()
                    break
                except OSError:
                    time.sleep(0.05)
            ready = time.perf_counter() - started
            times = []
            for _ in range(5):
                started = time.perf_counter()
                for page in ("", "overview", "queue", "precision"):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60).read()
                times.append(time.perf_counter() - started)
        finally:
            process.terminate()
    return {"review_ready_seconds": ready, "review_page_seconds": float(np.median(times))}


if __name__ == "__main__":
    main()
