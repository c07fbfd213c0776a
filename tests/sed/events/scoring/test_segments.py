import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.scoring.segments import segment_rates
from tests.sed.events.scoring.small_events import (
    SECONDS,
    SEEDS,
    aligned,
    draw_table,
    jittered,
    rows_of,
    sed_eval,
    spans,
    table_of,
    with_points,
)


def test_a_class_is_active_in_each_segment_that_it_reaches_into():
    truth = table_of([("a.wav", "dog", 0.9, 2.1)])
    found = table_of([("a.wav", "dog", 1.0, 2.0), ("a.wav", "cat", 0.0, 1.0)])
    rates = segment_rates(*aligned(truth, found))
    assert (rates.micro.n_true, rates.micro.n_found, rates.micro.n_matched) == (3, 2, 1)
    assert rates.micro.substitution_rate == pytest.approx(1 / 3)
    assert rates.micro.deletion_rate == pytest.approx(1 / 3)
    with pytest.raises(UsageError, match=r"0\.001 s or more, got 1e-09"):
        segment_rates(*aligned(truth, found), 1e-9)


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.sampled_from([1.0, 0.5, 0.75]))
def test_counts_are_those_of_a_grid(seed, seconds):
    truth, found = draw_table(seed), draw_table(seed + 1)
    reference, detected = aligned(truth, found)
    grids = []
    for events in (reference.events, detected):
        grid = np.zeros((len(SECONDS), 20, len(reference.labels)), int)
        for file, label, (onset, offset) in spans(events):
            first, last = int(onset // seconds), int(-(-offset // seconds))
            grid[file, first:last, label] = 1
        grids.append(grid)
    true, active = grids
    rates = segment_rates(reference, detected, seconds)
    assert [own.n_matched for own in rates.classes.values()] == (true & active).sum((0, 1)).tolist()
    assert [own.n_true for own in rates.classes.values()] == true.sum((0, 1)).tolist()
    assert [own.n_found for own in rates.classes.values()] == active.sum((0, 1)).tolist()
    both = (true & active).sum(2)
    assert rates.micro.n_substituted == (np.minimum(true.sum(2), active.sum(2)) - both).sum()


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_rates_are_those_of_sed_eval(seed):
    truth, found = (with_points(jittered(draw_table(s), s), s) for s in (seed, seed + 1))
    metric = sed_eval().sound_event.SegmentBasedMetrics(
        list(dict.fromkeys([*truth.labels, *found.labels])),
        time_resolution=1.0,
    )
    for file in SECONDS:
        metric.evaluate(rows_of(truth, file), rows_of(found, file))
    rates = segment_rates(*aligned(truth, found))
    if len(truth) and len(found):
        theirs = metric.results_overall_metrics()
        assert rates.micro.f1 == pytest.approx(theirs["f_measure"]["f_measure"], abs=1e-9)
        for name, value in theirs["error_rate"].items():
            assert getattr(rates.micro, name) == pytest.approx(value, abs=1e-9), name
    # It has no F1 for a class that is never detected; here that is 0.
    for label in {*truth.labels} & {*found.labels}:
        f1 = metric.class_wise_f_measure(label)["f_measure"]
        assert rates.classes[label].f1 == pytest.approx(f1, abs=1e-9)
