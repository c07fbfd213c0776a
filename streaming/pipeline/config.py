"""How a model runs over a recording, and how its output becomes events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sed.errors import UsageError
from sed.events.tracker import TrackerConfig
from sed.models.spec import ModelSpec
from sed.text import near

if TYPE_CHECKING:
    pass


MODES = ("auto", "sliding_window", "fully_convolutional")


OFFSET_RATIO = 0.5  # of `on`, where only a threshold is given


@dataclass(frozen=True)
class DetectorConfig:
    """How a model is led over a recording. What is None is taken from the checkpoint.

    Larger batches are faster, and bring the first events later.
    """

    hop_seconds: float | None = None  # seconds from one window to the next; None: half a window
    mode: Literal["auto", "sliding_window", "fully_convolutional"] = (
        "auto"  # see `streaming.pipeline.modes`; auto: dense where
    )
    # windows overlap by more than half, the network allows it and there is no look-ahead
    threshold: float | None = None  # for all classes: events reach it, and last above half of it
    onset_threshold: float | None = None  # in place of what the threshold says
    offset_threshold: float | None = None  # in place of what the threshold says
    min_duration_seconds: float | None = None  # seconds; shorter events are dropped
    min_gap_seconds: float | None = None  # seconds; events of a class no further apart are one
    lookahead_seconds: float | None = (
        None  # seconds that a window must hear beyond a frame to decide it;
    )
    # None: every window over it has its say, which takes longest and is best
    classes: tuple[str, ...] = ()  # only these; empty: all
    top_k: int | None = None  # in a frame, only so many classes count
    batch_size: int | None = 1  # windows that wait for each other to go through the model together;
    # None: as many as the engine is fastest with

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.mode not in MODES:
            raise UsageError(f"unknown mode {self.mode!r}. {near(self.mode, MODES)}")
        for name in (
            "hop_seconds",
            "threshold",
            "onset_threshold",
            "offset_threshold",
            "min_duration_seconds",
            "min_gap_seconds",
            "lookahead_seconds",
        ):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"expected {name.replace('_', '-')} to be a number, got {value}")
        for name in ("threshold", "onset_threshold", "offset_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"expected {name} above 0 and up to 1, got {value:g}")
        for name in ("min_duration_seconds", "min_gap_seconds", "lookahead_seconds"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"expected {name.replace('_', '-')} of 0 or more, got {value:g}")
        if self.hop_seconds is not None and self.hop_seconds <= 0:
            raise UsageError(f"expected a hop above 0, got {self.hop_seconds:g}")
        for name in ("top_k", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"expected {name.replace('_', '-')} of 1 or more, got {value}")


def hop_columns(spec: ModelSpec, hop: float | None) -> int:
    """Return the columns from one window to the next; half a window if no seconds are given.

    Raises
    ------
    UsageError
        If the hop is not a whole number of columns, or does not divide the window.
    """
    window = spec.window_columns
    if hop is None:
        return window // 2 if window % 2 == 0 else window
    try:
        columns = spec.timeline.columns_from_seconds(hop)
    except ValueError as error:
        raise UsageError(f"hop: {error}") from error
    if window % columns:
        seconds = spec.window_seconds
        choices = ", ".join(f"{seconds / n:g}" for n in (1, 2, 4, 5, 10) if window % n == 0)
        raise UsageError(
            f"a hop of {hop:g} s does not divide the window of {seconds:g} s. "
            f"Choose for example {choices}"
        )
    return columns


def choose_classes(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the indices of the wanted labels, all if none is named.

    Raises
    ------
    UsageError
        If a label is unknown to the model.
    """
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise UsageError(f"the model has no class {unknown[0]!r}. {near(unknown[0], labels)}")
    return [labels.index(name) for name in dict.fromkeys(wanted)] or list(range(len(labels)))


def tracker_config(spec: ModelSpec, config: DetectorConfig, chosen: Sequence[int]) -> TrackerConfig:
    """Return the thresholds of the model for the chosen classes, with what was asked for.

    Raises
    ------
    UsageError
        If `off` lies above `on`.
    """
    fitted = spec.post_processing

    def of_chosen(value: float | tuple[float, ...]) -> tuple[float, ...]:
        every = np.broadcast_to(np.asarray(value), len(spec.labels))
        return tuple(every[list(chosen)].tolist())

    on = config.threshold if config.onset_threshold is None else config.onset_threshold
    ons = of_chosen(fitted.onset_threshold if on is None else on)
    if config.offset_threshold is not None:
        offs = of_chosen(config.offset_threshold)
    elif on is not None:
        offs = of_chosen(OFFSET_RATIO * on)
    else:
        offs = of_chosen(fitted.offset_threshold)
    if any(off > on for off, on in zip(offs, ons, strict=True)):
        raise UsageError(
            f"expected offset_threshold no higher than onset_threshold, got {max(offs):g} and "
            f"{min(ons):g}; give both"
        )
    return dataclasses.replace(
        fitted,
        onset_threshold=ons,
        offset_threshold=offs,
        median_filter_frames=tuple(int(n) for n in of_chosen(fitted.median_filter_frames)),
        min_duration_seconds=(
            fitted.min_duration_seconds
            if config.min_duration_seconds is None
            else config.min_duration_seconds
        ),
        min_gap_seconds=(
            fitted.min_gap_seconds if config.min_gap_seconds is None else config.min_gap_seconds
        ),
    )
