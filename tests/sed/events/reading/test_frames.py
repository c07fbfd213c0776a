import zipfile

import numpy as np
import pytest

from sed.errors import TableError
from sed.events.reading.frames import read_frame_scores
from sed.events.writing.npz import FramesWriter

GOOD = {
    "file": np.array("a.wav"),
    "labels": np.array(["dog", "cat"]),
    "edges": np.array([0.0, 0.5, 1.0]),
    "frame_probs": np.array([[0.25, 0.5], [0.75, 1.0]], np.float32),
}


def written(path, **changes):
    arrays = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, value)
    return path


def test_what_the_writer_writes_is_read(tmp_path):
    path = tmp_path / "a.npz"
    with FramesWriter(path, ["dog", "cat"], 0.5, 1.0, "rec/a.wav") as writer:
        writer.write(frame_probs=GOOD["frame_probs"], clip_probs=np.zeros((1, 2), np.float32))
    frames = read_frame_scores(path)
    assert frames.file == "rec/a.wav"
    assert frames.labels == ("dog", "cat")
    assert frames.edges.tolist() == [0.0, 0.5, 1.0]
    assert frames.probs.tolist() == GOOD["frame_probs"].tolist()


def test_a_recording_without_a_name_has_that_of_the_file(tmp_path):
    assert read_frame_scores(written(tmp_path / "dawn.npz", file=np.array(""))).file == "dawn"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "cannot be read as frame probabilities"),
        ({"labels": np.array(["dog", 1], object)}, "cannot be read as frame probabilities"),
        ({"labels": np.array(["dog"])}, "do not fit"),
        ({"labels": np.array([1, 2])}, "do not fit"),
        ({"edges": np.array([0.0, 0.5])}, "do not fit"),
        ({"edges": np.array([0.0, 1.0, 0.5])}, "do not fit"),
        ({"edges": np.array([0.0, np.nan, 1.0])}, "do not fit"),
        ({"edges": np.array(1.0)}, "cannot be read as frame probabilities"),
        ({"frame_probs": np.zeros((2, 2), int)}, "do not fit"),
        ({"frame_probs": np.full((2, 2), 1.5)}, "outside of 0 to 1"),
        ({"frame_probs": np.full((2, 2), np.nan)}, "outside of 0 to 1"),
    ],
)
def test_arrays_that_cannot_be_are_refused(tmp_path, changes, message):
    path = written(tmp_path / "a.npz", **changes)
    with pytest.raises(TableError, match=message) as info:
        read_frame_scores(path)
    assert "a.npz" in str(info.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"plain text"])
def test_files_of_another_kind_are_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(TableError, match="cannot be read as frame probabilities"):
        read_frame_scores(path)
    with pytest.raises(TableError, match="cannot be read"):
        read_frame_scores(tmp_path / "none.npz")


def test_a_single_array_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(TableError, match="cannot be read as frame probabilities"):
        read_frame_scores(path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = written(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    place = content.rfind(GOOD["frame_probs"].tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableError, match="cannot be read as frame probabilities"):
        read_frame_scores(path)
