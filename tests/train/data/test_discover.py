"""Finding data to train on where none is named."""

import numpy as np
import pytest
import soundfile

from sed.errors import UsageError
from train.data.discover import find_data


def add_sounds(folder, *labels):
    for label in labels:
        (folder / label).mkdir(parents=True)
        soundfile.write(folder / label / "a.wav", np.ones(800) / 2, 8_000)


def add_table(folder, name="train.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("filename,fold,category\na.wav,1,dog\n")


def test_the_folder_data_comes_first_then_tables_then_class_folders_then_the_variable(tmp_path):
    variable = {"SED_DATA": "/elsewhere"}
    path, where = find_data(tmp_path, variable)
    assert (str(path), where) == ("/elsewhere", "$SED_DATA")
    add_sounds(tmp_path, "dog", "cat")
    path, where = find_data(tmp_path, variable)
    assert (path, where) == (
        tmp_path,
        "the 2 folders with sounds in this folder, one per class",
    )
    add_table(tmp_path)
    path, where = find_data(tmp_path, variable)
    assert (path, where) == (tmp_path / "train.csv", "the table train.csv in this folder")
    (tmp_path / "data").mkdir()  # empty: of no use
    assert find_data(tmp_path, variable)[0] == tmp_path / "train.csv"
    add_sounds(tmp_path / "data", "cow", "hen")
    assert find_data(tmp_path, variable) == (tmp_path / "data", "the folder data")


@pytest.mark.parametrize("name", ["esc50.csv", "meta/esc50.csv"])
def test_a_folder_data_with_a_table_is_taken(tmp_path, name):
    add_table((tmp_path / "data" / name).parent)
    assert find_data(tmp_path, {})[0] == tmp_path / "data"


def test_other_files_and_a_single_folder_of_sounds_are_no_data(tmp_path):
    add_sounds(tmp_path, "examples")
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(UsageError) as caught:
        find_data(tmp_path, {})
    first, *lines = str(caught.value).split("\n")
    assert first.startswith("no data to train on")
    assert len(lines) == 3
    assert all("sed train" in line for line in lines)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "the folder data is empty; there is no table of clips or folder per class here"),
        (("notes.txt", "dog/a.txt"), "the folder data holds only dog/, notes.txt: no table"),
    ],
)
def test_a_folder_data_without_clips_is_described(tmp_path, names, message):
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text("")
    with pytest.raises(UsageError, match="no data to train on") as caught:
        find_data(tmp_path, {})
    assert message in str(caught.value)
    assert "there is no folder data" not in str(caught.value)


def test_detected_events_are_not_taken_as_labels(tmp_path):
    (tmp_path / "events.csv").write_text("file,onset,offset,label,score\na.wav,0,1,dog,0.9\n")
    with pytest.raises(UsageError, match="no data to train on"):
        find_data(tmp_path, {})
