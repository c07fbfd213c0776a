"""Strong labels: one table for many recordings, or annotations beside each."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed.errors import TableError
from sed.events.tracker import Event
from sed.events.writing.formats import open_writer
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


def test_recordings_are_found_from_here_too(folder, monkeypatch):
    table = folder / "reviews" / "r.tsv"
    table.parent.mkdir()
    write_events(table, "tsv", [Event(2, 3, "b", 1, f"{folder.name}/dawn.wav")])
    monkeypatch.chdir(folder.parent)
    [clip] = read_table(table)
    assert clip.path == f"{folder.name}/dawn.wav"


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
        "  row 1: dusk.raven.txt: no column label: a table of raven has begin_time_(s), "
        "end_time_(s), and one of label, annotation, species, common_name, species_code. Add it.",
        "  row 1: gone.Table.1.selections.txt: no such recording beside it",
        "  row 1: twin.txt: is it about twin.mp3 or twin.wav?",
        "  row 1: dawn.wav.labels.txt: a second annotation of dawn.wav, beside dawn.txt; keep one",
        "  row 2: dawn.txt: expected an onset of 0 or more and an offset after it, got 3 and 2",
        "  row 5: dawn.txt: expected a number for onset, got '1;2;owl'",
    ]


@pytest.fixture
def seconds(monkeypatch):
    """Let all recordings be ten seconds long: their samples are not read."""
    monkeypatch.setattr("train.data.strong.recording_seconds", lambda _: 10.0)


RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tLabel\n"
)
BIRDNET = "Start (s),End (s),Scientific name,Common name,Confidence\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "1\t2\towl\n"),
        ("x.Table.2.selections.txt", RAVEN + "1\t\t1\t1\t2\t\t\towl\n"),
        ("x.wav.selections.txt", RAVEN + "1\t\t1\t1\t2\tx.wav\t1\towl\n"),
        ("x.BirdNET.selection.table.txt", RAVEN + "1\t\t1\t1\t2\tx.wav\t1\towl\n"),
        ("x.BirdNET.results.csv", BIRDNET + "1,2,Strix aluco,owl,0.9\n"),
        ("x.BirdNET.results.r.csv", "filepath,start,end,common_name\n/a/x.wav,1,2,owl\n"),
        ("x.BirdNET.results.kaleidoscope.csv",
         "INDIR,FOLDER,IN FILE,OFFSET,DURATION,common_name\n/a,,x.wav,1,1,owl\n"),
        ("x.csv", "1.0,0.5,1.0,owl\n"),
        ("x.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n0 9 <exists> 1 '
                       '"IntervalTier" "t" 0 9 1 1 2 "owl"'),
        ("x.svl", '<sv><data><model sampleRate="10" dataset="1"/><dataset id="1">'
                  '<point frame="10" duration="10" label="owl"/></dataset></data></sv>'),
    ],
)  # fmt: skip
def test_annotations_below_folders_of_sites(tmp_path, caplog, seconds, name, text):
    """Folders of sites are no classes where recordings in them have annotations."""
    caplog.set_level("WARNING", logger="sed")
    for site in ("north", "south/2024"):
        (tmp_path / site).mkdir(parents=True)
        for recording in ("x.wav", "y.wav"):
            (tmp_path / site / recording).touch()
    (tmp_path / "north" / name).write_text(text)
    [clip] = read_table(tmp_path)
    path = str(tmp_path / "north/x.wav")
    assert clip == Clip(path, ("owl",), "north/x.wav", events=(Event(1, 2, "owl", 1.0),))
    assert caplog.messages[-1] == (
        f"{tmp_path}: 3 recordings without annotations left out, 1 used: north/y.wav, "
        "south/2024/x.wav, south/2024/y.wav"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "filename,onset,offset,event_label\nx.wav,1,2,owl\n"),
        ("events.csv", "file;onset;offset;label\nx.wav;1,0;2,0;owl\n"),
        ("id.csv", "INDIR,FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\nD:\\k,,x.wav,1,1,owl\n"),
        ("all.txt", RAVEN + "1\t\t1\t1\t2\tx.wav\t1\towl\n"),
        ("BirdNET_Table.csv", BIRDNET.replace("\n", ",File\n") + "1,2,Strix,owl,1,D:\\x.wav\n"),
    ],
)  # fmt: skip
def test_a_table_in_the_folder_of_each_site(tmp_path, seconds, name, text):
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "x.wav").touch()
        (tmp_path / site / name).write_text(text)
    clips = read_table(tmp_path)
    assert [clip.group for clip in clips] == ["north/x.wav", "south/x.wav"]
    assert [clip.events for clip in clips] == [(Event(1, 2, "owl", 1.0),)] * 2


def test_annotations_in_a_folder_of_their_own(tmp_path, seconds):
    """The recording is the only one of that name, or that in a folder of the same name."""
    for path in ("audio/north/x.wav", "audio/south/x.wav", "audio/south/y.wav"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
        track = tmp_path / path.replace("audio", "tracks").replace(".wav", ".txt")
        track.parent.mkdir(parents=True, exist_ok=True)
        track.write_text(f"1\t2\t{track.parent.name}\n")
    (tmp_path / "tracks/south/y.txt").rename(tmp_path / "tracks/y.txt")
    (tmp_path / "audio/north/z.txt").write_text("1\t2\towl\n")
    (tmp_path / "audio/south/z.wav").touch()
    assert [(clip.group, clip.labels) for clip in read_table(tmp_path)] == [
        ("audio/north/x.wav", ("north",)),
        ("audio/south/x.wav", ("south",)),
        ("audio/south/y.wav", ("south",)),
    ]


@pytest.mark.parametrize(
    ("recording", "name"),
    [
        ("Rotkehlchen \u00e9.wav", "Rotkehlchen e\u0301.txt"),
        ("Rotkehlchen e\u0301.wav", "Rotkehlchen \u00e9.labels.txt"),
        ("DAWN.WAV", "dawn.txt"),
        ("dawn.wav", "Dawn.TXT"),
        ("dawn.wav", "dawn_labels.txt"),
        ("dawn.wav", "dawn-labels.txt"),
        ("dawn.wav", "dawn labels.txt"),
        ("dawn_1.wav", "dawn_1_label_annotations.txt"),
    ],
)
def test_names_of_annotations_as_other_systems_and_people_spell_them(
    tmp_path, seconds, recording, name
):
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        (tmp_path / site / recording).touch()
        (tmp_path / site / name).write_text("1\t2\towl\n")
    clips = read_table(tmp_path)
    assert [clip.group for clip in clips] == [f"north/{recording}", f"south/{recording}"]
    assert [clip.labels for clip in clips] == [("owl",)] * 2


def test_numbers_and_exact_names_separate_recordings(tmp_path, seconds):
    for name in ("a.wav", "A.wav", "dawn.wav"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("1\t2\towl\n")
    (tmp_path / "dawn_1.txt").write_text("1\t2\towl\n")
    assert [clip.group for clip in read_table(tmp_path)] == ["a.wav"]


def test_texts_beside_recordings_are_no_annotations_if_they_do_not_look_so(tmp_path):
    for label in ("dog", "cat"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.wav").touch()
        (tmp_path / label / "1.txt").write_text("Recorded by Ada\n")
        (tmp_path / label / "1.csv").write_text("file,onset,offset,label,score\n1.wav,0,1,x,0.5\n")
    assert [clip.labels for clip in read_table(tmp_path)] == [("cat",), ("dog",)]


def test_rows_without_a_label_or_beyond_the_end_cost_themselves(folder, caplog, seconds):
    caplog.set_level("WARNING", logger="sed")
    (folder / "dusk.FLAC").unlink()
    lines = ("1\t2\towl", "3\t4", "9\t11\tjay", "20\t30\tjay", "9.5\t10.05\ttit")
    (folder / "dawn.txt").write_text("\n".join(lines))
    [clip] = read_table(folder)
    assert clip.events == (Event(1, 2, "owl", 1.0), Event(9.5, 10.0, "tit", 1.0))
    assert caplog.messages == [
        f"{folder}: 3 faulty rows of 5 left out:\n"
        "  row 2: dawn.txt: no label\n"
        "  row 3: dawn.txt: ends at 11 s, and the recording at 10 s\n"
        "  row 4: dawn.txt: ends at 30 s, and the recording at 10 s"
    ]


def test_events_of_a_table_end_with_their_recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    rows = "a.wav\t0.1\t50\tdog\na.wav\t20\t30\tcat\na.wav\t0.25\t0.75\tdog\n"
    (tmp_path / "t.tsv").write_text(f"filename\tonset\toffset\tevent_label\n{rows}")
    [clip] = read_table(tmp_path)
    assert (clip.labels, clip.events) == (("dog",), (Event(0.25, 0.75, "dog", 1.0),))


def test_raven_names_the_recordings_of_a_table(tmp_path, seconds):
    """Times go on from one recording to the next, and File Offset is that in each."""
    (tmp_path / "sound").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "sound" / name).touch()
    rows = ("1\tWaveform 1\t1\t2\t3\ta.wav\t2\t", "1\tSpectrogram 1\t1\t2\t3\ta.wav\t2\towl",
            "2\tSpectrogram 1\t1\t14\t15.5\tb.wav\t4\tjay")  # fmt: skip
    table = tmp_path / "day.Table.1.selections.txt"
    table.write_text(RAVEN + "\n".join(rows))
    clips = read_table(tmp_path)
    assert [(Path(clip.path).name, clip.events) for clip in clips] == [
        ("a.wav", (Event(2, 3, "owl", 1.0),)),
        ("b.wav", (Event(4, 5.5, "jay", 1.0),)),
    ]
    assert [clip.events for clip in read_table(table)] == [clip.events for clip in clips]
    table.write_text((RAVEN + "\n".join(rows)).replace("\t4\tjay", "\t\tjay"))
    assert "names several recordings, and lacks a File Offset (s). Add it" in faults_of(tmp_path)


def test_a_recording_that_was_renamed_keeps_its_table(folder, seconds):
    (folder / "dawn.selections.txt").write_text(RAVEN + "1\t\t1\t2\t3\told name.wav\t2\towl\n")
    (folder / "dusk.FLAC").unlink()
    assert read_table(folder)[0].events == (Event(2, 3, "owl", 1.0),)


def test_kaleidoscope_and_birdnet_name_files_of_other_computers(tmp_path, seconds):
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav/a.wav").touch()
    path = tmp_path / "t.csv"
    path.write_text("INDIR,FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\nC:\\x,n,a.wav,0,3,dog\n")
    assert read_table(path)[0].events == (Event(0, 3, "dog", 1.0),)
    path.write_text("Start (s),End (s),Common name,Confidence,File\n9,12,Robin,0.9,D:\\y\\a.wav\n")
    assert read_table(path)[0].events == (Event(9, 10, "Robin", 1.0),)  # its window was padded


def test_audioset_has_our_names_and_what_was_not_downloaded_is_left_out(tmp_path, caplog):
    caplog.set_level("WARNING", logger="sed")
    soundfile.write(tmp_path / "Yvideo_a.wav", np.zeros(80_000), 8_000)
    soundfile.write(tmp_path / "video_b.wav", np.zeros(800_000), 8_000)
    weak = tmp_path / "eval.csv"
    weak.write_text(
        "# Segments csv created\n# num_ytids=3\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        'video_a, 30.000, 40.000, "/m/0bt9lr,/m/none"\n'
        'video_b, 20.000, 30.000, "/m/09x0r"\n'
        'video_c, 0.000, 10.000, "/m/09x0r"\n'
    )
    assert read_table(weak) == [
        Clip(str(tmp_path / "Yvideo_a.wav"), ("dog", "/m/none"), "video_a"),
        Clip(
            str(tmp_path / "video_b.wav"), ("speech",), "video_b",
            start_seconds=20.0, duration_seconds=10.0,
        ),
    ]  # fmt: skip
    assert caplog.messages[-1] == (
        f"{weak}: 1 faulty row of 3 left out:\n  row 6: video_c: no such file in {tmp_path}"
    )
    strong = tmp_path / "strong.tsv"
    strong.write_text(
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "video_a_30000\t0.5\t1.5\t/m/0bt9lr\nvideo_c_0\t0\t1\t/m/09x0r\n"
    )
    [clip] = read_table(strong)
    assert (clip.labels, clip.events) == (("dog",), (Event(0.5, 1.5, "dog", 1.0),))


def test_a_point_in_time_costs_itself(tmp_path, seconds, caplog):
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_text("1\t2\towl\n5\t5\tdog\n")
    (clip,) = read_table(tmp_path)
    assert clip.events == (Event(1, 2, "owl", 1.0),)
    assert "row 2: a.txt: a point in time, which has no length" in caplog.text


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("text", ["0\t1\towl\n", None])
def test_folders_that_are_links_are_read_as_others(tmp_path, seconds, text):
    """Those of sites and of classes; links back, and to what is found anyway, are not followed."""
    data = tmp_path / "data"
    touch(tmp_path / "disk/n/x.wav", tmp_path / "disk/.s/deep/x.wav", data / "own/x.wav")
    if text:
        for folder in (tmp_path / "disk/n", tmp_path / "disk/.s/deep", data / "own"):
            (folder / "x.txt").write_text(text)
    (data / "north").symlink_to(tmp_path / "disk/n")
    (data / "south").symlink_to(tmp_path / "disk/.s")
    (data / "again").symlink_to(data / "own")
    (tmp_path / "disk/n/back").symlink_to(data)
    clips = read_table(data)
    assert [clip.group for clip in clips] == ["north/x.wav", "own/x.wav", "south/deep/x.wav"]
    own = [("owl",)] * 3 if text else [("north",), ("own",), ("south",)]
    assert [clip.labels for clip in clips] == own


def test_a_table_finds_recordings_below_links(tmp_path, seconds):
    touch(tmp_path / "disk/x.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/north").symlink_to(tmp_path / "disk")
    (tmp_path / "data/all.txt").write_text(RAVEN + "1\t\t1\t1\t2\tx.wav\t1\towl\n")
    [clip] = read_table(tmp_path / "data")
    assert clip.path == str(tmp_path / "data/north/x.wav")


@pytest.mark.parametrize("text", ["0\t1\towl\n", None])
def test_hidden_folders_and_those_of_systems_are_neither_sites_nor_classes(tmp_path, seconds, text):
    for folder in ("cat", "dog/2024"):
        touch(tmp_path / folder / "x.wav")
        if text:
            (tmp_path / folder / "x.txt").write_text(text)
    odd = (".Trash", ".ipynb_checkpoints", "__MACOSX", "$RECYCLE.BIN", "@eaDir", "lost+found")
    for folder in (*odd, *(f"cat/{name}" for name in odd), "System Volume Information"):
        touch(tmp_path / folder / "y.wav")
        (tmp_path / folder / "y.txt").write_text("0\t1\tjay\n")
    clips = read_table(tmp_path)
    assert [clip.group for clip in clips] == ["cat/x.wav", "dog/2024/x.wav"]
    assert [clip.labels for clip in clips] == ([("owl",)] * 2 if text else [("cat",), ("dog",)])


def test_empty_texts_turn_no_folders_of_classes_into_strong_labels(tmp_path, caplog, seconds):
    caplog.set_level("WARNING", logger="sed")
    touch(tmp_path / "cat/x.wav", tmp_path / "dog/x.wav", tmp_path / "dog/x.txt")
    (tmp_path / "cat/x.labels.txt").write_text("\n")
    assert [clip.labels for clip in read_table(tmp_path)] == [("cat",), ("dog",)]
    assert caplog.messages == [
        f"{tmp_path}: names of folders taken for labels, and not read: cat/x.labels.txt, dog/x.txt"
    ]
    (tmp_path / "dog/x.txt").write_text("0\t1\towl\n")  # now they are annotations
    assert [clip.labels for clip in read_table(tmp_path)] == [(), ("owl",)]


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, caplog, monkeypatch):
    caplog.set_level("WARNING", logger="sed")
    touch(tmp_path / "cat/x.wav", tmp_path / "dog/x.wav", tmp_path / "owl/x.wav")
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert [clip.labels for clip in read_table(tmp_path)] == [("cat",), ("owl",)]
    assert caplog.messages == [
        f"{tmp_path}/dog: left out, since it cannot be read: Permission denied"
    ]


@pytest.mark.parametrize(
    "row",
    ["1\t2\t", "20\t30\towl", "1\t1\towl", "1\t2\t \n20\t30\towl"],
    ids=["unlabelled", "beyond the end", "a point", "several"],
)
@pytest.mark.parametrize("is_table", [True, False])
def test_a_recording_whose_rows_were_all_left_out_is_no_negative(
    tmp_path, caplog, seconds, row, is_table
):
    """What is in it is not known; a recording that is listed without times has nothing in it."""
    caplog.set_level("WARNING", logger="sed")
    for name in ("lost.wav", "none.wav", "owl.wav"):
        touch(tmp_path / name)
    source = tmp_path
    if is_table:
        rows = [f"lost.wav\t{line}" for line in row.split("\n")]
        text = "\n".join(["filename\tonset\toffset\tevent_label", *rows, "none.wav\t\t\t", ""])
        source = tmp_path / "t.tsv"
        source.write_text(text + "owl.wav\t1\t2\towl\n")
    else:
        (tmp_path / "lost.txt").write_text(row)
        (tmp_path / "none.txt").touch()
        (tmp_path / "owl.txt").write_text("1\t2\towl\n")
    assert [(clip.group, clip.labels) for clip in read_table(source)] == [
        ("none.wav", ()),
        ("owl.wav", ("owl",)),
    ]
    assert caplog.messages[-1] == (
        f"{source}: 1 recording left out, no row of which can be used: {tmp_path}/lost.wav"
    )


def test_an_annotation_of_rows_that_are_all_left_out_holds_nothing(folder, seconds):
    (folder / "dawn.txt").write_text("1\t2\t\n")
    message = f"{folder}: no row can be used. Correct them."
    assert faults_of(folder) == message
    (folder / "t.tsv").write_text("filename\tonset\toffset\tevent_label\ndawn.wav\t1\t2\t\n")
    assert "t.tsv: no row can be used" in faults_of(folder / "t.tsv")


SELECTIONS = "Selection\tBegin Time (s)\tEnd Time (s)\tLabel\tConfidence\n"


@pytest.mark.parametrize(
    ("files", "labels", "read", "not_read"),
    [
        ({"x.Table.1.selections.txt": SELECTIONS + "1\t1\t2\towl\t\n",
          "x.BirdNET.selection.table.txt": SELECTIONS + "1\t1\t2\tjay\t0.9\n"},
         ("owl",), "x.Table.1.selections.txt", "x.BirdNET.selection.table.txt"),
        # Corrected in Raven, which keeps the scores.
        ({"x.BirdNET.selection.table.txt": SELECTIONS + "1\t1\t2\tjay\t0.9\n",
          "x.Table.1.selections.txt": SELECTIONS + "1\t1\t2\towl\t0.9\n"},
         ("owl",), "x.Table.1.selections.txt", "x.BirdNET.selection.table.txt"),
        ({"x.csv": "1.0,1.0,1.0,owl\n", "x.BirdNET.results.csv": BIRDNET + "1,2,P,jay,0.9\n"},
         ("owl",), "x.csv", "x.BirdNET.results.csv"),
        ({"x.txt": "1\t2\towl\n", "x.selections.txt": SELECTIONS + "1\t1\t2\tjay\t0.9\n"},
         ("owl",), "x.txt", "x.selections.txt"),
        # The same events in two formats.
        ({"x.BirdNET.results.csv": BIRDNET + "1,2,P,jay,0.9\n",
          "x.BirdNET.selection.table.txt": SELECTIONS + "1\t1\t2\tjay\t0.9\n"},
         ("jay",), "x.BirdNET.results.csv", "x.BirdNET.selection.table.txt"),
    ],
    ids=["BirdNET", "corrected", "BirdNET in CSV", "with scores", "formats"],
)  # fmt: skip
def test_of_several_annotations_of_a_recording_that_of_people_is_read(
    tmp_path, caplog, seconds, files, labels, read, not_read
):
    caplog.set_level("WARNING", logger="sed")
    touch(tmp_path / "n/x.wav")
    for name, text in files.items():
        (tmp_path / "n" / name).write_text(text)
    assert [clip.labels for clip in read_table(tmp_path)] == [labels]
    assert caplog.messages == [
        f"{tmp_path}: 1 recording with several annotations: read n/{read}, and not n/{not_read}"
    ]
