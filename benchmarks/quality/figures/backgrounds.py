"""Make the backgrounds of scenes, and sound without any event.

Rain and wind are the clips of ESC-50's fold 1, quiet a recorded room, speech recorded digits. There
are no recordings of a street or of music here: the street is the engines of fold 1 with pink noise
that swells like passing cars, the music is synthetic, see `benchmarks.quality.figures.synthesis`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

import sed
from benchmarks.quality import scenes
from benchmarks.quality.figures.synthesis import at_level, coloured_noise, mains_hum, piece
from benchmarks.quality.scenes import SAMPLE_RATE, Samples

RMS_DB = -45.0  # mean level of rain, street, music and wind
DIGIT_RMS_DB = -28.0  # of spoken digits
MIN_SECONDS = 4.5  # of a clip of a background: it must last

# Categories of ESC-50 that are in the background, and so cannot be events before it.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "quiet": (),
    "rain": ("rain", "thunderstorm"),
    "street": ("engine",),
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


def street(duration: float, generator: np.random.Generator) -> Samples:
    """Return engines and passing cars, these as noise that swells for some seconds."""
    engines = scenes.crossfaded(lasting("engine"), duration, generator, RMS_DB - 6)
    swell = np.full(len(engines), 0.3, np.float32)
    for _ in range(round(duration / 9)):
        seconds = np.arange(-8, 8, 1 / SAMPLE_RATE, dtype=np.float32)
        car = generator.uniform(0.3, 1) * np.exp(-((seconds / generator.uniform(1.5, 4)) ** 2))
        first = int(generator.integers(len(swell)))
        swell[first : first + len(car)] += car[: len(swell) - first]
    noise = coloured_noise(len(engines), 1.0, generator) * swell
    return at_level(engines + at_level(noise, RMS_DB - 2))


def music(duration: float, generator: np.random.Generator) -> Samples:
    """Return synthetic music: pieces of half a minute."""
    pieces = [piece(30.0, generator) for _ in range(int(duration // 30) + 1)]
    return at_level(np.concatenate(pieces))


def speech(duration: float, generator: np.random.Generator) -> Samples:
    """Return spoken digits in groups of three to eight, with faint noise."""
    paths = sorted((scenes.shared_folder() / "data" / "speech").glob("*.wav"))
    digits = [at_level(sed.read_recording(path, SAMPLE_RATE), DIGIT_RMS_DB) for path in paths]
    parts: list[Samples] = []
    n = 0
    while n < duration * SAMPLE_RATE:
        for _ in range(generator.integers(3, 9)):
            digit = digits[generator.integers(len(digits))]
            pause = np.zeros(round(generator.uniform(0.05, 0.4) * SAMPLE_RATE), np.float32)
            parts += [digit, pause]
            n += len(digit) + len(pause)
        parts.append(np.zeros(round(generator.uniform(0.5, 2) * SAMPLE_RATE), np.float32))
        n += len(parts[-1])
    sound = np.concatenate(parts)
    return sound + at_level(coloured_noise(len(sound), 1.0, generator), -62.0)


def silence(duration: float, generator: np.random.Generator) -> Samples:
    """Return the noise of microphones in minutes of different kinds: colours, hum, a quiet room."""
    parts = []
    for minute in range(int(duration // 60) + 1):
        n = 60 * SAMPLE_RATE
        if minute % 4 == 3:
            part = at_level(quiet(60.0, generator), generator.uniform(-70, -50))
        else:
            part = coloured_noise(n, float(minute % 4), generator)
            part = at_level(part, generator.uniform(-80, -50))
        if generator.random() < 0.4:
            hum = mains_hum(n, generator)
            part = part + at_level(hum, generator.uniform(-80, -60))
        parts.append(part)
    return np.concatenate(parts)


@cache
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
    "street": street,
    "music": music,
    "speech": speech,
    "silence": silence,
}
