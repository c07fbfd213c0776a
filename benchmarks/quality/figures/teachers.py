"""Run YAMNet and mn04 as they were trained, to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.quality.figures.clips import RATE, Samples16
from benchmarks.quality.figures.vocabulary import Vocabulary
from benchmarks.quality.scenes import shared_folder
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import Event, EventTracker, TrackerConfig
from sed.timeline import Timeline
from sed.types import Floats
from streaming.pipeline.config import OFFSET_RATIO
from train.distill.classes import read_classes

YAMNET = "mobilenetv1_100.audioset_yamnet.safetensors"
MN04 = "mobilenetv3_040.audioset_mn04.safetensors"
PATCH_COLUMNS, STEP_COLUMNS, HOP_LENGTH = 96, 48, 160
WINDOW_SECONDS = 5.0  # of mn04
BATCH_SECONDS = 300.0


def teachers() -> Iterator[YamnetSubject | Mn04Subject]:
    """Yield the teachers whose weights are at hand."""
    weights = shared_folder() / "weights"
    if (weights / YAMNET).exists():
        yield YamnetSubject()
    if (weights / MN04).exists():
        yield Mn04Subject()


def vocabulary() -> Vocabulary:
    """Return the classes of both, which come in YAMNet's order."""
    return Vocabulary(tuple(one.name for one in read_classes()))


@cache
def hierarchy() -> Hierarchy:
    """Return the hierarchy of their classes: as with our models, one sound is one event."""
    labels = tuple(one.name for one in read_classes())
    return Hierarchy(labels, tuple(one.parents for one in read_classes()))


@dataclass(frozen=True)
class TeacherRun:
    """The output of a teacher: its frames are its patches or windows."""

    frame_probs: Floats  # (frames, classes)
    timeline: Timeline
    labels: tuple[str, ...]

    @property
    def clip_probs(self) -> Floats:
        """The mean over the frames, shape (1, classes)."""
        return self.frame_probs.mean(axis=0, keepdims=True)

    def events(self, threshold: float | None = None) -> list[Event]:
        """Return the events at one threshold for all classes; 0.5 if None is given."""
        on = 0.5 if threshold is None else threshold
        config = TrackerConfig(on, OFFSET_RATIO * on)
        tracker = EventTracker(config, self.labels, self.timeline, hierarchy())
        return tracker.push(self.frame_probs) + tracker.flush()


class YamnetSubject:
    """YAMNet on patches of 0.96 s, one every 0.48 s.

    For events, a patch stands for the 0.48 s in its middle; the hierarchy is our own.
    """

    name = identity = "YAMNet, its own patches"
    has_events = is_teacher = True

    def __init__(self) -> None:
        from train.distill.teachers import YamnetTeacher

        self.vocabulary = vocabulary()
        self.timeline = Timeline(RATE, HOP_LENGTH, STEP_COLUMNS // 2)
        self.frame_seconds = STEP_COLUMNS * HOP_LENGTH / RATE
        self._teacher = YamnetTeacher(shared_folder() / "weights" / YAMNET)

    def run(self, samples: Samples16, hop_seconds: float | None = None) -> TeacherRun:
        """Return the output for a recording; its hop is always its own."""
        import torch

        shortest = PATCH_COLUMNS * HOP_LENGTH
        sound = np.pad(samples, (0, max(0, shortest - len(samples)))).astype(np.float32) / 32_768
        step = round(BATCH_SECONDS / self.frame_seconds) * STEP_COLUMNS * HOP_LENGTH
        overlap = (PATCH_COLUMNS - STEP_COLUMNS) * HOP_LENGTH
        parts = []
        for first in range(0, max(1, len(sound) - overlap), step):
            part = torch.from_numpy(sound[first : first + step + overlap])[None]
            if part.shape[1] >= shortest:
                _, logits = self._teacher(part, step_columns=STEP_COLUMNS)
                # The columns at the end are padded: patches there belong to the next part.
                parts.append(logits[0, : step // (STEP_COLUMNS * HOP_LENGTH)].sigmoid().numpy())
        patches = np.concatenate(parts)
        frames = np.concatenate([patches[:1], np.repeat(patches, 2, axis=0), patches[-1:]])
        return TeacherRun(frames, self.timeline, self.vocabulary.labels)


class Mn04Subject:
    """EfficientAT's mn04 on windows of 5 s."""

    name = identity = "mn04, windows of 5 s"
    has_events, is_teacher = False, True

    def __init__(self) -> None:
        from train.distill.teachers import Mn04Teacher

        self.vocabulary = vocabulary()
        self.frame_seconds = WINDOW_SECONDS
        self.timeline = Timeline(RATE, HOP_LENGTH, round(WINDOW_SECONDS * RATE) // HOP_LENGTH)
        self._teacher = Mn04Teacher(shared_folder() / "weights" / MN04)

    def run(self, samples: Samples16, hop_seconds: float | None = None) -> TeacherRun:
        """Return the output for a recording, whose last window is padded with silence."""
        import torch

        n = round(WINDOW_SECONDS * RATE)
        windows = np.pad(samples, (0, -len(samples) % n)).reshape(-1, n)
        sound = torch.from_numpy(windows.astype(np.float32) / 32_768)
        probs = [self._teacher(sound[i : i + 8]).sigmoid().numpy() for i in range(0, len(sound), 8)]
        return TeacherRun(np.concatenate(probs), self.timeline, self.vocabulary.labels)
