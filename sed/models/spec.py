"""What a model hears and says, without its weights: all that listening needs to know of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.config import config_from_dict
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.timeline import Timeline, frame_edges


@dataclass(frozen=True)
class ReceptiveField:
    """How far a frame of the network looks; see `sed.models.receptive_field`."""

    before: int  # frames at the beginning of a stretch that miss something in front of them
    after: int  # frames at its end that miss something behind them


@dataclass(frozen=True)
class ModelSpec:
    """What goes into a model and what comes out of it."""

    labels: tuple[str, ...]  # one per class
    log_mel: LogMelConfig
    frame_columns: int  # columns from one frame to the next
    n_frames: int  # of a window
    window_seconds: float = 5.0  # length of the model's input
    post_processing: TrackerConfig = field(default_factory=TrackerConfig)

    @property
    def timeline(self) -> Timeline:
        """The grid that the model's frames lie on."""
        log_mel = self.log_mel
        return Timeline(log_mel.sample_rate, log_mel.hop_length, self.frame_columns)

    @property
    def window_columns(self) -> int:
        """Columns in a window."""
        return self.timeline.columns_from_seconds(self.window_seconds)

    @property
    def frame_edges(self) -> NDArray[np.int64]:
        """Where the frames of a window begin and end; see `sed.timeline`."""
        return frame_edges(self.n_frames, self.frame_columns, self.window_columns)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Return what `as_dict` described.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or cannot be.
        """
        return cls(
            tuple(values["labels"]),
            config_from_dict(LogMelConfig, values["log_mel"], "log_mel"),
            int(values["frame_columns"]),
            int(values["n_frames"]),
            float(values["window_seconds"]),
            config_from_dict(TrackerConfig, values["post_processing"], "post_processing"),
        )
