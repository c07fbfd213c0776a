import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.scoring.collar import CollarConfig, CollarPairs
from tests.sed.events.scoring.small_events import (
    SECONDS,
    SEEDS,
    aligned,
    by_group,
    draw_table,
    jittered,
    largest_matching,
    rows_of,
    sed_eval,
    table_of,
    with_points,
)

CONFIGS = st.sampled_from(
    [CollarConfig(0.25, 0.25, 0.25), CollarConfig(0.5, None), CollarConfig(0.5, 0.0, 0.5)]
)


def test_times_at_the_collar_fit_and_later_ones_do_not():
    truth = table_of([("a.wav", "dog", 1.0, 3.0), ("a.wav", "dog", 5.0, 5.5)])
    found = table_of([("a.wav", "dog", 1.25, 3.5), ("a.wav", "dog", 5.25, 6.0)])
    pairs = CollarPairs.of(*aligned(truth, found), CollarConfig(0.25, 0.25, 0.25))
    # Of an event of 2 s the offset may be half a second away, of one of half a second a quarter.
    assert [p.tolist() for p in pairs.matches()] == [[0], [0]]
    rates = pairs.rates()
    assert rates.micro.f1 == 0.5
    assert rates.micro.error_rate == 1.0
    assert CollarPairs.of(*aligned(truth, found), CollarConfig(0.25, None)).rates().micro.f1 == 1


def test_a_detection_in_the_place_of_another_class_is_one_error_not_two():
    truth = table_of([("a.wav", "dog", 1.0, 2.0), ("a.wav", "owl", 4.0, 5.0)])
    found = table_of([("a.wav", "cat", 1.0, 2.0), ("a.wav", "cat", 1.1, 2.0)])
    rates = CollarPairs.of(*aligned(truth, found)).rates()
    assert rates.micro.substitution_rate == 0.5
    assert rates.micro.deletion_rate == 0.5
    assert rates.micro.insertion_rate == 0.5
    assert rates.classes["dog"].deletion_rate == 1.0
    assert np.isnan(rates.classes["cat"].error_rate)
    assert rates.macro("error_rate") == 1.0


def test_rounding_decides_at_the_collar_as_in_published_figures():
    truth = table_of([("a.wav", "dog", 7.688, 9.0), ("a.wav", "cat", 1.416, 4.0)])
    found = table_of([("a.wav", "dog", 7.488, 9.0), ("a.wav", "cat", 1.216, 4.0)])
    rates = CollarPairs.of(*aligned(truth, found), CollarConfig(0.2, 0.2)).rates()
    assert [own.n_matched for own in rates.classes.values()] == [0, 1]


@settings(deadline=None, max_examples=25)
@given(SEEDS, CONFIGS, st.sampled_from([0.1, 0.5]))
def test_the_matching_is_the_largest_there_is(seed, config, threshold):
    truth, found = draw_table(seed, max_events=4), draw_table(seed + 1, max_events=4)
    reference, detected = aligned(truth, found)
    kept = detected.score >= threshold
    pairs = CollarPairs.of(reference, detected, config)
    matched = pairs.matches(kept)
    true = reference.events
    assert len(set(matched.found.tolist())) == len(set(matched.true.tolist())) == len(matched.true)
    assert kept[matched.found].all()
    expected = dict.fromkeys(range(len(reference.labels)), 0)
    detections = by_group(detected)
    for group, rows in by_group(true).items():
        own = [i for i in detections.get(group, []) if kept[i]]
        fits = np.zeros((len(rows), len(own)), bool)
        for a, j in enumerate(rows):
            for b, i in enumerate(own):
                fits[a, b] = abs(true.onset[j] - detected.onset[i]) <= config.onset_collar
                if config.offset_collar is not None:
                    length = true.offset[j] - true.onset[j]
                    collar = max(config.offset_collar, config.offset_share * length)
                    fits[a, b] &= abs(true.offset[j] - detected.offset[i]) <= collar
        expected[group[1]] += largest_matching(fits)
    rates = pairs.rates(kept)
    assert [own.n_matched for own in rates.classes.values()] == list(expected.values())
    assert rates.micro.n_found == kept.sum()


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.sampled_from([0.2, 1.0, 2.0]))
def test_rates_are_those_of_sed_eval(seed, collar):
    truth, found = (with_points(jittered(draw_table(s), s), s) for s in (seed, seed + 1))
    metric = sed_eval().sound_event.EventBasedMetrics(
        list(dict.fromkeys([*truth.labels, *found.labels])),
        t_collar=collar,
        percentage_of_length=0.2,
        empty_system_output_handling="zero_score",
    )
    for file in SECONDS:
        metric.evaluate(rows_of(truth, file), rows_of(found, file))
    pairs = CollarPairs.of(*aligned(truth, found), CollarConfig(collar, collar, 0.2))
    rates = pairs.rates()
    theirs = metric.results_overall_metrics()
    if len(truth):
        for name in ("precision", "recall"):
            assert getattr(rates.micro, name) == pytest.approx(theirs["f_measure"][name], abs=1e-9)
        assert rates.micro.f1 == pytest.approx(theirs["f_measure"]["f_measure"], abs=1e-9)
        for name, value in theirs["error_rate"].items():
            assert getattr(rates.micro, name) == pytest.approx(value, abs=1e-9), name
    for label in truth.labels:
        own = rates.classes[label]
        assert own.f1 == pytest.approx(metric.class_wise_f_measure(label)["f_measure"], abs=1e-9)
        error_rate = metric.class_wise_error_rate(label)["error_rate"]
        assert own.error_rate == pytest.approx(error_rate, abs=1e-9)


@pytest.mark.parametrize(
    "fields",
    [
        {"onset_collar": -1.0},
        {"onset_collar": math.nan},
        {"offset_collar": math.inf},
        {"offset_share": 1.5},
    ],
)
def test_impossible_collars_are_refused(fields):
    with pytest.raises(UsageError, match="expected"):
        CollarConfig(**fields)
