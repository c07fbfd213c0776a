"""Measure the gain of mixing recordings: two trainings that differ in nothing else.

    python -m benchmarks.quality.ablation [--epochs N]

Both are trained on ESC-50's official folds 2 to 5. One takes a clip at a time; for the other, up to
three recordings are summed at different gains, with the labels of all. Both are evaluated on single
clips of fold 1 and on windows in which two or three of them sound at once. Saves
docs/results/ablation.json. Needs the data folder and its weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import sed
from benchmarks.quality import scenes
from benchmarks.store import save
from sed.models.checkpoint import Checkpoint
from sed.models.metrics import accuracy, average_precision
from train.run.train import TrainCallbacks, train

RUNS = Path("runs") / "ablation"
N_SCENES = 400
GAIN_DB = (-6.0, 0.0)
SAME = (
    "loss.name=clip_ce_frame_bce", "mixing.mixup_probability=0.0",
    "mixing.stop_probability=0.3", "mixing.gain_db=[-12.0, 0.0]",
)  # fmt: skip
TRAININGS = {
    "one clip at a time": ("mixing.max_recordings=1",),
    "up to three recordings summed": ("mixing.max_recordings=3",),
}


def windows(n_at_once: int, esc50: Path, rate: int) -> tuple[np.ndarray, list[list[str]]]:
    """Return windows of several clips of fold 1 at once, and the labels of each."""
    generator = np.random.default_rng(n_at_once)
    rows = [row for row in scenes.esc50_rows(esc50) if row["fold"] == "1"]
    clips = [sed.read_recording(esc50 / "audio" / row["filename"], rate) for row in rows]
    length = 5 * rate
    sounds, labels = [], []
    for i in range(len(rows) if n_at_once == 1 else N_SCENES):
        chosen = [i] if n_at_once == 1 else []
        while len(chosen) < n_at_once:  # different classes
            other = int(generator.integers(len(rows)))
            if rows[other]["category"] not in {rows[c]["category"] for c in chosen}:
                chosen.append(other)
        window = np.zeros(length, np.float32)
        for c in chosen:
            level = np.sqrt(np.mean(clips[c] ** 2)) + 1e-9
            gain = 0.05 / level * 10 ** (generator.uniform(*GAIN_DB) / 20)
            window[: len(clips[c])] += np.float32(gain) * clips[c][:length]
        sounds.append(window)
        labels.append([rows[c]["category"] for c in chosen])
    return np.stack(sounds), labels


def evaluate(checkpoint: Checkpoint, n_at_once: int, esc50: Path) -> dict[str, float]:
    """Return the metrics of a model on such windows."""
    sounds, labels = windows(n_at_once, esc50, checkpoint.timeline.sample_rate)
    with torch.inference_mode():
        probs = np.concatenate(
            [checkpoint.model(torch.from_numpy(part)).clip_probs.numpy()
             for part in np.array_split(sounds, len(sounds) // 20)]
        )  # fmt: skip
    targets = np.array([[x in there for x in checkpoint.labels] for there in labels], float)
    highest = np.argsort(-probs, axis=1)[:, :n_at_once]
    found = np.take_along_axis(targets, highest, axis=1).mean()
    return {
        "map": float(np.nanmean(average_precision(targets, probs))),
        "found": float(found),
        "accuracy": accuracy(targets, probs),
    }


def main(epochs: int) -> None:
    shared = scenes.shared_folder()
    esc50 = shared / "data" / "esc50"
    weights = shared / "weights" / "mobilenetv1_100.audioset_yamnet.safetensors"
    models = {}
    for name, settings in TRAININGS.items():
        run = RUNS / name.replace(" ", "-")
        train(
            esc50, 0, recipe="esc50", epochs=epochs, output=run, init_weights=str(weights),
            overrides=[*SAME, *settings], resume=True,
            callbacks=TrainCallbacks(on_epoch=lambda row: print(f"accuracy {row['accuracy']:.4f}")),
        )  # fmt: skip
        checkpoint = sed.load_model(run / "last.safetensors")
        models[name] = {str(n): evaluate(checkpoint, n, esc50) for n in (1, 2, 3)}
        print(name, models[name])
    save("ablation", {"epochs": epochs, "n_scenes": N_SCENES, "models": models})


if __name__ == "__main__":
    main(int(sys.argv[sys.argv.index("--epochs") + 1]) if "--epochs" in sys.argv else 10)
