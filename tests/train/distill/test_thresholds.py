import numpy as np
import pytest

from sed.events.tracker import TrackerConfig
from sed.timeline import Timeline
from train.distill.classes import read_label_map
from train.distill.event_peaks import EventPeaks
from train.distill.labelled_frames import LabelledFrames, absent_frames
from train.distill.thresholds import (
    ThresholdConfig,
    best_threshold,
    fit_class_thresholds,
    n_allowed,
    rare_threshold,
)

TIMELINE = Timeline(16_000, 160, 16)  # frames of 160 ms: 22,500 in an hour
LABELS = ("dog", "animal", "bark", "cat", "siren", "noise")
ESC50 = read_label_map("esc50")
CONFIG = ThresholdConfig()
CLIP_FRAMES = 31


def peaks_of(heights):
    heights = np.sort(np.asarray(heights, np.float64))[::-1]
    return EventPeaks(heights, np.zeros_like(heights))


def logistic(x):
    return 1 / (1 + np.exp(-x))


def sequence(categories):
    """Return the frames of clips in sequence."""
    return [
        LabelledFrames.of(i * CLIP_FRAMES, (i + 1) * CLIP_FRAMES, [ESC50[category]])
        for i, category in enumerate(categories)
    ]


def test_a_label_makes_its_class_and_those_above_present():
    dog = LabelledFrames.of(0, 31, [ESC50["dog"]])
    assert dog.present == {"dog", "pet", "canine", "animal"}
    assert "bark" in dog.unknown
    assert not dog.present & dog.unknown
    both = LabelledFrames.of(0, 31, [ESC50["dog"], ESC50["cat"]])
    assert {"dog", "cat"} <= both.present


def test_a_class_is_absent_where_labels_exclude_it_but_not_beside_a_clip_that_may_have_it():
    absent = absent_frames(sequence(["siren", "dog", "siren"]), LABELS, 95, margin=3)
    frames = dict(zip(LABELS, absent.sum(axis=0).tolist(), strict=True))
    assert frames == {"dog": 56, "animal": 56, "bark": 56, "cat": 93, "siren": 25, "noise": 0}
    assert absent[:28, 0].all()
    assert not absent[28:65, 0].any()
    assert not absent[93:].any()


@pytest.mark.parametrize(("hours", "allowed"), [(0.5, 0), (1.9, 0), (2.0, 1), (4.2, 3)])
def test_one_event_less_is_allowed_than_the_rate_gives(hours, allowed):
    assert n_allowed(hours, CONFIG) == allowed


def test_no_peak_needs_no_threshold():
    assert rare_threshold(peaks_of([]), 2.0, CONFIG) == 0


def test_the_threshold_is_between_the_last_event_allowed_and_the_first_too_many():
    # The tail of these is far below.
    peaks = peaks_of([0.9, 0.8, 0.01, 0.01])
    assert 0.8 < rare_threshold(peaks, 2.0, ThresholdConfig(tail_peaks=1)) < 0.9
    # In less than two hours none is allowed.
    assert rare_threshold(peaks, 1.0, ThresholdConfig(tail_peaks=1)) > 0.9


def test_a_tail_gives_a_threshold_above_all_peaks_of_a_short_time():
    generator = np.random.default_rng(0)
    hours, events_per_hour, scale = 0.2, 500, 0.5
    logits = -4 + generator.exponential(scale, round(hours * events_per_hour))
    # At this height exponential peaks come once an hour.
    expected = -4 + scale * np.log(events_per_hour)
    fitted = rare_threshold(peaks_of(logistic(logits)), hours, CONFIG)
    assert np.log(fitted / (1 - fitted)) == pytest.approx(expected, abs=0.6)
    assert fitted > logistic(logits).max()


def test_the_rate_of_later_events_is_that_allowed():
    generator = np.random.default_rng(1)
    rates = []
    for _ in range(200):
        logits = -3 + generator.exponential(0.7, 400)  # of two hours
        threshold = rare_threshold(peaks_of(logistic(logits)), 2.0, CONFIG)
        rates.append(200 * np.exp(-(np.log(threshold / (1 - threshold)) + 3) / 0.7))
    assert 0.3 < np.median(rates) < 1
    assert np.mean(np.array(rates) < 2) > 0.9


def test_the_best_threshold_is_in_the_middle_between_what_it_separates():
    scores = np.array([0.9, 0.88, 0.8, 0.3])
    found = best_threshold(scores, peaks_of([0.5, 0.4, 0.35]), 0.05)
    assert found == pytest.approx(logistic((np.log(4) + 0) / 2))
    assert 0.85 < best_threshold(scores, peaks_of([0.5, 0.4, 0.35]), 0.85) < 0.88
    assert best_threshold(scores[2:], peaks_of([0.5, 0.4, 0.35]), 0.9) == 0.9
    # No clip is found from 0.95 on, though higher thresholds would have fewer false events.
    assert best_threshold(scores[2:], peaks_of([0.97, 0.96]), 0.95) == 0.95
    assert best_threshold(scores, peaks_of([]), 0.4) == pytest.approx(logistic(0.5 * np.log(8 / 3)))


def test_thresholds_of_all_classes_and_their_rules():
    generator = np.random.default_rng(2)
    categories = ["dog", "siren", "rain", "wind", "cat"] * 320  # 2.2 hours
    clips = sequence(categories)
    probs = logistic(generator.normal(-6, 0.3, (len(clips) * CLIP_FRAMES, len(LABELS))))
    for one, category in zip(clips, categories, strict=True):
        if category == "dog":
            probs[one.first + 5 : one.last - 5, :3] = generator.uniform(0.7, 0.95)
    # A siren that is not there: every fortieth clip of rain.
    for one in clips[2::200]:
        probs[one.first + 10 : one.first + 14, 4] = 0.6
    tracker = TrackerConfig(median_filter_frames=3, min_gap_seconds=0.5)
    probs = probs.astype(np.float32)
    fitted, config = fit_class_thresholds(probs, clips, LABELS, TIMELINE, tracker)
    of = {one.label: one for one in fitted}
    assert {label: one.rule for label, one in of.items()} == {
        "dog": "best F1",
        "animal": "best F1",
        "bark": "lowest",
        "cat": "lowest",  # no clip is found
        "siren": "false events",
        "noise": "background",
    }
    assert (of["dog"].n_found, of["dog"].n_positive, of["dog"].n_false) == (320, 320, 0)
    assert 0.05 < of["dog"].onset < 0.7
    assert of["bark"].onset == 0.2
    assert of["siren"].onset > 0.6
    assert 1.5 < of["siren"].hours < 2.0
    assert all(one.n_false <= n_allowed(one.hours, CONFIG) for one in fitted)
    assert config.onset_threshold[0] == round(of["dog"].onset, 4)
    assert config.offset_threshold[0] == pytest.approx(0.3 * of["dog"].onset, abs=1e-4)
    assert (config.median_filter_frames, config.min_gap_seconds) == (3, 0.5)


def test_the_tracker_has_the_last_word():
    # Runs below the onset threshold do not bridge gaps; the peaks are counted as if they did.
    clips = sequence(["rain"] * 2400)
    probs = np.full((len(clips) * CLIP_FRAMES, 1), 0.001, np.float32)
    probs[100:400:8] = 0.7
    probs[104:400:8] = 0.5
    tracker = TrackerConfig(min_gap_seconds=0.5)
    config = ThresholdConfig(lowest=0.6)
    fitted, _ = fit_class_thresholds(probs, clips, ["dog"], TIMELINE, tracker, config)
    assert fitted[0].n_false <= n_allowed(fitted[0].hours, CONFIG)
    assert 0.7 < fitted[0].onset < 0.8
