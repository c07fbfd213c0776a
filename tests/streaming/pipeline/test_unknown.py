"""The class unknown: sound above the background that no class explains."""

import dataclasses

import numpy as np
import pytest

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.features.log_mel import LogMelConfig
from sed.models.spec import ModelSpec, sample_blocks
from streaming.engines.pytorch import TorchEngine
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from streaming.pipeline.unknown import UnknownScore, band_levels
from tests.conftest import rising_noise

SPEC = ModelSpec(("a", "b"), LogMelConfig(n_mels=16), frame_columns=32, n_frames=16)  # 0.32 s
N_FRAMES = 40


def levels(*steps):
    """Return columns whose lowest four bands are raised by (frame, dB) from a frame on."""
    columns = np.zeros((N_FRAMES * 32, 16), np.float32)
    for frame, db in steps:
        columns[frame * 32 :, :4] = db * np.log(10) / 20  # of ln of a magnitude
    return columns


def scores(columns, probs, cuts=(), spec=SPEC):
    score = UnknownScore(spec, (0.5, 0.2), (0.25, 0.1))
    found, rows = [], []
    parts = [*np.split(probs, cuts)]
    for number, part in enumerate(parts):
        pieces = [columns] if number == 0 else []
        values, some = score.push(pieces, part, is_last=number == len(parts) - 1)
        found.append(some)
        rows.append(values)
    np.testing.assert_array_equal(np.concatenate(rows), probs)
    return np.concatenate(found)[:, 0]


def test_a_rise_that_no_class_explains_is_unknown():
    probs = np.full((N_FRAMES, 2), 0.01, np.float32)
    found = scores(levels((10, 30), (12, 0)), probs)
    assert (found[10:12] > 0.99).all()
    assert max(found[:10].max(), found[12:].max()) < 0.01
    # Twelve decibels are half of the score.
    assert scores(levels((10, 12), (11, 0)), probs)[10] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("number", [0, 1])
def test_a_class_explains_its_event_and_the_frames_around_it(number):
    onset, offset = ((0.5, 0.25), (0.2, 0.1))[number]
    probs = np.full((N_FRAMES, 2), 0.01, np.float32)
    probs[12:15, number] = 0.99 * onset, onset, offset  # the event starts when it reaches its onset
    rises = scores(levels((9, 30), (19, 0)), np.full((N_FRAMES, 2), 1e-4, np.float32))
    found = scores(levels((9, 30), (19, 0)), probs) / rises
    # At the onset the fit is the ratio to the threshold of the offset, 2; two frames are 0.6 s.
    assert found[11:15] == pytest.approx(1 / 9, abs=0.01)
    assert found[15] == pytest.approx(1 / 2, abs=0.01)
    assert (found[[9, 16]] > 0.98).all()
    probs[13, number] *= 0.99  # no event
    found = scores(levels((9, 30), (19, 0)), probs) / rises
    assert found[11:15] == pytest.approx(1 / (1 + 0.99**3), abs=0.01)
    assert found[15] == pytest.approx(1 / (1 + 0.5**3), abs=0.01)


def test_a_class_that_lasts_above_its_offset_threshold_explains_all_of_its_event():
    probs = np.full((N_FRAMES, 2), 0.01, np.float32)
    probs[10:30, 0] = 0.26
    probs[10, 0] = 0.6
    steps = levels((10, 20), (15, 40), (20, 60), (25, 80), (29, 0))
    found = scores(steps, probs)
    assert found.max() < 0.5
    for cuts in ([11], [20], range(1, N_FRAMES)):
        np.testing.assert_array_equal(scores(steps, probs, cuts), found)
    probs[10, 0] = 0.4  # it never reaches the onset threshold
    assert scores(steps, probs).max() > 0.8


def test_ambience_explains_no_sound():
    hierarchy = Hierarchy.from_dict(SPEC.labels, {"a": ["ambience"], "b": ["animal"]})
    spec = dataclasses.replace(SPEC, hierarchy=hierarchy)
    probs = np.full((N_FRAMES, 2), 0.01, np.float32)
    probs[:, 0] = 0.9
    assert scores(levels((10, 30), (12, 0)), probs)[10] < 0.2
    assert scores(levels((10, 30), (12, 0)), probs, spec=spec)[10] > 0.99
    probs[:, 1] = 0.9
    assert scores(levels((10, 30), (12, 0)), probs, spec=spec)[10] < 0.2


def test_what_lasts_becomes_background():
    probs = np.full((N_FRAMES, 2), 0.01, np.float32)
    found = scores(levels((5, 15)), probs)
    assert found[5] > 0.75
    assert found[-1] < 0.05  # 1 dB/s for ten seconds


def test_how_frames_arrive_changes_nothing():
    probs = np.random.default_rng(0).random((N_FRAMES, 2)).astype(np.float32) / 3
    columns = levels((3, 20), (9, 2), (20, 40))[:-20]  # the last frame is short
    whole = scores(columns, probs)
    for cuts in ([], [1], [1, 2, 3], range(1, N_FRAMES), [0, 0, 17], [N_FRAMES]):
        np.testing.assert_array_equal(scores(columns, probs, cuts), whole)


def test_levels_are_decibels_in_every_spectrogram():
    for power in (1, 2):
        for log in ("offset", "db"):
            config = LogMelConfig(power=power, log=log, log_offset=1e-9, mean=-3.0, std=2.5)
            mel = np.array([1.0, 10.0]) ** power  # an amplitude ten times as high is 20 dB more
            logs = np.log(mel) if log == "offset" else 10 * np.log10(mel)
            found = band_levels(((logs - config.mean) / config.std).astype(np.float32), config)
            assert found[1] - found[0] == pytest.approx(20, rel=1e-5)


def test_models_of_samples_have_levels_too():
    blocks = sample_blocks(16_000, 5_120)
    spec = dataclasses.replace(SPEC, log_mel=blocks, frame_columns=1)
    sound = 1e-3 * np.random.default_rng(0).standard_normal((N_FRAMES, 5_120)).astype(np.float32)
    sound[10] *= 100
    found = scores(sound, np.zeros((N_FRAMES, 2), np.float32), spec=spec)
    assert np.argmax(found) == 10
    assert found[10] > 0.9


def detect(engine, samples, n_parts, **config):
    detector = Detector(engine, DetectorConfig(hop_seconds=0.5, unknown=True, **config))
    parts = np.array_split(samples, n_parts)
    detections = [detector.push(part) for part in parts] + [detector.flush()]
    probs = np.concatenate([d.frame_probs for d in detections])
    clips = np.concatenate([d.clip_probs for d in detections])
    events = [event for d in detections for event in d.events]
    return events, probs, clips, detector


def test_a_stream_equals_a_file(tiny_checkpoint):
    strict = dataclasses.replace(tiny_checkpoint.post_processing, onset_threshold=1.0)
    checkpoint = dataclasses.replace(tiny_checkpoint, post_processing=strict)
    engine = TorchEngine(checkpoint, "cpu", "fp32")
    samples = rising_noise(64_000)
    samples[20_000:22_000] = rising_noise(2_000) * 3
    samples[:20_000] *= 0.01
    plain = Detector(engine, DetectorConfig(hop_seconds=0.5))
    events, probs, clips, detector = detect(engine, samples, 1)
    assert detector.labels == (*tiny_checkpoint.labels, "unknown")
    waits = detector.lookahead_seconds - plain.lookahead_seconds
    assert 0.6 <= waits < 0.6 + tiny_checkpoint.timeline.frame_seconds
    assert any(event.label == "unknown" for event in events)
    cut_events, cut_probs, cut_clips, _ = detect(engine, samples, 23)
    assert [(e.onset, e.offset, e.label) for e in cut_events] == [
        (e.onset, e.offset, e.label) for e in events
    ]
    np.testing.assert_allclose(cut_probs, probs, atol=1e-4)
    np.testing.assert_allclose(cut_clips, clips, atol=1e-5)
    others = [plain.push(samples), plain.flush()]
    np.testing.assert_allclose(
        probs[:, :-1], np.concatenate([d.frame_probs for d in others]), atol=1e-6
    )
    assert [e for e in events if e.label != "unknown"] == [e for d in others for e in d.events]


def test_a_class_of_this_name_is_refused(tiny_checkpoint):
    odd = dataclasses.replace(tiny_checkpoint, labels=("unknown", "b", "c"))
    with pytest.raises(UsageError, match="has a class 'unknown' of its own"):
        Detector(TorchEngine(odd, "cpu", "fp32"), DetectorConfig(unknown=True))


def test_unknown_can_be_selected_and_selected_classes_do_not_change_it(tiny_checkpoint):
    engine = TorchEngine(tiny_checkpoint, "cpu", "fp32")
    samples = rising_noise(64_000)
    samples[:20_000] *= 0.01
    _, everything, _, _ = detect(engine, samples, 1)
    events, probs, clips, detector = detect(engine, samples, 3, classes="unknown")
    assert detector.labels == ("unknown",)
    assert {event.label for event in events} <= {"unknown"}
    assert clips.shape[1] == 1
    np.testing.assert_allclose(probs, everything[:, -1:], atol=1e-4)
    label = tiny_checkpoint.labels[0]
    _, probs, _, detector = detect(engine, samples, 1, classes=("unknown", label))
    assert detector.labels == (label, "unknown")
    np.testing.assert_array_equal(probs, everything[:, [0, -1]])
    with pytest.raises(UsageError, match="only found with --unknown"):
        Detector(engine, DetectorConfig(classes="unknown"))
