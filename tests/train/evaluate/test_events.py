"""Metrics of the events that a model finds in clips whose labels have times."""

import json

import numpy as np
import pytest
import soundfile

from sed.cli import run as run_command
from sed.events.reading.frames import FrameScores
from sed.events.tracker import Event, TrackerConfig
from sed.timeline import Timeline
from tests.conftest import rising_noise
from train.data.clips import Clip
from train.evaluate.evaluate import evaluate
from train.evaluate.events import frame_event_metrics, score_clips, warn_of_short_events

TIMELINE = Timeline(8_000, 80, 10)  # frames of 0.1 s


def test_events_of_clips_are_those_of_their_frames():
    probs = np.zeros((20, 2), np.float32)
    probs[5:10, 0] = 0.9
    edges = np.arange(21) * 0.1
    clips = [
        Clip("a.wav", ("dog",), "a", events=(Event(0.5, 1.0, "dog", 1.0),)),
        Clip("a.wav", ("owl",), "a", events=(Event(1.0, 1.5, "owl", 1.0),)),
        Clip("b.wav", ("dog",), "b"),
    ]
    frames = {i: FrameScores(f"{i}:a.wav", ("dog", "owl"), edges, probs) for i in range(2)}
    score, found = score_clips(clips, frames, config=TrackerConfig(), timeline=TIMELINE)
    assert [(e.onset, e.offset, e.label, e.file) for e in found.events()] == [
        (0.5, 1.0, "dog", "0:a.wav"),
        (0.5, 1.0, "dog", "1:a.wav"),
    ]
    assert (score.events.classes["dog"].n_matched, score.events.classes["owl"].n_matched) == (1, 0)
    assert score.hours == pytest.approx(4 / 3600)
    assert score_clips(clips[2:], {}, config=TrackerConfig(), timeline=TIMELINE) is None


def test_events_of_a_long_recording_do_not_drift():
    # Windows of 1.0 s have frames of 0.3 s, of which the last one is cut to 0.1 s.
    edges = np.append((np.arange(20)[:, None] + [0.0, 0.3, 0.6, 0.9]).ravel(), 20.0)
    probs = np.zeros((80, 1), np.float32)
    probs[62:70] = 0.9  # from 15.6 s to 17.6 s
    clips = [Clip("a.wav", ("dog",), "a", events=(Event(15.6, 17.6, "dog", 1.0),))]
    score, found = score_clips(
        clips,
        {0: FrameScores("0:a.wav", ("dog",), edges, probs)},
        config=TrackerConfig(median_filter_frames=1),
        timeline=Timeline(8_000, 80, 30),
    )
    [event] = found.events()
    assert (event.onset, event.offset) == (pytest.approx(15.6), pytest.approx(17.6))
    assert score.events.micro.f1 == 1


def test_metrics_of_windows_with_targets_in_frames():
    targets = np.zeros((2, 20, 2), np.float32)
    targets[0, 5:10, 0] = targets[1, 2:12, 1] = 1
    settings = {"labels": ("dog", "owl"), "timeline": TIMELINE, "config": TrackerConfig()}
    right = frame_event_metrics(targets, 0.9 * targets, **settings)
    assert right == {
        "event_f1": 1, "segment_f1": 1, "intersection_f1": 1, "psds1": 1, "psds2": 1,
    }  # fmt: skip
    late = frame_event_metrics(targets, np.roll(0.9 * targets, 4, axis=1), **settings)
    assert late["event_f1"] == 0
    assert 0 < late["segment_f1"] <= 1
    silent = frame_event_metrics(0 * targets, targets, **settings)
    assert all(np.isnan(value) for value in silent.values())


def test_events_shorter_than_two_frames_are_reported(caplog):
    caplog.set_level("WARNING", logger="sed")
    events = (Event(0, 0.1, "tick", 1.0), Event(0, 5.0, "rain", 1.0))
    warn_of_short_events([Clip("a", ("tick", "rain"), "a", events=events)], 0.16)
    assert caplog.messages == [
        "1 event of 2 is shorter than two frames of the model (0.32 s), so that their times cannot "
        "be right: tick. A model with shorter frames would find them better."
    ]
    warn_of_short_events([Clip("a", ("rain",), "a", events=events[1:])], 0.16)
    assert len(caplog.messages) == 1


@pytest.fixture
def strong(tmp_path, tiny_checkpoint):
    from sed.models.checkpoint import save_checkpoint

    save_checkpoint(tiny_checkpoint, tmp_path / "model.safetensors")
    rows = ["filename\tonset\toffset\tevent_label"]
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", rising_noise(16_000, i), 8_000, subtype="FLOAT")
        rows.append(f"{i}.wav\t0.2\t0.9\tbeep\n{i}.wav\t0.5\t1.5\télan")
    (tmp_path / "strong.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return tmp_path


def test_strong_labels_add_events_and_take_accuracy_away(strong, capsys):
    arguments = [
        "evaluate",
        str(strong / "model.safetensors"),
        "--data",
        str(strong / "strong.tsv"),
    ]
    assert run_command([*arguments, "--json", "-o", str(strong / "out")]) == 0
    out, err = capsys.readouterr()
    metrics = json.loads(out)
    assert metrics["accuracy"] is None
    assert metrics["events"]["n_true"] == 6
    assert set(metrics["events"]["event_f1"]["classes"]) >= {"beep", "élan"}
    assert 0 <= metrics["events"]["psds2"] <= 1
    report = json.loads((strong / "out" / "report.json").read_text("utf-8"))
    assert report["events"] == metrics["events"]
    assert not (strong / "out" / "confusion.png").exists()
    assert "accuracy" not in err
    assert "collar 0.2 s, micro" in err
    assert "confusions" not in err


def test_frames_of_evaluation_cover_whole_clips(strong):
    evaluation = evaluate([strong / "model.safetensors"], strong / "strong.tsv")
    assert evaluation.events is not None
    assert evaluation.events.hours == pytest.approx(3 * 2.0 / 3600, rel=0.05)
