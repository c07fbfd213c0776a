import io
import json
import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.reading.event_tables import read_event_table
from sed.events.reading.events import read_events
from sed.events.tracker import Event
from sed.events.writing.formats import FORMATS, TEXT_WRITERS, format_of, open_writer
from sed.events.writing.npz import FramesWriter
from sed.events.writing.writers import RavenWriter

NASTY = 'a, "b"\t\\t\nc\r; ünï 🦉'
EVENTS = [
    Event(0.32, 5.12, "dog", 0.9312, "dawn chorus.wav"),
    Event(3661.5, 3662.0, NASTY, 0.5, "odd\tname, 'x'.wav"),
]


def write(path, format, events):
    with open_writer(path, format) as writer:
        for event in events:
            writer.write(event)
    return path


@pytest.mark.parametrize("format", TEXT_WRITERS)
def test_round_trip(format, tmp_path):
    back = read_events(write(tmp_path / "x", format, EVENTS), format)
    assert [(e.onset, e.offset, e.label) for e in back] == [
        (e.onset, e.offset, e.label) for e in EVENTS
    ]
    if format not in ("audacity", "tsv"):
        assert [e.score for e in back] == [0.9312, 0.5]
    if format != "audacity":
        assert [e.file for e in back] == [e.file for e in EVENTS]


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(list(TEXT_WRITERS)))
def test_any_label_survives(tmp_path_factory, label, format):
    label = label.encode("utf-8", "replace").decode()  # lone surrogates are no text
    path = tmp_path_factory.mktemp("labels") / "x"
    back = read_events(write(path, format, [Event(0.0, 1.0, label, 1.0, "x")] * 2), format)
    assert [e.label for e in back] == [label, label]


def test_csv_is_what_pandas_reads(tmp_path):
    table = pd.read_csv(write(tmp_path / "x.csv", "csv", EVENTS))
    assert list(table.columns) == ["file", "onset", "offset", "label", "score"]
    assert table["onset"].tolist() == [0.32, 3661.5]
    assert table["label"][1] == NASTY


def test_jsonl_is_one_object_a_line_there_at_once():
    out = io.StringIO()
    writer = open_writer(out, "jsonl")
    writer.write(EVENTS[0])
    assert json.loads(out.getvalue()) == {
        "file": "dawn chorus.wav",
        "onset": 0.32,
        "offset": 5.12,
        "label": "dog",
        "score": 0.9312,
    }


def test_raven_has_the_columns_that_it_requires():
    out = io.StringIO()
    writer = RavenWriter(out, band_hz=(125.0, 7_500.0))
    for event in EVENTS:
        writer.write(event)
    table = pd.read_csv(io.StringIO(out.getvalue()), sep="\t")
    required = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)"]
    assert list(table.columns[:7]) == [*required, "Low Freq (Hz)", "High Freq (Hz)"]
    assert table["Selection"].tolist() == [1, 2]
    assert table["High Freq (Hz)"].tolist() == [7_500.0, 7_500.0]
    assert (table["View"] == "Spectrogram 1").all()
    assert (table["Channel"] == 1).all()
    writer = RavenWriter(out := io.StringIO(), channel=3)
    writer.write(EVENTS[0])
    assert pd.read_csv(io.StringIO(out.getvalue()), sep="\t")["Channel"].tolist() == [3]


def test_tsv_is_the_format_of_sound_event_detection():
    out = io.StringIO()
    open_writer(out, "tsv").write(EVENTS[0])
    assert out.getvalue() == (
        "filename\tonset\toffset\tevent_label\ndawn chorus.wav\t0.320\t5.120\tdog\n"
    )


def test_frames_go_to_npz_without_being_held(tmp_path):
    path = tmp_path / "x.npz"
    frames = np.random.default_rng(0).random((100, 2)).astype(np.float32)
    clips = frames[:9] / 2
    with FramesWriter(path, ["a", NASTY], 0.32, 2.5, "x.wav") as writer:
        for part, some in zip(np.array_split(frames, 7), np.array_split(clips, 7), strict=True):
            writer.write(part, some)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["frame_probs"], frames)
        np.testing.assert_array_equal(archive["clip_probs"], clips)
        assert archive["starts"].tolist() == [2.5 * i for i in range(9)]
        assert archive["labels"].tolist() == ["a", NASTY]
        assert math.isclose(archive["edges"][-1], 32.0)
        assert archive["file"] == "x.wav"
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"unknown format 'ravn'. Did you mean raven"):
        read_events(tmp_path / "x", "ravn")
    with pytest.raises(UsageError, match=r"unknown format 'ravn'. Did you mean raven"):
        open_writer(tmp_path / "x", "ravn")
    with pytest.raises(UsageError, match="parquet needs a file of its own"):
        open_writer(io.StringIO(), "parquet")


def test_the_ending_of_a_file_names_its_format():
    assert [format_of(f"x{kind.extension}") for kind in TEXT_WRITERS.values()] == [*TEXT_WRITERS]
    assert format_of("X.CSV") == "csv"
    assert len(FORMATS) == 8
    expected = (
        r"x\.txt: the ending is of no format: expected \.csv \(csv\), \.jsonl \(jsonl\)\. Give"
    )
    with pytest.raises(UsageError, match=expected):
        format_of("x.txt", ("csv", "jsonl"))


def test_csv_is_dated_on_request_and_continued_without_a_header():
    out = io.StringIO()
    time = datetime(2024, 5, 1, 5, 30, tzinfo=UTC)
    with open_writer(out, "csv", dated=True, continued=True) as writer:
        writer.write(Event(0.5, 1.0, "dog", 0.5, "x", time))
        writer.write(Event(0.5, 1.0, "dog", 0.5, "x"))
    assert out.getvalue() == (
        "x,0.500,1.000,dog,0.5000,2024-05-01T05:30:00.000+00:00\nx,0.500,1.000,dog,0.5000,\n"
    )


@pytest.mark.parametrize(("format", "cell"), [("csv", '"\'\t=1,2"'), ("tsv", '"\'\t=1,2"')])
def test_a_table_for_spreadsheets_has_no_formulas(format, cell):
    event = Event(1.0, 2.0, "\t=1,2", 0.5, "-a.wav")
    for safe in (True, False):
        out = io.StringIO()
        with open_writer(out, format, spreadsheet_safe=safe) as writer:
            writer.write(event)
        assert (cell in out.getvalue(), "'-a.wav" in out.getvalue()) == (safe, safe)


@pytest.mark.parametrize("format", ["csv", "tsv"])
@pytest.mark.parametrize("label", ["=1+1", "@now", "-a", "'=1", "'n' roll", "＝1"])
def test_events_of_a_table_for_spreadsheets_are_read_back(tmp_path, format, label):
    path = tmp_path / f"a.{format}"
    event = Event(1.0, 2.0, label, 1.0, "-a.wav")
    with (
        open(path, "w", newline="", encoding="utf-8") as out,
        open_writer(out, format, spreadsheet_safe=True) as writer,
    ):
        writer.write(event)
    assert read_events(path, format) == [event]
    assert read_event_table(path).labels == (label,)


def test_a_terminal_gets_no_control_characters_and_a_file_all_of_them():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    event = Event(1.0, 2.0, "a\x1b[2Jb\n", 0.5, "\x9b.wav")
    shown, kept = Terminal(), io.StringIO()
    for out in (shown, kept):
        with open_writer(out, "csv") as writer:
            writer.write(event)
    assert r'\x9b.wav,1.000,2.000,"a\x1b[2Jb' in shown.getvalue()
    assert '\x9b.wav,1.000,2.000,"a\x1b[2Jb' in kept.getvalue()


DAWN = Event(
    1.5, 3.0, "dog", 0.5, "/rec/north/05-01/a.wav", datetime(2026, 5, 1, 4, 30, 1, 999_000)
)
UNDATED = Event(1.5, 3.0, "owl", 0.5, "/rec/b.wav")


def lines_of(format, events=(DAWN, UNDATED), **options):
    out = io.StringIO()
    with open_writer(out, format, **options) as writer:
        for event in events:
            writer.write(event)
    return out.getvalue().splitlines()


def test_columns_on_request_follow_all_others_in_their_order():
    columns = ("date", "time", "site")
    assert lines_of("csv", columns=columns, root="/rec", species={"dog": ("Canis", "Dog")}) == [
        "file,onset,offset,label,score,scientific_name,common_name,date,time,site",
        "/rec/north/05-01/a.wav,1.500,3.000,dog,0.5000,Canis,Dog,2026-05-01,04:30:01,north",
        "/rec/b.wav,1.500,3.000,owl,0.5000,,,,,rec",
    ]
    assert lines_of("tsv", columns=columns[::-1], root="/rec")[:2] == [
        "filename\tonset\toffset\tevent_label\tsite\ttime\tdate",
        "/rec/north/05-01/a.wav\t1.500\t3.000\tdog\tnorth\t04:30:01\t2026-05-01",
    ]
    first, second = map(json.loads, lines_of("jsonl", columns=columns, root="/rec"))
    assert (first["time"], first["date"], first["site"]) == (
        "2026-05-01T04:30:01.999", "2026-05-01", "north"
    )  # fmt: skip
    assert ("time" in second, second["date"], second["site"]) == (False, "", "rec")


def test_a_requested_time_takes_the_place_of_the_dated_one():
    both = lines_of("csv", [DAWN], dated=True, columns=("time",))
    assert both[0] == "file,onset,offset,label,score,time"
    assert both[1].endswith(",0.5000,04:30:01")
    day = lines_of("csv", [DAWN], dated=True, columns=("date",))
    assert day[1].endswith(",0.5000,2026-05-01T04:30:01.999,2026-05-01")


def test_a_site_is_no_formula():
    event = Event(1.0, 2.0, "dog", 0.5, "/rec/=1+1/a.wav")
    options = {"columns": ("site",), "root": "/rec"}
    assert lines_of("csv", [event], **options)[1].endswith(",=1+1")
    assert lines_of("csv", [event], spreadsheet_safe=True, **options)[1].endswith(",'=1+1")


def test_kaleidoscope_has_the_columns_of_its_own_table(tmp_path):
    header, dawn, undated = lines_of("kaleidoscope", root="/rec", channel=2)
    assert header == (
        "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,DATE,TIME,HOUR,DATE-12,TIME-12,HOUR-12,"
        "AUTO ID,confidence,MANUAL ID"
    )
    assert dawn == (
        "/rec,north/05-01,a.wav,1,1.500,1.500,2026-05-01,04:30:01,4,2026-04-30,16:30:01,16,"
        "dog,0.5000,"
    )
    assert undated == "/rec,,b.wav,1,1.500,1.500,,,,,,,owl,0.5000,"
    outside = Event(0.0, 1.0, "dog", 0.5, "/elsewhere/c.wav")
    assert lines_of("kaleidoscope", [outside], root="/rec")[1].startswith("/elsewhere,,c.wav,")


def test_kaleidoscope_is_read_back(tmp_path):
    path = tmp_path / "id.csv"
    with open_writer(path, "kaleidoscope", root="/rec") as writer:
        writer.write(DAWN)
    assert [*read_event_table(path).events()] == [
        Event(1.5, 3.0, "dog", 0.5, "/rec/north/05-01/a.wav")
    ]
    assert format_of("x.kaleidoscope.csv") == "kaleidoscope"
