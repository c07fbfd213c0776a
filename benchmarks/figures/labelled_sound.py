"""The freely licensed labelled clips in sequence, singly and mixed in pairs, for thresholds.

Clips of ESC-50 under CC0 and CC-BY without the official fold 1, and the CC0 collection of drones,
helicopters and backgrounds. Collections that are for evaluation only are never used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import sed
from benchmarks.quality import scenes
from sed.types import Floats
from train.distill.classes import MappedLabel, read_label_map
from train.distill.labelled_frames import LabelledFrames

HELD_OUT_FOLD = "1"
SEED = 13
SECOND_BELOW_DB = (0.0, 12.0)  # the level of the second clip of a pair below the first
PEAK = 0.99


@dataclass(frozen=True)
class LabelledClip:
    """A clip and what its label says."""

    path: Path
    label: MappedLabel


def labelled_clips(data: Path) -> list[LabelledClip]:
    """Return all clips that may be used, from the data folder."""
    esc50, drone = read_label_map("esc50"), read_label_map("drone")
    clips = [
        LabelledClip(data / "esc50" / "audio" / row["filename"], esc50[row["category"]])
        for row in scenes.esc50_rows(data / "esc50")
        if row["fold"] != HELD_OUT_FOLD and row["licence"] in scenes.FREE
    ]
    files = sorted((data / "drone").glob("*.ogg"))
    return clips + [LabelledClip(path, drone[path.stem.split("_")[0]]) for path in files]


def sequence(
    clips: Sequence[LabelledClip], sample_rate: int
) -> Iterator[tuple[Floats, list[MappedLabel]]]:
    """Yield samples and labels: all clips in random order, then all again in pairs.

    In a pair a random second clip is softer than the first, and cut or repeated to its length.
    """
    generator = np.random.default_rng(SEED)
    for i in generator.permutation(len(clips)):
        yield sed.read_recording(clips[i].path, sample_rate), [clips[i].label]
    seconds = generator.permutation(len(clips))
    for i, j in zip(generator.permutation(len(clips)), seconds, strict=True):
        first = sed.read_recording(clips[i].path, sample_rate)
        second = np.resize(sed.read_recording(clips[j].path, sample_rate), len(first))
        gain_db = _level_db(first) - _level_db(second) - generator.uniform(*SECOND_BELOW_DB)
        mixed = first + second * scenes.decibels(min(gain_db, 20.0))
        mixed *= min(1.0, PEAK / max(float(np.abs(mixed).max()), 1e-9))
        yield mixed.astype(np.float32), [clips[i].label, clips[j].label]


def frame_probs(
    detector: sed.Detector, clips: Sequence[LabelledClip]
) -> tuple[Floats, list[LabelledFrames]]:
    """Run a model over the sequence; return its frames and where each clip is.

    Parameters
    ----------
    detector
        The model, for samples at its own rate.
    clips
        The clips.
    """
    timeline, at = detector.timeline, 0
    parts, places = [], []
    for samples, labels in sequence(clips, timeline.sample_rate):
        parts.append(detector.push(samples).frame_probs)
        first, at = at, at + len(samples)
        places.append((first // timeline.frame_samples, at // timeline.frame_samples, labels))
    parts.append(detector.flush().frame_probs)
    probs = np.concatenate(parts)
    return probs, [LabelledFrames.of(a, min(b, len(probs)), labels) for a, b, labels in places]


def _level_db(samples: Floats) -> float:
    return float(10 * np.log10(np.mean(samples**2) + 1e-10))
