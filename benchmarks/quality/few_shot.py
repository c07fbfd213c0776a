"""Measure how well `sed fit` finds a class from 1, 5 and 10 examples.

    python -m benchmarks.quality.few_shot

Twenty classes of ESC-50, drawn at random, are removed; the recipe of the shipped model is trained
on the other thirty, without official fold 1 (a run that is there in runs/few-shot/ is used). Each
of the twenty is then fitted from examples of folds 2 to 5, drawn twenty times, against the training
clips of the thirty classes as background, and has to be found among all 400 clips of fold 1. The
head and its constants were chosen on the same classes, with folds 3 to 5 for fitting and fold 2 for
testing, never with fold 1. Saves docs/results/few-shot.json. Needs the data folder.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import scenes
from benchmarks.store import save
from sed.events.tracker import Event
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from sed.models.metrics import average_precision
from sed.types import Floats
from train.data.clips import Clip
from train.evaluate.evaluate import predict_clips as predict_with_checkpoint
from train.fit.classes import FittedClasses, with_classes
from train.fit.embeddings import Encoder
from train.fit.heads import Rows, fit_head, predict_clips

RUN = Path("runs/few-shot/base")
N_NEW, TEST_FOLD = 20, "1"
N_EXAMPLES, N_DRAWS = (1, 5, 10), 20
HEADS = ("linear", "prototype")
N_CHECKED = 3  # classes whose checkpoint is run on fold 1 as a whole
COLUMNS = ("file", "label", "group", "fold", "licence")

Row = dict[str, str]


def new_classes(rows: list[Row]) -> list[str]:
    """Return the classes that are removed."""
    labels = sorted({row["category"] for row in rows})
    return sorted(np.random.default_rng(0).choice(labels, N_NEW, replace=False).tolist())


def train_base(rows: list[Row], removed: list[str], audio: Path) -> None:
    """Train the recipe of the shipped model on the other classes, or use the run that is there."""
    RUN.parent.mkdir(parents=True, exist_ok=True)
    table = RUN.parent / "base.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            if row["category"] not in removed:
                cells = row["category"], row["src_file"], row["fold"], row["licence"]
                writer.writerow([audio / row["filename"], *cells])
    if (RUN / "best.safetensors").is_file():
        return
    weights = scenes.shared_folder() / "weights" / "mobilenetv1_100.audioset_yamnet.safetensors"
    command = [sys.executable, "-m", "sed", "train", "--recipe", "everyday", "--fold", "0",
               "--data", table, "--init-weights", weights, "--output", RUN, "--resume"]  # fmt: skip
    subprocess.run([*map(str, command)], check=True)


def frames_of(files: list[str]) -> list[Floats]:
    """Return the frames of clips, as `sed fit` embeds them; kept beside the run."""
    kept = RUN.parent / "frames.npz"
    if not kept.is_file():
        found = Encoder(str(RUN)).embed([Event(0.0, np.inf, "", 1.0, f) for f in files], print)
        np.savez(kept, **{str(i): x for i, x in enumerate(found) if x is not None})
    arrays = np.load(kept)
    return [arrays[str(i)] for i in range(len(files))]


class Bench:
    """The clips, their frames, and which are new, background and test."""

    def __init__(self) -> None:
        esc50 = scenes.shared_folder() / "data" / "esc50"
        self.rows = scenes.esc50_rows(esc50)
        self.new = new_classes(self.rows)
        train_base(self.rows, self.new, esc50 / "audio")
        self.files = [str(esc50 / "audio" / row["filename"]) for row in self.rows]
        self.frames = frames_of(self.files)
        self.test = self._where(lambda row: row["fold"] == TEST_FOLD)
        self.background = self._where(
            lambda row: row["fold"] != TEST_FOLD and row["category"] not in self.new
        )

    def _where(self, condition) -> NDArray[np.int64]:  # type: ignore[no-untyped-def]
        return np.flatnonzero([condition(row) for row in self.rows])

    def fitted_rows(self, label: str, n: int, draw: int) -> Rows:
        """Return examples of a class, drawn at random, and the background."""
        candidates = self._where(lambda row: row["fold"] != TEST_FOLD and row["category"] == label)
        generator = np.random.default_rng([self.new.index(label), n, draw])
        chosen = [*generator.choice(candidates, n, replace=False), *self.background]
        targets = np.zeros((len(chosen), 1), np.float32)
        targets[:n] = 1
        groups = [self.rows[i]["src_file"] for i in chosen]
        return Rows([self.frames[i] for i in chosen], targets, groups)

    def scores(self, kind: str, label: str, n: int, draw: int) -> Floats:
        """Return the probability of the class in each clip of the test fold."""
        head = fit_head(kind, self.fitted_rows(label, n, draw))
        return predict_clips(head, [self.frames[i] for i in self.test])[0]

    def precision(self, label: str, scores: Floats) -> float:
        """Return the average precision of the class in the test fold."""
        targets = np.array([[self.rows[i]["category"] == label] for i in self.test], float)
        return float(average_precision(targets, scores)[0])

    def product_precision(self, label: str) -> float:
        """Return the same for ten examples from a saved checkpoint that reads the files."""
        head = fit_head("linear", self.fitted_rows(label, 10, 0))
        nothing = np.array([np.nan])
        fitted = FittedClasses(
            head, "linear", (label,), np.array([10]), nothing, np.array([0.5]), {}
        )
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = with_classes(load_checkpoint(RUN), fitted, keep=True)
            save_checkpoint(checkpoint, Path(folder) / "mine")
            loaded = load_checkpoint(Path(folder) / "mine")
        clips = [Clip(self.files[i], (label,), "") for i in self.test]
        scores = predict_with_checkpoint([loaded], clips).clip_probs[:, -1:]
        return self.precision(label, scores)


def measure(bench: Bench) -> dict[str, NDArray[np.float64]]:
    """Return average precisions, (classes, draws), by head and number of examples."""
    return {
        f"{kind} {n}": np.array(
            [
                [bench.precision(label, bench.scores(kind, label, n, d)) for d in range(N_DRAWS)]
                for label in progress(bench.new, f"{kind}, {n} examples")
            ]
        )
        for kind in HEADS
        for n in N_EXAMPLES
    }


def progress(labels: list[str], what: str) -> Iterator[str]:
    """Yield labels, and print each."""
    for label in labels:
        print(f"{what}: {label}", flush=True)
        yield label


def summary(found: NDArray[np.float64]) -> dict[str, float]:
    """Return the median over classes of the mean over draws, and its interval over draws."""
    low, high = np.quantile(np.median(found, axis=0), (0.05, 0.95))
    return {
        "median": float(np.median(found.mean(axis=1))),
        "low": float(low),
        "high": float(high),
        "lowest_class": float(found.mean(axis=1).min()),
    }


def main() -> None:
    bench = Bench()
    checked = {
        label: {
            "cached": bench.precision(label, bench.scores("linear", label, 10, 0)),
            "product": bench.product_precision(label),
        }
        for label in bench.new[:N_CHECKED]
    }
    print(checked, flush=True)
    found = measure(bench)
    per_class = dict(zip(bench.new, found["linear 10"].mean(axis=1).round(4).tolist(), strict=True))
    validation = load_checkpoint(RUN).metrics["validation"]
    results = {
        "classes": N_NEW,
        "draws": N_DRAWS,
        "n_background": len(bench.background),
        "base": {name: validation[name] for name in ("accuracy", "map", "n_clips")},
        "heads": {
            kind: [{"n": n, **summary(found[f"{kind} {n}"])} for n in N_EXAMPLES] for kind in HEADS
        },
        "per_class": per_class,
        "checked": checked,
    }
    save("few-shot", results)
    print(results["heads"])
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
