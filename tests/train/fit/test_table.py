import numpy as np
import pytest
import soundfile

from sed.errors import TableError, UsageError
from train.fit.table import read_fit_table


def write_sounds(folder, names, seconds=1.0):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(round(8_000 * seconds)), 8_000)


def test_a_folder_of_clips_is_one_class_with_its_name(tmp_path):
    write_sounds(tmp_path / "woodpecker", ["a.wav", "b.wav"])
    table = read_fit_table(tmp_path / "woodpecker")
    assert (table.task, table.labels) == ("tag", ("woodpecker",))
    assert [part.labels for part in table.parts] == [("woodpecker",)] * 2
    assert len({part.group for part in table.parts}) == 2


def test_a_folder_per_class_is_for_classification(tmp_path):
    write_sounds(tmp_path, ["owl/a.wav", "wren/b.wav"])
    table = read_fit_table(tmp_path)
    assert (table.task, table.labels) == ("classify", ("owl", "wren"))


def test_annotated_recordings_become_their_events_and_the_gaps_between(tmp_path):
    write_sounds(tmp_path, ["r.wav"], 9.0)
    rows = ["r.wav,2,3,owl", "r.wav,2.5,4,wren", "r.wav,4.5,5,owl"]
    text = "\n".join(["filename,onset,offset,event_label", *rows])
    (tmp_path / "strong.csv").write_text(text)
    table = read_fit_table(tmp_path / "strong.csv")
    assert table.task == "tag"
    found = [(part.event.onset, part.event.offset, part.labels) for part in table.parts]
    assert found == [
        (0.0, 2.0, ()),
        (2.0, 3.0, ("owl", "wren")),
        (2.5, 4.0, ("owl", "wren")),
        (4.5, 5.0, ("owl",)),  # the gap before it is too short
    ]


def test_numbers_are_for_regression_and_missing_files_are_listed(tmp_path):
    write_sounds(tmp_path, ["a.wav", "b.wav"])
    lines = ["filename,group,snr", "a.wav,g1,1.5", "gone.wav,g2,2", "b.wav,g1,-3"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = read_fit_table(tmp_path / "t.csv", target="snr")
    assert table.task == "regress"
    assert [part.value for part in table.parts] == [1.5, -3.0]
    assert [part.group for part in table.parts] == ["g1", "g1"]
    assert len(table.missing) == 1
    assert table.missing[0].startswith("row 3: gone.wav: no such file")


def test_a_target_of_words_holds_labels(tmp_path):
    write_sounds(tmp_path, ["a.wav", "b.wav"])
    (tmp_path / "t.csv").write_text("file,kind,start,duration\na.wav,x;y,0.5,0.25\nb.wav,x,,\n")
    table = read_fit_table(tmp_path / "t.csv", target="kind")
    assert (table.task, table.labels) == ("tag", ("x", "y"))
    assert (table.parts[0].event.onset, table.parts[0].event.offset) == (0.5, 0.75)
    assert table.parts[1].event.offset == np.inf


def test_numbers_are_classes_where_that_is_the_task(tmp_path):
    write_sounds(tmp_path, ["a.wav", "b.wav"])
    (tmp_path / "t.csv").write_text("file,digit\na.wav,3\nb.wav,7\n")
    table = read_fit_table(tmp_path / "t.csv", target="digit", task="classify")
    assert table.labels == ("3", "7")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "sn"}, UsageError, "no column 'sn'. Did you mean snr"),
        ({"task": "guess"}, UsageError, "unknown task 'guess'"),
        ({"task": "regress", "target": "name"}, TableError, "expected a number for name, got 'one"),
        ({"target": "start"}, TableError, "expected a number for start, got 'soon'"),
    ],
)
def test_misuse_is_refused(tmp_path, options, error, message):
    write_sounds(tmp_path, ["a.wav", "b.wav"])
    rows = ["a.wav,one,1,0", "b.wav,two,2,soon" if "start" in options.values() else "b.wav,two,2,0"]
    (tmp_path / "t.csv").write_text("\n".join(["file,name,snr,start", *rows]))
    with pytest.raises(error, match=message):
        read_fit_table(tmp_path / "t.csv", **options)


def test_a_table_without_a_clip_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("file,snr\ngone.wav,2\n")
    with pytest.raises(TableError, match="no clip is there"):
        read_fit_table(tmp_path / "t.csv", target="snr")


@pytest.mark.parametrize("cell", ["", "nan", "inf", "loud"])
def test_a_gap_among_numbers_is_a_faulty_row_and_not_a_class(tmp_path, cell):
    write_sounds(tmp_path, ["a.wav", "b.wav", "c.wav"])
    (tmp_path / "t.csv").write_text(f"file,snr\na.wav,1\nb.wav,{cell}\nc.wav,2\n")
    with pytest.raises(TableError, match=rf"row 3: b\.wav: expected .* got '{cell}'.*--task class"):
        read_fit_table(tmp_path / "t.csv", target="snr")
    assert read_fit_table(tmp_path / "t.csv", target="snr", task="tag").labels[:2] == ("1", "2")


@pytest.mark.parametrize("times", ["-1,2", "0,0"])
def test_times_out_of_range_are_refused(tmp_path, times):
    write_sounds(tmp_path, ["a.wav"])
    (tmp_path / "t.csv").write_text(f"file,snr,start,duration\na.wav,1,{times}\n")
    with pytest.raises(TableError, match="expected start >= 0 and duration > 0"):
        read_fit_table(tmp_path / "t.csv", target="snr")


def test_spaces_around_labels_do_not_count(tmp_path):
    write_sounds(tmp_path, ["a.wav"])
    (tmp_path / "t.csv").write_text("file,kind\na.wav,x; y ;\n")
    assert read_fit_table(tmp_path / "t.csv", target="kind").labels == ("x", "y")
