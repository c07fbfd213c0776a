"""Count the clicks of a reviewer until a new class is found with an average precision of 0.9.

    python -m benchmarks.quality.active_learning

Kitchen20 has twenty classes of a kitchen; the model was trained on none of its clips. Its folds 1
to 4 are the archive, fold 5 is for testing. For each class a reviewer begins with one example of
the archive, searches what is similar (`sed search`), and says of ten clips at a time whether they
are of the class (`sed review`; here the labels of Kitchen20 say it). After each ten a head is
fitted to all that was said (`sed fit`) and scores the fold held out. The next ten are the five of
the archive with the highest scores and the five nearest to 0.5. It is compared to a reviewer who
takes clips at random. Ten examples are drawn per class. Saves docs/results/active-learning.json.
Needs the data folder.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import scenes
from benchmarks.store import save
from sed.events.tracker import Event
from sed.models.metrics import average_precision
from sed.models.registry import DEFAULT_ALIAS
from sed.types import Floats
from streaming.search.exact import similarities
from train.fit.embeddings import Encoder
from train.fit.heads import Rows, fit_head, predict_clips

TEST_FOLD = "5"
N_DRAWS, N_ROUNDS, PER_ROUND = 10, 10, 10
WANTED = 0.9
KEPT = Path("runs/active-learning/frames.npz")

Numbers = NDArray[np.int64]


class Kitchen:
    """The clips of Kitchen20, their features, and which are archive and test."""

    def __init__(self) -> None:
        folder = scenes.shared_folder() / "data" / "kitchen20"
        with open(folder / "kitchen20.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.labels = np.array([row["category"] for row in rows])
        self.groups = [row["freesound_id"] for row in rows]
        self.frames = _frames([str(folder / "audio" / row["filename"]) for row in rows])
        self.vectors = np.stack([frames.mean(axis=0) for frames in self.frames])
        is_test = np.array([row["fold"] == TEST_FOLD for row in rows])
        self.test, self.archive = np.flatnonzero(is_test), np.flatnonzero(~is_test)

    def scores(self, reviewed: list[int], label: str, rows: Numbers) -> Floats:
        """Return how likely clips are of a class by what was reviewed."""
        is_right = self.labels[reviewed] == label
        positives = [i for i, right in zip(reviewed, is_right, strict=True) if right]
        if is_right.all():
            # Nothing is there to fit against yet.
            query = self.vectors[positives].mean(axis=0, keepdims=True)
            return similarities(self.vectors[rows], query, "cosine")[0]
        fitted = Rows(
            [self.frames[i] for i in reviewed],
            is_right[:, None].astype(np.float32),
            [self.groups[i] for i in reviewed],
        )
        head = fit_head("linear", fitted)
        return predict_clips(head, [self.frames[i] for i in rows])[0][:, 0]


def _frames(files: list[str]) -> list[Floats]:
    """Return the frames of clips, as `sed fit` embeds them; kept in runs/."""
    if not KEPT.is_file():
        found = Encoder(DEFAULT_ALIAS).embed([Event(0.0, np.inf, "", 1.0, f) for f in files], print)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        np.savez(KEPT, **{str(i): x for i, x in enumerate(found) if x is not None})
    arrays = np.load(KEPT)
    return [arrays[str(i)] for i in range(len(files))]


def review(data: Kitchen, label: str, draw: int, *, is_random: bool) -> list[float]:
    """Return the average precision in the test fold after each round of a reviewer."""
    generator = np.random.default_rng([draw, *label.encode()])
    own = data.archive[data.labels[data.archive] == label]
    reviewed = [int(generator.choice(own))]
    found = []
    targets = (data.labels[data.test] == label)[:, None].astype(float)
    for _ in range(N_ROUNDS):
        rest = np.setdiff1d(data.archive, reviewed)
        if is_random:
            reviewed += generator.choice(rest, PER_ROUND, replace=False).tolist()
        else:
            scores = data.scores(reviewed, label, rest)
            order = [*np.argsort(-scores, kind="stable")]
            is_first = len(reviewed) == 1
            best = order[: PER_ROUND if is_first else PER_ROUND // 2]
            uncertain = np.argsort(np.abs(scores - 0.5), kind="stable")
            chosen = dict.fromkeys([*best, *uncertain[:PER_ROUND].tolist()])
            reviewed += rest[list(chosen)[:PER_ROUND]].tolist()
        test = data.scores(reviewed, label, data.test)
        found.append(float(average_precision(targets, test[:, None])[0]))
    return found


def clicks_until(found: NDArray[np.float64]) -> float | None:
    """Return the median number of clicks until `WANTED`, of draws by rounds; None if never."""
    reached = found >= WANTED
    rounds = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)
    median = float(np.median(rounds)) * PER_ROUND
    return median if np.isfinite(median) else None


def main() -> None:
    """Measure all classes, print and save."""
    data = Kitchen()
    labels = sorted({*data.labels.tolist()})
    results: dict[str, dict[str, object]] = {}
    curves: dict[str, list[NDArray[np.float64]]] = {"active": [], "random": []}
    for label in labels:
        for name in curves:
            draws = [review(data, label, i, is_random=name == "random") for i in range(N_DRAWS)]
            curves[name].append(np.array(draws))
        active, random = (curves[name][-1] for name in curves)
        results[label] = {
            "clicks": clicks_until(active),
            "clicks_random": clicks_until(random),
            "ap_after_100": round(float(np.median(active[:, -1])), 3),
            "ap_after_100_random": round(float(np.median(random[:, -1])), 3),
        }
        print(label, results[label], flush=True)
    rounds = [(i + 1) * PER_ROUND for i in range(N_ROUNDS)]
    means = {name: np.array(found).mean(axis=(0, 1)).round(3) for name, found in curves.items()}
    for n, active_mean, random_mean in zip(rounds, means["active"], means["random"], strict=True):
        print(f"{n} clicks: mean AP {active_mean:.3f}, at random {random_mean:.3f}")
    save(
        "active-learning",
        {
            "classes": results,
            "rounds": rounds,
            "mean_ap": {name: mean.tolist() for name, mean in means.items()},
            "n_archive": len(data.archive),
            "n_test": len(data.test),
            "draws": N_DRAWS,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
