"""What an engine says about a batch of windows or stretches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What the heads of a model say about frames; see `sed.models.network.FrameAnswer`.

    The first axis is the batch; an answer to one window has none.
    """

    frame_probs: Floats  # (..., frames, classes)
    head_probs: Floats  # (..., frames, heads, classes)
    head_weights: Floats  # (..., frames, heads, classes)

    def __len__(self) -> int:
        return len(self.frame_probs)

    def __getitem__(self, of: int | slice) -> Answer:
        return Answer(self.frame_probs[of], self.head_probs[of], self.head_weights[of])

    def clip_probs(self) -> Floats:
        """Return the probability of each class in all of one window, shape (classes,)."""
        weighted = (self.head_weights * self.head_probs).sum(axis=0)
        probs: Floats = (weighted / self.head_weights.sum(axis=0)).mean(axis=0)
        return probs


def joined(answers: Iterable[Answer]) -> Answer:
    """Return what answers say one after the other, along their first axis."""
    rows = [(a.frame_probs, a.head_probs, a.head_weights) for a in answers]
    return Answer(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
