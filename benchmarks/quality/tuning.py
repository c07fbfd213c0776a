"""Measure what `sed tune` gains: it tunes on half of some scenes, the other half decides.

    python -m benchmarks.quality.tuning [N_SCENES]

Scenes are those of `benchmarks.quality.figures.scene_sets` in quiet, of ESC-50's fold 1, which the
shipped model was not trained on. Both halves are analysed with `sed.detect`, once with the
thresholds of the model and once with those that were tuned on the first half, and scored as
`sed score` does. Saved as docs/results/tuning.json. Needs the data folder beside the repository (or
$SED_SHARED).
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile

import sed
from benchmarks.quality.figures.clips import RATE
from benchmarks.quality.figures.scene_sets import Scene, scene_set
from benchmarks.store import save
from sed.events.event_table import EventTable
from sed.events.scoring.score import score

N_SCENES = 24
FIGURES = ("event_f1", "onset_f1", "segment_f1")

Results = dict[str, Any]


def write_scenes(folder: Path, scenes: Sequence[Scene]) -> Path:
    """Write recordings and their table of events; return the table."""
    folder.mkdir()
    with open(folder / "events.tsv", "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(("filename", "onset", "offset", "event_label"))
        for i, scene in enumerate(scenes):
            name = f"scene{i:03}.wav"
            soundfile.write(folder / name, scene.samples, RATE)
            rows.writerows((name, e.onset, e.offset, e.label) for e in scene.truth)
    return folder / "events.tsv"


def scored(folder: Path, scenes: Sequence[Scene], thresholds: Path | None) -> Results:
    """Return the figures of the default model on scenes."""
    known = {event.label for scene in scenes for event in scene.truth}
    found, truth, durations = [], [], {}
    engine = sed.open_engine()
    for i, scene in enumerate(scenes):
        name = str(folder / f"scene{i:03}.wav")
        durations[name] = scene.seconds
        truth += [sed.Event(e.onset, e.offset, e.label, 1.0, name) for e in scene.truth]
        found += [
            event
            for event in sed.detect(name, engine, thresholds=thresholds)
            if event.label in known
        ]
    result = score(EventTable.of_events(truth), EventTable.of_events(found), durations=durations)
    values: Any = result.as_dict()
    return {
        name: {"micro": values[name]["micro"], "macro": values[name]["macro"]} for name in FIGURES
    }


def measure(n_scenes: int = N_SCENES) -> Results:
    """Return the figures of the second half of the scenes, with stored and tuned thresholds."""
    scenes = scene_set("quiet", None, n_scenes)
    first, second = scenes[: n_scenes // 2], scenes[n_scenes // 2 :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_scenes(folder / "first", first)
        write_scenes(folder / "second", second)
        started = time.perf_counter()
        result = sed.tune(None, table, folder / "tuned.toml", cache=folder / "cache")
        seconds = time.perf_counter() - started
        stored = scored(folder / "second", second, None)
        tuned = scored(folder / "second", second, folder / "tuned.toml")
    return {
        "n_scenes": n_scenes,
        "n_events": sum(len(scene.truth) for scene in second),
        "stored": stored,
        "tuned": tuned,
        "ratio": tuned["event_f1"]["micro"] / stored["event_f1"]["micro"],
        "held_out": {"stored": result.model, "tuned": result.tuned, "spread": result.spread},
        "n_classes_changed": len(result.post_processing.classes),
        "seconds": seconds,
    }


def main() -> None:
    """Measure, print and save."""
    results = measure(int(sys.argv[1]) if len(sys.argv) > 1 else N_SCENES)
    for name in FIGURES:
        before, after = results["stored"][name], results["tuned"][name]
        print(
            f"{name}: micro {before['micro']:.3f} -> {after['micro']:.3f}, "
            f"macro {before['macro']:.3f} -> {after['macro']:.3f}"
        )
    print(f"event F1 (micro) times {results['ratio']:.2f}; tuned in {results['seconds']:.0f} s")
    print(f"expected by cross-validation: {results['held_out']}")
    save("tuning", results)


if __name__ == "__main__":
    main()
