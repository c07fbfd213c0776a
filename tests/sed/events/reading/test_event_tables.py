import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest

from sed.errors import SedError, TableError
from sed.events.reading import event_tables
from sed.events.reading.event_tables import read_event_table, read_event_tables
from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION
from sed.events.tracker import Event
from sed.events.writing.formats import EXTENSIONS, open_writer
from sed.files import written_whole

TIME = datetime(2026, 5, 1, 4, 30, 1, 250_000, tzinfo=timezone(timedelta(hours=-2, minutes=-30)))
EVENTS = [
    Event(1.5, 2.25, 'dog, "big"', 0.9, "site/a.wav", TIME),
    Event(3.0, 4.0, "owl", 0.25, "b.wav", TIME.replace(tzinfo=None)),
]


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_what_is_written_is_read(tmp_path, format):
    path = tmp_path / f"events.{format}"
    if format == "parquet":
        pytest.importorskip("pyarrow")
    with written_whole(path) as part, open_writer(part, format, dated=True) as writer:
        for event in EVENTS:
            writer.write(event)
    read = [*read_event_table(path).events()]
    kept = [(e.onset, e.offset, e.label, e.file) for e in read]
    assert kept == [(e.onset, e.offset, e.label, e.file) for e in EVENTS]
    if format != "tsv":
        assert [e.time for e in read] == [e.time for e in EVENTS]
        assert [e.score for e in read] == pytest.approx([0.9, 0.25])


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_columns_for_spreadsheets_give_the_time_of_the_place(tmp_path, format):
    path = tmp_path / f"events.{format}"
    if format == "parquet":
        pytest.importorskip("pyarrow")
    columns = ("site", "time", "date")
    with written_whole(path) as part, open_writer(part, format, columns=columns) as writer:
        for event in [*EVENTS, Event(5.0, 6.0, "cat", 0.5, "c.wav")]:
            writer.write(event)
    *dated, undated = read_event_table(path).events()
    local = [e.time.replace(tzinfo=None, microsecond=0) for e in dated]
    assert local == [datetime(2026, 5, 1, 4, 30, 1)] * 2
    assert undated.time is None
    if format == "parquet":
        import pandas

        assert pandas.read_parquet(path)["site"].tolist()[0] == "site"


@pytest.mark.parametrize("days", ["", ",date"])
def test_a_time_without_a_day_is_no_time(tmp_path, days):
    (tmp_path / "e.csv").write_text(
        f"file,onset,offset,label,score,time{days}\na.wav,1,2,dog,0.5,04:30:01{days and ','}\n"
    )
    assert [*read_event_table(tmp_path / "e.csv").events()] == [Event(1, 2, "dog", 0.5, "a.wav")]


@pytest.mark.parametrize(
    "text",
    [
        "file,onset,offset,label,score\na.wav,1,2,dog,0.5\nb.wav,3,4,owl,0.75\n",
        "file;onset;offset;label;score\na.wav;1,0;2,0; dog;0,5\nb.wav;3,0;4,0;owl;0,75\n",
        "file,onset,offset,label,score\na.wav,1,2,dog,0.5\nempty.wav,,,,\nb.wav,3,4,owl,0.75\n",
        "file,onset,offset,label,score,time\na.wav,1,2,dog,0.5,\nb.wav,3,4,owl,0.75,\n",
        "file,onset,offset,label,score\na.wav,0,1,[gap],0\na.wav,1,2,dog,0.5\nb.wav,3,4,owl,0.75\n",
    ],
)
def test_csv_of_this_package_and_of_spreadsheets(tmp_path, text):
    (tmp_path / "e.csv").write_text(text)
    expected = [Event(1, 2, "dog", 0.5, "a.wav"), Event(3, 4, "owl", 0.75, "b.wav")]
    assert [*read_event_table(tmp_path / "e.csv").events()] == expected


def test_plain_csv_is_read_without_a_row_by_row_reader(tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(event_tables, "read_events", fail)
    (tmp_path / "e.csv").write_text("file,onset,offset,label,score\na.wav,1,2,dog,0.5\n")
    assert len(read_event_table(tmp_path / "e.csv")) == 1
    (tmp_path / "e.csv").write_text(
        "file,onset,offset,label,score,date,time\na.wav,1,2,dog,0.5,2026-05-01,04:30:01\n"
    )
    assert read_event_table(tmp_path / "e.csv").event(0).time == datetime(2026, 5, 1, 4, 30, 1)


def test_events_without_a_recording_are_of_that_beside_the_table(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "dawn.wav").touch()
    (tmp_path / "site" / "dawn.labels.txt").write_text("1\t2\towl\n")
    (tmp_path / "site" / "dusk.Table.1.selections.txt").write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tLabel\n1\t3\t4\tdog\n"
    )
    (tmp_path / "site" / "notes.txt").write_text("a fine morning\n")
    (tmp_path / "site" / ".hidden.csv").write_text("file,onset,offset,label\na,b,c,d\n")
    assert [*read_event_tables([tmp_path]).events()] == [
        Event(1, 2, "owl", 1.0, str(tmp_path / "site" / "dawn.wav")),
        Event(3, 4, "dog", 1.0, str(tmp_path / "site" / "dusk")),
    ]


def test_the_database_of_live_events(tmp_path):
    path = tmp_path / "events.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE events (id INTEGER, source, label, onset, offset, score, time);"
            "INSERT INTO events VALUES (1, 'garden', 'dog', 1.0, 2.0, 0.5, "
            "'2026-05-01T04:30:01.250-02:30');"
            f"PRAGMA application_id = {LIVE_RECORD}; PRAGMA user_version = {LIVE_RECORD_VERSION};"
        )
    assert [*read_event_table(path).events()] == [Event(1, 2, "dog", 0.5, "garden", TIME)]


def test_a_file_named_twice_counts_once(tmp_path):
    (tmp_path / "e.csv").write_text("file,onset,offset,label,score\na.wav,1,2,dog,0.5\n")
    assert len(read_event_tables([tmp_path / "e.csv", tmp_path])) == 1


def test_all_that_cannot_be_read_is_listed(tmp_path):
    (tmp_path / "bad.csv").write_text("file,onset,offset,label,score\na.wav,x,2,dog,0.5\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.sqlite").write_bytes(b"SQLite format 3\0" + bytes(84))
    names = ["bad.csv", "other.csv", "empty", "missing.csv", "other.sqlite"]
    with pytest.raises(TableError, match="5 inputs cannot be read") as caught:
        read_event_tables(tmp_path / name for name in names)
    message = str(caught.value)
    assert all(str(tmp_path / name) in message for name in names)
    assert "row 2: expected a number for onset, got 'x'" in message
    with pytest.raises(SedError, match="no tables of events in it"):
        read_event_tables([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("e.jsonl", '{"file": "a", "onset": 1' + "0" * 400 + ', "offset": 2, "label": "d", '
         '"score": 1}\n', "1 row cannot be read as jsonl"),
        ("e.jsonl", '{"file": "a", "onset": NaN, "offset": 2, "label": "d", "score": 1}\n',
         "1 event with times that cannot be; correct or remove them:\n  d from nan to 2 s"),
        ("e.csv", "file,onset,offset,label,score\na,5,1,d,1\na,1,2,d,1\na,-3,1,d,1\n",
         "2 events with times that cannot be; correct or remove them:\n  d from 5 to 1 s\n"
         "  d from -3 to 1 s"),
        ("e.csv", "file,onset,offset,label,score\na,1,1e12,d,1\n",
         "1 event with times that cannot be; correct or remove them:\n  d from 1 to 1e+12 s"),
        ("e.csv", "file,onset,offset,label,score,time\na,1,2,d,1,2026-05-01T00:00:00+99:00\n",
         "1 row cannot be read as csv"),
        ("e.csv", "a" * 200_000 + "\n1\n", "is no table of events"),
    ],
)  # fmt: skip
def test_values_that_cannot_be(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError) as caught:
        read_event_table(tmp_path / name)
    assert message in str(caught.value)


@pytest.mark.parametrize("values", ["NULL", "'noon'", "'2026-05-01T00:00:00+99:00'"])
def test_a_database_with_odd_values(tmp_path, values):
    path = tmp_path / "events.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE events (id INTEGER, source, label, onset, offset, score, time);"
            f"INSERT INTO events VALUES (1, 'garden', 'dog', 1.0, 2.0, 0.5, {values});"
            f"PRAGMA application_id = {LIVE_RECORD}; PRAGMA user_version = {LIVE_RECORD_VERSION};"
        )
    with pytest.raises(TableError, match=r"events\.sqlite: cannot be read as events"):
        read_event_table(path)


def test_text_that_is_not_utf_8_is_that_of_windows(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes(b"file,onset,offset,label,score\na.wav,1,2,m\xe9sange,0.5\n")
    assert read_event_table(path).labels == ("mésange",)


def test_one_of_several_formats_of_a_scan_is_read(tmp_path, caplog):
    caplog.set_level("WARNING", logger="sed")
    for format in ("csv", "jsonl", "audacity", "raven"):
        path = tmp_path / f"b.wav{EXTENSIONS[format]}"
        with open_writer(path, format) as writer:
            writer.write(EVENTS[1])
    (tmp_path / "c.labels.txt").write_text("1\t2\tdog\n")
    assert [e.label for e in read_event_tables([tmp_path]).events()] == ["owl", "dog"]
    assert "the same recordings in several formats: left out b.wav.jsonl" in caplog.text


def test_every_format_of_a_scan_is_one_of_several(tmp_path):
    event = Event(1.5, 2.25, "dog", 0.9, "rec/a.wav")
    for format, ending in EXTENSIONS.items():
        if format not in ("npz", "parquet"):
            with (
                open(tmp_path / f"a.wav{ending}", "w") as file,
                open_writer(file, format) as writer,
            ):
                writer.write(event)
    assert len(read_event_tables([tmp_path])) == 1


def test_an_event_of_several_tables_counts_once(tmp_path, caplog):
    header = "file,onset,offset,label,score\n"
    dogs = "a.wav,1,2,dog,0.5\na.wav,1,2,dog,0.5\n"  # of one table, both count
    (tmp_path / "a.wav.csv").write_text(header + dogs + "a.wav,3,4,owl,0.5\n")
    (tmp_path / "all.csv").write_text(header + dogs + "a.wav,1,2,owl,0.5\nb.wav,1,2,dog,0.5\n")
    table = read_event_tables([tmp_path])
    found = [(e.file, e.onset, e.label) for e in table.events()]
    assert found == [
        *[("a.wav", 1, "dog")] * 2,
        *[("a.wav", 3, "owl"), ("a.wav", 1, "owl"), ("b.wav", 1, "dog")],
    ]
    assert "2 events are in several tables: each counts once" in caplog.text


def test_names_without_folders_are_those_of_the_site(tmp_path):
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        path = tmp_path / site / "dawn.wav.selections.txt"
        with open(path, "w") as file, open_writer(file, "raven") as writer:
            writer.write(Event(1, 2, "dog", 0.5, f"rec/{site}/dawn.wav"))
    files = read_event_tables([tmp_path]).files
    assert files == (str(tmp_path / "north/dawn.wav"), str(tmp_path / "south/dawn.wav"))


def test_a_folder_is_listed_once_for_all_annotations_in_it(tmp_path, monkeypatch):
    for i in range(5):
        (tmp_path / f"{i}.wav").touch()
        (tmp_path / f"{i}.labels.txt").write_text("1\t2\tdog\n")
    n_made = 0
    make = event_tables.Recordings

    def counted(files):
        nonlocal n_made
        n_made += 1
        return make(files)

    monkeypatch.setattr(event_tables, "Recordings", counted)
    table = read_event_tables([tmp_path])
    assert table.files == tuple(str(tmp_path / f"{i}.wav") for i in range(5))
    assert n_made == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "file,onset,offset,label\nx.wav,1,2,\nx.wav,2,3, \nx.wav,3,4,owl\ny.wav,,,\n"),
        ("a.tsv", "filename\tonset\toffset\tevent_label\nx\t1\t2\t\nx\t2\t3\t\nx\t3\t4\towl\n"),
        ("a.txt", "1\t2\t\n2\t3\n3\t4\towl\n"),
    ],
)
def test_rows_without_a_label_are_reported(tmp_path, caplog, name, text):
    caplog.set_level("WARNING", logger="sed")
    (tmp_path / name).write_text(text)
    table = read_event_table(tmp_path / name)
    assert table.labels == ("owl",)
    assert table.onset.tolist() == [3.0]
    assert caplog.messages == [f"{tmp_path / name}: 2 rows without a label left out"]


def test_two_columns_of_one_name_are_not_mixed_up(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("file,onset,offset,label,Label\nx.wav,1,2,owl,jay\n")
    with pytest.raises(TableError, match=r"columns label and Label differ in row 2"):
        read_event_table(path)


def test_nothing_is_assumed_about_our_own_tables(tmp_path, caplog):
    for format, ending in EXTENSIONS.items():
        if format not in ("npz", "parquet"):
            path = tmp_path / f"a.wav{ending}"
            with open_writer(str(path), format) as writer:
                writer.write(Event(1.5, 2.25, "dog", 0.9, "rec/a.wav"))
            read_event_table(path)
    [message] = caplog.messages
    assert message.endswith("read labels of the column AUTO ID, which a program wrote")
