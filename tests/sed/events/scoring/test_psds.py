import dataclasses
import importlib.util
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.reading.frames import FrameScores
from sed.events.scoring.psds import SCENARIO_1, SCENARIO_2, OperatingPoints, PsdsConfig, psd_roc
from sed.events.scoring.score import ScoreConfig, score
from tests.sed.events.scoring.small_events import (
    LABELS,
    SECONDS,
    SEEDS,
    aligned,
    draw_table,
    intersection_counts,
    jittered,
    sed_eval,
    table_of,
)

OTHER = dataclasses.replace(SCENARIO_2, cross_mean="other", max_efpr=5_000.0)
CONFIGS = (OTHER, PsdsConfig(0.5, 0.5, 0.3, 0.0, 0.0, 3_000.0, "other"))


def test_the_area_is_that_under_the_steps():
    config = PsdsConfig(max_efpr=10.0, alpha_st=0.0)
    dog = OperatingPoints(np.array([0.5, 0.25, 1.0]), np.array([2.0, 6.0, 12.0]))
    cat = OperatingPoints(np.array([1.0]), np.array([4.0]))
    roc = psd_roc([dog, cat], config)
    # 0 up to 2, a quarter up to 4, three quarters up to 10.
    assert roc.score == pytest.approx((0.25 * 2 + 0.75 * 6) / 10)
    unstable = psd_roc([dog, cat], dataclasses.replace(config, alpha_st=1.0))
    assert unstable.score == pytest.approx((0.0 * 2 + 0.5 * 6) / 10)


def test_a_class_without_reference_events_does_not_count():
    one = OperatingPoints(np.array([0.5]), np.array([0.0]))
    none = OperatingPoints(np.array([np.nan]), np.array([3.0]))
    assert psd_roc([one, none], SCENARIO_1).score == pytest.approx(0.5)
    assert psd_roc([], SCENARIO_1).score == 0.0


@settings(deadline=None, max_examples=15)
@given(SEEDS, st.sampled_from(["all", "other"]))
def test_the_score_of_operating_points_is_that_of_the_definition(seed, cross_mean):
    config = dataclasses.replace(OTHER, dtc=0.125, gtc=0.125, cttc=0.25, cross_mean=cross_mean)
    truth, *points = (draw_table(seed + i, overlaps=False) for i in range(4))
    reference, *found = aligned(truth, *points)
    counts = [intersection_counts(reference, one, config.intersection) for one in found]
    hours = sum(SECONDS.values()) / 3600
    n_true = np.bincount(reference.events.label, minlength=len(reference.labels))
    lengths = reference.events.offset - reference.events.onset
    seconds = np.bincount(reference.events.label, lengths)
    curves = []
    classes = range(reference.n_true_labels)
    for c in classes:
        rates = []
        for hits, false, cross in counts:
            others = [cross[c, k] * 3600 / seconds[k] for k in classes if k != c]
            n = len(others) + (cross_mean == "all")
            confused = sum(others) / n if n else 0.0
            rates.append((false[c] / hours + config.alpha_ct * confused, hits[c] / n_true[c]))
        curves.append(rates)
    x = sorted({0.0, config.max_efpr, *(e for rates in curves for e, _ in rates)})
    area = 0.0
    for begin, end in itertools.pairwise(x):
        if end <= config.max_efpr:
            heights = [max([0.0, *(t for e, t in rates if e <= begin)]) for rates in curves]
            height = np.mean(heights) - config.alpha_st * np.std(heights) if heights else 0.0
            area += max(0.0, height) * (end - begin)
    result = score(truth, points, durations=SECONDS, config=ScoreConfig(psds2=config))
    assert result.psds2.score == pytest.approx(area / config.max_efpr, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=6)
@given(SEEDS, st.sampled_from(CONFIGS))
def test_the_score_of_operating_points_is_that_of_psds_eval(seed, config):
    truth, *points = (jittered(draw_table(s, overlaps=False), s) for s in range(seed, seed + 4))
    theirs = psds_of_package(truth, points, config)
    result = score(truth, points, durations=SECONDS, config=ScoreConfig(psds1=config))
    assert result.psds1.score == pytest.approx(theirs, abs=1e-9)


def psds_of_package(truth, points, config):
    """Return the score of `psds_eval`, whose curves do not run with pandas 3 and NumPy 2.4."""
    psds_eval = pytest.importorskip("psds_eval")
    pd = pytest.importorskip("pandas")

    class Evaluation(psds_eval.PSDSEval):
        @staticmethod
        def step_curve(x, xp, yp):
            return np.array([max([0.0, *yp[xp <= place]]) for place in x])

        @staticmethod
        def _auc(x, y, max_x=None, decreasing_y=False):
            inside = x < max_x
            return np.diff(np.append(x[inside], max_x)) @ y[inside]

    def frame(table):
        rows = [(e.file, e.onset, e.offset, e.label) for e in table.events()]
        names = {"filename": str, "onset": float, "offset": float, "event_label": str}
        return pd.DataFrame(rows, columns=[*names]).astype(names)

    evaluation = Evaluation(
        config.dtc,
        config.gtc,
        config.cttc,
        ground_truth=frame(truth),
        metadata=pd.DataFrame(SECONDS.items(), columns=["filename", "duration"]),
    )
    for table in points:
        evaluation.add_operating_point(frame(table))
    return evaluation.psds(config.alpha_ct, config.alpha_st, config.max_efpr).value


@settings(deadline=None, max_examples=6)
@given(SEEDS, st.sampled_from(CONFIGS))
def test_the_score_at_all_thresholds_is_that_of_sed_scores_eval(seed, config):
    sed_eval()  # which it imports
    if importlib.util.find_spec("sed_scores_eval") is None:
        pytest.skip("needs sed_scores_eval: pip install sed-scores-eval-np2")
    from sed_scores_eval.base_modules import statistics
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    rng = np.random.default_rng(seed)
    truth = jittered(draw_table(seed, overlaps=False), seed)
    labels = [label for label in LABELS if label in truth.labels]
    frames, theirs = [], {}
    for file, seconds in SECONDS.items():
        edges = np.linspace(0, seconds, 25)
        probs = np.round(rng.uniform(0.01, 1, (24, len(labels))), 1).clip(0.01).astype(np.float32)
        frames.append(FrameScores(file, tuple(labels), edges, probs))
        theirs[file.removesuffix(".wav")] = create_score_dataframe(probs, edges, labels)
    events = {name.removesuffix(".wav"): [] for name in SECONDS}
    for e in truth.events():
        events[e.file.removesuffix(".wav")].append((e.onset, e.offset, e.label))
    if not labels:
        return
    # Its compiled part does not take the read-only arrays of pandas 3.
    curves = statistics.onset_offset_curves
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            statistics, "onset_offset_curves", lambda *arrays: curves(*map(copied, arrays))
        )
        expected = score_of_package(theirs, events, config, len(labels))
    result = score(truth, frames, durations=SECONDS, config=ScoreConfig(psds1=config))
    assert result.psds1.score == pytest.approx(expected, abs=1e-6)


def copied(array):
    return None if array is None else np.array(array)


def score_of_package(scores, events, config, n_labels):
    """Return the score of `sed_scores_eval`."""
    from sed_scores_eval.intersection_based import psds

    confuses = config.alpha_ct > 0 and n_labels > 1
    value, *_ = psds(
        scores,
        events,
        {name.removesuffix(".wav"): seconds for name, seconds in SECONDS.items()},
        dtc_threshold=config.dtc,
        gtc_threshold=config.gtc,
        cttc_threshold=config.cttc if confuses else None,
        alpha_ct=config.alpha_ct if confuses else 0.0,
        alpha_st=config.alpha_st,
        max_efpr=config.max_efpr,
    )
    return value


@pytest.mark.parametrize(
    "fields",
    [{"alpha_ct": 2.0}, {"alpha_st": float("nan")}, {"max_efpr": 0.0}, {"cross_mean": "some"}],
)
def test_impossible_parameters_are_refused(fields):
    with pytest.raises(UsageError):
        PsdsConfig(**fields)


def test_scores_of_detections_are_swept():
    rows = [("a.wav", "dog", 1.0, 2.0), ("a.wav", "dog", 4.0, 5.0), ("a.wav", "dog", 6.0, 7.0)]
    truth = table_of([rows[0], rows[2]])
    found = table_of(rows, [0.9, 0.5, 0.2])
    config = ScoreConfig(psds1=PsdsConfig(max_efpr=1_000.0))
    result = score(truth, found, durations={"a.wav": 7.2}, config=config)
    # One of two at no false positive, both from 500 an hour on.
    assert result.psds1.score == pytest.approx(0.5 * 0.5 + 1.0 * 0.5)
    assert result.n_points is None
