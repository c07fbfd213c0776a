"""Measure how well a model ranks clips of categories that it has, without training on them.

The score of a clip is the highest frame, or the mean over its frames, of the class with the meaning
of the category. A category counts only if the model has it; clips of other categories are negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.quality.figures.clips import collection, same_sound
from benchmarks.quality.figures.subjects import Subject
from sed.models.metrics import average_precision

COLLECTIONS = ("kitchen20", "sesa", "esc50")
HOP_SECONDS = 5.0  # no overlap: most clips are one window


def zero_shot(subject: Subject, name: str) -> dict[str, Any] | None:
    """Return mean average precisions on a collection; None if the model has none of its classes."""
    clips = collection(name)
    categories = sorted(same_sound(name))
    known = {c: subject.vocabulary.label(name, c) for c in categories}
    known = {category: label for category, label in known.items() if label is not None}
    if not known:
        return None
    columns = [subject.vocabulary.labels.index(str(label)) for label in known.values()]
    highest, mean, whole = [], [], []
    for clip in clips:
        run = subject.run(clip.samples, HOP_SECONDS)
        probs = run.frame_probs[:, columns]
        highest.append(probs.max(axis=0))
        mean.append(probs.mean(axis=0))
        whole.append(run.clip_probs[:, columns].max(axis=0))
    targets = np.array([[clip.category == category for category in known] for clip in clips])
    precision = {
        way: average_precision(targets, np.array(scores))
        for way, scores in (("highest", highest), ("mean", mean), ("clip", whole))
    }
    return {
        "clips": len(clips),
        "classes": len(known),
        **{way: float(values.mean()) for way, values in precision.items()},
        "each": dict(zip(known, precision["highest"].tolist(), strict=True)),
    }
