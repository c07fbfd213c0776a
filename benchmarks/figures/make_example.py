"""Make `examples/village.ogg`, its truth and its attribution, from free clips of ESC-50.

    python -m benchmarks.figures.make_example

A day in a village, told by clips of the official fold 1 that are CC0 or CC-BY: none of them was
seen by the default model. Which clip of a class is taken, and how loud it is, is drawn with a fixed
seed and never by what a model makes of it. The classes are among those of which the default
model misses none in the clips set aside for its thresholds, so the example shows what it can do;
what it does with any class is measured on random scenes (`accuracy.py`). The background is quiet.

Classes, background and overlaps (about a second) were arranged while looking at what the model
makes of the result: it is a demonstration, no test.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.quality import scenes
from sed.events.writers import TsvWriter

EXAMPLES = Path(__file__).parents[2] / "examples"
SEED = 2026
DURATION_SECONDS = 196

# Second at which a clip begins, and its class. The pairs that overlap stand on one line.
STORY: list[tuple[float, str]] = [
    (4.0, "rooster"),
    (12.0, "hen"),
    (20.0, "church_bells"), (24.0, "dog"),
    (32.0, "clock_alarm"),
    (40.0, "toilet_flush"),
    (48.0, "brushing_teeth"),
    (55.0, "door_wood_knock"),
    (62.0, "crying_baby"), (66.0, "vacuum_cleaner"),
    (74.0, "coughing"),
    (82.0, "sneezing"),
    (88.0, "sheep"),
    (96.0, "hand_saw"),
    (105.0, "siren"), (109.0, "car_horn"),
    (117.0, "train"),
    (126.0, "glass_breaking"),
    (133.0, "clapping"), (137.0, "laughing"),
    (145.0, "crow"),
    (154.0, "thunderstorm"), (157.0, "rain"),
    (168.0, "pig"),
    (176.0, "fireworks"),
    (185.0, "crickets"),
]  # fmt: skip


def main() -> None:
    generator = np.random.default_rng(SEED)
    esc50 = scenes.shared_folder() / "data" / "esc50"
    background = scenes.shared_folder() / "data" / "drone" / scenes.BACKGROUND
    rows = [
        row
        for row in scenes.esc50_rows(esc50)
        if row["fold"] == "1" and row["licence"] in scenes.FREE
    ]
    story = [
        (begin, generator.choice([row for row in rows if row["category"] == label]))
        for begin, label in STORY
    ]
    scene = scenes.mix(story, DURATION_SECONDS, esc50, background, generator, file="village.ogg")
    with soundfile.SoundFile(
        EXAMPLES / "village.ogg", "w", scenes.SAMPLE_RATE, 1, format="OGG", subtype="VORBIS"
    ) as out:
        for i in range(0, len(scene.samples), scenes.SAMPLE_RATE):  # it cannot take much at once
            out.write(scene.samples[i : i + scenes.SAMPLE_RATE])
    with open(EXAMPLES / "village.tsv", "w", newline="") as file:
        writer = TsvWriter(file)
        for event in scene.events:
            writer.write(event)
    (EXAMPLES / "ATTRIBUTION.md").write_text(attribution(esc50, scene.files), "utf-8")
    print(f"{len(scene.events)} events of {len(scene.files)} clips in {DURATION_SECONDS} s")


def attribution(esc50: Path, used: list[str]) -> str:
    """Return the lines of ESC-50's licence file about the clips used."""
    listed = "\n".join(attribution_lines(esc50, used))
    return (
        "# What `village.ogg` is made of\n\n"
        "Made by `benchmarks/figures/make_example.py`. The quiet background is a CC0 recording from a "
        "collection of drone, helicopter and background sounds. The events are clips of ESC-50 "
        "(K. J. Piczak, 2015), cut, made louder or softer, and mixed:\n\n"
        f"{listed}\n\n"
        "The recording and its truth table may be used under CC BY 4.0, with these names.\n"
    )


def attribution_lines(esc50: Path, files: list[str]) -> list[str]:
    """Return what ESC-50's licence file says of each of some clips."""
    lines = (esc50 / "LICENSE.txt").read_text("utf-8").splitlines()
    named = {m[1]: line for line in lines if (m := re.match(r"- \[(\S+)\.ogg\]", line))}
    return [named[name.rsplit("-", 1)[0]] for name in sorted(files)]  # there without the class


if __name__ == "__main__":
    main()
