import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics
from sklearn.metrics import accuracy_score, average_precision_score

from sed.events.scoring.match import match_events
from sed.events.tracker import Event
from sed.models.metrics import (
    accuracy,
    average_precision,
    clip_metrics,
    confusion_matrix,
    decision_report,
    fit_thresholds,
    map_at,
    padded_cmap,
    roc_auc,
)

N_CLIPS, N_CLASSES = 30, 5
TIED_SCORES = arrays(np.float32, (N_CLIPS, N_CLASSES), elements=st.sampled_from([0, 0.25, 0.5, 1]))
FREE_SCORES = arrays(np.float32, (N_CLIPS, N_CLASSES), elements=st.floats(0, 1, width=32))
SCORES = TIED_SCORES | FREE_SCORES
MANY_LABELS = arrays(np.float32, (N_CLIPS, N_CLASSES), elements=st.sampled_from([0, 0, 0.3, 1]))
ONE_LABEL = arrays(np.int64, N_CLIPS, elements=st.integers(0, N_CLASSES - 1))


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


def test_average_precision_of_a_class_without_positives_is_nan():
    result = average_precision(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.1, 0.9]] * 2))
    assert np.isnan(result[0])
    assert result[1] == 0.5  # both scores are equal: one step, half of it right


def test_accuracy_equals_scikit_learns():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 100)
    scores = generator.random((100, 4))
    assert accuracy(np.eye(4)[labels], scores) == accuracy_score(labels, scores.argmax(1))


def map_at_by_hand(targets, scores, k):
    """Return MAP@k by the rules of FSDKaggle2018, one clip and one guess at a time."""
    per_clip = []
    for target, score in zip(targets, scores, strict=True):
        labels = {c for c, value in enumerate(target) if value > 0.5}
        if not labels:
            continue
        guesses = sorted(range(len(score)), key=lambda c: (-score[c], c))[:k]
        n_right, total = 0, 0.0
        for place, guess in enumerate(guesses, start=1):
            if guess in labels:
                n_right += 1
                total += n_right / place
        per_clip.append(total / min(len(labels), k))
    return sum(per_clip) / len(per_clip) if per_clip else float("nan")


@given(MANY_LABELS, SCORES, st.integers(1, N_CLASSES + 2))
def test_map_at_k_equals_the_rules_of_the_competition(targets, scores, k):
    expected = map_at_by_hand(targets, scores, k)
    assert map_at(targets, scores, k) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_map_at_3_is_one_over_the_rank_of_the_only_label():
    scores = np.tile([0.9, 0.7, 0.5, 0.3], (4, 1))
    assert map_at(np.eye(4), scores) == pytest.approx((1 + 1 / 2 + 1 / 3 + 0) / 4)


@given(MANY_LABELS, SCORES)
def test_auc_and_average_precision_equal_scikit_learns_class_by_class(targets, scores):
    auc, precision = roc_auc(targets, scores), average_precision(targets, scores)
    positive = targets > 0.5  # a secondary label, 0.3, is no positive
    for c in range(N_CLASSES):
        if 0 < positive[:, c].sum() < N_CLIPS:
            expected = sklearn_metrics.roc_auc_score(positive[:, c], scores[:, c])
            assert auc[c] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(auc[c])
        if positive[:, c].any():
            expected = average_precision_score(positive[:, c], scores[:, c])
            assert precision[c] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(precision[c])


@given(ONE_LABEL, SCORES)
def test_decisions_equal_scikit_learns(truth, scores):
    targets, decided = np.eye(N_CLASSES)[truth], scores.argmax(1)
    classes = np.arange(N_CLASSES)
    expected = sklearn_metrics.confusion_matrix(truth, decided, labels=classes)
    np.testing.assert_array_equal(confusion_matrix(targets, scores), expected)
    report = decision_report(targets, scores)
    reference = sklearn_metrics.precision_recall_fscore_support
    *expected, support = reference(truth, decided, labels=classes, zero_division=0)
    seen = np.isin(classes, truth) | np.isin(classes, decided)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=True):
        ours = getattr(report, name)
        np.testing.assert_allclose(ours[seen], values[seen], atol=1e-12)
        assert np.isnan(ours[~seen]).all()
    np.testing.assert_array_equal(report.support, support)
    for average in ("macro", "weighted"):  # over the classes that occur, as is its default
        *expected, _ = reference(truth, decided, average=average, zero_division=0)
        assert list(getattr(report, average)().values()) == pytest.approx(expected, abs=1e-12)


@given(MANY_LABELS, TIED_SCORES)
def test_the_figures_in_one_equal_those_one_by_one(targets, scores):
    figures = clip_metrics(targets, scores)
    assert list(figures) == ["accuracy", "padded_cmap_5", "padded_cmap_3", "map", "map_at_3", "auc"]
    labelled = (targets > 0.5).any(1)
    if labelled.any():
        truth, decided = targets[labelled].argmax(1), scores[labelled].argmax(1)
        if ((targets > 0.5).sum(axis=1) <= 1).all():
            assert figures["accuracy"] == accuracy_score(truth, decided)
        else:
            assert np.isnan(figures["accuracy"])
        assert figures["map"] == np.nanmean(average_precision(targets, scores))
    assert figures["map_at_3"] == pytest.approx(map_at_by_hand(targets, scores, 3), nan_ok=True)


def test_without_a_label_metrics_are_nan():
    figures = clip_metrics(np.zeros((4, 3)), np.ones((4, 3)))
    assert np.isnan([figures[name] for name in ("accuracy", "map", "map_at_3", "auc")]).all()
    report = decision_report(np.zeros((4, 3)), np.ones((4, 3)))
    assert report.support.sum() == 0
    assert np.isnan([*report.macro().values(), *report.weighted().values()]).all()


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
    scores[-1, 1] = 0.06  # the only example of class 1 has a low score
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
