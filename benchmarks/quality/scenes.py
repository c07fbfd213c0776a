"""Mix scenes of clips over a quiet background, with the true events."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sed
from sed.events.tracker import Event

SAMPLE_RATE = 32_000
FREE = ("CC0", "CC-BY")
BACKGROUND = "BACKGROUND_020.ogg"  # a quiet room; most of the others contain birds, steps or keys
EVENT_RMS_DB = (-26.0, -16.0)  # of the loudest tenth of a second, drawn evenly
BACKGROUND_RMS_DB = -52.0
ACTIVE_DB = -25.0  # below the loudest part: roughly what is audible
BRIDGED_SECONDS = 1.5  # pauses within a sound: a dog barks twice and is one event

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A mixed recording."""

    samples: Samples  # at SAMPLE_RATE
    events: list[Event]  # in the order of their onsets
    files: list[str]  # its clips


def shared_folder() -> Path:
    """Return the folder with data and weights that are not in the repository."""
    default = Path(__file__).parents[3] / "shared"
    return Path(os.environ.get("SED_SHARED", default))


def esc50_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of ESC-50's table."""
    with open(folder / "esc50.csv", newline="") as file:
        return list(csv.DictReader(file))


def random_story(
    rows: Sequence[dict[str, str]], n_events: int, spacing: float, generator: np.random.Generator
) -> list[tuple[float, dict[str, str]]]:
    """Return the onset of each of some clips; every fourth overlaps the one before it."""
    chosen = generator.permutation(len(rows))[:n_events]
    story, at = [], 3.0
    for i, row in enumerate(chosen):
        story.append((at, rows[row]))
        at += 3.0 if i % 4 == 3 else spacing + float(generator.uniform(0, 4))
    return story


def mix(
    story: Sequence[tuple[float, dict[str, str]]],
    duration: float,
    esc50: Path,
    background: Path | Samples,
    generator: np.random.Generator,
    *,
    file: str = "",
    event_rms_db: tuple[float, float] = EVENT_RMS_DB,
) -> Scene:
    """Place clips over a background, each trimmed of silence.

    The background is a recording, which is looped, or the samples for the whole scene.
    """
    if isinstance(background, Path):
        samples = looped(background, duration, generator)
    else:
        samples = background[: round(duration * SAMPLE_RATE)].copy()
    truth: list[Event] = []
    for begin, row in story:
        clip = sed.read_recording(esc50 / "audio" / row["filename"], SAMPLE_RATE)
        runs = active_runs(clip)
        gain_db = generator.uniform(*event_rms_db) - levels_db(clip, 0.1).max()
        clip = clip[runs[0][0] : runs[-1][1]] * decibels(gain_db)
        fade = np.minimum(1.0, np.arange(len(clip), 0, -1) / (0.02 * SAMPLE_RATE))
        first = round(begin * SAMPLE_RATE)
        samples[first : first + len(clip)] += (clip * fade).astype(np.float32)
        zero = first - runs[0][0]
        truth += [
            Event((zero + a) / SAMPLE_RATE, (zero + b) / SAMPLE_RATE, row["category"], 1.0, file)
            for a, b in runs
        ]
    truth.sort(key=lambda event: event.onset)
    return Scene(np.clip(samples, -0.99, 0.99), truth, [row["filename"] for _, row in story])


def looped(path: Path, duration: float, generator: np.random.Generator) -> Samples:
    """Return a background of random segments of a recording, with cross-fades."""
    return crossfaded([sed.read_recording(path, SAMPLE_RATE)], duration, generator)


def crossfaded(
    sounds: Sequence[Samples],
    duration: float,
    generator: np.random.Generator,
    rms_db: float = BACKGROUND_RMS_DB,
) -> Samples:
    """Return random segments of random recordings, each at the same level, with cross-fades.

    The recordings are longer than 4 s.
    """
    sounds = [s * decibels(rms_db - 10 * np.log10(np.mean(s**2))) for s in sounds]
    segment, fade, n = 4 * SAMPLE_RATE, SAMPLE_RATE, round(duration * SAMPLE_RATE)
    ramp = np.sqrt(np.arange(fade) / fade)  # equal power: the segments are uncorrelated
    envelope = np.concatenate([ramp, np.ones(segment - 2 * fade), ramp[::-1]])
    scene = np.zeros(n + segment, np.float32)
    for first in range(0, n, segment - fade):
        # With one recording no number is drawn, which keeps the scenes of earlier figures.
        sound = sounds[int(generator.integers(len(sounds))) if len(sounds) > 1 else 0]
        start = int(generator.integers(len(sound) - segment))
        scene[first : first + segment] += sound[start : start + segment] * envelope
    return scene[:n]


def levels_db(samples: Samples, seconds: float) -> NDArray[np.float64]:
    """Return the RMS level of consecutive segments of a length in seconds."""
    n = round(seconds * SAMPLE_RATE)
    segments = samples[: len(samples) // n * n].reshape(-1, n)
    return 10 * np.log10(np.mean(segments**2, axis=1) + 1e-12)


def active_runs(samples: Samples) -> list[tuple[int, int]]:
    """Return the active parts of a clip as [first, last) samples, with short pauses bridged."""
    step = 0.02
    levels = levels_db(samples, step)
    active = np.flatnonzero(levels > levels.max() + ACTIVE_DB)
    gaps = np.flatnonzero(np.diff(active) * step > BRIDGED_SECONDS)
    starts = active[np.concatenate([[0], gaps + 1]).astype(int)]
    stops = active[np.concatenate([gaps, [len(active) - 1]]).astype(int)] + 1
    n = round(step * SAMPLE_RATE)
    return [(int(a) * n, int(b) * n) for a, b in zip(starts, stops, strict=True)]


def decibels(gain_db: float) -> np.float32:
    """Return the factor of a gain."""
    return np.float32(10 ** (gain_db / 20))
