"""Configure how frame probabilities become events, for all classes alike or class by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DecoderName = Literal["hysteresis", "change_detection"]
DECODERS = ("hysteresis", "change_detection")
OFFSET_RATIO = 0.5  # offset threshold / onset threshold, where only one threshold is given


@dataclass(frozen=True)
class TrackerConfig:
    """Thresholds and durations that turn frame probabilities into events.

    A value is for all classes, a tuple holds one for each of them.

    Attributes
    ----------
    onset_threshold
        Probability in (0, 1] that one frame of an event must reach; with change detection, that its
        score must.
    offset_threshold
        An event lasts while the probability is at or above this.
    median_filter_frames
        Length of the median filter in frames, odd; 1 is no filter.
    min_duration_seconds
        Shorter events are dropped; rounded to frames.
    min_gap_seconds
        Events of a class that are no further apart than this are merged; rounded to frames.
    decoder
        ``hysteresis``, or ``change_detection``; see `sed.events.tracking.change_detection`, which
        the next four fields are about.
    step_filter_seconds
        Length of the filter that finds where the probability rises and falls.
    merge_threshold_absolute
        Neighbours are merged if the dip between them is at most this deep.
    merge_threshold_relative
        Neighbours are merged if the dip between them is at most this share of the higher one deep.
    event_score
        Score of an event: ``mean`` or ``max`` of its frames.
    """

    onset_threshold: float | tuple[float, ...] = 0.5
    offset_threshold: float | tuple[float, ...] = 0.25
    median_filter_frames: int | tuple[int, ...] = 1
    min_duration_seconds: float | tuple[float, ...] = 0.0
    min_gap_seconds: float | tuple[float, ...] = 0.0
    decoder: str | tuple[str, ...] = "hysteresis"
    step_filter_seconds: float | tuple[float, ...] = 0.5
    merge_threshold_absolute: float | tuple[float, ...] = 0.1
    merge_threshold_relative: float | tuple[float, ...] = 0.3
    event_score: str | tuple[str, ...] = "mean"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        on, off = np.atleast_1d(self.onset_threshold), np.atleast_1d(self.offset_threshold)
        if not (np.all((off > 0) & (on <= 1)) and np.all(off <= on)):
            raise ValueError(
                "expected 0 < offset_threshold <= onset_threshold <= 1, got onset_threshold "
                f"{self.onset_threshold} and offset_threshold {self.offset_threshold}"
            )
        if np.any(np.atleast_1d(self.median_filter_frames) % 2 == 0):
            raise ValueError(f"expected odd median_filter_frames, got {self.median_filter_frames}")
        if not (
            _all_at_least(self.min_duration_seconds, 0) & _all_at_least(self.min_gap_seconds, 0)
        ):
            raise ValueError("expected min_duration_seconds and min_gap_seconds >= 0")
        if not _all_at_least(self.step_filter_seconds, 0):
            raise ValueError("expected step_filter_seconds >= 0")
        for name in ("merge_threshold_absolute", "merge_threshold_relative"):
            values = np.atleast_1d(getattr(self, name))
            if not np.all((values >= 0) & (values <= 1)):
                raise ValueError(f"expected {name} from 0 to 1, got {getattr(self, name)}")
        for name, choices in (("decoder", DECODERS), ("event_score", ("mean", "max"))):
            for value in _distinct(getattr(self, name)):
                if value not in choices:
                    raise ValueError(f"expected {name} as {' or '.join(choices)}, got {value!r}")

    def values(self, name: str, n_classes: int) -> NDArray[Any]:
        """Return a field as one value for each of so many classes.

        Raises
        ------
        ValueError
            If it is a tuple of another length.
        """
        values = np.asarray(getattr(self, name))
        if values.ndim and len(values) != n_classes:
            raise ValueError(
                f"expected one {name} for each of {n_classes} classes, got {len(values)}"
            )
        return np.broadcast_to(values, (n_classes,))

    def select(self, numbers: Sequence[int]) -> TrackerConfig:
        """Return the config of some of the classes."""
        chosen = {
            name: tuple(value[c] for c in numbers)
            for name, value in vars(self).items()
            if isinstance(value, tuple)
        }
        return dataclasses.replace(self, **chosen)

    def with_classes(self, n_classes: int, n_new: int, **given: Any) -> TrackerConfig:
        """Return the config with classes behind those that are there.

        Parameters
        ----------
        n_classes
            How many are there.
        n_new
            How many follow.
        given
            Fields of those that follow, one value or a tuple of `n_new`. Others are like the median
            of the classes before, or the default if that is no number or there is none.
        """
        joined = {}
        for name, value in vars(self).items():
            if not isinstance(value, tuple) and (name not in given or given[name] == value):
                continue
            old = self.values(name, n_classes).tolist()
            new = given.get(name, self._common(name, old))
            joined[name] = (*old, *(new if isinstance(new, tuple) else (new,) * n_new))
        return dataclasses.replace(self, **joined)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; what is about decoders only where it is not the default."""
        default, first = TrackerConfig(), [field.name for field in dataclasses.fields(self)][:5]
        return {
            name: value
            for name, value in vars(self).items()
            if name in first or value != getattr(default, name)
        }

    @staticmethod
    def _common(name: str, values: list[Any]) -> Any:
        if not values or isinstance(values[0], str):
            return getattr(TrackerConfig(), name)
        middle = float(np.median(values))
        return int(middle) | 1 if name == "median_filter_frames" else middle


def _all_at_least(value: float | tuple[float, ...], least: float) -> bool:
    return bool(np.all(np.atleast_1d(value) >= least))


def _distinct(value: str | tuple[str, ...]) -> set[str]:
    return {value} if isinstance(value, str) else set(value)
