"""Decode events from the model's outputs: aggregate frames, select classes, track events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sed.errors import UsageError
from sed.events.hierarchy import choose_classes
from sed.events.tracker import Event, EventTracker
from sed.events.tracking.calibration import calibrate
from sed.events.tracking.top_classes import TopClasses
from sed.models.spec import ModelSpec
from sed.types import Floats
from streaming.engines.base import FrameOutput
from streaming.pipeline.config import (
    UNKNOWN,
    DetectorConfig,
    calibrations_of,
    class_thresholds,
    tracker_config,
)
from streaming.pipeline.levels import KindLevel
from streaming.pipeline.modes import Aggregator
from streaming.pipeline.unknown import UnknownScore, add_unknown
from streaming.pipeline.windows import Batch


@dataclass(frozen=True)
class FrameEmbeddings:
    """The output of a layer of the network for the next frames of a recording."""

    vectors: Floats  # (frames, features)
    attention: Floats  # (frames,); see `streaming.pipeline.modes.frame_values`

    def __getitem__(self, index: slice) -> FrameEmbeddings:
        return FrameEmbeddings(self.vectors[index], self.attention[index])

    @classmethod
    def concat(cls, parts: Sequence[FrameEmbeddings]) -> FrameEmbeddings:
        """Return consecutive parts, one or more, as one."""
        return cls(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.attention for part in parts]),
        )


class Detection(NamedTuple):
    """What a push completed. Arrays hold the next rows of the recording."""

    events: list[Event]  # complete now
    frame_probs: Floats  # (frames, classes), or kinds if these are reported
    log_mel: Floats  # (columns, mels)
    started: list[Event]  # certain to come, reported once; they last at least as long as given
    clip_probs: Floats  # (windows, classes), of whole windows
    n_samples: int  # of the recording processed so far, at the model's rate
    frame_embeddings: FrameEmbeddings | None = None  # if the engine gives them

    @classmethod
    def concat(cls, detections: Sequence[Detection], n_classes: int, n_mels: int) -> Detection:
        """Return consecutive detections as one; an empty one if there are none."""
        embeddings = [d.frame_embeddings for d in detections if d.frame_embeddings is not None]
        return cls(
            [event for d in detections for event in d.events],
            _stack_rows([d.frame_probs for d in detections], n_classes),
            _stack_rows([d.log_mel for d in detections], n_mels),
            [event for d in detections for event in d.started],
            _stack_rows([d.clip_probs for d in detections], n_classes),
            detections[-1].n_samples if detections else 0,
            FrameEmbeddings.concat(embeddings) if embeddings else None,
        )


class EventDecoder:
    """Turns the model's outputs for consecutive batches into events.

    Parameters
    ----------
    spec
        The model.
    config
        Thresholds, durations, classes.
    aggregator
        Joins the outputs of overlapping or adjacent inputs.
    n_features
        Width of the engine's embeddings; 0 if it gives none.

    Raises
    ------
    UsageError
        If a class is unknown to the model, a threshold cannot be, or kinds or all classes are
        requested and the model has no hierarchy.
    """

    def __init__(
        self,
        spec: ModelSpec,
        config: DetectorConfig,
        aggregator: Aggregator,
        n_features: int = 0,
    ) -> None:
        self._spec = spec
        self._n_features = n_features
        self._top: TopClasses | None = None
        if config.top_k is not None:
            lone: list[tuple[int, ...]] = [()] * len(spec.labels)
            hierarchy = spec.hierarchy
            above = lone if hierarchy is None else hierarchy.ancestor_numbers(spec.labels)
            self._top = TopClasses(config.top_k, above)
        self._aggregator = aggregator
        self._calibrations = calibrations_of(spec, config)
        names, self._selected = _chosen(spec, config)
        self.labels = tuple(spec.labels[c] for c in self._selected)
        tracker = tracker_config(spec, config, self._selected)
        self._unknown: UnknownScore | None = None
        if config.unknown:
            self._unknown = UnknownScore(spec, *class_thresholds(spec, config))
            self.labels, tracker = add_unknown(spec, self.labels, tracker, config)
        if config.all_classes and spec.hierarchy is None:
            raise UsageError(
                "the model has no hierarchy of classes, so that each is reported anyway. Leave out "
                "--all-classes"
            )
        self._kinds: KindLevel | None = None
        if config.at_level == "kind":
            self._kinds = KindLevel(spec.hierarchy, names, self.labels, tracker)
            self.labels, tracker = self._kinds.labels, self._kinds.tracker
        onsets = tracker.values("onset_threshold", len(self.labels))
        self.onset_thresholds: tuple[float, ...] = tuple(map(float, onsets))  # one per label
        hierarchy = None if self._kinds or config.all_classes else spec.hierarchy
        self._tracker = EventTracker(tracker, self.labels, spec.timeline, hierarchy)
        # Sound that must follow a moment before it is decided: what the aggregator waits for, the
        # rest of the frame, half of the median filter, and the wait for more specific classes.
        n_frames = 1 + self._tracker.lag_frames + self._tracker.hold_frames
        n_frames += self._kinds.frames.half_median_frames if self._kinds else 0
        n_frames += self._unknown.lag_frames if self._unknown else 0
        self.lookahead_columns = aggregator.lookahead_columns + n_frames * spec.frame_columns
        self.gap_frames = 1 + self._tracker.gap_frames  # after an event, until it cannot grow

    def reset(self) -> None:
        """Start a new recording."""
        self._aggregator.reset()
        self._tracker.reset()
        if self._kinds is not None:
            self._kinds.frames.reset()
        if self._unknown is not None:
            self._unknown.reset()

    def push(self, batch: Batch, output: FrameOutput | None) -> Detection:
        """Take the model's output for the next batch; None if the batch has no windows.

        Returns
        -------
        What is final now; all the rest of the recording if the batch is the last.
        """
        final = [
            self._aggregator.push(window, output[i])
            for i, window in enumerate(batch.windows)
            if output is not None
        ]
        if batch.is_last and batch.n_samples:
            hop_length = self._spec.timeline.hop_length
            final.append(self._aggregator.flush(-(-batch.n_samples // hop_length)))
        n_classes = len(self._spec.labels)
        n_values = n_classes + (self._n_features + 1 if self._n_features else 0)
        values = _stack_rows([frames for frames, _ in final if frames.size], n_values)
        if self._calibrations:
            values[:, :n_classes] = calibrate(values[:, :n_classes], self._calibrations)
        scores = None
        if self._unknown is not None:
            values, scores = self._unknown.push(batch.log_mel, values, is_last=batch.is_last)
        frame_probs = self._select(values[:, :n_classes])
        clip_probs = _stack_rows([clips for _, clips in final], n_classes)[:, self._selected]
        if scores is not None:  # there is none of whole windows
            frame_probs = np.concatenate([frame_probs, scores], axis=1)
            clip_probs = np.pad(clip_probs, ((0, 0), (0, 1)))
        events = self._tracker.push(
            self._kinds.frames.push(frame_probs) if self._kinds else frame_probs
        )
        if batch.is_last:
            if self._kinds is not None:
                events += self._tracker.push(self._kinds.frames.flush())
            events += self._tracker.flush(batch.n_samples)
        if self._kinds is not None:
            frame_probs, clip_probs = self._kinds.probs(frame_probs), self._kinds.probs(clip_probs)
        log_mel = _stack_rows(batch.log_mel, self._spec.log_mel.n_mels)
        started = self._tracker.started()
        embeddings = None
        if self._n_features:
            embeddings = FrameEmbeddings(values[:, n_classes:-1], values[:, -1])
        return Detection(
            events, frame_probs, log_mel, started, clip_probs, batch.n_samples, embeddings
        )

    def _select(self, frame_probs: Floats) -> Floats:
        """Keep the requested classes, after setting all but the `top_k` of a frame to zero."""
        kept = frame_probs if self._top is None else self._top(frame_probs)
        return kept[:, self._selected]


def _chosen(spec: ModelSpec, config: DetectorConfig) -> tuple[tuple[str, ...], list[int]]:
    """Return what is requested of the model's classes and kinds, and the numbers of the classes.

    There are none where only the class unknown is requested.
    """
    names = spec.resolve(config.classes)
    if UNKNOWN in names and UNKNOWN not in spec.labels:
        if not config.unknown:
            raise UsageError(f"the class {UNKNOWN!r} is only found with --unknown: give it too")
        names = tuple(name for name in names if name != UNKNOWN)
        if not names:
            return names, []
    return names, choose_classes(spec.labels, names, spec.hierarchy)


def _stack_rows(parts: Sequence[Floats], width: int) -> Floats:
    """Return arrays of shape (n, width) one below the other; no rows if there are no arrays."""
    return np.concatenate([np.empty((0, width), np.float32), *parts])
