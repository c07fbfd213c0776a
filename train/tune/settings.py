r"""Enumerate the settings of a class that are compared.

::

    settings   medians × onset thresholds × offset ratios × gaps × shortest durations   hysteresis
               step filters × merge thresholds × onset thresholds × shortest durations  changes

The same number stands for like settings in all classes: an onset threshold is so far (in logits)
from that of the model, or a quantile of the peaks of the labelled events. So settings can be chosen
for all classes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import TrackerConfig
from sed.timeline import Timeline

SHIFTS = (0.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # in logits
QUANTILES = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)  # of the peaks of labelled events
BELOW = 0.95  # a threshold as a share of the peak that it is to let pass
RATIOS = (0.15, 0.4, 0.7, 1.0)  # offset threshold over onset threshold
MEDIAN_SECONDS = (0.0, 0.5, 1.5)
GAP_SECONDS = (0.0, 0.3, 1.0, 2.0)
DURATION_SECONDS = (0.0, 0.3, 0.7)
STEP_SECONDS = (0.5, 1.3, 2.0)
MERGING = ((0.1, 0.3), (0.2, 0.6))  # absolute and relative
LEAST, MOST = 1e-4, 0.999  # of thresholds


class Setting(NamedTuple):
    """Post-processing of one class: the fields of `TrackerConfig`, each with one value."""

    onset_threshold: float
    offset_threshold: float
    median_filter_frames: int
    min_duration_seconds: float
    min_gap_seconds: float
    decoder: str = "hysteresis"
    step_filter_seconds: float = 0.5
    merge_threshold_absolute: float = 0.1
    merge_threshold_relative: float = 0.3
    event_score: str = "mean"

    @classmethod
    def of(cls, config: TrackerConfig, number: int, n_classes: int) -> Setting:
        """Return what a config sets for a class."""
        return cls(*(config.values(name, n_classes)[number].item() for name in cls._fields))

    def values(self) -> dict[str, Any]:
        """Return the fields by name, without those of the other decoder."""
        values = self._asdict()
        return values if self.decoder != "hysteresis" else dict(list(values.items())[:6])


@dataclass(frozen=True)
class Axes:
    """The values that are tried, the same for all classes.

    Attributes
    ----------
    medians
        Lengths of median filters in frames; None is that of the model, as below.
    ratios
        Offset thresholds as shares of the onset threshold.
    gaps, durations
        In seconds.
    steps, merging
        Of change detection; none: it is not tried.
    are_curves
        Whether settings are compared at all thresholds of the score: then onset and offset
        thresholds are one.
    """

    medians: tuple[int | None, ...] = (None,)
    ratios: tuple[float | None, ...] = (None,)
    gaps: tuple[float | None, ...] = (None,)
    durations: tuple[float | None, ...] = (None,)
    steps: tuple[float, ...] = ()
    merging: tuple[tuple[float, float], ...] = MERGING
    are_curves: bool = False

    @classmethod
    def full(cls, timeline: Timeline, *, are_curves: bool = False) -> Axes:
        """Return all that is tried where the times of events are known."""
        step = timeline.frame_seconds
        medians = {2 * round(seconds / step / 2) + 1 for seconds in MEDIAN_SECONDS}

        def distinct(values: Sequence[float]) -> tuple[float | None, ...]:
            frames = {timeline.frames_from_seconds(value): value for value in reversed(values)}
            return (None, *sorted(frames.values()))

        return cls(
            (None, *sorted(medians)),
            (1.0,) if are_curves else (None, *RATIOS),
            distinct(GAP_SECONDS),
            distinct(DURATION_SECONDS),
            STEP_SECONDS,
            are_curves=are_curves,
        )


def settings_of(stored: Setting, peaks: NDArray[np.float64], axes: Axes) -> list[Setting]:
    """Return the settings of a class; the first is that of the model.

    Parameters
    ----------
    stored
        That of the model.
    peaks
        Highest frame probabilities of the labelled events.
    axes
        What is tried.
    """
    levels = levels_of(stored.onset_threshold, peaks)
    own_ratio = stored.offset_threshold / stored.onset_threshold
    settings = [stored]
    for median in axes.medians:
        for ratio in axes.ratios:
            for level in levels:
                for gap in axes.gaps:
                    for duration in axes.durations:
                        settings.append(
                            Setting(
                                level,
                                rounded(level * (own_ratio if ratio is None else ratio), level),
                                stored.median_filter_frames if median is None else median,
                                stored.min_duration_seconds if duration is None else duration,
                                stored.min_gap_seconds if gap is None else gap,
                            )
                        )
    offset = stored.offset_threshold
    for step in axes.steps:
        for absolute, relative in axes.merging:
            for off in (rounded(offset / 3, offset), offset):
                for level in [off] if axes.are_curves else levels:
                    for duration in axes.durations:
                        settings.append(
                            Setting(
                                max(level, off),
                                off,
                                1,
                                stored.min_duration_seconds if duration is None else duration,
                                0.0,
                                "change_detection",
                                step,
                                absolute,
                                relative,
                            )
                        )
    return settings


def neighbours(settings: Sequence[Setting]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the settings with the next lower and the next higher onset threshold.

    All else is alike, and the offset threshold is as near as can be. A setting without any has its
    own number.
    """
    families: dict[tuple[object, ...], list[int]] = {}
    for i, one in enumerate(settings):
        share = round(one.offset_threshold / one.onset_threshold, 2)
        of_family = one.offset_threshold if one.decoder != "hysteresis" else share
        families.setdefault((of_family, *one[2:]), []).append(i)
    lower, upper = np.arange(len(settings)), np.arange(len(settings))
    for family in families.values():
        order = sorted(family, key=lambda i: settings[i].onset_threshold)
        lower[order[1:]], upper[order[:-1]] = order[:-1], order[1:]
    return lower, upper


def levels_of(stored: float, peaks: NDArray[np.float64]) -> list[float]:
    """Return onset thresholds: shifts of that of the model, and quantiles of peaks."""
    middle = np.log(stored / (1 - min(stored, MOST)))
    levels = [stored if not s else 1 / (1 + np.exp(-middle - s)) for s in SHIFTS]
    if len(peaks):
        levels += (BELOW * np.quantile(peaks, QUANTILES)).tolist()
    else:
        levels += [stored] * len(QUANTILES)
    return [stored if level == stored else rounded(level) for level in levels]


def rounded(value: float, most: float = MOST) -> float:
    """Return a threshold with four digits, within the range of thresholds."""
    return min(max(float(f"{value:.4g}"), min(LEAST, most)), most)
