"""What is reported of classes that belong together: the detector with a hierarchy."""

import dataclasses
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from sed.models.spec import ModelSpec
from streaming.engines.pytorch import TorchEngine
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from tests.conftest import rising_noise

SAMPLES = rising_noise(96_000)


@pytest.fixture(scope="module")
def related(tiny_checkpoint):
    """Return the tiny checkpoint, whose third class belongs to its first, and both to a kind."""
    labels = tiny_checkpoint.labels
    parents = {labels[2]: [labels[0]], labels[0]: ["signal"]}
    return dataclasses.replace(tiny_checkpoint, hierarchy=Hierarchy.from_dict(labels, parents))


@pytest.fixture(scope="module")
def engine(related):
    return TorchEngine(related, "cpu", "fp32")


@cache
def detect(engine, n_parts=1, **config):
    detector = Detector(engine, DetectorConfig(hop_seconds=0.5, **config))
    parts = np.array_split(SAMPLES, n_parts)
    detections = [detector.push(part) for part in parts] + [detector.flush()]
    return (
        [event for d in detections for event in d.events],
        [event for d in detections for event in d.started],
        np.concatenate([d.frame_probs for d in detections]),
        np.concatenate([d.clip_probs for d in detections]),
        detector,
    )


@pytest.mark.parametrize(
    "config", [{}, {"all_classes": True}, {"at_level": "kind"}, {"classes": "signal"}]
)
def test_a_stream_equals_a_file(engine, config):
    events, started, probs, clips, detector = detect(engine, **config)
    cut_events, cut_started, cut_probs, cut_clips, _ = detect(engine, 37, **config)
    assert events
    assert cut_events == events
    places = [sorted((e.onset, e.label) for e in some) for some in (events, started, cut_started)]
    assert places[0] == places[1] == places[2]
    np.testing.assert_allclose(cut_probs, probs, atol=1e-5)
    np.testing.assert_allclose(cut_clips, clips, atol=1e-5)
    assert probs.shape[1] == clips.shape[1] == len(detector.labels)


def test_the_most_specific_class_is_reported(engine, related, tiny_checkpoint):
    every = detect(engine, all_classes=True)
    plain = detect(TorchEngine(tiny_checkpoint, "cpu", "fp32"))
    specific = detect(engine)
    assert every[0] == plain[0]
    assert every[4].delay_seconds == plain[4].delay_seconds
    assert 0 < len(specific[0]) < len(every[0])
    hold_frames = related.timeline.frames_from_seconds(1.0)
    hold_seconds = related.timeline.frame_time(hold_frames)
    added = specific[4].lookahead_seconds - plain[4].lookahead_seconds
    assert added == pytest.approx(hold_seconds)
    assert specific[4].delay_seconds - plain[4].delay_seconds == pytest.approx(hold_seconds)


def test_a_branch_is_chosen_by_a_class_or_a_kind(engine, related):
    labels = related.labels
    assert detect(engine, classes=labels[0])[4].labels == (labels[0], labels[2])
    assert detect(engine, classes="signal")[4].labels == (labels[0], labels[2])
    (leaf, _, _, _, detector) = detect(engine, classes=labels[2])
    assert detector.labels == (labels[2],)
    assert leaf == [e for e in detect(engine)[0] if e.label == labels[2]]
    with pytest.raises(UsageError, match=r"no class 'sinal'\. Did you mean signal"):
        detect(engine, classes="sinal")


def test_a_kind_is_one_event_of_its_classes(engine, related):
    kinds, _, probs, clips, detector = detect(engine, at_level="kind", threshold=0.6)
    every, _, class_probs, class_clips, _ = detect(engine, all_classes=True, threshold=0.6)
    assert detector.labels == ("signal", related.labels[1])
    np.testing.assert_allclose(probs[:, 0], class_probs[:, [0, 2]].max(axis=1), atol=1e-6)
    np.testing.assert_allclose(clips[:, 0], class_clips[:, [0, 2]].max(axis=1), atol=1e-6)
    spans = sorted((e.onset, e.offset) for e in kinds if e.label == "signal")
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    members = [e for e in every if e.label in (related.labels[0], related.labels[2])]
    assert all(any(on <= e.onset and e.offset <= off for on, off in spans) for e in members)
    assert detect(engine, at_level="kind", classes=related.labels[2])[4].labels == ("signal",)


def test_kinds_need_a_hierarchy(tiny_checkpoint):
    plain = TorchEngine(tiny_checkpoint, "cpu", "fp32")
    with pytest.raises(UsageError, match=r"has no hierarchy of classes.*--at-level"):
        detect(plain, at_level="kind")
    with pytest.raises(UsageError, match=r"has no hierarchy of classes.*--all-classes"):
        detect(plain, all_classes=True)
    with pytest.raises(UsageError, match=r"unknown level 'kinds'\. Did you mean kind"):
        DetectorConfig(at_level="kinds")
    with pytest.raises(UsageError, match="all classes, or kinds"):
        DetectorConfig(at_level="kind", all_classes=True)


def test_a_checkpoint_and_a_graph_keep_the_hierarchy(related, tiny_checkpoint, tmp_path):
    related = dataclasses.replace(related, audioset={"beep": {"name": "Beep", "id": "/m/1"}})
    save_checkpoint(related, tmp_path / "m")
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert (loaded.hierarchy, loaded.audioset) == (related.hierarchy, related.audioset)
    assert ModelSpec.from_dict(related.spec.as_dict()) == related.spec
    assert "hierarchy" not in tiny_checkpoint.spec.as_dict()
    assert ModelSpec.from_dict(tiny_checkpoint.spec.as_dict()) == tiny_checkpoint.spec
