import numpy as np
import pytest
import torch

from sed.errors import UsageError
from sed.models.heads.added import KINDS
from sed.models.metrics import average_precision
from train.fit.classes import fit_classes
from train.fit.crossval import CrossValidation, cross_validate, group_folds
from train.fit.heads import Rows, fit_head, predict_clips

N_FEATURES = 200  # directions of noise are then far from those of classes


def clips(n_of_each, *, n_background=30, seed=0, noise=1.0):
    """Return clips of six frames, of which two have the direction of the clip's class."""
    generator = np.random.default_rng(seed)
    directions = 12 * np.eye(N_FEATURES)[: len(n_of_each)]
    labels = [c for c, n in enumerate(n_of_each) for _ in range(n)] + [-1] * n_background
    frames = noise * generator.standard_normal((len(labels), 6, N_FEATURES)) + 1.0
    targets = np.zeros((len(labels), len(n_of_each)), np.float32)
    for i, c in enumerate(labels):
        if c >= 0:
            frames[i, 2:4] += directions[c]
            targets[i, c] = 1
    groups = [str(i) for i in range(len(labels))]
    return Rows(list(frames.astype(np.float32)), targets, groups)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_finds_its_classes_in_other_clips_and_where_they_are(kind):
    head = fit_head(kind, clips((10, 10), noise=0.6))
    other = clips((10, 10), seed=1, noise=0.6)
    probs, highest = predict_clips(head, other.frames)
    assert average_precision(other.targets, probs).min() > 0.85
    assert (highest >= probs).all()
    with torch.inference_mode():
        frame_probs = head(torch.from_numpy(np.stack(other.frames[:10]))).frame_probs[..., 0]
    assert frame_probs[:, 2:4].mean() > 1.5 * frame_probs[:, [0, 1, 4, 5]].mean()


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_same_clips_give_the_same_head(kind):
    first, second = (fit_head(kind, clips((4,))).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_one_example_is_enough_against_a_background():
    head = fit_head("linear", clips((1,), noise=0.3))
    other = clips((10,), seed=1, noise=0.3)
    probs, _ = predict_clips(head, other.frames)
    assert average_precision(other.targets, probs)[0] > 0.9


def test_the_level_above_the_background_does_not_matter():
    head = fit_head("linear", clips((5,)))
    features = torch.randn(1, 4, N_FEATURES, generator=torch.Generator().manual_seed(0))
    louder = head.mean + 7 * (features - head.mean)
    torch.testing.assert_close(head(louder).frame_logits, head(features).frame_logits)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UsageError, match=r"unknown head 'liner'\. Did you mean linear"):
        fit_head("liner", clips((2,)))
    with pytest.raises(UsageError, match="a clip without it"):
        fit_head("linear", clips((2,), n_background=0))


def test_folds_keep_groups_together_and_spread_the_strata():
    groups = [f"g{i % 20}" for i in range(60)]
    strata = [i % 20 < 10 for i in range(60)]
    folds = group_folds(groups, strata, 5, seed=3)
    assert all(len(set(folds[np.array(groups) == g])) == 1 for g in set(groups))
    for fold in range(5):
        assert np.mean(np.array(strata)[folds == fold]) == 0.5


def test_cross_validation_leaves_out_whole_groups():
    rows = clips((6,), noise=0.6)
    # A group whose clips are copies of each other would be recognised from its other half.
    result = cross_validate(
        "linear", Rows(rows.frames, rows.targets, ["one"] * 6 + rows.groups[6:])
    )
    assert np.isnan(result.clip_probs[:6]).all()
    assert not np.isnan(result.clip_probs[6:]).any()
    assert np.isnan(result.average_precision()[0])
    assert 0.5 <= result.thresholds()[0] <= 0.95
    assert cross_validate("linear", rows).average_precision()[0] > 0.9


def test_a_background_of_one_group_says_nothing():
    rows = clips((6,), noise=0.6)
    one = Rows(rows.frames, rows.targets, rows.groups[:6] + ["one"] * 30)
    result = cross_validate("linear", one)
    assert not np.isnan(result.clip_probs[:6]).all()
    # Without clips of the background among them, any order of the clips would be perfect.
    assert np.isnan(result.average_precision()[0])
    assert result.thresholds()[0] >= 0.5


def test_the_threshold_separates_held_out_clips():
    targets = np.array([[1.0], [1.0], [0.0], [0.0]], np.float32)
    scores = np.array([[0.9], [0.8], [0.2], [0.1]], np.float32)
    threshold = CrossValidation(targets, scores, scores).thresholds()[0]
    assert 0.2 < threshold < 0.8


def test_auto_stays_with_linear_unless_another_kind_is_clearly_better():
    fitted = fit_classes("auto", clips((6,), noise=0.6), ["x"])
    assert set(fitted.tried) == {"linear", "prototype", "knn"}
    best = max(fitted.tried.values())
    assert fitted.kind == "linear" or fitted.tried["linear"] < best - 0.02
    assert fitted.metrics()["n_examples"] == {"x": 6}
