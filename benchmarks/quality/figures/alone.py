"""Count the events that are found in an hour of silence, rain, wind or speech and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.quality.figures import backgrounds
from benchmarks.quality.figures.clips import RATE, Samples16, as_int16
from benchmarks.quality.figures.scene_sets import to_rate
from benchmarks.quality.figures.subjects import Subject

SOUNDS = ("silence", "rain", "wind", "speech")
PARTS, PART_SECONDS = 6, 600.0
SEED = 77


def part(sound: str, number: int) -> Samples16:
    """Return ten minutes of a sound, at `RATE`."""
    generator = np.random.default_rng([SEED, number])
    return as_int16(to_rate(backgrounds.make(sound, PART_SECONDS, generator)))


def alone(subject: Subject, sound: str) -> dict[str, Any]:
    """Return the false events in an hour of a sound, by class; those that fit it are not false."""
    ambient = subject.vocabulary.ambient(backgrounds.CLASSES[sound])
    false: Counter[str] = Counter()
    fitting: Counter[str] = Counter()
    seconds = 0.0
    for number in range(PARTS):
        samples = part(sound, number)
        seconds += len(samples) / RATE
        for event in subject.run(samples).events():
            (fitting if event.label in ambient else false)[event.label] += 1
    return {
        "hours": seconds / 3600,
        "false_per_hour": false.total() / seconds * 3600,
        "fitting_per_hour": fitting.total() / seconds * 3600,
        "false": dict(false.most_common(12)),
    }
