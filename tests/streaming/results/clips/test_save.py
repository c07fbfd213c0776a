import csv
import math

import numpy as np
import pytest
import soundfile

from sed.errors import OutputError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.event_tables import read_event_tables
from sed.events.tracker import Event
from streaming.results.clips.choose import ChoiceConfig
from streaming.results.clips.save import save_clips

RATE = 8_000


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (10 * RATE, 2))
    soundfile.write(tmp_path / "site" / "a.wav", sound, RATE, "PCM_24")
    return tmp_path / "site"


def saved(events, output, **options):
    errors = []
    table = EventTable.of_events(events)
    return save_clips(table, output, on_error=errors.append, **options), errors


@pytest.mark.parametrize("format", ["flac", "wav", "ogg"])
def test_clips_have_the_sound_of_their_recording(site, tmp_path, format):
    file = str(site / "a.wav")
    events = [Event(2.0, 3.0, "dog", 0.5, file), Event(0.5, 1.0, "owl/ä", 0.75, file)]
    clips, errors = saved(events, tmp_path / "out", format=format)
    assert errors == []
    assert [clip.path for clip in clips] == [
        f"dog/001_0.5000_a_2.000.{format}",
        f"owl-ä/001_0.7500_a_0.500.{format}",
    ]
    sound, rate = soundfile.read(tmp_path / "out" / clips[0].path)
    original, _ = soundfile.read(file, start=RATE, stop=4 * RATE)
    assert rate == RATE
    if format == "ogg":
        assert sound.shape == original.shape
        assert np.corrcoef(sound.ravel(), original.ravel())[0, 1] > 0.8
    else:
        assert np.array_equal(sound, original)
    assert (tmp_path / "out" / clips[0].picture).read_bytes()[:4] == b"\x89PNG"
    # The second begins with its recording.
    assert (clips[1].start_seconds, clips[1].seconds) == (0.0, 2.0)


def test_events_of_a_kind_have_their_order_and_a_column(site, tmp_path):
    file = str(site / "a.wav")
    events = [Event(2.0, 3.0, "dog", 0.1, file), Event(2.5, 4.0, "dog", 0.4, file)]
    events.append(Event(6.0, 7.0, "dog", 0.9, file))
    kinds = ["missed", "missed", "false alarm"]
    clips, _ = saved(events, tmp_path / "out", kinds=kinds, wrong_kinds=["false alarm"])
    assert [(clip.path, clip.kind) for clip in clips] == [
        ("dog/false-alarm_001_0.9000_a_6.000.flac", "false alarm"),
        ("dog/missed_001_0.1000_a_2.000.flac", "missed"),
        ("dog/missed_002_0.4000_a_2.500.flac", "missed"),
    ]
    with open(tmp_path / "out" / "clips.csv", newline="") as table:
        rows = [(row["kind"], row["label"], row["predicted"]) for row in csv.DictReader(table)]
    assert rows == [("false alarm", "", "dog"), ("missed", "dog", ""), ("missed", "dog", "")]
    with pytest.raises(UsageError, match="a kind for each of 3 events, got 1"):
        saved(events, tmp_path / "out", kinds=["missed"])


def test_the_index_is_a_table_of_events_in_the_clips(site, tmp_path):
    file = str(site / "a.wav")
    saved([Event(2.0, 3.0, "dog", 0.5, file), Event(0.5, 1.0, "owl", 0.75, file)], tmp_path / "out")
    with open(tmp_path / "out" / "clips.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert rows[0] == {
        "file": "dog/001_0.5000_a_2.000.flac",
        "onset": "1.000",
        "offset": "2.000",
        "label": "dog",
        "score": "0.5000",
        "time": "",
        "recording": file,
        "recording_onset": "2.000",
        "recording_offset": "3.000",
        "picture": "dog/001_0.5000_a_2.000.png",
    }
    assert [e.onset for e in read_event_tables([tmp_path / "out" / "clips.csv"]).events()] == [
        1.0,
        0.5,
    ]


def test_labels_of_others_are_text_on_the_page(site, tmp_path):
    label = '<script>alert(1)</script>"\x1b'
    clips, errors = saved([Event(2.0, 3.0, label, 0.5, str(site / "a.wav"))], tmp_path / "out")
    assert errors == []
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;\\x1b" in page
    assert f'src="{clips[0].path}"' in page
    assert "http" not in page.replace("http-equiv", "")


def test_one_recording_that_is_missing_costs_its_own_clips(site, tmp_path):
    events = [Event(0, 1, "dog", 0.9, "gone.wav"), Event(0, 1, "dog", 0.8, str(site / "a.wav"))]
    clips, errors = saved(events, tmp_path / "out")
    assert [clip.event.score for clip in clips] == [0.8]
    assert "gone.wav: no such file" in str(errors[0])
    assert "give --audio DIR" in str(errors[0])


def test_recordings_are_found_in_other_folders_by_their_names(site, tmp_path):
    clips, errors = saved([Event(0, 1, "dog", 0.9, "D:\\rec\\a.wav")], tmp_path / "o", audio=[site])
    assert errors == []
    assert clips[0].recording == str(site / "a.wav")


def test_a_long_event_gives_its_start(site, tmp_path):
    config = ChoiceConfig(max_seconds=2.0)
    event = Event(3.0, 9.0, "rain", 0.9, str(site / "a.wav"))
    clips, _ = saved([event], tmp_path / "out", config=config)
    assert (clips[0].start_seconds, clips[0].seconds) == (2.0, 2.0)


def test_classes_whose_names_look_alike_keep_their_own_folders(site, tmp_path):
    file = str(site / "a.wav")
    clips, _ = saved([Event(0, 1, "a b", 0.9, file), Event(0, 1, "a-b", 0.9, file)], tmp_path / "o")
    assert [clip.path.split("/")[0] for clip in clips] == ["a-b", "a-b-2"]


def test_a_class_has_its_folder_alone_whatever_the_others_are_called(site, tmp_path):
    file = str(site / "a.wav")
    events = [Event(2.0, 3.0, label, 0.5, file) for label in ("dog", "dog!", "dog-2", "DOG")]
    clips, _ = saved(events, tmp_path / "out")
    folders = {clip.event.label: clip.path.split("/")[0] for clip in clips}
    assert folders == {"dog": "dog", "dog!": "dog-3", "dog-2": "dog-2", "DOG": "DOG-4"}


def test_the_index_can_be_read_where_an_event_begins_beyond_the_end(site, tmp_path):
    saved([Event(10.5, 11.0, "dog", 0.5, str(site / "a.wav"))], tmp_path / "out")
    (event,) = read_event_tables([tmp_path / "out" / "clips.csv"]).events()
    assert (event.onset, event.offset) == (0.5, 0.5)


def test_what_is_done_is_kept_when_it_is_interrupted(site, tmp_path):
    for i in range(3):
        soundfile.write(site / f"{i}.wav", np.zeros(RATE) + 0.1, RATE)
    events = [Event(0, 0.5, "dog", 0.9, str(site / f"{i}.wav")) for i in range(3)]

    def interrupt(n_done, _):
        if n_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_clips(EventTable.of_events(events), tmp_path / "out", on_clip=interrupt)
    rows = (tmp_path / "out" / "clips.csv").read_text().splitlines()
    assert len(rows) == 3
    assert math.isclose(soundfile.info(tmp_path / "out" / rows[1].split(",")[0]).duration, 1.0)


def test_what_cannot_be_is_refused(site, tmp_path):
    event = Event(0, 1, "dog", 0.9, str(site / "a.wav"))
    with pytest.raises(UsageError, match=r"unknown format 'flacc'\. Did you mean flac"):
        saved([event], tmp_path / "out", format="flacc")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        saved([event], tmp_path / "file" / "out")


def test_spectrograms_end_at_a_frequency(site, tmp_path):
    events = [Event(1, 2, "dog", 0.9, str(site / "a.wav"))]
    pictures = []
    for max_hz, top in ((None, 4), (2_500, 2.5), (9_000, 4)):
        [clip], _ = saved(events, tmp_path / "out", max_hz=max_hz)
        assert clip.top_hz == 1e3 * top
        assert f"<span>0 to {top} kHz</span>" in (tmp_path / "out" / "index.html").read_text()
        pictures.append((tmp_path / "out" / clip.picture).read_bytes())
    assert pictures[0] == pictures[2] != pictures[1]
    with pytest.raises(UsageError, match="a highest frequency above 0 Hz, got 0"):
        saved(events, tmp_path / "out", max_hz=0)
