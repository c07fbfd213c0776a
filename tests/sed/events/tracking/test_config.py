import json

import pytest

from sed.config import config_from_dict
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import TrackerConfig
from streaming.pipeline.levels import KindLevel

CONFIG = TrackerConfig(
    onset_threshold=(0.5, 0.6, 0.8),
    offset_threshold=0.2,
    median_filter_frames=(1, 3, 7),
    min_duration_seconds=(0.2, 0.5, 1.0),
    min_gap_seconds=(0.0, 1.0, 2.0),
    decoder=("change_detection", "hysteresis", "change_detection"),
    step_filter_seconds=(0.4, 0.5, 0.8),
)


def test_classes_are_selected_and_added():
    assert CONFIG.select([2, 0]).min_gap_seconds == (2.0, 0.0)
    assert CONFIG.select([2, 0]).offset_threshold == 0.2
    more = CONFIG.with_classes(3, 2, onset_threshold=(0.9, 0.3), offset_threshold=0.1)
    assert more.onset_threshold == (0.5, 0.6, 0.8, 0.9, 0.3)
    assert more.offset_threshold == (0.2, 0.2, 0.2, 0.1, 0.1)
    assert more.median_filter_frames == (1, 3, 7, 3, 3)
    assert more.min_duration_seconds == (0.2, 0.5, 1.0, 0.5, 0.5)
    assert more.decoder[3:] == ("hysteresis", "hysteresis")
    assert more.merge_threshold_absolute == 0.1
    assert more.select(range(3)).values("offset_threshold", 3).tolist() == [0.2] * 3


def test_what_json_holds_is_read_again():
    assert config_from_dict(TrackerConfig, json.loads(json.dumps(CONFIG.as_dict()))) == CONFIG
    assert list(TrackerConfig().as_dict()) == [
        "onset_threshold",
        "offset_threshold",
        "median_filter_frames",
        "min_duration_seconds",
        "min_gap_seconds",
    ]


def test_a_kind_drops_and_merges_nothing_that_its_classes_would_not():
    hierarchy = Hierarchy.from_dict("abc", {"a": ["x"], "b": ["x"], "c": ["y"]})
    config = CONFIG.with_classes(3, 0, offset_threshold=())
    tracker = KindLevel(hierarchy, (), "abc", config).tracker
    assert tracker.min_duration_seconds == (0.2, 1.0)
    assert tracker.min_gap_seconds == (0.0, 2.0)
    assert tracker.decoder == ("hysteresis", "change_detection")
    assert tracker.step_filter_seconds == (0.4, 0.8)
    assert tracker.onset_threshold == pytest.approx((0.55, 0.8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_gap_seconds": (0.0, -1.0)}, ">= 0"),
        ({"step_filter_seconds": -1.0}, "step_filter_seconds >= 0"),
        ({"merge_threshold_relative": 1.5}, "merge_threshold_relative from 0 to 1, got 1.5"),
        ({"decoder": ("hysteresis", "x")}, "decoder as hysteresis or change_detection, got 'x'"),
        ({"event_score": "sum"}, "event_score as mean or max, got 'sum'"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TrackerConfig(**values)
