"""Create `examples/village.ogg`, its true events and its attribution, from clips of ESC-50.

    python -m benchmarks.figures.make_example

A day in a village, from clips of the official fold 1 under CC0 or CC-BY: the default model was not
trained on them. The clip of each class and its level are drawn with a fixed seed, independent of
any model. The classes are among those of which the default model misses none in the clips set aside
for its thresholds, so the example shows what it can do; random scenes measure what it does with any
class (`accuracy.py`). The background is quiet.

Classes, background and overlaps (about a second) were arranged with the output of the model in
view: the example is a demonstration, not a test.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.quality import scenes
from sed.events.writing.writers import TsvWriter

EXAMPLES = Path(__file__).parents[2] / "examples"
SEED = 2026
DURATION_SECONDS = 196

# Onset of a clip in seconds, and its class. Pairs that overlap stand on one line.
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
        for i in range(
            0, len(scene.samples), scenes.SAMPLE_RATE
        ):  # the encoder fails on long blocks
            out.write(scene.samples[i : i + scenes.SAMPLE_RATE])
    with open(EXAMPLES / "village.tsv", "w", newline="") as file:
        writer = TsvWriter(file)
        for event in scene.events:
            writer.write(event)
    (EXAMPLES / "ATTRIBUTION.md").write_text(attribution(esc50, scene.files), "utf-8")
    print(f"{len(scene.events)} events of {len(scene.files)} clips in {DURATION_SECONDS} s")


def attribution(esc50: Path, used: list[str]) -> str:
    """Return the text of the attribution."""
    listed = "\n".join(attribution_lines(esc50, used))
    return (
        "# The clips in `village.ogg`\n\n"
        "Created by `benchmarks/figures/make_example.py`. The quiet background is a CC0 recording "
        "from a collection of drone, helicopter and background sounds. The events are clips of "
        "ESC-50 (K. J. Piczak, 2015), cut, made louder or softer, and mixed:\n\n"
        f"{listed}\n\n"
        "The recording and the table of its true events may be used under CC BY 4.0, with these "
        "names.\n"
    )


def attribution_lines(esc50: Path, files: list[str]) -> list[str]:
    """Return the lines of ESC-50's licence file about some clips."""
    lines = (esc50 / "LICENSE.txt").read_text("utf-8").splitlines()
    named = {m[1]: line for line in lines if (m := re.match(r"- \[(\S+)\.ogg\]", line))}
    return [
        named[name.rsplit("-", 1)[0]] for name in sorted(files)
    ]  # the licence file leaves out the class


if __name__ == "__main__":
    main()
