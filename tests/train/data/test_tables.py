"""Tables of clips: one small reader per kind, and the index that is ours."""

import csv
import math
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import TableError, UsageError
from sed.events.reading.audio_files import stem
from sed.events.tracker import Event
from train.data.clips import Clip
from train.data.formats import FORMATS
from train.data.tables import read_table, write_index


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"RIFF")


def write_table(path, columns, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return path


def esc50_like(folder, *rows):
    touch(*(folder / "audio" / row[0] for row in rows if row and row[0] != "gone.wav"))
    return write_table(folder / "table.csv", "filename,fold,category,src_file,licence", *rows)


def faults_of(path, **options):
    with pytest.raises(TableError) as caught:
        read_table(path, **options)
    return str(caught.value)


def test_a_table_like_esc50s(tmp_path):
    table = esc50_like(
        tmp_path, ("a.wav", 1, "dog", 7, "CC0"), ("b.wav", 10, "cat", "", "CC-BY"), ()
    )
    clips = read_table(tmp_path)
    assert clips == read_table(table) == read_table(tmp_path, table_format="esc50")
    assert clips == [
        Clip(str(tmp_path / "audio/a.wav"), ("dog",), "7", "1", "CC0"),
        Clip(str(tmp_path / "audio/b.wav"), ("cat",), "b.wav", "10", "CC-BY"),
    ]


def test_a_table_in_a_folder_of_its_own(tmp_path):
    touch(tmp_path / "audio/a.wav")
    write_table(tmp_path / "meta/esc50.csv", "filename,fold,category", ("a.wav", 1, "dog"))
    assert read_table(tmp_path)[0].path == str(tmp_path / "audio/a.wav")


def test_the_real_esc50(shared):
    clips = read_table(shared / "data" / "esc50")
    assert len(clips) == 2_000
    assert len({clip.labels for clip in clips}) == 50
    assert {clip.fold for clip in clips} == set("12345")
    assert sum(clip.licence == "CC0" for clip in clips) == 868


def test_all_faulty_rows_are_reported_together(tmp_path):
    rows = ("a.wav", 1, "dog", 7, ""), ("gone.wav", 1, "cat", 8, ""), ("b.wav", "", " ", 9, "")
    message = faults_of(esc50_like(tmp_path, *rows))
    assert message == (
        f"{tmp_path}/table.csv: 2 faulty rows of 3; correct or remove them:\n"
        f"  row 3: gone.wav: no such file in {tmp_path}/audio\n"
        "  row 4: b.wav: no fold and no category"
    )


def test_no_more_than_twenty_faulty_rows_are_shown(tmp_path):
    message = faults_of(esc50_like(tmp_path, *[("gone.wav", 1, "cat", 8, "")] * 23))
    assert "23 faulty rows of 23" in message
    assert len(message.splitlines()) == 22
    assert message.endswith("… and 3 more")


def test_urbansound8k(tmp_path):
    touch(tmp_path / "audio/fold5/100032-3-0-0.wav", tmp_path / "audio/fold10/102-1.wav")
    columns = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    rows = [
        ("100032-3-0-0.wav", 100032, 0.0, 0.317551, 1, 5, 3, "dog_bark"),
        ("102-1.wav", 102, 3.5, 7.5, 2, 10, 1, "car_horn"),
    ]
    path = write_table(tmp_path / "metadata/UrbanSound8K.csv", columns, *rows)
    first, second = read_table(tmp_path)
    folder = tmp_path / "audio"
    assert first == Clip(str(folder / "fold5/100032-3-0-0.wav"), ("dog_bark",), "100032", "5")
    assert second == Clip(str(folder / "fold10/102-1.wav"), ("car_horn",), "102", "10")
    write_table(path, columns, rows[0], ("102-1.wav", 102, 3.5, 7.5, 2, 11, 1, "car_horn"))
    assert "row 3: 102-1.wav: unknown fold '11': expected 1 to 10" in faults_of(path)


BIRDS = "primary_label,secondary_labels,type,latitude,author,filename,license,rating"


@pytest.mark.parametrize(
    ("folder", "name"), [("train_audio", "owl1/XC12.ogg"), ("train_short_audio", "XC12.ogg")]
)
def test_birdclef(tmp_path, folder, name):
    touch(tmp_path / folder / "owl1/XC12.ogg")
    second = "['jay1', 'owl1', '', 'tit2', 'jay1']"
    write_table(
        tmp_path / "train_metadata.csv",
        BIRDS,
        ("owl1", second, "['call']", 51.5, "Ada, B.", name, "CC BY", 4.5),
    )
    write_table(tmp_path / "sample_submission.csv", "row_id,owl1", ("x_5", 0.1))
    assert read_table(tmp_path) == [
        Clip(
            str(tmp_path / folder / "owl1/XC12.ogg"),
            ("owl1",),
            "Ada, B.",
            licence="CC BY",
            secondary=("jay1", "tit2"),
        )
    ]


def test_birdclef_2025_has_other_columns(tmp_path):
    touch(tmp_path / "train_audio/41663/XC1.ogg")
    columns = "primary_label,secondary_labels,type,filename,collection,rating,url"
    row = ("41663", "['']", "[]", "41663/XC1.ogg", "XC", 0.0, "x")
    [clip] = read_table(write_table(tmp_path / "train.csv", columns, row))
    assert (clip.labels, clip.secondary, clip.group) == (("41663",), (), "41663/XC1.ogg")


@pytest.mark.parametrize(
    "literal",
    [
        "['a'",
        "a",
        "['a', 3]",
        "{'a': 1}",
        "'a'",
        "__import__('os').mkdir('evaluated')",
        "[" * 5_000,
        "[x for x in 'ab']",
    ],
)
def test_secondary_labels_are_parsed_and_never_evaluated(tmp_path, monkeypatch, literal):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "train_audio/a.ogg")
    path = write_table(
        tmp_path / "t.csv", BIRDS, ("owl", literal, "", "", "", "a.ogg", "", ""),
        ("owl", "", "", "", "", "gone.ogg", "", ""),
    )  # fmt: skip
    message = faults_of(path)
    assert "2 faulty rows of 2" in message
    assert f"row 2: a.ogg: secondary_labels is not a list of labels: {literal[:60]!r}" in message
    assert not (tmp_path / "evaluated").exists()


def test_fsdkaggle2018_with_its_test_set(tmp_path):
    touch(tmp_path / "FSDKaggle2018.audio_train/1.wav", tmp_path / "FSDKaggle2018.audio_test/2.wav")
    meta = tmp_path / "FSDKaggle2018.meta"
    write_table(
        meta / "train_post_competition.csv",
        "fname,label,manually_verified,freesound_id,license",
        ("1.wav", "Oboe", 1, 77, "CC0"),
    )
    write_table(
        meta / "test_post_competition.csv",
        "fname,label,usage,freesound_id,license",
        ("2.wav", "Flute", "Private", 78, "CC-BY"),
        ("gone.wav", "None", "Ignored", "", ""),
    )
    test, train = read_table(tmp_path)
    assert test == Clip(
        str(tmp_path / "FSDKaggle2018.audio_test/2.wav"), ("Flute",), "78", "test", "CC-BY"
    )
    assert train == Clip(
        str(tmp_path / "FSDKaggle2018.audio_train/1.wav"), ("Oboe",), "77", "", "CC0"
    )


def test_fsdkaggle2018_as_the_competition_gave_it(tmp_path):
    touch(tmp_path / "audio_train/1.wav")
    write_table(tmp_path / "train.csv", "fname,label,manually_verified", ("1.wav", "Oboe", 0))
    write_table(tmp_path / "sample_submission.csv", "fname,label", ("2.wav", "Oboe Flute Cello"))
    [clip] = read_table(tmp_path)
    assert (clip.labels, clip.group, clip.fold) == (("Oboe",), "1.wav", "")


def test_a_folder_per_class(tmp_path):
    names = ["cat/a.wav", "cat/deep/b.FLAC", "dog/c.mp3", ".hidden/x.wav", "cat/.x.wav", "cat/x.md"]
    touch(*(tmp_path / name for name in names))
    clips = read_table(tmp_path)
    assert [(clip.group, clip.labels) for clip in clips] == [
        ("cat/a.wav", ("cat",)),
        ("cat/deep/b.FLAC", ("cat",)),
        ("dog/c.mp3", ("dog",)),
    ]
    assert clips == read_table(tmp_path, table_format="folders")


def test_tables_in_folders_that_are_taken_for_classes_are_reported(tmp_path, caplog):
    caplog.set_level("WARNING", logger="sed")
    for site in ("north", "south"):
        touch(tmp_path / site / "a.wav")
        write_table(tmp_path / site / "t.csv", "file,label", ("a.wav", "dog"))
    assert [clip.labels for clip in read_table(tmp_path)] == [("north",), ("south",)]
    assert caplog.messages == [
        f"{tmp_path}: names of folders taken for labels, and not read: north/t.csv, south/t.csv"
    ]


def test_what_is_no_table_is_refused(tmp_path):
    assert "neither a known table, nor recordings" in faults_of(tmp_path)
    assert "no such table or folder. Check the name." in faults_of(tmp_path / "nowhere")
    (tmp_path / "empty.csv").write_text("")
    assert "(empty.csv: " in faults_of(tmp_path)
    assert "no esc50 table" in faults_of(tmp_path / "empty.csv", table_format="esc50")
    (tmp_path / "empty.csv").write_text("filename,fold,category\n")
    assert faults_of(tmp_path) == f"{tmp_path}/empty.csv: holds no rows. Check --data."
    (tmp_path / "empty.csv").write_text("filename,fold,category\na,1,x,y\n")
    assert faults_of(tmp_path) == (
        f"{tmp_path}/empty.csv: cannot be read as a table: row 2 has 4 cells, and the header 3. "
        "Quote cells that hold commas."
    )
    with pytest.raises(UsageError, match=r"unknown table format 'esc5'\. Did you mean esc50"):
        read_table(tmp_path, table_format="esc5")


def test_several_tables_are_not_guessed_between(tmp_path):
    esc50_like(tmp_path, ("a.wav", 1, "dog", 7, ""))
    write_table(tmp_path / "meta/other.csv", "filename,fold,category", ("a.wav", 1, "dog"))
    assert faults_of(tmp_path).endswith(
        "holds several tables; name one of table.csv, meta/other.csv."
    )


def test_missing_columns_are_reported_with_the_nearest_formats(tmp_path):
    path = write_table(tmp_path / "t.csv", "filename,category,author", ("a.wav", "dog", "me"))
    assert faults_of(path).startswith(
        f"{path}: not a known table: esc50 lacks fold; birdclef lacks primary_label; "
    )
    assert faults_of(tmp_path, table_format="urbansound8k").startswith(
        f"{path}: no urbansound8k table: urbansound8k lacks slice_file_name, fsID, fold, class; "
        "esc50 lacks fold; birdclef lacks primary_label. Correct its columns or give another"
    )
    fitting = write_table(tmp_path / "u.csv", "filename,fold,category", ("a.wav", 1, "dog"))
    assert "its columns fit esc50" in faults_of(fitting, table_format="fsdkaggle2018")
    assert "fsdkaggle2018 lacks fname, label, manually_verified or usage" in faults_of(
        fitting, table_format="fsdkaggle2018"
    )


def test_each_kind_of_table_is_known_by_its_own_columns(tmp_path):
    for kind, table in FORMATS.items():
        if table.columns:
            header = ",".join([*table.columns, *table.either[:1]])
            assert "holds no rows" in faults_of(write_table(tmp_path / f"{kind}.csv", header))


WORDS = (
    st.text(
        st.characters(exclude_characters=";\0", exclude_categories=["Cs"]), min_size=1, max_size=8
    )
    .map(str.strip)
    .filter(bool)
)
LABELS = st.lists(WORDS, max_size=3, unique=True).map(tuple)
SECONDS = st.floats(0, 1e5)


@st.composite
def indexed_clips(draw):
    onset, length = draw(SECONDS), draw(st.floats(1e-3, 1e3))
    events = [(), (Event(onset, onset + length, draw(WORDS), 1.0),), None]
    events = draw(st.sampled_from(events))
    labels = draw(LABELS if events is not None else LABELS.filter(len))
    seconds = draw(st.none() | st.floats(1e-3, 1e5))
    texts = draw(WORDS), draw(st.sampled_from(["", "3", "val"])), draw(WORDS)
    return Clip("x", labels, *texts, draw(LABELS), events, draw(SECONDS), seconds)


@settings(deadline=None)
@given(st.lists(indexed_clips(), min_size=1, max_size=4))
def test_an_index_gives_back_the_clips_that_were_written(clips):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a b;c,d", os.fsdecode(b"\xc3\xa9 \xff.wav"))
        touch(path)
        clips = [Clip(str(path), *list(vars(clip).values())[1:-1]) for clip in clips]
        write_index(Path(folder, "index.csv"), clips, None, ["source"] * len(clips))
        assert read_table(folder) == clips


def test_an_index_keeps_the_labels_and_moves_with_its_folder(tmp_path):
    inside, outside = tmp_path / "out/audio/a.wav", tmp_path / "b.wav"
    touch(inside, outside)
    clips = [Clip(str(path), ("x",), "g", "3") for path in (inside, inside, outside, outside)]
    splits = ["train", "val", "test", ""]
    write_index(tmp_path / "out/index.csv", clips, splits, ["s1", "s2", "s3", "s4"])
    with open(tmp_path / "out/index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["audio/a.wav"] * 2 + [str(outside)] * 2
    assert [row["source"] for row in rows] == ["s1", "s2", "s3", "s4"]
    (tmp_path / "out").rename(tmp_path / "moved")
    clips = read_table(tmp_path / "moved")
    assert [clip.fold for clip in clips] == ["train", "val", "test", "3"]
    assert clips[0].path == str(tmp_path / "moved/audio/a.wav")


def test_faulty_rows_of_an_index(tmp_path):
    touch(tmp_path / "a.wav")
    cells = [
        ("", "", "0", "", ""),
        ("x", "dev", "0", "", ""),
        ("x", "", "-1", "", ""),
        ("x", "", "0", "0", ""),
        ("x", "", "soon", "", ""),
        ("x", "", "", "nan", ""),
        ("x", "", "", "", "[[1, 2]]"),
        ("x", "", "", "", "[[2, 1, 'x']]"),
        ("x", "", "", "", '[[2, 1, "x"]]'),
        ("x", "", "", "", "[[0, 1, 5]]"),
        ("", "", "", "", "[]"),
    ]
    path = write_table(
        tmp_path / "index.csv", "file,label,split,start,duration,events",
        *[("a.wav", *row) for row in cells],
    )  # fmt: skip
    assert faults_of(path).splitlines()[1:] == [
        "  row 2: a.wav: no label",
        "  row 3: a.wav: unknown split 'dev': expected train, val, test or nothing",
        "  row 4: a.wav: expected a start of 0 or more, and a duration above 0",
        "  row 5: a.wav: expected a start of 0 or more, and a duration above 0",
        "  row 6: a.wav: expected a number for start, got 'soon'",
        "  row 7: a.wav: expected a number for duration, got 'nan'",
        "  row 8: a.wav: events are not a list of [onset, offset, label]: '[[1, 2]]'",
        "  row 9: a.wav: events are not a list of [onset, offset, label]: \"[[2, 1, 'x']]\"",
        "  row 10: a.wav: expected an onset of 0 or more and an offset after it, got 2 and 1",
        "  row 11: a.wav: no label",
    ]


def test_what_an_index_cannot_hold_is_refused_at_once(tmp_path):
    clips = [Clip("a.wav", ("x;y",), "g"), Clip("b.wav", ("x",), "g", start_seconds=math.pi)]
    with pytest.raises(UsageError) as caught:
        write_index(tmp_path / "index.csv", clips, ["train", "dev"], ["", ""])
    assert str(caught.value).endswith(
        "label 'x;y' holds a ;, which separates labels; unknown split 'dev'"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["1-7-A.ogg", "audio/1-7-A.ogg.wav", "/x/1-7-A.WAV", "1-7-A", "a.b/1-7-A.flac"]
)
def test_bare_names_have_no_folder_and_no_endings_of_sound(path):
    assert stem(path) == "1-7-A"
    assert stem("site.2024.wav") == "site.2024"


@pytest.mark.parametrize("table_format", ["auto", "index"])
def test_detected_events_are_refused_as_labels_of_clips(tmp_path, table_format):
    path = tmp_path / "events.csv"
    path.write_text("file,onset,offset,label,score\na.wav,0.5,1.0,dog,0.9\n")
    with pytest.raises(
        TableError, match=r"events\.csv: holds detected events with scores"
    ) as caught:
        read_table(path, table_format=table_format)
    assert "rename the columns file and label to filename and event_label" in str(caught.value)


@pytest.fixture
def three_seconds(monkeypatch):
    """Let all recordings be three seconds long: their samples are not read."""
    monkeypatch.setattr("train.data.row_formats.recording_seconds", lambda _: 3.0)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
def test_windows_of_opensoundscape_with_a_column_per_class(tmp_path, three_seconds, yes, no):
    """The last window may end after the recording; one without a class has no events."""
    touch(tmp_path / "a/x.wav")
    columns = ",file,start_time,end_time,Strix aluco,Jay"
    rows = [(0, "a/x.wav", 0.0, 2.0, yes, no), (1, "a/x.wav", 1.0, 3.0, no, no),
            (2, "a/x.wav", 2.0, 4.0, yes, yes), (3, "a/x.wav", 3.0, 5.0, yes, no)]  # fmt: skip
    path = write_table(tmp_path / "labels.csv", columns, *rows)
    file, name = str(tmp_path / "a/x.wav"), "a/x.wav"
    clips = [
        Clip(file, ("Strix aluco",), name, start_seconds=0.0, duration_seconds=2.0),
        Clip(file, (), name, events=(), start_seconds=1.0, duration_seconds=2.0),
        Clip(file, ("Strix aluco", "Jay"), name, start_seconds=2.0, duration_seconds=1.0),
    ]
    assert read_table(path) == read_table(tmp_path) == clips
    write_index(tmp_path / "index.csv", clips, None, [""] * 3)
    assert read_table(tmp_path / "index.csv") == clips


def test_scores_in_place_of_labels_are_refused(tmp_path, three_seconds):
    touch(tmp_path / "x.wav")
    columns = "file,start_time,end_time,owl,jay"
    rows = [("x.wav", 0, 1, 0.93, 1), ("x.wav", 1, 1, 1, 0), ("x.wav", 1, 2, "", 0)]
    assert faults_of(write_table(tmp_path / "t.csv", columns, *rows)).splitlines()[1:] == [
        "  row 2: x.wav: expected 0 or 1 for owl, got '0.93'",
        "  row 3: x.wav: expected a start of 0 or more and an end after it, got 1 and 1",
        "  row 4: x.wav: expected 0 or 1 for owl, got ''",
    ]


def test_start_and_end_beside_a_label_are_those_of_an_event(tmp_path):
    touch(tmp_path / "x.wav")
    rows = [("x.wav", 0.5, 1.5, "owl"), ("x.wav", 2, 3, "jay")]
    path = write_table(tmp_path / "t.csv", "file,start_time,end_time,label", *rows)
    [clip] = read_table(path)
    assert clip.events == (Event(0.5, 1.5, "owl", 1.0), Event(2.0, 3.0, "jay", 1.0))


def test_annotations_of_opensoundscape(tmp_path):
    touch(tmp_path / "x.wav")
    columns = "audio_file,annotation_file,annotation,start_time,end_time,low_f,high_f"
    row = ("/home/ada/x.wav", "x.txt", "owl", 0.5, 1.5, 100, 900)
    path = write_table(tmp_path / "t.csv", columns, row)
    [clip] = read_table(path)
    assert (clip.path, clip.events) == (str(tmp_path / "x.wav"), (Event(0.5, 1.5, "owl", 1.0),))
