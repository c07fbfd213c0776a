import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score

from sed.events import Event
from sed.metrics import accuracy, average_precision, fit_thresholds, match_events, padded_cmap


@given(st.integers(0, 10**6), st.sampled_from([3, 5]), st.booleans())
def test_padded_cmap_equals_scikit_learns_on_padded_arrays(seed, padding, ties):
    generator = np.random.default_rng(seed)
    targets = (generator.random((40, 6)) < 0.15).astype(float)
    scores = generator.random((40, 6))
    if ties:
        scores = scores.round(1)
    rows = np.ones((padding, 6))
    expected = average_precision_score(
        np.vstack([targets, rows]), np.vstack([scores, rows]), average="macro"
    )
    assert padded_cmap(targets, scores, padding=padding) == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_a_class_without_positives_is_no_number():
    result = average_precision(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.1, 0.9]] * 2))
    assert np.isnan(result[0])
    assert result[1] == 0.5  # both scores are equal: one step, half of it right


def test_accuracy_equals_scikit_learns():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 100)
    scores = generator.random((100, 4))
    assert accuracy(np.eye(4)[labels], scores) == accuracy_score(labels, scores.argmax(1))


def test_thresholds_separate_what_can_be_separated():
    generator = np.random.default_rng(0)
    targets = np.eye(5)[np.arange(200) % 5]
    scores = np.where(targets > 0, generator.uniform(0.6, 1, (200, 5)), 0)
    scores += np.where(targets > 0, 0, generator.uniform(0, 0.4, (200, 5)))
    thresholds = fit_thresholds(targets, scores)
    assert thresholds.shape == (5,)
    assert ((thresholds > 0.35) & (thresholds < 0.65)).all()


def test_a_class_with_few_positives_leans_on_the_common_threshold():
    targets = np.eye(2)[np.array([0] * 30 + [1])]
    scores = np.where(targets > 0, 0.9, 0.5)
    scores[-1, 1] = 0.06  # the only example of class 1 was hardly heard
    own = fit_thresholds(targets, scores, prior_weight=0.0)
    drawn = fit_thresholds(targets, scores, prior_weight=8.0)
    assert own[1] < 0.1
    assert drawn[1] > 0.3


def test_a_low_beta_raises_the_thresholds():
    generator = np.random.default_rng(1)
    targets = (generator.random((400, 3)) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-generator.normal(2 * targets - 1, 1.0)))
    careful, keen = (fit_thresholds(targets, scores, beta=b).mean() for b in (0.25, 2.0))
    assert careful > keen + 0.1


def test_events_match_one_to_one_by_label_and_onset():
    truth = [Event(1.0, 2.0, "dog", 1), Event(5.0, 6.0, "dog", 1), Event(5.0, 6.0, "cat", 1)]
    found = [
        Event(1.9, 2.0, "dog", 0.9),  # within a second of the first
        Event(0.9, 1.5, "dog", 0.9),  # nearer: this one is the match
        Event(5.0, 6.0, "cow", 0.9),
        Event(6.1, 7.0, "dog", 0.9),  # too late
    ]
    score = match_events(truth, found)
    assert (score.n_true, score.n_found, score.n_matched, score.n_false) == (3, 4, 1, 3)
    assert score.recall == pytest.approx(1 / 3)
    assert score.f1 == pytest.approx(2 / 7)
