"""Run a model over recordings, so that its output can be decoded with many thresholds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

import sed
from benchmarks.quality.figures.clips import RATE, Samples16
from benchmarks.quality.figures.vocabulary import Vocabulary
from sed.models.metadata import read_metadata
from sed.models.registry import find_model, model_name
from sed.types import Floats
from streaming.engines.base import FrameOutput
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.windows import Batch

NO_COLUMNS = np.empty((0, 0), np.float32)


class Run(Protocol):
    """The output of a model for a recording."""

    @property
    def frame_probs(self) -> Floats:
        """Probabilities of the frames, shape (frames, classes)."""

    @property
    def clip_probs(self) -> Floats:
        """Probabilities of the windows as a whole, shape (windows, classes)."""

    def events(self, threshold: float | None = None) -> list[sed.Event]:
        """Return the events at one threshold for all classes, or with the model's own settings."""


class Subject(Protocol):
    """A model that is measured."""

    name: str
    vocabulary: Vocabulary
    frame_seconds: float
    has_events: bool  # whether its frames are fine enough for events
    is_teacher: bool  # measured in less, to compare with
    identity: str  # of all that its figures depend on

    def run(self, samples: Samples16, hop_seconds: float | None = None) -> Run:
        """Return the output for a recording at `RATE`."""


class SedSubject:
    """A checkpoint of ours, in OpenVINO on one core.

    Parameters
    ----------
    model
        The name of a model or the path of a checkpoint.
    """

    has_events = True
    is_teacher = False

    def __init__(self, model: str) -> None:
        self.name = model_name(model)
        path = find_model(model)
        self.metadata = read_metadata(path)
        self.identity = json.dumps(self.metadata, sort_keys=True)  # with the weights' checksum
        self.vocabulary = Vocabulary(tuple(self.metadata["labels"]))
        self.engine = sed.open_engine(path, engine="openvino", n_streams=1)
        self.frame_seconds = self.engine.spec.timeline.frame_seconds
        self._detectors: dict[DetectorConfig, sed.Detector] = {}

    def detector(self, config: DetectorConfig) -> sed.Detector:
        """Return a detector with a configuration, at the start of a recording."""
        if config not in self._detectors:
            self._detectors[config] = sed.Detector(self.engine, config, sample_rate=RATE)
        self._detectors[config].reset()
        return self._detectors[config]

    def run(self, samples: Samples16, hop_seconds: float | None = None) -> SedRun:
        """Return the output for a recording at `RATE`, with a hop other than the default."""
        n_windows = len(samples) / RATE / self.engine.spec.window_seconds
        config = DetectorConfig(hop_seconds=hop_seconds, batch_size=16 if n_windows > 8 else 1)
        front_end = self.detector(config).front_end
        batches = [*front_end.push(samples), *front_end.flush()]
        outputs = [self.engine.infer(b.stack()) if b.windows else None for b in batches]
        # Decoding needs the places of the windows, not their spectrograms.
        batches = [
            batch._replace(
                log_mel=[],
                windows=[window._replace(log_mel=NO_COLUMNS) for window in batch.windows],
            )
            for batch in batches
        ]
        return SedRun(self, config, batches, outputs)


@dataclass(frozen=True)
class SedRun:
    """The output of a checkpoint for a recording."""

    subject: SedSubject
    config: DetectorConfig
    batches: Sequence[Batch]
    outputs: Sequence[FrameOutput | None]

    @cached_property
    def detection(self) -> Any:
        """The recording decoded with the settings of the model."""
        return self.subject.detector(self.config).decode(self.batches, self.outputs)

    @property
    def frame_probs(self) -> Floats:
        """Probabilities of the frames, shape (frames, classes)."""
        return self.detection.frame_probs

    @property
    def clip_probs(self) -> Floats:
        """Probabilities of the windows, shape (windows, classes)."""
        return self.detection.clip_probs

    def events(self, threshold: float | None = None) -> list[sed.Event]:
        """Return the events at one threshold for all classes, or with the model's own settings."""
        if threshold is None:
            return self.detection.events
        config = DetectorConfig(
            hop_seconds=self.config.hop_seconds,
            batch_size=self.config.batch_size,
            threshold=threshold,
        )
        return self.subject.detector(config).decode(self.batches, self.outputs).events
