"""Build seeded scenes from the clips of ESC-50's fold 1, which no shipped model was trained on.

A scene has up to 26 clips of the categories that AudioSet has too, every fourth overlapping the one
before. In quiet, clips are 26 to 36 dB above the noise of a room. In rain, street and music, the
loudest tenth of a second of each clip is 20, 10, 5 or 0 dB above the mean level of the background.
Clips that sound like the background are left out of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import sed
from benchmarks.quality import scenes
from benchmarks.quality.figures import backgrounds
from benchmarks.quality.figures.clips import RATE, Samples16, as_int16, cached
from benchmarks.quality.figures.vocabulary import read_label_map
from sed.audio.resample import Resampler

EVENTS_PER_SCENE, SPACING_SECONDS, TAIL_SECONDS = 26, 6.0, 9.0
SNRS_DB = (20, 10, 5, 0)
VERSION = 2  # raised when scenes are built in another way


@dataclass(frozen=True)
class Scene:
    """A scene and what is in it."""

    samples: Samples16  # at RATE
    truth: list[sed.Event]
    background: str

    @property
    def seconds(self) -> float:
        """Length of the scene."""
        return len(self.samples) / RATE


def scene_set(background: str, snr_db: int | None, n_scenes: int) -> list[Scene]:
    """Return the first scenes over a background; `snr_db` is None in quiet."""

    def scene(number: int) -> Scene:
        name = f"scene-{VERSION}-{background}-{snr_db}-{number}"
        (samples,), truth = cached(name, lambda: build(background, snr_db, number))
        return Scene(samples, [sed.Event(**event) for event in truth], background)

    return [scene(number) for number in range(n_scenes)]


def build(
    background: str, snr_db: int | None, number: int
) -> tuple[list[Samples16], list[dict[str, Any]]]:
    """Return the samples of a scene, and its events as plain values."""
    data = scenes.shared_folder() / "data"
    generator = np.random.default_rng(number)
    left_out = backgrounds.LEFT_OUT[background]
    known = {label.label for label in read_label_map("esc50").values() if label.name}
    rows = [
        row
        for row in scenes.esc50_rows(data / "esc50")
        if row["fold"] == "1" and row["category"] in known and row["category"] not in left_out
    ]
    story = scenes.random_story(rows, EVENTS_PER_SCENE, SPACING_SECONDS, generator)
    duration = story[-1][0] + TAIL_SECONDS
    if snr_db is None:
        level = scenes.EVENT_RMS_DB
    else:
        level = (backgrounds.RMS_DB + snr_db, backgrounds.RMS_DB + snr_db)
    sound = backgrounds.make(background, duration, generator)
    scene = scenes.mix(story, duration, data / "esc50", sound, generator, event_rms_db=level)
    events = [
        {key: value for key, value in asdict(event).items() if key != "time"}
        for event in scene.events
    ]
    return [as_int16(to_rate(scene.samples))], events


def to_rate(samples: scenes.Samples) -> scenes.Samples:
    """Return samples that were mixed at `scenes.SAMPLE_RATE` at `RATE`."""
    resampler = Resampler(scenes.SAMPLE_RATE, RATE)
    return np.concatenate([resampler.push(samples), resampler.flush()])
