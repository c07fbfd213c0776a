"""How events are counted, scored and shown in the figures of quality."""

from __future__ import annotations

import glob
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality.figures import clips, events, page, psds
from benchmarks.quality.figures.matching import COLLAR, ONSET, Matcher
from benchmarks.quality.figures.scene_sets import Scene
from benchmarks.quality.figures.vocabulary import Vocabulary
from sed.events.tracker import Event
from train.distill.classes import read_classes

WORLD = Vocabulary(tuple(one.name for one in read_classes()))
FIFTY = Vocabulary(("dog", "clock_tick", "crow", "rain", "mouse_click", "can_opening"))


def event(label, onset=10.0, offset=12.0):
    return Event(onset, offset, label, 0.9)


def counts(vocabulary, detected, background=(), truth=None, **kwargs):
    matcher = Matcher(vocabulary, vocabulary.ambient(background))
    tally = matcher.compare(truth or [event("dog")], detected, 60.0, **kwargs)
    return tally.n_found, tally.n_found_by_kind, tally.false


def test_categories_are_mapped_to_classes_of_both_vocabularies():
    assert WORLD.label("esc50", "chirping_birds") == "bird_call"
    assert WORLD.label("kitchen20", "plates") == WORLD.label("kitchen20", "clean-dishes")
    assert WORLD.label("esc50", "can_opening") is None
    assert FIFTY.label("esc50", "can_opening") == "can_opening"
    assert FIFTY.label("sesa", "siren") is None
    assert Vocabulary(("siren",)).label("sesa", "siren") == "siren"
    assert FIFTY.label("kitchen20", "blender") is None


@pytest.mark.parametrize(
    ("label", "found", "by_kind", "false"),
    [
        ("dog", 1, 1, []),
        ("bark", 1, 1, []),  # a kind of dog
        ("animal", 0, 1, []),  # above it: neither right nor false
        ("cat", 0, 1, ["cat"]),
        ("gunshot", 0, 0, ["gunshot"]),
        ("small_room", 0, 0, []),  # describes the place
    ],
)
def test_one_detection_is_counted_by_its_relation_to_the_truth(label, found, by_kind, false):
    assert counts(WORLD, [event(label, 10.3)]) == (found, by_kind, false)


def test_a_related_class_is_false_when_the_event_does_not_last():
    assert counts(WORLD, [event("animal", 30.0, 31.0)]) == (0, 0, ["animal"])


def test_a_second_detection_of_an_event_is_false():
    assert counts(FIFTY, [event("dog", 10.2), event("dog", 10.9)]) == (1, 1, ["dog"])


def test_a_late_detection_finds_nothing():
    assert counts(FIFTY, [event("dog", 11.2)]) == (0, 0, ["dog"])


def test_what_fits_the_background_is_not_false():
    rain = [event("rain", 40.0, 50.0)]
    assert counts(FIFTY, rain)[2] == ["rain"]
    assert counts(FIFTY, rain, ("rain",))[2] == []
    assert counts(WORLD, [event("raindrop", 40.0, 50.0)], ("rain",))[2] == []
    assert counts(WORLD, [event("jazz", 40.0, 50.0)], ("music",))[2] == []


@pytest.mark.parametrize(
    ("tolerance", "onset", "offset", "found"),
    [
        (ONSET, 10.5, 99.0, 1),
        (ONSET, 10.51, 12.0, 0),
        (COLLAR, 10.19, 12.39, 1),  # a fifth of two seconds
        (COLLAR, 10.21, 12.0, 0),
        (COLLAR, 10.0, 12.41, 0),
    ],
)
def test_tolerances_of_onset_and_offset(tolerance, onset, offset, found):
    assert counts(FIFTY, [event("dog", onset, offset)], tolerance=tolerance)[0] == found


def test_events_that_no_class_names_are_left_out():
    matcher = Matcher(WORLD, set())
    truth = [event("dog"), event("can_opening", 20.0)]
    assert matcher.compare(truth, [], 60.0).n_true == 1
    assert "can_opening" not in matcher.known


def test_detections_take_the_names_of_categories():
    matcher = Matcher(WORLD, set())
    named = matcher.as_categories([event("bark"), event("animal"), event("gunshot")], [])
    assert [e.label for e in named] == ["dog"]


def results_of(detected, swept):
    samples = np.zeros(60 * clips.RATE, np.int16)
    scene = Scene(samples, [event("dog"), event("crow", 20.0, 21.0)], "quiet")
    own = [detected]
    matcher = Matcher(FIFTY, set())
    return events.SceneResults([scene], matcher, own, {t: [x] for t, x in swept.items()})


def test_the_best_threshold_finds_most_at_few_false_events():
    both = [event("dog"), event("crow", 20.0, 21.0)]
    result = results_of(both[:1], {0.2: [*both, event("rain", 40, 41)], 0.5: both, 0.8: both[:1]})
    assert events.best_threshold(result.tallies) == 0.5
    assert result.tally.found == 0.5
    assert result.tally.onset_errors == [0.0]
    figures = result.as_dict()
    assert figures["own"]["f1"] == pytest.approx(2 / 3)
    assert figures["psds_1"] == figures["psds_2"] == pytest.approx(1.0)


@pytest.mark.slow
def test_the_score_is_the_published_one(shared):
    folder = shared / "reference" / "desed_student"
    if not folder.is_dir():
        pytest.skip("needs the folder reference/desed_student beside the data")

    def read(path):
        table = pd.read_csv(path, sep="\t").dropna()
        found: dict[str, list[Event]] = {}
        for r in table.itertuples():
            found.setdefault(r.filename, []).append(Event(r.onset, r.offset, r.event_label, 1.0))
        return found

    lengths = pd.read_csv(folder / "durations.tsv", sep="\t")
    scores = psds.psds(
        read(folder / "ground_truth.tsv"),
        dict(zip(lengths["filename"], lengths["duration"], strict=True)),
        [read(path) for path in sorted(glob.glob(str(folder / "predictions_th_*.tsv")))],
    )
    assert scores["psds_1"] == pytest.approx(0.334, abs=0.001)
    assert scores["psds_2"] == pytest.approx(0.533, abs=0.006)


def test_recordings_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "CACHE", tmp_path)
    made = []

    def make():
        made.append(1)
        return [np.arange(3, dtype=np.int16), np.arange(2, dtype=np.int16)], {"a": 1}

    for _ in range(2):
        sounds, about = clips.cached("name", make)
        assert [s.tolist() for s in sounds] == [[0, 1, 2], [0, 1]]
        assert about == {"a": 1}
    assert made == [1]


def test_the_page_shows_all_parts():
    result = results_of([event("dog", 10.25)], {0.5: [event("dog")]})
    own = events.summary(result.tally) | {"f1_collar": 0.5, "f1_onset": 0.6}
    scenes = {"own": own, "threshold": 0.5, "at_threshold": own, "psds_1": 0.25}
    parts = {
        "clips kitchen20": None,
        "clips sesa": {"clips": 480, "classes": 1, "highest": 0.8, "mean": float("nan")},
        "scenes quiet": scenes,
        "scenes rain 5": scenes,
        "alone wind": {"false_per_hour": 7.2, "false": {"rain": 7}},
    }
    model = {"name": "everyday", "classes": 50, "frame_seconds": 0.32, "is_teacher": False}
    text = page.tables(
        json.loads(json.dumps({"models": [model | {"parts": parts}], "machine": "M"}))
    )
    assert "| everyday | rain | 5 dB | 2 | 0.500 | 0.500 | 0 | 0.500 | 0.600 | 0.250 | – |" in text
    assert "| everyday | wind | 7 | rain 7 |" in text
    assert "| everyday | 320 ms | 0.25 s | 0.25 s | 0.25 s | 0.25 s | +0.25 s |" in text
    assert "| everyday | its own | 0.500 | 0.500 | 0.500 | 0.00 | 0.00 |" in text
