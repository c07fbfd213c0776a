"""Report kinds (animal, vehicle) in the place of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import TrackerConfig
from sed.events.tracking.kinds import KindFrames, KindProbs
from streaming.pipeline.config import UNKNOWN

# How the values of a kind follow from those of its classes, where each has its own: no event that
# is long enough for one of them is dropped, and none are merged that one of them would keep apart.
# Change detection finds the events of a kind only if it finds those of all its classes.
OF_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "min_duration_seconds": min,
    "min_gap_seconds": min,
    "decoder": max,
    "step_filter_seconds": min,
    "merge_threshold_absolute": min,
    "merge_threshold_relative": min,
    "event_score": min,
}


class KindLevel:
    """What is tracked if kinds are reported.

    A class that belongs to no kind is reported itself. Where classes were requested, other kinds
    that they belong to are not reported, unless the classes themselves were requested.

    Parameters
    ----------
    hierarchy
        That of the model.
    names
        The classes and kinds that were requested; all if empty.
    labels
        The classes that these stand for.
    tracker
        Thresholds and durations of these classes, with one value per class.

    Raises
    ------
    UsageError
        If the model has no hierarchy.
    """

    def __init__(
        self,
        hierarchy: Hierarchy | None,
        names: Sequence[str],
        labels: Sequence[str],
        tracker: TrackerConfig,
    ) -> None:
        if hierarchy is None:
            raise UsageError(
                "the model has no hierarchy of classes, so that it cannot report kinds. Leave out "
                "--at-level"
            )
        wanted = {kind for name in names for kind in hierarchy.kinds_of(name)}
        wanted |= {UNKNOWN} if names else set()
        members: dict[str, list[int]] = {}
        for number, label in enumerate(labels):
            for kind in hierarchy.kinds_of(label):
                if not wanted or kind in wanted:
                    members.setdefault(kind, []).append(number)
        self.labels = tuple(members)
        self.probs = KindProbs(
            list(members.values()),
            np.asarray(tracker.onset_threshold, np.float32),
            np.asarray(tracker.offset_threshold, np.float32),
        )
        lengths = np.asarray(tracker.median_filter_frames, np.int64)
        self.frames = KindFrames(self.probs, np.broadcast_to(lengths, len(labels)))

        def of_kinds(name: str, combine: Callable[[Any], Any]) -> Any:
            value = getattr(tracker, name)
            if not isinstance(value, tuple):
                return value
            return tuple(combine([value[c] for c in numbers]) for numbers in members.values())

        self.tracker = dataclasses.replace(
            tracker,
            **{name: of_kinds(name, combine) for name, combine in OF_KINDS.items()},
            onset_threshold=tuple(self.probs.onset.tolist()),
            offset_threshold=tuple(self.probs.offset.tolist()),
            median_filter_frames=1,
        )
