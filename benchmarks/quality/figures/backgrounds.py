"""Make the backgrounds of scenes, and sound without any event.

Rain and wind are the clips of ESC-50's fold 1, quiet a recorded room, speech recorded digits. There
are no recordings of a street or of music here: the street is the engines of fold 1 with pink noise
that swells like passing cars, the music is synthetic, chords and a bass over drums.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import sed
from benchmarks.quality import scenes
from benchmarks.quality.scenes import SAMPLE_RATE, Samples

RMS_DB = -45.0  # mean level of rain, street, music, wind and speech
MIN_SECONDS = 4.5  # of a clip of a background: it must last

# Categories of ESC-50 that sound like the background, and so cannot be events before it.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "quiet": (),
    "rain": ("rain", "thunderstorm", "water_drops", "pouring_water", "sea_waves"),
    "street": ("engine", "train", "car_horn", "wind"),
    "music": (),
}

# AudioSet's classes that a background is.
CLASSES: dict[str, tuple[str, ...]] = {
    "quiet": ("silence",),
    "silence": ("silence", "noise", "hum"),
    "rain": ("rain",),
    "wind": ("wind",),
    "street": ("engine", "car_passing", "traffic"),
    "music": ("music",),
    "speech": ("speech",),
}


def make(name: str, duration: float, generator: np.random.Generator) -> Samples:
    """Return a background by its name, at `scenes.SAMPLE_RATE`."""
    samples = MAKERS[name](duration, generator)
    return samples[: round(duration * SAMPLE_RATE)]


def quiet(duration: float, generator: np.random.Generator) -> Samples:
    """Return the noise of a quiet room."""
    path = scenes.shared_folder() / "data" / "drone" / scenes.BACKGROUND
    return scenes.looped(path, duration, generator)


def rain(duration: float, generator: np.random.Generator) -> Samples:
    """Return rain."""
    return scenes.crossfaded(lasting("rain"), duration, generator, RMS_DB)


def wind(duration: float, generator: np.random.Generator) -> Samples:
    """Return wind."""
    return scenes.crossfaded(lasting("wind"), duration, generator, RMS_DB)


def lasting(category: str) -> list[Samples]:
    """Return the clips of fold 1 of a category that sound from begin to end."""
    esc50 = scenes.shared_folder() / "data" / "esc50"
    sounds = [
        sed.read_recording(esc50 / "audio" / row["filename"], SAMPLE_RATE)
        for row in scenes.esc50_rows(esc50)
        if row["fold"] == "1" and row["category"] == category
    ]
    return [
        sound
        for sound in sounds
        if scenes.active_runs(sound)[-1][1] - scenes.active_runs(sound)[0][0]
        > MIN_SECONDS * SAMPLE_RATE
    ]


MAKERS: dict[str, Callable[[float, np.random.Generator], Samples]] = {
    "quiet": quiet,
    "rain": rain,
    "wind": wind,
}
