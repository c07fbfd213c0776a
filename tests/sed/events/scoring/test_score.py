import csv
import dataclasses
import json
import math
from functools import partial

import numpy as np
import pytest

from sed.errors import TableError, UsageError
from sed.events.reading.event_tables import read_event_table
from sed.events.reading.frames import FrameScores
from sed.events.scoring.collar import CollarConfig
from sed.events.scoring.psds import PsdsConfig
from sed.events.scoring.score import ScoreConfig, score
from tests.sed.events.scoring.small_events import table_of

TRUTH = table_of([("a.wav", "dog", 1.0, 2.0), ("a.wav", "cat", 4.0, 5.0)])


def folder_of(shared, name):
    folder = shared / "reference" / name
    if not folder.is_dir():
        pytest.skip(f"needs the folder reference/{name} beside the data")
    return folder


def durations_in(path):
    with open(path, newline="") as file:
        return {
            row["filename"]: float(row["duration"]) for row in csv.DictReader(file, delimiter="\t")
        }


def test_the_figures_at_one_threshold_are_the_published_ones(shared):
    """Published by DCASE's task 4 for its baseline, in per cent, to the digits printed there."""
    folder = folder_of(shared, "desed_student")
    result = score(
        read_event_table(folder / "ground_truth.tsv"),
        read_event_table(folder / "predictions_0.5.csv"),
        durations=durations_in(folder / "durations.tsv"),
    )
    figures = result.as_dict()
    exactly = partial(pytest.approx, abs=0.00005, rel=0)
    events, segments = result.events, result.segments
    assert segments.micro.f1 == exactly(0.7547)
    assert (segments.micro.precision, segments.micro.recall) == exactly((0.8001, 0.7141))
    assert [segments.macro(n) for n in ("f1", "precision", "recall")] == exactly(
        [0.6935, 0.7606, 0.6632]
    )
    assert segments.micro.error_rate == pytest.approx(0.38, abs=0.005)
    assert figures["intersection_f1"] == exactly(0.6374)
    of_classes = {label: round(100 * rates.f1, 1) for label, rates in events.classes.items()}
    published = {
        "Electric_shaver_toothbrush": 43.7,
        "Dog": 24.4,
        "Cat": 42.6,
        "Frying": 37.0,
        "Speech": 50.2,
        "Vacuum_cleaner": 53.5,
        "Dishes": 22.3,
        "Blender": 45.2,
        "Alarm_bell_ringing": 42.4,
        "Running_water": 36.9,
    }
    assert of_classes == published
    micro, names = events.micro, ("f1", "precision", "recall")
    assert [getattr(micro, n) for n in names] == exactly([0.4092, 0.4656, 0.3651])
    assert [events.macro(n) for n in names] == exactly([0.3983, 0.4187, 0.4023])
    parts = micro.error_rate, micro.substitution_rate, micro.deletion_rate, micro.insertion_rate
    assert parts == pytest.approx((1.03, 0.02, 0.61, 0.39), abs=0.005)
    assert events.macro("error_rate") == pytest.approx(1.19, abs=0.005)


@pytest.mark.slow
def test_the_scores_of_operating_points_are_the_published_ones(shared):
    folder = folder_of(shared, "desed_student")
    tables = [read_event_table(path) for path in sorted(folder.glob("predictions_th_*.tsv"))]
    result = score(
        read_event_table(folder / "ground_truth.tsv"),
        tables,
        durations=durations_in(folder / "durations.tsv"),
    )
    assert result.n_points == 50
    assert result.psds1.score == pytest.approx(0.334, abs=0.0005)
    assert result.psds2.score == pytest.approx(0.533, abs=0.0005)


@pytest.mark.slow
def test_the_score_of_the_example_of_psds_eval_is_the_published_one(shared):
    folder = folder_of(shared, "psds_eval")
    # The last threshold has no detections.
    paths = [p for p in sorted(folder.glob("baseline_*.csv")) if p.read_text().count("\n") > 1]
    result = score(
        read_event_table(folder / "dcase2019t4_gt.csv"),
        [read_event_table(path) for path in paths],
        durations=durations_in(folder / "dcase2019t4_meta.csv"),
        config=ScoreConfig(psds1=PsdsConfig(0.5, 0.5, 0.3, 0.0, 0.0)),
    )
    assert result.psds1.score == pytest.approx(0.40813, abs=0.000005)


def test_all_figures_are_plain_numbers_for_json():
    found = table_of([("a.wav", "dog", 1.1, 2.1), ("a.wav", "owl", 6.0, 7.0)])
    figures = score(TRUTH, found, durations={"a.wav": 3600.0}).as_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["event_f1"]["micro"] == pytest.approx(0.5)
    assert figures["event_f1"]["classes"] == {"dog": 1.0, "cat": 0.0, "owl": None}
    assert figures["event_f1"]["macro"] == pytest.approx(0.5)
    assert figures["false_per_hour"]["all"] == 1.0
    assert figures["onset_error_seconds"]["mean"] == pytest.approx(0.1)
    assert {"segment_f1", "intersection_f1", "psds1", "psds2", "error_rate"} <= {*figures}


def test_of_several_operating_points_the_best_is_reported():
    good = table_of([("a.wav", "dog", 1.0, 2.0), ("a.wav", "cat", 4.0, 5.0)])
    bad = table_of([("a.wav", "dog", 6.0, 7.0)])
    result = score(TRUTH, [bad, good, bad], durations={"a.wav": 10.0})
    assert result.events.micro.f1 == 1.0
    assert result.n_points == 3
    half = dataclasses.replace(good, score=np.array([0.9, 0.1]))
    config = ScoreConfig(threshold=0.5)
    result = score(TRUTH, [bad, half, bad], durations={"a.wav": 10.0}, config=config)
    assert (result.events.micro.n_found, result.events.micro.n_matched) == (1, 1)


def test_frames_are_scored_at_the_threshold():
    probs = np.array([[0.1], [0.6], [0.6], [0.1], [0.4], [0.1]], np.float32)
    frames = FrameScores("a.wav", ("dog",), np.arange(7) * 0.5, probs)
    truth = table_of([("a.wav", "dog", 0.5, 1.5)])
    assert score(truth, [frames]).events.micro.f1 == 1.0
    low = score(truth, [frames], config=ScoreConfig(threshold=0.3)).events.micro
    assert (low.n_found, low.n_matched) == (2, 1)
    assert score(truth, [frames], config=ScoreConfig(threshold=0.7)).events.micro.n_found == 0


def frames_of(file, *probs):
    column = np.array(probs, np.float32)[:, None]
    return FrameScores(file, ("dog",), np.arange(len(probs) + 1) * 0.5, column)


def test_frames_of_other_recordings_are_left_out_and_those_of_one_are_there_once():
    truth = table_of([("a.wav", "dog", 0.5, 1.0)])
    frames = [frames_of("a.wav", 0, 1, 0), frames_of("b.wav", 1, 1)]
    scored = score(truth, frames, durations={"a.wav": 1.5})
    assert (scored.events.micro.n_found, scored.psds1.score, scored.hours) == (1, 1.0, 1.5 / 3600)
    # Without durations they are recordings without events, of the length of their frames.
    scored = score(truth, frames)
    assert (scored.events.micro.n_found, scored.hours) == (2, 2.5 / 3600)
    with pytest.raises(TableError, match=r"frame probabilities of x/a\.wav twice"):
        score(truth, [frames_of("a.wav", 0, 1, 0), frames_of("x/a.wav", 0, 1, 0)])


def test_frames_without_a_truth_have_no_class():
    assert score(table_of([]), [frames_of("a.wav", 0, 1, 0)]).as_dict()["event_f1"]["classes"] == {}


def test_no_detections_score_zero_and_no_truth_is_not_defined():
    nothing = table_of([])
    figures = score(TRUTH, nothing, durations={"a.wav": 10.0}).as_dict()
    assert figures["event_f1"]["micro"] == figures["psds1"] == figures["psds2"] == 0.0
    assert figures["error_rate"]["micro"] == 1.0
    empty = score(nothing, TRUTH, durations={"a.wav": 10.0})
    assert math.isnan(empty.events.micro.f1)
    assert empty.as_dict()["event_f1"]["micro"] is None


def test_events_without_length_count_as_in_sed_eval_and_psds_eval():
    truth = table_of(
        [("a.wav", "dog", 1.0, 2.0), ("a.wav", "dog", 5.5, 5.5), ("a.wav", "tick", 7.2, 7.2)]
    )
    # One is exactly at the collar, one is of another class, and one is in its own second.
    found = table_of(
        [("a.wav", "dog", 1.0, 2.0), ("a.wav", "dog", 5.25, 5.25), ("a.wav", "dog", 7.2, 7.2)]
    )
    config = ScoreConfig(CollarConfig(0.25, 0.25))
    figures = score(truth, found, durations={"a.wav": 10.0}, config=config).as_dict()
    assert figures["event_recall"]["classes"] == {"dog": 1.0, "tick": 0.0}
    assert figures["error_rate"]["substitution"] == pytest.approx(1 / 3)
    assert figures["segment_recall"]["classes"] == {"dog": 1.0, "tick": 0.0}
    # Nothing overlaps with what has no length.
    assert figures["intersection_f1_classes"] == {"dog": 1.0, "tick": None}
    assert figures["psds1"] == figures["psds2"] == 1.0


def test_impossible_requests_are_refused():
    with pytest.raises(UsageError, match="no predictions"):
        score(TRUTH, [])
    with pytest.raises(UsageError, match="threshold"):
        ScoreConfig(threshold=1.5)
    with pytest.raises(TableError, match="no duration"):
        score(TRUTH, TRUTH, durations={"b.wav": 1.0})
