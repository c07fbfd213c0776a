import zipfile

import numpy as np
import pytest
import soundfile

from sed.errors import TableError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.frames import FrameScores
from sed.events.tracker import Event
from streaming.results.score.inputs import (
    check_classes,
    found_durations,
    frames_with_labels,
    left_out,
    read_durations,
    read_label_map,
    read_predictions,
    with_labels,
)


def write_frames(path, **changed):
    arrays = {
        "frame_probs": np.array([[0.25, 0.5], [0.75, 0.0]], np.float32),
        "edges": np.array([0.0, 0.5, 1.0]),
        "labels": np.array(["dog", "owl"]),
        "file": np.array("r/a.wav"),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (arrays | changed).items():
            if array is not None:
                with archive.open(f"{name}.npy", "w") as member:
                    np.save(member, array)


def test_frame_probabilities_of_files_and_folders(tmp_path):
    (tmp_path / "in").mkdir()
    write_frames(tmp_path / "in" / "a.npz")
    write_frames(tmp_path / "b.npz", file=np.array(""))
    first, second = read_predictions([tmp_path / "in", tmp_path / "b.npz"])
    assert (first.file, first.labels, second.file) == ("r/a.wav", ("dog", "owl"), "b")
    assert first.probs.tolist() == [[0.25, 0.5], [0.75, 0.0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.array([object()], object)}, "cannot be read as frame probabilities"),
        ({"labels": np.array(["dog"])}, "do not fit each other"),
        ({"edges": np.array([0.0, 1.0, 0.5])}, "do not fit each other"),
        ({"edges": None}, "cannot be read as frame probabilities"),
        ({"frame_probs": np.full((2, 2), 1.5, "f4")}, "outside of 0 to 1"),
        ({"frame_probs": np.full((2, 2), np.nan, "f4")}, "outside of 0 to 1"),
    ],
)
def test_what_are_no_frame_probabilities(tmp_path, changed, message):
    write_frames(tmp_path / "a.npz", **changed)
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(TableError, match="2 files cannot be read") as caught:
        read_predictions([tmp_path])
    assert message in str(caught.value)


def test_each_table_is_an_operating_point(tmp_path, caplog):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(
            f"file,onset,offset,label,score\nx.wav,1,2,{name},0.5\n"
        )
    tables = read_predictions([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [table.labels for table in tables] == [("a",), ("b",)]
    assert len(read_predictions([tmp_path])) == 1
    write_frames(tmp_path / "c.npz")
    with pytest.raises(UsageError, match="give one kind"):
        read_predictions([tmp_path / "a.csv", tmp_path / "c.npz"])
    [frames] = read_predictions([tmp_path])
    assert frames.labels == ("dog", "owl")
    assert "frame probabilities are scored (NPZ), and the tables of events" in caplog.text


def test_durations_from_a_table(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("Filename;Duration\na.wav;1,5\nb.wav;10\n")
    assert read_durations(path) == {"a.wav": 1.5, "b.wav": 10.0}
    path.write_text("filename,duration\na.wav,x\nb.wav,0\n")
    with pytest.raises(TableError) as caught:
        read_durations(path)
    assert "row 2: expected a number for duration, got 'x'" in str(caught.value)
    assert "row 3: expected a duration above 0, got 0" in str(caught.value)
    path.write_text("filename,duration\n")
    with pytest.raises(TableError, match="has no rows"):
        read_durations(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="expected columns filename and duration, got a, b"):
        read_durations(path)
    path.write_text("filename,duration\na.wav,1\na.wav,1.0\na.wav,2\n")
    with pytest.raises(TableError, match=r"row 4: a\.wav lasts 2 s, and above 1 s"):
        read_durations(path)


def test_durations_from_recordings_beside_the_truth(tmp_path):
    for site, seconds in (("north", 1), ("south", 2)):
        (tmp_path / "rec" / site).mkdir(parents=True)
        soundfile.write(tmp_path / "rec" / site / "a.wav", np.zeros(seconds * 8_000), 8_000)
    soundfile.write(tmp_path / "rec" / "b.wav", np.zeros(12_000), 8_000)
    table, recordings = tmp_path / "truth.tsv", tmp_path / "rec"
    assert found_durations(["b.wav", "x/b.flac"], [table]) == ({"b.wav": 1.5, "x/b.flac": 1.5}, [])
    # Recorders of all sites write the same names, so that folders decide.
    names = ["old/north/a.wav", "south/a.wav"]
    assert found_durations(names, [table])[0] == {names[0]: 1.0, names[1]: 2.0}
    elsewhere = [tmp_path / "truth" / "t.tsv"]
    assert found_durations(names, elsewhere, audio=[recordings])[0] == {names[0]: 1, names[1]: 2}
    predicted = [str(file) for file in recordings.rglob("*.wav")]
    assert found_durations(["south/a.wav"], elsewhere, predicted)[0] == {"south/a.wav": 2.0}
    found, missing = found_durations(["b.wav", "gone.wav", "a.wav"], [table])
    assert found == {"b.wav": 1.5}
    assert "gone.wav: no such file" in missing[0]
    assert "a.wav: several recordings have this name" in missing[1]


def test_detections_in_recordings_that_the_truth_lacks_are_counted():
    events = [Event(i, i + 1, "dog", 1, name) for i, name in enumerate("abb")]
    table = EventTable.of_events(events)
    lacking = "2 detections in 1 recording without reference events or duration: b"
    assert left_out([table], {"x/a.wav": 1.0}) == lacking
    assert left_out([table], {"x/a.wav": 1.0, "b": 2.0}) == ""
    frames = FrameScores("c", ("dog",), np.array([0.0, 1.0]), np.zeros((1, 1), np.float32))
    lacking = "1 recording without reference events or duration: c"
    assert left_out([frames], {"a": 1.0}) == lacking


def test_labels_get_new_names_or_are_left_out(tmp_path):
    (tmp_path / "m.csv").write_text("from,to\nhound,dog\nnoise,\n")
    mapped = read_label_map(tmp_path / "m.csv")
    labels = ("noise", "hound", "dog", "owl")
    table = EventTable.of_events([Event(i, i + 1, name, 1, "x") for i, name in enumerate(labels)])
    renamed = with_labels(table, mapped)
    assert [(e.onset, e.label) for e in renamed.events()] == [(1, "dog"), (2, "dog"), (3, "owl")]
    assert renamed.labels == ("dog", "owl")
    assert [e.label for e in with_labels(table, mapped, ["owl"]).events()] == ["owl"]
    probs = np.array([[0.9, 0.25, 0.5, 0.125]], np.float32)
    frames = frames_with_labels(FrameScores("x", labels, np.array([0.0, 1.0]), probs), mapped)
    assert frames.labels == ("dog", "owl")
    assert frames.probs.tolist() == [[0.5, 0.125]]
    with pytest.raises(UsageError, match=r"no reference event of the class 'owll'\. Did you mean"):
        check_classes(["owll"], table)
