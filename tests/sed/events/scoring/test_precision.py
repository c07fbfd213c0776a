"""Intervals and thresholds against published numbers and simple counts."""

import numpy as np
import pytest

from sed.events.scoring.precision import precision_bins, thresholds_for, wilson_interval


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
@pytest.mark.parametrize(
    ("n_right", "n", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_is_that_of_newcombes_table(n_right, n, interval):
    assert wilson_interval(n_right, n) == pytest.approx(interval, abs=5e-5)
    mirrored = wilson_interval(n - n_right, n)
    assert mirrored == pytest.approx((1 - interval[1], 1 - interval[0]), abs=5e-5)


def test_nothing_is_known_of_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    nothing = np.zeros(3, bool)
    assert thresholds_for(0.5, np.array([0.1, 0.5, 0.9]), nothing, nothing) == (None, None)
    assert thresholds_for(0.5, np.empty(0), nothing[:0], nothing[:0]) == (None, None)


def test_bins_count_what_is_in_them():
    score = np.array([0.0, 0.05, 0.3, 0.39, 0.95, 1.0, 7.0, np.nan])
    reviewed = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)
    right = np.array([0, 1, 0, 1, 1, 0, 1, 0], bool)
    bins = precision_bins(score, reviewed, right)
    counts = [(each.n_events, each.n_reviewed, each.n_right) for each in bins]
    assert counts == [
        *((3, 2, 1), (0, 0, 0), (0, 0, 0), (2, 1, 1)),
        *([(0, 0, 0)] * 5),
        (3, 3, 2),
    ]
    assert (bins[3].low, bins[3].high) == (0.3, 0.4)
    assert bins[9].interval == wilson_interval(2, 3)


def test_thresholds_are_the_smallest_that_reach_the_precision():
    # All reviewed: 60 right from 0.62 up, then right and wrong in turns.
    score = np.concatenate([np.linspace(0.99, 0.62, 60), np.linspace(0.6, 0.3, 40)])
    right = np.concatenate([np.ones(60, bool), np.arange(40) % 2 == 0])
    reviewed = np.ones(100, bool)
    sure, estimated = thresholds_for(0.9, score, reviewed, right)
    share = np.cumsum(right) / np.arange(1, 101)
    n = np.flatnonzero(share >= 0.9)[-1] + 1
    assert (estimated.value, estimated.n_events, estimated.n_reviewed) == (score[n - 1], n, n)
    assert estimated.precision == pytest.approx(share[n - 1])
    low = [wilson_interval(right[:i].sum(), i)[0] for i in range(1, 101)]
    n = np.flatnonzero(np.array(low) >= 0.9)[-1] + 1
    assert (sure.value, sure.n_reviewed) == (score[n - 1], n)
    assert sure.interval[0] == pytest.approx(low[n - 1])


def test_scores_that_were_reviewed_more_do_not_count_for_more():
    # 100 events at 0.95, all reviewed and right; 900 at 0.45, of which 10 are reviewed, 5 right.
    score = np.repeat([0.95, 0.45], [100, 900])
    reviewed = np.arange(1_000) < 110
    right = reviewed & (np.arange(1_000) < 105)
    _, estimated = thresholds_for(0.5, score, reviewed, right)
    assert (estimated.value, estimated.n_events, estimated.n_reviewed) == (0.45, 1_000, 110)
    assert estimated.precision == pytest.approx((100 + 450) / 1_000)
    assert thresholds_for(0.56, score, reviewed, right)[1].value == 0.95
