"""Where in a sequence of labelled clips each class is present, absent, or neither is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from train.distill.classes import MappedLabel, ancestors

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledFrames:
    """The frames [first, last) of a clip, the classes that are in it, and those that may be."""

    first: int
    last: int
    present: frozenset[str]
    unknown: frozenset[str]

    @classmethod
    def of(cls, first: int, last: int, labels: Sequence[MappedLabel]) -> LabelledFrames:
        """Return what labels say: their classes and those above them are present."""
        names = {one.name for one in labels if one.name}
        present = names.union(*map(ancestors, names))
        unknown = frozenset[str]().union(*(one.related for one in labels)) - present
        return cls(first, last, frozenset(present), unknown)


def absent_frames(
    clips: Sequence[LabelledFrames], labels: Sequence[str], n_frames: int, margin: int
) -> Masks:
    """Return where each class is certainly absent, shape (frames, classes).

    That is in all clips whose labels exclude it, but not within `margin` frames of other clips.
    """
    possible = marked_frames(clips, labels, n_frames, "present")
    possible |= marked_frames(clips, labels, n_frames, "unknown")
    covered = np.zeros(n_frames, bool)
    for one in clips:
        covered[one.first : one.last] = True
    wide = possible.copy()
    for shift in range(1, margin + 1):
        wide[shift:] |= possible[:-shift]
        wide[:-shift] |= possible[shift:]
    return covered[:, None] & ~wide


def marked_frames(
    clips: Sequence[LabelledFrames],
    labels: Sequence[str],
    n_frames: int,
    which: Literal["present", "unknown"],
) -> Masks:
    """Return where each class is among those present or unknown, shape (frames, classes)."""
    column = {label: i for i, label in enumerate(labels)}
    marked = np.zeros((n_frames, len(labels)), bool)
    for one in clips:
        names = one.present if which == "present" else one.unknown
        marked[one.first : one.last, [column[name] for name in names if name in column]] = True
    return marked
