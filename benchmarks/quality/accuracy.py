"""Measure how accurate a model is: on ESC-50's fold 1, on scenes mixed from it, on the example.

    python -m benchmarks.quality.accuracy [CHECKPOINT ...]

Without a checkpoint, the shipped models are measured and saved as docs/results/accuracy.json;
results of other checkpoints are printed as Markdown. Clips and scenes need the data folder beside
the repository (or $SED_SHARED). Of a model of AudioSet's classes only the clips and events count
whose category it has a class for; see `benchmarks.quality.figures.vocabulary`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sed
from benchmarks.quality import accuracy_page, scenes
from benchmarks.quality.figures.backgrounds import CLASSES
from benchmarks.quality.figures.matching import Matcher
from benchmarks.quality.figures.vocabulary import Vocabulary
from benchmarks.store import machine, save
from sed.events.scoring.match import EventScore
from sed.models.checkpoint import Checkpoint
from sed.models.metrics import accuracy, padded_cmap
from sed.models.registry import list_models
from sed.types import Floats
from streaming.engines.base import Engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "village"
N_SCENES, EVENTS_PER_SCENE = 5, 26
N_SCENES_OF_MODES = 20
REFERENCE = "sliding windows, hop 1 s"
MODES = {
    "sliding windows, hop 2.5 s (the default)": sed.DetectorConfig(batch_size=16),
    "sliding windows, hop 5 s": sed.DetectorConfig(hop_seconds=5.0, batch_size=16),
    REFERENCE: sed.DetectorConfig(hop_seconds=1.0, mode="sliding_window", batch_size=16),
    "fully convolutional": sed.DetectorConfig(mode="fully_convolutional", batch_size=16),
}

Results = dict[str, Any]


def has_data() -> bool:
    """Return whether the clips of ESC-50 are here."""
    return (scenes.shared_folder() / "data" / "esc50").is_dir()


def clip_metrics(checkpoint: Checkpoint, fold: str = "1") -> dict[str, float]:
    """Return accuracy and padded cmAP on the clips of an official fold."""
    esc50 = scenes.shared_folder() / "data" / "esc50"
    words = Vocabulary(checkpoint.labels)
    rows = [
        row
        for row in scenes.esc50_rows(esc50)
        if row["fold"] == fold and words.label("esc50", row["category"])
    ]
    labels = sorted({str(words.label("esc50", row["category"])) for row in rows})
    columns = [checkpoint.labels.index(label) for label in labels]
    rate = checkpoint.timeline.sample_rate
    probs = []
    with torch.inference_mode():
        for row in rows:
            samples = sed.read_recording(esc50 / "audio" / row["filename"], rate)
            output = checkpoint.model(torch.from_numpy(samples)[None])
            probs.append(output.clip_probs[0].numpy()[columns])
    targets = np.array(
        [[words.label("esc50", row["category"]) == label for label in labels] for row in rows]
    )
    return {
        "clips": len(rows),
        "accuracy": accuracy(targets, np.array(probs)),
        "padded_cmap_5": padded_cmap(targets, np.array(probs), padding=5),
        "padded_cmap_3": padded_cmap(targets, np.array(probs), padding=3),
    }


def example_score(checkpoint: Checkpoint) -> tuple[EventScore, float]:
    """Return the event score of the example, and its length in minutes."""
    samples, rate = sed.read_recording(f"{EXAMPLE}.ogg", 32_000), 32_000
    found = list(sed.detect(f"{EXAMPLE}.ogg", checkpoint))
    truth = sed.read_events(f"{EXAMPLE}.tsv", "tsv")
    return count_events(checkpoint.labels, truth, found), len(samples) / rate / 60


def count_events(
    labels: Sequence[str], truth: Sequence[sed.Event], found: Sequence[sed.Event]
) -> EventScore:
    """Count the events found; see `benchmarks.quality.figures.matching`."""
    words = Vocabulary(tuple(labels))
    matcher = Matcher(words, words.ambient(CLASSES["quiet"]))
    tally = matcher.compare(truth, found, seconds=1.0)
    return EventScore(tally.n_true, tally.n_found + len(tally.false), tally.n_found)


def scenes_score(
    model: Checkpoint | Engine, config: sed.DetectorConfig | None = None, n_scenes: int = N_SCENES
) -> tuple[EventScore, float]:
    """Return the same for random scenes of fold 1, where every fourth event overlaps another."""
    data = scenes.shared_folder() / "data"
    rows = [row for row in scenes.esc50_rows(data / "esc50") if row["fold"] == "1"]
    detector = sed.Detector(model, config, sample_rate=scenes.SAMPLE_RATE)
    totals, seconds = np.zeros(3, int), 0.0
    for seed in range(n_scenes):
        generator = np.random.default_rng(seed)
        story = scenes.random_story(rows, EVENTS_PER_SCENE, 6.0, generator)
        duration = story[-1][0] + 9.0
        scene = scenes.mix(
            story, duration, data / "esc50", data / "drone" / scenes.BACKGROUND, generator
        )
        found = detector.push(scene.samples).events + detector.flush().events
        score = count_events(detector.labels, scene.events, found)
        totals += score.n_true, score.n_found, score.n_matched
        seconds += duration
    return EventScore(*map(int, totals)), seconds / 60


def event_results(name: str, score: EventScore, minutes: float) -> Results:
    """Return what the tables of events show."""
    return {
        "name": name,
        "n_events": score.n_true,
        "recall": score.recall,
        "false_per_minute": score.n_false / minutes,
        "f1": score.f1,
    }


def measure(name: str, checkpoint: Checkpoint) -> Results:
    """Return the results of a model on clips and recordings."""
    recordings = [event_results("the example", *example_score(checkpoint))]
    if has_data():
        title = f"{N_SCENES} random scenes of fold 1"
        recordings.append(event_results(title, *scenes_score(checkpoint)))
    clips = clip_metrics(checkpoint) if has_data() else None
    return {"name": name, "clips": clips, "recordings": recordings}


def measure_modes() -> Results:
    """Return how accurate the default model is in each mode, and how well the modes agree."""
    engine = sed.open_engine()
    frames = {name: example_frames(engine, config) for name, config in MODES.items()}
    reference = frames[REFERENCE].ravel()
    rows = []
    for name, config in MODES.items():
        row: Results = {"name": name}
        if has_data():
            row = event_results(name, *scenes_score(engine, config, N_SCENES_OF_MODES))
        row["agreement"] = float(np.corrcoef(frames[name].ravel(), reference)[0, 1])
        rows.append(row)
    return {"engine": str(engine), "n_scenes": N_SCENES_OF_MODES, "rows": rows}


def example_frames(engine: Engine, config: sed.DetectorConfig) -> Floats:
    """Return the frame probabilities of the example, shape (frames, classes)."""
    detector = sed.Detector(engine, config, sample_rate=32_000)
    parts = [detector.push(sed.read_recording(f"{EXAMPLE}.ogg", 32_000)), detector.flush()]
    return np.concatenate([part.frame_probs for part in parts])


def main() -> None:
    if paths := sys.argv[1:]:
        models = [measure(path, sed.load_model(path)) for path in paths]
        print(accuracy_page.tables({"models": models, "machine": machine()}))
        return
    names = [entry.name for entry in list_models() if entry.is_shipped]
    models = [measure(name, sed.load_model(name)) for name in names]
    save("accuracy", {"models": models, "modes": measure_modes()})
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
