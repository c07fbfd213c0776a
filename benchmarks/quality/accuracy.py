"""How right a model is: on ESC-50's fold 1, on scenes mixed from it, and on the example.

    python -m benchmarks.quality.accuracy [CHECKPOINT ...]

Prints Markdown. Clips and scenes need the data folder beside the repository (or $SED_SHARED).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import sed
from benchmarks.quality import scenes
from sed.events.match import EventScore, match_events
from sed.models.checkpoint import Checkpoint
from sed.models.metrics import accuracy, padded_cmap
from streaming.engines.base import Engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "village"
N_SCENES, EVENTS_PER_SCENE = 5, 26
N_SCENES_OF_MODES = 20
MODES = {
    "windowed, hop 2.5 s (the default)": sed.DetectorConfig(batch_size=16),
    "windowed, hop 5 s": sed.DetectorConfig(hop_seconds=5.0, batch_size=16),
    "windowed, hop 1 s": sed.DetectorConfig(hop_seconds=1.0, mode="sliding_window", batch_size=16),
    "fully_convolutional": sed.DetectorConfig(mode="fully_convolutional", batch_size=16),
}


def clip_figures(checkpoint: Checkpoint, fold: str = "1") -> dict[str, float]:
    """Return accuracy and padded cmAP on the clips of an official fold."""
    esc50 = scenes.shared_folder() / "data" / "esc50"
    rows = [row for row in scenes.esc50_rows(esc50) if row["fold"] == fold]
    rate = checkpoint.timeline.sample_rate
    probs = []
    with torch.inference_mode():
        for row in rows:
            samples = sed.read_recording(esc50 / "audio" / row["filename"], rate)
            probs.append(checkpoint.model(torch.from_numpy(samples)[None]).clip_probs[0].numpy())
    targets = np.array([[row["category"] == label for label in checkpoint.labels] for row in rows])
    return {
        "clips": len(rows),
        "accuracy": accuracy(targets, np.array(probs)),
        "cmap5": padded_cmap(targets, np.array(probs), padding=5),
        "cmap3": padded_cmap(targets, np.array(probs), padding=3),
    }


def example_score(checkpoint: Checkpoint) -> tuple[EventScore, float]:
    """Return how the events of the example are found, and its minutes."""
    samples, rate = sed.read_recording(f"{EXAMPLE}.ogg", 32_000), 32_000
    found = list(sed.detect(f"{EXAMPLE}.ogg", checkpoint))
    truth = sed.read_events(f"{EXAMPLE}.tsv", "tsv")
    return match_events(truth, found), len(samples) / rate / 60


def scenes_score(
    model: Checkpoint | Engine, config: sed.DetectorConfig | None = None, n_scenes: int = N_SCENES
) -> tuple[EventScore, float]:
    """Return the same for random scenes of fold 1, every fourth event overlapping another."""
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
        score = match_events(scene.events, found)
        totals += score.n_true, score.n_found, score.n_matched
        seconds += duration
    return EventScore(*map(int, totals)), seconds / 60


def modes_report() -> str:
    """Return how right the default model is in either mode, and how far they agree."""
    engine = sed.open_engine()
    has_data = (scenes.shared_folder() / "data" / "esc50").is_dir()
    frames = {name: example_frames(engine, config) for name, config in MODES.items()}
    lines = [
        f"The default model, {engine}; {N_SCENES_OF_MODES} random scenes of fold 1. Agreement: the "
        "correlation of all frame probabilities of the example with those of windows a second "
        "apart.",
        "",
        "| led | events | found | false a minute | F1 | agreement |",
        "|---|---|---|---|---|---|",
    ]
    reference = frames["windowed, hop 1 s"].ravel()
    for name, config in MODES.items():
        cells = "not measured: no data folder | | | "
        if has_data:
            cells = event_row(*scenes_score(engine, config, N_SCENES_OF_MODES))
        agreement = np.corrcoef(frames[name].ravel(), reference)[0, 1]
        lines.append(f"| {name} | {cells} | {agreement:.4f} |")
    return "\n".join(lines)


def example_frames(engine: Engine, config: sed.DetectorConfig) -> NDArray[np.float32]:
    """Return the frame probabilities of the example."""
    detector = sed.Detector(engine, config, sample_rate=32_000)
    parts = [detector.push(sed.read_recording(f"{EXAMPLE}.ogg", 32_000)), detector.flush()]
    return np.concatenate([part.frame_probs for part in parts])


def event_row(score: EventScore, minutes: float) -> str:
    """Return the cells of a table about events."""
    return f"{score.n_true} | {score.recall:.0%} | {score.n_false / minutes:.2f} | {score.f1:.2f}"


def report(checkpoints: Sequence[tuple[str, Checkpoint]]) -> str:
    """Return the tables."""
    has_data = (scenes.shared_folder() / "data" / "esc50").is_dir()
    lines = [
        "| model | clips of fold 1 | accuracy | padded cmAP (5) | padded cmAP (3) |",
        "|---|---|---|---|---|",
    ]
    for name, checkpoint in checkpoints:
        if has_data:
            f = clip_figures(checkpoint)
            lines.append(
                f"| {name} | {f['clips']} | {f['accuracy']:.4f} | {f['cmap5']:.4f} | "
                f"{f['cmap3']:.4f} |"
            )
        else:
            lines.append(f"| {name} | not measured: no data folder | | | |")
    lines += [
        "",
        "Found: the label is right and the onset within one second; each event counts once.",
        "",
        "| model | recording | events | found | false a minute | F1 |",
        "|---|---|---|---|---|---|",
    ]
    for name, checkpoint in checkpoints:
        lines.append(f"| {name} | the example | {event_row(*example_score(checkpoint))} |")
        if has_data:
            cells = event_row(*scenes_score(checkpoint))
            lines.append(f"| {name} | {N_SCENES} random scenes of fold 1 | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    paths = sys.argv[1:]
    models = [(path, sed.load_model(path)) for path in paths]
    print(report(models or [("default", sed.load_model())]))
    print(f"\n{modes_report()}")
