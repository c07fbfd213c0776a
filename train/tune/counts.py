"""Count what settings find, per fold of the data, by the metric that is tuned for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sed.events.scoring.collar import CollarConfig
from sed.events.scoring.intersection import ROUNDING, IntersectionConfig
from sed.events.scoring.matching import one_to_one
from sed.events.scoring.overlaps import Pairs, overlapping
from sed.events.scoring.reference import Events
from train.tune.labelled import Stretch
from train.tune.signals import Found

SEGMENT_SECONDS = 1.0


@dataclass(frozen=True)
class Counts:
    """What the settings of a class find in each fold.

    Attributes
    ----------
    n_true
        Labelled events, segments or clips, shape (folds,).
    n_found, n_false, n_hit
        Detections, false ones, and what is labelled and found, shape (settings, folds); or
        (settings · levels, folds), where each setting is counted at thresholds of the score.
    n_levels
        How many of these there are, from the highest to the lowest.
    """

    n_true: NDArray[np.float64]
    n_found: NDArray[np.float64]
    n_false: NDArray[np.float64]
    n_hit: NDArray[np.float64]
    n_levels: int = 1

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.n_true + other.n_true,
            self.n_found + other.n_found,
            self.n_false + other.n_false,
            self.n_hit + other.n_hit,
            self.n_levels,
        )

    def total(self, folds: Sequence[int]) -> Counts:
        """Return the sums over some folds, shapes (1,) and (settings, 1)."""
        chosen = list(folds)
        n_found, n_false, n_hit = (
            each[:, chosen].sum(axis=1, keepdims=True)
            for each in (self.n_found, self.n_false, self.n_hit)
        )
        n_true = self.n_true[chosen].sum(keepdims=True)
        return Counts(n_true, n_found, n_false, n_hit, self.n_levels)

    def of(self, setting: int) -> Counts:
        """Return the counts of one setting, shapes as before with one setting."""
        rows = slice(setting * self.n_levels, (setting + 1) * self.n_levels)
        return Counts(
            self.n_true, self.n_found[rows], self.n_false[rows], self.n_hit[rows], self.n_levels
        )


class Counter:
    """Counts what is found of one class.

    Parameters
    ----------
    stretches, number
        The data, and the number of the class in them.
    folds
        Fold of each stretch.
    n_settings
        How many are compared.
    """

    def __init__(
        self,
        stretches: Sequence[Stretch],
        number: int,
        folds: NDArray[np.int64],
        n_settings: int,
    ) -> None:
        self._stretches, self._number = stretches, number
        self._folds, self._n_folds = folds, int(folds.max()) + 1
        self._n_settings = n_settings
        self._known = np.array([number not in one.unknown for one in stretches])
        own = [one.truth.label == number for one in stretches]
        n = [int(mask.sum()) for mask in own]
        self._truth = Events(
            np.repeat(np.arange(len(stretches)), n),
            np.zeros(sum(n), np.int64),
            np.concatenate([s.truth.onset[mask] for s, mask in zip(stretches, own, strict=True)]),
            np.concatenate([s.truth.offset[mask] for s, mask in zip(stretches, own, strict=True)]),
            np.ones(sum(n)),
        )
        self._segments = np.concatenate(
            [[0], np.cumsum([np.ceil(s.seconds / SEGMENT_SECONDS) + 1 for s in stretches])]
        ).astype(np.int64)

    def events(self, found: Found, config: CollarConfig) -> Counts:
        """Count events whose times are near those of labelled ones."""
        events = self._events(found)
        pairs = overlapping(events, self._truth, config.onset_collar)
        pairs = pairs.take(config.fits(pairs, events, self._truth))
        n_true = len(self._truth)
        # The labelled events are there once for each setting.
        own = Pairs(pairs.found, found.setting[pairs.found] * n_true + pairs.true)
        matched = one_to_one(own).found
        n_found = self._per_fold(found.setting, found.stretch)
        n_hit = self._per_fold(found.setting[matched], found.stretch[matched])
        return Counts(self._n_true(), n_found, n_found - n_hit, n_hit)

    def overlaps(self, found: Found, config: IntersectionConfig) -> Counts:
        """Count events that overlap enough with labelled ones, and the share of these found."""
        events, truth = self._events(found), self._truth
        i, j = overlapping(events, truth)
        seconds = np.minimum(events.offset[i], truth.offset[j]) - np.maximum(
            events.onset[i], truth.onset[j]
        )
        length = np.maximum(events.offset - events.onset, 1e-9)
        inside = np.bincount(i, seconds / length[i], len(events))
        is_right = inside >= config.dtc - ROUNDING
        keys = found.setting[i] * len(truth) + j
        names, place = np.unique(keys[is_right[i]], return_inverse=True)
        share = (seconds / (truth.offset - truth.onset)[j])[is_right[i]]
        hit = names[np.bincount(place, share, len(names)) >= config.gtc - ROUNDING]
        n_found = self._per_fold(found.setting, found.stretch)
        n_false = self._per_fold(found.setting[~is_right], found.stretch[~is_right])
        of_truth = truth.file[hit % max(1, len(truth))]
        n_hit = self._per_fold(hit // max(1, len(truth)), of_truth)
        return Counts(self._n_true(), n_found, n_false, n_hit)

    def curves(
        self, found: Found, config: IntersectionConfig, levels: NDArray[np.float64]
    ) -> Counts:
        """Count as `overlaps` does, at each of some thresholds of the score, which descend."""
        n_levels = len(levels)
        first = np.searchsorted(-levels, -found.score.astype(np.float64))
        n = n_levels - first
        row = np.repeat(np.arange(len(n)), n)
        level = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
        several = Found(
            found.setting[row] * n_levels + level,
            found.stretch[row],
            found.onset[row],
            found.offset[row],
            found.score[row],
        )
        counter = Counter(self._stretches, self._number, self._folds, self._n_settings * n_levels)
        return replace(counter.overlaps(several, config), n_levels=n_levels)

    def segments(self, found: Found) -> Counts:
        """Count segments of a second in which the class is active."""
        n = int(self._segments[-1])
        true = np.unique(self._active(self._truth.file, self._truth.onset, self._truth.offset)[1])
        row, segment = self._active(found.stretch, found.onset, found.offset)
        keys = np.unique(found.setting[row] * n + segment)
        setting, segment = keys // n, keys % n
        of_segment = np.searchsorted(self._segments, segment, "right") - 1
        hit = np.isin(segment, true)
        n_found = self._per_fold(setting, of_segment)
        n_hit = self._per_fold(setting[hit], of_segment[hit])
        of_true = np.searchsorted(self._segments, true, "right") - 1
        return Counts(self._sum_folds(of_true), n_found, n_found - n_hit, n_hit)

    def clips(self, found: Found) -> Counts:
        """Count stretches in which the class is found, and those that have its label."""
        n = len(self._folds)
        keys = np.unique(found.setting * n + found.stretch)
        setting, stretch = keys // n, keys % n
        known = self._known[stretch]
        setting, stretch = setting[known], stretch[known]
        true = np.unique(self._truth.file)
        true = true[self._known[true]]
        hit = np.isin(stretch, true)
        n_found = self._per_fold(setting, stretch)
        n_hit = self._per_fold(setting[hit], stretch[hit])
        return Counts(self._sum_folds(true), n_found, n_found - n_hit, n_hit)

    def _events(self, found: Found) -> Events:
        n = len(found.onset)
        return Events(found.stretch, np.zeros(n, np.int64), found.onset, found.offset, np.ones(n))

    def _n_true(self) -> NDArray[np.float64]:
        return self._sum_folds(self._truth.file)

    def _sum_folds(self, stretches: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(self._folds[stretches], minlength=self._n_folds).astype(np.float64)

    def _per_fold(
        self, setting: NDArray[np.int64], stretch: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        keys = setting * self._n_folds + self._folds[stretch]
        counts = np.bincount(keys, minlength=self._n_settings * self._n_folds)
        return counts.reshape(self._n_settings, self._n_folds).astype(np.float64)

    def _active(
        self,
        stretch: NDArray[np.int64],
        onset: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row of an event and each segment that it reaches into."""
        first = np.floor(onset / SEGMENT_SECONDS).astype(np.int64)
        n = np.maximum(0, np.ceil(offset / SEGMENT_SECONDS).astype(np.int64) - first)
        row = np.repeat(np.arange(len(onset)), n)
        segment = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
        return row, self._segments[stretch[row]] + segment
