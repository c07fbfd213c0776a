import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.scoring.intersection import IntersectionConfig, Intersections
from tests.sed.events.scoring.small_events import (
    SEEDS,
    aligned,
    draw_table,
    intersection_counts,
    table_of,
)

CONFIGS = st.sampled_from(
    [IntersectionConfig(0.5, 0.5, 0.25), IntersectionConfig(0.125, 0.125, 0.5)]
)
ALWAYS = -np.inf


def test_several_detections_find_one_event_together():
    truth = table_of([("a.wav", "dog", 1.0, 5.0), ("a.wav", "cat", 6.0, 7.0)])
    rows = [("a.wav", "dog", 1.0, 2.0), ("a.wav", "dog", 3.0, 4.0), ("a.wav", "dog", 6.0, 7.0)]
    inter = Intersections.of(*aligned(truth, table_of(rows)))
    rates = inter.rates()
    dog = rates.classes["dog"]
    # Two detections cover half of the event, which counts once; the third is one of a cat.
    assert (dog.n_matched, dog.n_found) == (1, 2)
    assert dog.f1 == pytest.approx(2 / 3)
    assert (inter.cross_of.tolist(), inter.crosses.tolist()) == ([2], [1])
    assert rates.macro("f1") == pytest.approx(1 / 3)


def test_a_detection_behind_the_end_of_its_recording_is_not_counted():
    truth = table_of([("a.wav", "dog", 1.0, 2.0)])
    found = table_of([("a.wav", "dog", 1.0, 2.0), ("a.wav", "dog", 8.5, 9.0)])
    assert Intersections.of(*aligned(truth, found)).rates().micro.f1 == 1.0


@settings(deadline=None, max_examples=25)
@given(SEEDS, CONFIGS, st.booleans())
def test_counts_are_those_of_the_definitions(seed, config, overlaps):
    truth, found = (draw_table(s, overlaps=overlaps) for s in (seed, seed + 1))
    reference, detected = aligned(truth, found)
    hits, false, cross = intersection_counts(reference, detected, config)
    curves = Intersections.of(reference, detected, config).curves(
        np.full(len(detected), ALWAYS), np.ones(len(detected))
    )
    for c, curve in enumerate(curves):
        assert curve.n_found.sum() == hits[c]
        assert curve.n_false.sum() == false[c]
        assert curve.n_cross.sum(axis=0).tolist() == cross[c].tolist()


@settings(deadline=None, max_examples=25)
@given(SEEDS, CONFIGS)
def test_counts_at_all_thresholds_are_those_at_each(seed, config):
    reference, detected = aligned(*(draw_table(s, overlaps=False) for s in (seed, seed + 1)))
    inter = Intersections.of(reference, detected, config)
    curves = inter.curves(np.full(len(detected), ALWAYS), detected.score)
    for threshold in np.unique(detected.score):
        kept = detected.score >= threshold
        hits, false, cross = intersection_counts(reference, detected.take(kept), config)
        rates = inter.rates(kept)
        for c, curve in enumerate(curves):
            assert (np.diff(curve.threshold) < 0).all()
            n = int((curve.threshold >= threshold).sum())
            if n:
                assert curve.n_found[n - 1] == hits[c]
                assert curve.n_false[n - 1] == false[c]
                assert curve.n_cross[n - 1].tolist() == cross[c].tolist()
            else:
                assert hits[c] == false[c] == 0
            own = rates.classes[reference.labels[c]]
            assert (own.n_matched, own.n_found - own.n_matched) == (hits[c], false[c])


@pytest.mark.parametrize("name", ["dtc", "gtc", "cttc"])
def test_impossible_shares_are_refused(name):
    with pytest.raises(UsageError, match=f"expected {name} above 0"):
        IntersectionConfig(**{name: 0.0})
