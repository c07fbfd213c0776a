"""Describe input and output of a model without its weights; inference needs no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.config import config_from_dict
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.features.shown import shown_log_mel
from sed.models.bounds import check_metadata
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
    species
        Scientific and common name of each class, of models that know both; else empty.
    hierarchy
        Which classes belong to which; None if the model does not say.
    """

    labels: tuple[str, ...]
    log_mel: LogMelConfig
    frame_columns: int
    n_frames: int
    window_seconds: float = 5.0
    post_processing: TrackerConfig = field(default_factory=TrackerConfig)
    species: tuple[tuple[str, str], ...] = ()
    hierarchy: Hierarchy | None = None

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

    @property
    def is_of_windows(self) -> bool:
        """Whether the model gives one set of probabilities for a window, as classifiers do."""
        return bool(self.labels) and self.n_frames == 1

    @property
    def takes_samples(self) -> bool:
        """Whether the columns are blocks of samples, as `sample_blocks` makes them."""
        return self.log_mel == sample_blocks(self.log_mel.sample_rate, self.log_mel.hop_length)

    @property
    def spectrogram(self) -> LogMelConfig:
        """The spectrogram to show: that of the model, or one of the blocks of samples."""
        return shown_log_mel(self.log_mel) if self.takes_samples else self.log_mel

    def with_hop(self, hop_columns: int) -> ModelSpec:
        """Return the spec for windows at a distance of so many columns.

        A model with one output per window has frames as long as the hop: where windows overlap,
        each frame is the mean of the windows over it. Other models stay as they are.
        """
        if not self.is_of_windows:
            return self
        return dataclasses.replace(self, frame_columns=hop_columns)

    def resolve(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the labels that names stand for.

        A class of a model with `species` may be named by its label, its scientific name, its common
        name, or both as ``Erithacus rubecula_European Robin``. A common name of several species
        stands for all of them. Other names stay as they are.
        """
        known: dict[str, list[str]] = {}
        for label, (scientific, common) in zip(self.labels, self.species, strict=False):
            for name in {scientific, common, f"{scientific}_{common}"}:
                known.setdefault(name, []).append(label)
        known |= {label: [label] for label in self.labels}
        return tuple(label for name in names for label in known.get(name, [name]))

    def names_by_label(self) -> dict[str, tuple[str, str]]:
        """Return scientific and common name of each label; nothing if the model has none."""
        return dict(zip(self.labels, self.species, strict=True)) if self.species else {}

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON; the last two only where there are any."""
        values = dataclasses.asdict(dataclasses.replace(self, hierarchy=None))
        values |= {"labels": list(self.labels), "post_processing": self.post_processing.as_dict()}
        del values["hierarchy"]
        if not self.species:
            del values["species"]
        if self.hierarchy is not None:
            values["hierarchy"] = self.hierarchy.as_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Return the spec that `as_dict` was made from.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or has a wrong value.
        """
        check_metadata(values)
        labels = tuple(values["labels"])
        return cls(
            labels,
            config_from_dict(LogMelConfig, values["log_mel"], "log_mel"),
            int(values["frame_columns"]),
            int(values["n_frames"]),
            float(values["window_seconds"]),
            config_from_dict(TrackerConfig, values["post_processing"], "post_processing"),
            tuple((str(a), str(b)) for a, b in values.get("species", ())),
            hierarchy_of(values, labels),
        )


def hierarchy_of(metadata: Mapping[str, Any], labels: tuple[str, ...]) -> Hierarchy | None:
    """Return the hierarchy in the metadata of a model; None if there is none.

    Raises
    ------
    ValueError
        If it is not one of these classes.
    """
    parents = metadata.get("hierarchy")
    return Hierarchy.from_dict(labels, parents) if parents else None


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
