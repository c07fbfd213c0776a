"""Describe input and output of a model without its weights; inference needs no more."""

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
    """Frames that depend on the edges of an input; see `sed.models.inference.receptive_field`.

    Attributes
    ----------
    before
        Frames at the start of an input that depend on columns before it.
    after
        Frames at its end that depend on columns after it.
    """

    before: int
    after: int


@dataclass(frozen=True)
class ModelSpec:
    """Input and output of a model.

    Attributes
    ----------
    labels
        Names of the classes, in the order of the outputs.
    log_mel
        Parameters of the input spectrogram.
    frame_columns
        Columns from one frame to the next.
    n_frames
        Frames of a window.
    window_seconds
        Length of the input windows.
    post_processing
        Thresholds and durations that turn frame probabilities into events.
    """

    labels: tuple[str, ...]
    log_mel: LogMelConfig
    frame_columns: int
    n_frames: int
    window_seconds: float = 5.0
    post_processing: TrackerConfig = field(default_factory=TrackerConfig)

    @property
    def timeline(self) -> Timeline:
        """Grid of columns and frames."""
        log_mel = self.log_mel
        return Timeline(log_mel.sample_rate, log_mel.hop_length, self.frame_columns)

    @property
    def window_columns(self) -> int:
        """Columns of a window."""
        return self.timeline.columns_from_seconds(self.window_seconds)

    @property
    def frame_edges(self) -> NDArray[np.int64]:
        """Edges of the frames of a window in columns, (n_frames + 1,); see `sed.timeline`."""
        return frame_edges(self.n_frames, self.frame_columns, self.window_columns)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return dataclasses.asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Return the spec that `as_dict` was made from.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or has a wrong value.
        """
        return cls(
            tuple(values["labels"]),
            config_from_dict(LogMelConfig, values["log_mel"], "log_mel"),
            int(values["frame_columns"]),
            int(values["n_frames"]),
            float(values["window_seconds"]),
            config_from_dict(TrackerConfig, values["post_processing"], "post_processing"),
        )


def sample_blocks(sample_rate: int, block: int) -> LogMelConfig:
    """Return the grid of a model that takes samples: each column is a block of samples itself.

    No spectrogram is computed with it. Its columns do not overlap and need no padding, and digital
    silence is 0 in them, so that everything that cuts and joins columns also does so with samples.

    Parameters
    ----------
    sample_rate
        Samples per second.
    block
        Samples of a column.
    """
    return LogMelConfig(
        sample_rate=sample_rate,
        win_length=block,
        hop_length=block,
        n_fft=block,
        n_mels=block,
        f_min=0.0,
        f_max=sample_rate / 2,
        log="offset",
        log_offset=1.0,
    )
