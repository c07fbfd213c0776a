import numpy as np
import pytest

from sed.events.tracker import EventTracker, TrackerConfig
from sed.timeline import Timeline
from train.tune.labelled import Stretch, Truth
from train.tune.settings import Axes, Setting, settings_of
from train.tune.signals import ClassSignal

TIMELINE = Timeline(16_000, 160, 10)
NOTHING = Truth(np.empty(0, np.int64), np.empty(0), np.empty(0))


def bumps(n, seed):
    """Return probabilities that rise and fall in the middle, quiet at both ends."""
    generator = np.random.default_rng(seed)
    probs = np.zeros(n, np.float32)
    for start in generator.integers(30, n - 60, 14):
        length = generator.integers(1, 25)
        probs[start : start + length] = generator.random() * (0.6 + 0.4 * generator.random(length))
    return probs


@pytest.mark.parametrize("seed", range(4))
def test_all_settings_find_what_the_tracker_finds(seed):
    columns = [bumps(n, seed + 10 * n) for n in (400, 250)]
    stretches = [Stretch("", 0.1 * len(p), p[:, None], NOTHING) for p in columns]
    stored = Setting(0.5, 0.2, 3, 0.2, 1.0)
    settings = settings_of(stored, np.array([0.3, 0.8]), Axes.full(TIMELINE))
    chosen = np.random.default_rng(seed).choice(len(settings), 60, replace=False)
    settings = [settings[i] for i in chosen] + [
        stored._replace(decoder="change_detection", min_gap_seconds=gap) for gap in (0.0, 0.4)
    ]
    found = ClassSignal(stretches, 0, settings, TIMELINE).find(settings)
    rows = {
        (int(i), int(s), round(float(on), 6), round(float(off), 6), float(score))
        for i, s, on, off, score in zip(*found, strict=True)
    }
    wanted = set()
    for i, one in enumerate(settings):
        for s, probs in enumerate(columns):
            tracker = EventTracker(TrackerConfig(**one._asdict()), ["a"], TIMELINE)
            events = [*tracker.push(probs[:, None]), *tracker.flush()]
            wanted |= {
                (i, s, round(e.onset, 6), round(e.offset, 6), float(np.float32(e.score)))
                for e in events
            }
    assert len(wanted) > 200
    assert rows == wanted


def test_the_first_setting_is_that_of_the_model_and_numbers_mean_the_same_in_all_classes():
    axes = Axes.full(TIMELINE)
    one, other = (
        settings_of(stored, peaks, axes)
        for stored, peaks in (
            (Setting(0.5, 0.2, 3, 0.2, 1.0), np.array([0.9])),
            (Setting(0.05, 0.01, 5, 0.0, 0.0), np.empty(0)),
        )
    )
    assert one[0] == Setting(0.5, 0.2, 3, 0.2, 1.0)
    assert len(one) == len(other) > 1_000
    assert [s.decoder for s in one] == [s.decoder for s in other]
    for setting in (*one, *other):
        TrackerConfig(**setting._asdict())
