"""Report kinds (animal, vehicle) in the place of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import TrackerConfig
from sed.events.tracking.kinds import KindFrames, KindProbs
from streaming.pipeline.unknown import UNKNOWN


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
        self.tracker = dataclasses.replace(
            tracker,
            onset_threshold=tuple(self.probs.onset.tolist()),
            offset_threshold=tuple(self.probs.offset.tolist()),
            median_filter_frames=1,
        )
