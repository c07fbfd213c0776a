"""The worst errors of an evaluation, as clips."""

import csv
from html import escape

import numpy as np
import pytest
import soundfile

from sed.cli import run as run_command
from sed.errors import TableError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.frames import FrameScores
from sed.events.tracker import Event
from sed.models.checkpoint import save_checkpoint
from tests.conftest import rising_noise
from train.data.clips import Clip, ClipPredictions
from train.data.tables import read_table
from train.evaluate.errors import save_errors, worst_errors
from train.evaluate.evaluate import Evaluation


def evaluation_of(clips, targets, probs, **options):
    predictions = ClipPredictions(np.array(targets, np.float32), np.array(probs, np.float32))
    in_table = np.ones(2, bool)
    return Evaluation(("dog", "owl"), tuple(clips), "all", predictions, in_table, **options)


def facts(evaluation, n_errors):
    found = worst_errors(evaluation, n_errors)
    return [(e.label, kind, e.onset, e.offset, round(e.score, 4)) for e, kind in found]


def test_errors_of_clips_are_worst_first_and_leave_the_background_out():
    clips = [
        Clip("a.wav", ("dog",), "a", start_seconds=10 * i, duration_seconds=5) for i in range(4)
    ]
    clips.append(Clip("b.wav", ("dog",), "b", secondary=("owl",), duration_seconds=5))
    targets = [[1, 0]] * 5
    probs = [[0.3, 0.6], [0.1, 0.9], [0.9, 0.7], [0.2, 0.1], [0.8, 0.99]]
    thresholds = np.array([0.5, 0.65], np.float32)
    evaluation = evaluation_of(clips, targets, probs, thresholds=thresholds)
    assert facts(evaluation, 2) == [
        ("dog", "missed", 10, 15, 0.1),
        ("dog", "missed", 30, 35, 0.2),
        ("owl", "false alarm", 10, 15, 0.9),
        ("owl", "false alarm", 20, 25, 0.7),
    ]


def test_errors_of_events_have_times_in_the_recording():
    true = (Event(1.0, 2.0, "dog", 1.0), Event(4.0, 5.0, "dog", 1.0))
    clip = Clip("a.wav", ("dog",), "a", events=true, start_seconds=100, duration_seconds=8)
    probs = np.full((8, 2), 0.1, np.float32)
    probs[4, 0], probs[2, 0] = 0.4, 0.9
    found = [Event(0.5, 1.5, "dog", 0.9, "0:a.wav"), Event(6.0, 7.0, "owl", 0.8, "0:a.wav"),
             Event(2.5, 3.0, "dog", 0.7, "0:a.wav")]  # fmt: skip
    evaluation = evaluation_of(
        [clip],
        [[1, 0]],
        [[0.9, 0.8]],
        detections=EventTable.of_events(found),
        frames={0: FrameScores("0:a.wav", ("dog", "owl"), np.arange(9.0), probs)},
    )
    assert facts(evaluation, 5) == [
        ("dog", "false alarm", 102.5, 103, 0.7),
        ("dog", "missed", 104, 105, 0.4),
        ("owl", "false alarm", 106, 107, 0.8),
    ]
    with pytest.raises(UsageError, match="1 or more errors"):
        save_errors(evaluation, "unused", 0)


def test_the_command_writes_a_page_with_a_section_per_class_and_kind(
    tmp_path, tiny_checkpoint, capsys
):
    save_checkpoint(tiny_checkpoint, tmp_path / "model.safetensors")
    rows = ["filename\tonset\toffset\tevent_label"]
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", rising_noise(16_000, i), 8_000, subtype="FLOAT")
        rows.append(f"{i}.wav\t0.2\t0.9\tbeep\n{i}.wav\t0.5\t1.5\télan")
    (tmp_path / "strong.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    arguments = ["evaluate", str(tmp_path / "model.safetensors"), "--errors", "1", "--data"]
    arguments.append(str(tmp_path / "strong.tsv"))
    assert run_command(arguments) == 2
    assert "give a folder for them with --output" in capsys.readouterr().err
    assert run_command([*arguments, "-o", str(tmp_path / "out")]) == 0
    errors = tmp_path / "out" / "errors"
    with open(errors / "clips.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert table
    page = (errors / "index.html").read_text("utf-8")
    for row in table:
        assert row["kind"] in ("false alarm", "missed")
        assert bool(row["label"]) == (row["kind"] == "missed")
        label = row["label"] or row["predicted"]
        assert f"{escape(label)}: {row['kind']} <small>1 clip</small>" in page
        assert (errors / row["file"]).is_file()
    assert f"{len(table)} error" in capsys.readouterr().err
    assert any(row["kind"] == "false alarm" for row in table)
    for data in (errors, errors / "clips.csv"):
        with pytest.raises(TableError, match="errors of an evaluation, false alarms among them"):
            read_table(data)
    # Also when the columns are renamed to those of strong labels, as messages about scores advise.
    text = (errors / "clips.csv").read_text("utf-8").replace("predicted", "note", 1)
    text = text.replace("file,", "filename,", 1).replace("label", "event_label", 1)
    (errors / "clips.csv").write_text(text, "utf-8")
    if all(row["kind"] == "false alarm" for row in table):
        with pytest.raises(TableError, match="no row can be used"):
            read_table(errors)
    else:
        labelled = {event.label for clip in read_table(errors) for event in clip.events}
        assert labelled == {row["label"] for row in table} - {""}
