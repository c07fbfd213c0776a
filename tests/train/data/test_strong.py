"""Strong labels: one table for many recordings, or annotations beside each."""

import pytest

from sed.errors import TableError
from sed.events.formats import open_writer
from sed.events.tracker import Event
from train.data.clips import Clip
from train.data.strong import read_annotated
from train.data.tables import read_table

EVENTS = [
    Event(0.25, 1.5, "a\\b", 1.0),
    Event(1.0, 2.0, "élan", 1.0),
    Event(3.0, 3.5, "x\u2028\ty", 1.0),
]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two recordings whose samples are not read."""
    for name in ("dawn.wav", "dusk.FLAC"):
        (tmp_path / name).touch()
    return tmp_path


def write_events(path, kind, events):
    with open_writer(path, kind) as writer:
        for event in events:
            writer.write(event)


def faults_of(path):
    with pytest.raises(TableError) as caught:
        read_table(path, table_format="strong")
    return str(caught.value)


def test_finches(shared):
    clips = read_table(shared / "data" / "finch")
    assert clips == read_table(shared / "data" / "finch" / "strong.tsv", table_format="strong")
    assert len(clips) == 60
    assert sum(len(clip.events) for clip in clips) == 3_116
    assert {label for clip in clips for label in clip.labels} == {f"syl{i}" for i in range(9)}
    [first] = [clip for clip in clips if clip.group == "0.flac"]
    assert first.path.endswith("finch/audio/0.flac")
    assert first.events[0] == Event(1.07, 1.154, "syl0", 1.0)
    assert first.labels == tuple(sorted({event.label for event in first.events}))
    assert first.duration_seconds is None


def test_a_table_lists_recordings_without_events_too(folder):
    write_events(folder / "t.tsv", "tsv", [Event(2, 3, "b", 1, "dawn.wav")])
    with open(folder / "t.tsv", "a") as file:
        file.write("dusk.FLAC\t\t\t\ndawn.wav\t0.5\t1\ta\n")
    assert read_table(folder) == [
        Clip(
            str(folder / "dawn.wav"),
            ("a", "b"),
            "dawn.wav",
            events=(Event(0.5, 1.0, "a", 1.0), Event(2.0, 3.0, "b", 1.0)),
        ),
        Clip(str(folder / "dusk.FLAC"), (), "dusk.FLAC", events=()),
    ]


def test_faulty_rows_of_a_table_are_reported_together(folder):
    lines = [
        "filename,onset,offset,event_label",
        "dawn.wav,2,1,a",
        "dawn.wav,-1,1,a",
        "dawn.wav,0,1,",
        "dawn.wav,x,1,a",
        "gone.wav,0,1,a",
        "gone.wav,1,2,a",
        ",0,1,a",
    ]
    (folder / "t.csv").write_text("\n".join(lines))
    assert faults_of(folder / "t.csv").splitlines() == [
        f"{folder}/t.csv: 5 faulty rows of 7; correct or remove them:",
        "  row 2: dawn.wav: expected an onset of 0 or more and an offset after it, got 2 and 1",
        "  row 3: dawn.wav: expected an onset of 0 or more and an offset after it, got -1 and 1",
        "  row 5: dawn.wav: expected a number for onset, got 'x'",
        f"  row 6: gone.wav: no such file in {folder}",
        "  row 8: ?: no filename",
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("audacity", "dawn.txt"),
        ("audacity", "dawn.labels.txt"),
        ("audacity", "dawn.wav.labels.txt"),  # as sed detect names it
        ("raven", "dawn.Table.1.selections.txt"),
        ("raven", "dawn.raven.txt"),
        ("raven", "dawn.wav.selections.txt"),
    ],
)
def test_annotations_that_we_wrote_are_read_again(folder, kind, name):
    write_events(folder / name, kind, EVENTS)
    [clip] = read_table(folder)
    assert clip == Clip(
        str(folder / "dawn.wav"), ("a\\b", "x\u2028\ty", "élan"), "dawn.wav", events=tuple(EVENTS)
    )


def test_an_empty_track_says_that_there_is_nothing_and_no_track_says_nothing(folder):
    (folder / "dusk.txt").touch()
    (folder / "LICENSE.txt").write_text("Do as you like.")
    assert read_table(folder) == [Clip(str(folder / "dusk.FLAC"), (), "dusk.FLAC", events=())]
    (folder / "dusk.txt").unlink()
    write_events(folder / "dusk.raven.txt", "raven", [])
    assert read_table(folder)[0].events == ()
    (folder / "dusk.raven.txt").unlink()
    assert "no annotations beside recordings. Expected a table with" in faults_of(folder)


def test_raven_tables_as_people_make_them(folder):
    lines = [
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies",
        "1\tWaveform 1\t1\t2.0\t3.0\towl",
        "1\tSpectrogram 1\t1\t2.0\t3.0\towl",
        "2\tSpectrogram 1\t1\t0.5\t1.0\tjay",
    ]
    (folder / "dawn.Table.1.selections.txt").write_text("\r\n".join(lines) + "\r\n")
    [clip] = read_table(folder)
    assert clip.events == (Event(0.5, 1.0, "jay", 1.0), Event(2.0, 3.0, "owl", 1.0))


def test_audacity_tracks_with_bands_of_frequencies(folder):
    (folder / "dawn.txt").write_text("1.0\t2.0\towl\n\\\t200.0\t900.0\n3.0\t4.0\tjay\n")
    assert [event.label for event in read_table(folder)[0].events] == ["owl", "jay"]


def test_annotations_in_folders_below(tmp_path):
    for place in ("2024/a", "2025"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.wav").touch()
        (tmp_path / place / "x.txt").write_text("0\t1\towl\n")
    assert [clip.group for clip in read_annotated(tmp_path)] == ["2024/a/x.wav", "2025/x.wav"]


def test_faulty_annotations_are_reported_together(folder):
    (folder / "dawn.txt").write_text("1\t2\towl\n3\t2\towl\n1\t2\n\n1;2;owl\n1\t2\t \n")
    (folder / "dawn.wav.labels.txt").write_text("3\t2\towl\n")
    (folder / "dusk.raven.txt").write_text("Selection\tBegin Time (s)\tEnd Time (s)\n1\t0\t1\n")
    (folder / "gone.Table.1.selections.txt").write_text("")
    (folder / "twin.txt").write_text("")
    for ending in ("wav", "mp3"):
        (folder / f"twin.{ending}").touch()
    assert faults_of(folder).splitlines() == [
        f"{folder}: 6 faulty rows of 9; correct or remove them:",
        "  row 2: dawn.txt: expected an onset of 0 or more and an offset after it, got 3 and 2",
        "  row 5: dawn.txt: expected a number for onset, got '1;2;owl'",
        "  row 1: dawn.wav.labels.txt: a second annotation of dawn.wav; keep one",
        "  row 1: dusk.raven.txt: no column label: a table of raven has begin_time_(s), "
        "end_time_(s), and one of label, annotation, species, common_name, species_code. Add it.",
        "  row 1: gone.Table.1.selections.txt: no such recording beside it",
        "  row 1: twin.txt: is it about twin.mp3 or twin.wav?",
    ]
