"""Measure the class `unknown` on sounds that the model `everyday` was not trained on.

    python -m benchmarks.quality.unknown

Saves docs/results/unknown.json. Each scene is a quiet room of eleven seconds with one clip after
four seconds, 10 to 36 dB above the room, or with none. The sounds are those of ESC-50's fold 1,
which the model did not see, and of two collections whose classes it does not have. In a second part
ten of its classes are never on. Some sounds of these collections were used to choose the constants
of the score, in other scenes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import sed
from benchmarks.quality import scenes
from benchmarks.store import NOT_MEASURED, Results, read, save

SEED = 1
ONSET_SECONDS, SECONDS, CLIP_SECONDS = 4.0, 11.0, 5.0
ABOVE_DB = (10.0, 36.0)  # the loudest tenth of a second, above the room
N_CLIPS, N_QUIET = 90, 50
# Of Kitchen20, all but water and washing, which the model has classes for.
NOT_FOREIGN = ("water-flowing", "dishwasher", "boiling-water")
FOREIGN = ("gunshot", "explosion")  # of SESA
N_LEFT_OUT = 10
NEVER = -30.0  # the logit of a class that is left out


def esc50(data: Path) -> list[tuple[Path, str]]:
    """Return clips and categories of ESC-50's fold 1."""
    rows = [row for row in scenes.esc50_rows(data / "esc50") if row["fold"] == "1"]
    return [(data / "esc50" / "audio" / row["filename"], row["category"]) for row in rows]


def foreign(data: Path) -> list[tuple[Path, str]]:
    """Return clips and categories that the model has no class for."""
    found = []
    for folder, table, file, label in (
        ("kitchen20", "kitchen20.csv", "filename", "category"),
        ("sesa", "sesa_train.csv", "file", "label"),
    ):
        with open(data / folder / table, newline="") as text:
            found += [
                (data / folder / "audio" / row[file], row[label]) for row in csv.DictReader(text)
            ]
    kitchen = {label for path, label in found if path.parent.parent.name == "kitchen20"}
    wanted = (kitchen - set(NOT_FOREIGN)) | set(FOREIGN)
    return [(path, label) for path, label in found if label in wanted]


class Measurement:
    """Runs a model over scenes of one clip each, always the same for the same seed."""

    def __init__(self, data: Path, left_out: Sequence[str] = ()) -> None:
        self._generator = np.random.default_rng(SEED)
        (self._room,) = data.rglob(scenes.BACKGROUND)
        config = sed.DetectorConfig(batch_size=4, unknown=True)
        checkpoint = sed.load_checkpoint("everyday")
        numbers = [checkpoint.labels.index(label) for label in left_out]
        for head in checkpoint.model.heads:
            head.classes.bias.data[numbers] = NEVER
        engine = sed.open_engine(checkpoint)
        self._detector = sed.Detector(engine, config, sample_rate=scenes.SAMPLE_RATE)

    def draw(self, clips: Sequence[tuple[Path, str]], n: int) -> list[Path]:
        """Return some of the clips."""
        return [clips[i][0] for i in self._generator.permutation(len(clips))[:n]]

    def score(self, clip: Path | None) -> tuple[float, bool]:
        """Return the highest score while the clip sounds, and if `unknown` was reported then."""
        samples = scenes.looped(self._room, SECONDS, self._generator)
        first, n = (
            round(ONSET_SECONDS * scenes.SAMPLE_RATE),
            round(CLIP_SECONDS * scenes.SAMPLE_RATE),
        )
        if clip is not None:
            sound = sed.read_recording(clip, scenes.SAMPLE_RATE)[:n]
            runs = scenes.active_runs(sound)
            sound = sound[runs[0][0] : runs[-1][1]]
            shortest = scenes.SAMPLE_RATE // 10
            level = scenes.levels_db(np.pad(sound, (0, max(0, shortest - len(sound)))), 0.1).max()
            above = self._generator.uniform(*ABOVE_DB)
            sound = sound * scenes.decibels(scenes.BACKGROUND_RMS_DB + above - level)
            samples[first : first + len(sound)] += sound
            n = len(sound)
        found = [self._detector.push(samples), self._detector.flush()]
        probs = np.concatenate([detection.frame_probs for detection in found])[:, -1]
        frame = self._detector.timeline.frame_seconds
        seconds = n / scenes.SAMPLE_RATE
        start, stop = int(ONSET_SECONDS / frame), int(np.ceil((ONSET_SECONDS + seconds) / frame))
        is_reported = any(
            event.label == "unknown" and event.offset > ONSET_SECONDS
            and event.onset < ONSET_SECONDS + seconds
            for detection in found
            for event in detection.events
        )  # fmt: skip
        return float(probs[start : stop + 1].max()), is_reported


def compare(
    unknown: Sequence[tuple[float, bool]], others: dict[str, list[tuple[float, bool]]]
) -> Results:
    """Return the area under the curve against each other group, and the shares reported."""
    scores = np.array([score for score, _ in unknown])[:, None]
    areas = {}
    for name, group in others.items():
        against = np.array([score for score, _ in group])
        areas[name] = float(np.mean((scores > against) + 0.5 * (scores == against)))
    groups = {"unknown": unknown, **others}
    reported = {
        name: float(np.mean([is_reported for _, is_reported in group]))
        for name, group in groups.items()
    }
    return {"auc_against": areas, "reported": reported}


def measure() -> Results:
    """Measure both parts."""
    data = scenes.shared_folder() / "data"
    all_classes = Measurement(data)
    others = {
        "known": [all_classes.score(clip) for clip in all_classes.draw(esc50(data), N_CLIPS)],
        "background": [all_classes.score(None) for _ in range(N_QUIET)],
    }
    unknown = [all_classes.score(clip) for clip in all_classes.draw(foreign(data), N_CLIPS)]
    results: Results = {"foreign": compare(unknown, others)}
    clips = esc50(data)
    categories = sorted({category for _, category in clips})
    left_out = categories[:: len(categories) // N_LEFT_OUT][:N_LEFT_OUT]
    fewer = Measurement(data, left_out)
    kept = [clip for clip in clips if clip[1] not in left_out]
    rest = [clip for clip in clips if clip[1] in left_out]
    others = {
        "known": [fewer.score(clip) for clip in fewer.draw(kept, N_CLIPS)],
        "background": others["background"],
    }
    unknown = [fewer.score(clip) for clip in fewer.draw(rest, N_CLIPS)]
    results["left_out"] = compare(unknown, others) | {"classes": left_out}
    return results


def report() -> str:
    """Return the table for docs/performance.md."""
    results = read("unknown")
    if results is None:
        return NOT_MEASURED
    names = {
        "foreign": "Kitchen20 and SESA, classes that the model does not have",
        "left_out": "ten classes of ESC-50, taken out of the model",
    }
    rows = [
        f"| {name} | {part['auc_against']['known']:.3f} | {part['auc_against']['background']:.3f} "
        f"| {part['reported']['unknown']:.2f} | {part['reported']['known']:.2f} "
        f"| {part['reported']['background']:.2f} |"
        for key, name in names.items()
        for part in [results[key]]
    ]
    return "\n".join(
        [
            "Sounds 10 to 36 dB above a quiet room; known sounds are clips of ESC-50's fold 1, "
            "which `everyday` was not trained on. Area under the curve of the highest score while "
            "a sound lasts, and how often `unknown` is reported by default. Known sounds that the "
            "model does not find are among those reported.",
            "",
            "| unknown sounds | area, against known | against the room alone | reported | of known "
            "sounds | of the room |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            results["machine"],
        ]
    )


def main() -> None:
    results = measure()
    save("unknown", results)
    print(report())
    print("now: python -m benchmarks.pages")


if __name__ == "__main__":
    main()
