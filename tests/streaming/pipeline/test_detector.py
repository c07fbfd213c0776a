"""The detector as a whole: however samples arrive, the events are the same."""

import dataclasses
import json
import pickle
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import track_events
from sed.events.tracking.calibration import Platt, calibrate
from streaming.engines.pytorch import TorchEngine
from streaming.pipeline.config import DetectorConfig, parse_thresholds, tracker_config
from streaming.pipeline.detector import Detector
from streaming.pipeline.front_end import mono_floats
from tests.conftest import rising_noise

HOPS = (1.0, 0.5, 0.25, 0.2, 0.1)  # of the tiny model's window of 1 s


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    return TorchEngine(tiny_checkpoint, "cpu", "fp32")


def run(detector, parts):
    detections = [detector.push(part) for part in parts] + [detector.flush()]
    events = [event for detection in detections for event in detection.events]
    probs = np.concatenate([d.frame_probs for d in detections])
    columns = np.concatenate([d.log_mel for d in detections])
    return events, probs, columns


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    n_samples=st.integers(1, 60_000),
    cuts=st.lists(st.integers(0, 60_000), max_size=12),
    hop=st.sampled_from(HOPS),
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]),
    batch_size=st.sampled_from([1, 3, 16]),
    lookahead_seconds=st.sampled_from([None, 0.0, 0.3]),
)
def test_a_stream_equals_a_file(
    tiny_checkpoint, engine, seed, n_samples, cuts, hop, rate, batch_size, lookahead_seconds
):
    samples = rising_noise(n_samples, seed)
    config = DetectorConfig(
        hop_seconds=hop, batch_size=batch_size, lookahead_seconds=lookahead_seconds
    )
    detector = Detector(engine, config, sample_rate=rate)
    parts = np.split(samples, sorted(min(c, n_samples) for c in cuts))
    whole_events, whole_probs, whole_columns = run(detector, [samples])
    events, probs, columns = run(detector, parts)
    assert events == whole_events
    np.testing.assert_allclose(probs, whole_probs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(columns, whole_columns, rtol=0, atol=1e-4)
    assert len(columns) == -(-round(n_samples * 8_000 / rate) // 80) or rate != 8_000


def test_windows_of_several_streams_can_go_through_the_model_together(tiny_checkpoint, engine):
    config, sounds = (
        DetectorConfig(hop_seconds=0.5),
        [rising_noise(40_000, seed) for seed in (1, 2)],
    )
    detectors = [Detector(engine, config) for _ in sounds]
    batches = [d.front_end.push(sound) for d, sound in zip(detectors, sounds, strict=True)]
    windows = np.stack([w.log_mel for own in batches for batch in own for w in batch.windows])
    output, n = engine.infer(windows), len(windows) // 2
    outputs = [output[:n], output[n:]]
    for detector, own, mine, sound in zip(detectors, batches, outputs, sounds, strict=True):
        rows = [mine[i : i + 1] if batch.windows else None for i, batch in enumerate(own)]
        found = detector.decode(own, rows).events + detector.flush().events
        alone, _, _ = run(Detector(engine, config), [sound])
        assert [(e.onset, e.offset, e.label) for e in found] == [
            (e.onset, e.offset, e.label) for e in alone
        ]


@pytest.mark.parametrize(
    ("lookahead_seconds", "seconds"), [(0.0, 0.96), (0.25, 1.21), (None, 1.46)]
)
def test_the_stated_lookahead_is_kept(tiny_checkpoint, engine, lookahead_seconds, seconds):
    """A moment is decided at most one hop after the lookahead has passed.

    Frames are of 0.32 s here, and the longest median filter has five of them.
    """
    config = DetectorConfig(hop_seconds=0.5, lookahead_seconds=lookahead_seconds)
    detector = Detector(engine, config)
    assert detector.lookahead_seconds == pytest.approx(seconds)
    n_pushed = n_frames = 0
    for block in np.split(rising_noise(64_000), 640):
        n_pushed += len(block)
        n_frames += len(detector.push(block).frame_probs)
        if n_pushed > 16_000:
            decided = (n_frames - 2) * 0.32  # two frames wait for the median filter
            assert n_pushed / 8_000 - decided <= seconds + 0.5 + 0.03


def test_the_noise_of_these_tests_does_make_events(tiny_checkpoint, engine):
    detector = Detector(engine, DetectorConfig(hop_seconds=0.5))
    events, _, _ = run(detector, [rising_noise(80_000)])
    assert len(events) > 5
    assert len({event.label for event in events}) > 1


def test_the_events_are_those_of_the_frames(tiny_checkpoint, engine):
    detector = Detector(engine, DetectorConfig(hop_seconds=0.25))
    events, probs, _ = run(detector, np.array_split(rising_noise(64_000), 9))
    offline = track_events(
        probs, tiny_checkpoint.labels, tiny_checkpoint.timeline, tiny_checkpoint.post_processing
    )
    assert [(e.onset, e.label) for e in events] == [(e.onset, e.label) for e in offline]


def test_one_window_gives_the_clip_output_of_the_model(tiny_checkpoint, engine):
    import torch

    samples = rising_noise(8_000)
    detector = Detector(engine, DetectorConfig(hop_seconds=1.0))
    _, probs, _ = run(detector, [samples])
    with torch.inference_mode():
        clip = tiny_checkpoint.model(torch.from_numpy(samples)[None]).frame_probs[0]
    np.testing.assert_allclose(probs, clip.numpy(), atol=1e-5)


def test_the_end_of_the_recording_is_the_end_of_the_last_event(tiny_checkpoint, engine):
    config = DetectorConfig(hop_seconds=0.5, onset_threshold=0.01, offset_threshold=0.01)
    events, _, _ = run(Detector(engine, config), [rising_noise(8_000 * 3 + 123)])
    assert max(event.offset for event in events) == pytest.approx(3 + 123 / 8_000)


def test_only_requested_classes_are_detected(tiny_checkpoint, engine):
    config = DetectorConfig(hop_seconds=0.5, classes=("élan", "beep"), onset_threshold=0.3)
    detector = Detector(engine, config)
    events, probs, _ = run(detector, [rising_noise(40_000)])
    everything = Detector(engine, DetectorConfig(hop_seconds=0.5))
    _, every_prob, _ = run(everything, [rising_noise(40_000)])
    np.testing.assert_array_equal(probs, every_prob[:, [2, 0]])
    assert {event.label for event in events} == {"élan", "beep"}


def test_top_lets_only_the_likeliest_count(tiny_checkpoint, engine):
    detector = Detector(engine, DetectorConfig(hop_seconds=0.5, top_k=1))
    _, probs, _ = run(detector, [rising_noise(40_000)])
    assert ((probs > 0).sum(axis=1) == 1).all()


def test_requested_thresholds_override_the_fitted_ones(tiny_checkpoint):
    def of(**options):
        tracker = tracker_config(tiny_checkpoint.spec, DetectorConfig(**options), [0, 2])
        return (
            tracker.onset_threshold,
            tracker.offset_threshold,
            tracker.median_filter_frames,
            tracker.min_gap_seconds,
        )

    assert of() == ((0.6, 0.6), (0.4, 0.4), (1, 5), 0.7)
    assert of(threshold=0.8) == ((0.8, 0.8), (0.4, 0.4), (1, 5), 0.7)
    assert of(threshold=0.8, offset_threshold=0.7, min_gap_seconds=0.0) == (
        (0.8, 0.8),
        (0.7, 0.7),
        (1, 5),
        0.0,
    )
    assert of(onset_threshold=0.9)[1] == (0.45, 0.45)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_seconds": 0.3}, "does not divide the window of 1 s. Choose for example 1, 0.5"),
        ({"hop_seconds": 0.1234}, "not a whole number of columns of 10 ms"),
        ({"hop_seconds": -1}, "hop above 0, got -1 s"),
        ({"threshold": 0.0}, "threshold above 0 and up to 1"),
        ({"onset_threshold": 1.5}, "onset threshold above 0 and up to 1"),
        (
            {"offset_threshold": 0.9},
            "no higher than the onset threshold, got 0.9 and 0.6",
        ),
        ({"classes": ("bep",)}, "no class 'bep'. Did you mean beep"),
        ({"min_duration_seconds": -1.0}, "min duration of 0 or more"),
        ({"batch_size": 0}, "batch size of 1 or more"),
    ],
)
def test_impossible_options_are_refused(tiny_checkpoint, engine, options, message):
    with pytest.raises(UsageError, match=message):
        Detector(engine, DetectorConfig(**({"hop_seconds": 0.5} | options)))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float64])
def test_samples_of_other_types_are_converted_by_their_full_scale(engine, dtype):
    samples = rising_noise(24_000)
    if np.dtype(dtype).kind == "f":
        given, step = samples.astype(dtype), 0.0
    else:
        scale = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
        middle = scale if np.dtype(dtype).kind == "u" else 0.0
        limits = np.iinfo(dtype)
        rounded = np.clip(np.round(samples.astype(float) * scale + middle), limits.min, limits.max)
        given, step = rounded.astype(dtype), 1 / scale
    np.testing.assert_allclose(mono_floats(given), samples, atol=step)
    assert mono_floats(given).dtype == np.float32
    _, probs, _ = run(Detector(engine), [given])
    _, expected, _ = run(Detector(engine), [mono_floats(given)])
    np.testing.assert_array_equal(probs, expected)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((8, 2)), r"mono samples .* got shape \(8, 2\): take the mean"),
        (np.zeros(8, complex), "integers or floats, got complex128"),
    ],
)
def test_samples_that_are_not_mono_numbers_are_refused_with_the_remedy(engine, samples, message):
    with pytest.raises(UsageError, match=message):
        Detector(engine).push(samples)


def test_one_class_may_be_given_as_a_string():
    assert DetectorConfig(classes="dog").classes == ("dog",)


def test_thresholds_of_some_classes_override_those_of_all(tiny_checkpoint, tmp_path):
    spec = dataclasses.replace(
        tiny_checkpoint.spec,
        labels=("wren", "owl", "rain"),
        hierarchy=Hierarchy.from_dict(
            ("wren", "owl", "rain"), {"wren": ["bird"], "owl": ["bird"], "rain": ["weather"]}
        ),
        species=(("Troglodytes", "Wren"), ("Strix", "Owl"), ("", "Rain")),
    )

    def of(**options):
        tracker = tracker_config(spec, DetectorConfig(**options), [0, 1, 2])
        return tracker.onset_threshold, tracker.offset_threshold

    by_class = {"Strix": 0.2, "bird": 0.8}
    assert of(class_thresholds=by_class) == ((0.8, 0.2, 0.6), (0.4, 0.1, 0.4))
    assert of(class_thresholds={"rain": 0.8}, threshold=0.5, offset_threshold=0.1) == (
        (0.5, 0.5, 0.8),
        (0.1, 0.1, 0.1),
    )
    with pytest.raises(UsageError, match=r"no class 'brid'\. Did you mean bird"):
        of(class_thresholds={"brid": 0.5})
    with pytest.raises(UsageError, match="threshold of owl above 0 and up to 1, got 2"):
        of(class_thresholds={"owl": 2.0})
    path = tmp_path / "tuned.toml"
    path.write_text("[class.Owl]\nonset_threshold = 0.7\nmin_gap_seconds = 3", "utf-8")
    assert of(thresholds=path) == ((0.6, 0.7, 0.6), (0.4, 0.4, 0.4))
    assert of(thresholds=path, class_thresholds={"owl": 0.3}, threshold=0.5) == (
        (0.5, 0.3, 0.5),
        (0.25, 0.15, 0.25),
    )
    config = DetectorConfig(thresholds=path)
    assert tracker_config(spec, config, [1, 2]).min_gap_seconds == (3.0, 0.7)
    assert pickle.loads(pickle.dumps(config)) == config


def test_frame_probabilities_are_calibrated_before_all_else(tiny_checkpoint, engine, tmp_path):
    path, samples = tmp_path / "tuned.toml", rising_noise(40_000)
    path.write_text("[class.beep.calibration]\nslope = 2\nintercept = 1", "utf-8")
    c = tiny_checkpoint.labels.index("beep")
    plain = run(Detector(engine, DetectorConfig(hop_seconds=0.5)), [samples])[1]
    config = DetectorConfig(hop_seconds=0.5, thresholds=path)
    parts = np.split(samples, [1_000, 17_000])
    events, probs, _ = run(Detector(engine, config), parts)
    np.testing.assert_array_equal(probs, calibrate(plain, {c: Platt(2, 1)}))
    assert not np.array_equal(probs, plain)
    expected = track_events(
        probs, tiny_checkpoint.labels, tiny_checkpoint.timeline, tiny_checkpoint.post_processing
    )
    assert [(e.onset, e.label, e.score) for e in events] == [
        (e.onset, e.label, e.score) for e in expected
    ]


@pytest.mark.parametrize("level", ["class", "kind"])
def test_change_detection_in_a_stream_is_that_of_a_file(tiny_checkpoint, engine, tmp_path, level):
    path, samples = tmp_path / "tuned.toml", rising_noise(60_000)
    path.write_text(
        "".join(
            f"[class.{json.dumps(label)}]\ndecoder = 'change_detection'\nmin_gap_seconds = 0\n"
            for label in tiny_checkpoint.labels
        ),
        "utf-8",
    )
    spec = dataclasses.replace(
        engine.spec, hierarchy=Hierarchy.from_dict(engine.spec.labels, {"beep": ["sound"]})
    )
    options = {"hop_seconds": 0.5, "threshold": 0.4}
    config = DetectorConfig(**options, thresholds=path, at_level=level)
    with patch.object(engine, "spec", spec):
        whole, *_ = run(Detector(engine, config), [samples])
        streamed, *_ = run(Detector(engine, config), np.split(samples, [123, 20_000, 20_001]))
        other, *_ = run(Detector(engine, DetectorConfig(**options, at_level=level)), [samples])
    assert whole == streamed
    assert whole
    assert whole != other


def test_unknown_has_a_threshold_of_its_own(tiny_checkpoint, engine):
    config = DetectorConfig(unknown=True, class_thresholds={"unknown": 0.9, "beep": 0.3})
    assert Detector(engine, config).labels[-1] == "unknown"
    with pytest.raises(UsageError, match="no class 'unknown'"):
        Detector(engine, DetectorConfig(class_thresholds={"unknown": 0.9}))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, (None, ())),
        ("0.5", (0.5, ())),
        ("dog=0.4, frog = 0.9", (None, (("dog", 0.4), ("frog", 0.9)))),
        ("0.5,dog=0.4", (0.5, (("dog", 0.4),))),
        ("dog=0.4,0.5", (0.5, (("dog", 0.4),))),
        ("Chicken, rooster=0.4,a=b=1", (None, (("Chicken, rooster", 0.4), ("a=b", 1.0)))),
    ],
)
def test_thresholds_are_read_from_an_option(text, wanted):
    assert parse_thresholds(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "thresholds as 0.5 or dog=0.4,animal=0.7, got ''"),
        ("dog", "got 'dog'"),
        ("dog=0.4,frog", "got 'dog=0.4,frog'"),
        ("dog=x", "a number after dog=, got 'x'"),
        ("=0.4", "got '=0.4'"),
        ("0.4,0.5", "two thresholds of all classes: '0.4,0.5'. Give one"),
        ("dog=0.4,dog=0.5", "two thresholds of dog: 'dog=0.4,dog=0.5'. Give one"),
    ],
)
def test_what_is_no_threshold_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_thresholds(text)
