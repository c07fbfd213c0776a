"""Measure how well a model ranks clips of categories that it has, without training on them.

The score of a clip is the highest frame, or the mean over its frames, of the class with the meaning
of the category. Two categories may be one class (plates and clean-dishes are dishes). Clips of all
other categories are negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.quality.figures.clips import collection
from benchmarks.quality.figures.subjects import Subject
from benchmarks.quality.figures.vocabulary import read_label_map
from sed.models.metrics import average_precision

COLLECTIONS = ("kitchen20", "sesa", "esc50")
HOP_SECONDS = 5.0  # no overlap: most clips are one window


def zero_shot(subject: Subject, name: str) -> dict[str, Any] | None:
    """Return mean average precisions on a collection; None if the model has none of its classes."""
    clips = collection(name)
    label_of = {
        category: subject.vocabulary.label(name, category) if mapped.name else None
        for category, mapped in read_label_map(name).items()
    }
    known = sorted({label for label in label_of.values() if label is not None})
    if not known:
        return None
    columns = [subject.vocabulary.labels.index(label) for label in known]
    highest, mean, whole = [], [], []
    for clip in clips:
        run = subject.run(clip.samples, HOP_SECONDS)
        probs = run.frame_probs[:, columns]
        highest.append(probs.max(axis=0))
        mean.append(probs.mean(axis=0))
        whole.append(run.clip_probs[:, columns].max(axis=0))
    targets = np.array([[label_of[clip.category] == label for label in known] for clip in clips])
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
