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
from benchmarks.quality.figures.vocabulary import Vocabulary
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

# AudioSet's classes that fit a background: neither right nor false before it.
AMBIENT: dict[str, tuple[str, ...]] = {
    "quiet": ("Silence",),
    "silence": ("Silence", "Mains hum", "White noise", "Pink noise", "Static", "Noise", "Hum"),
    "rain": ("Rain", "Raindrop", "Rain on surface", "Water"),
    "wind": ("Wind", "Wind noise (microphone)"),
    "street": (
        *("Vehicle", "Motor vehicle (road)", "Car", "Car passing by", "Truck", "Bus", "Engine"),
        *("Traffic noise, roadway noise", "Light engine (high frequency)", "Engine starting"),
        *("Medium engine (mid frequency)", "Heavy engine (low frequency)", "Idling"),
        *("Accelerating, revving, vroom", "Motorcycle", "Engine knocking"),
    ),
    "music": ("Music",),
    "speech": ("Speech",),
}


def ambient(background: str, vocabulary: Vocabulary) -> set[str]:
    """Return the classes of a model that fit a background, with all above and below them."""
    names = [vocabulary.displayed.get(name) for name in AMBIENT[background]]
    if background in vocabulary.labels and not vocabulary.displayed:
        names.append(background)
    return {
        label
        for name in names
        if name is not None
        for label in vocabulary.labels
        if vocabulary.in_branch(label, name)
    }
