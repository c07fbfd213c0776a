import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import MissingExtraError, OutputError, SedError
from sed.events.timestamps import with_timestamps
from sed.events.tracker import Event
from sed.events.writing.parquet import ParquetWriter, read_parquet_events
from sed.files import written_whole
from tests.conftest import tiny_disk

arrow_files = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

NASTY = 'a, "b"\t\\t\nc\r; ünï 🦉'
BERLIN = ZoneInfo("Europe/Berlin")
EVENTS = [
    Event(0.32, 5.12, "dog", 0.5, "dawn chorus.wav"),
    Event(3661.5, 3662.0, NASTY, 0.25, NASTY, datetime(2024, 5, 1, 5, 30, 0, 250_000, UTC)),
]


def write(path, events, **options):
    with ParquetWriter(path, **options) as writer:
        for event in events:
            writer.write(event)
    return path


def test_events_come_back(tmp_path):
    assert read_parquet_events(write(tmp_path / "a.parquet", EVENTS)) == EVENTS
    assert read_parquet_events(write(tmp_path / "none.parquet", [])) == []


text = st.text(max_size=20).map(lambda t: t.encode("utf-8", "replace").decode())
seconds = st.floats(0, 1e9)
scores = st.floats(0, 1, width=32)
offsets = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
times = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=offsets)
any_event = st.builds(Event, seconds, seconds, text, scores, text, st.none() | times)


@given(st.lists(any_event, max_size=12), st.integers(1, 5))
def test_any_events_come_back_in_their_order(tmp_path_factory, events, rows_per_group):
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    back = read_parquet_events(write(path, events, rows_per_group=rows_per_group))
    assert back == events
    assert [event.time and event.time.isoformat() for event in back] == [
        event.time and event.time.isoformat() for event in events
    ]


def test_scores_of_a_model_come_back_bit_for_bit(tmp_path):
    scores = np.random.default_rng(3).random(100, np.float32)
    events = [Event(0.0, 1.0, "a", float(score)) for score in scores]
    back = read_parquet_events(write(tmp_path / "x.parquet", events))
    assert [event.score for event in back] == [float(score) for score in scores]


def test_bytes_that_are_no_text_are_spelled_out(tmp_path):
    events = [Event(0.0, 1.0, "dog", 0.5, b"caf\xe9.wav".decode("utf-8", "surrogateescape"))]
    (back,) = read_parquet_events(write(tmp_path / "x.parquet", events))
    assert back.file == r"caf\xe9.wav"


def test_rows_go_to_the_disk_as_groups_fill(tmp_path):
    path = tmp_path / "x.parquet"
    writer = ParquetWriter(path, rows_per_group=1000)
    sizes = []
    for n in range(3500):
        writer.write(Event(n / 7, n / 7 + 1, f"label {n}", 0.5, f"file {n // 10}"))
        if n % 1000 == 999:
            sizes.append(path.stat().st_size)
            assert writer._events == []
    writer.close()
    writer.close()  # once more does no harm
    sizes.append(path.stat().st_size)
    assert sizes[0] > 1_000
    assert sizes == sorted(set(sizes))
    metadata = arrow_files.read_metadata(path)
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [1000, 1000, 1000, 500]
    assert len(read_parquet_events(path)) == 3500


def test_the_columns_have_the_types_that_are_documented(tmp_path):
    path = write(tmp_path / "x.parquet", EVENTS, labels=["dog", NASTY])
    schema = arrow_files.read_schema(path)
    words = "dictionary<values=string, indices=int32, ordered=0>"
    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "file": words,
        "onset": "double",
        "offset": "double",
        "label": words,
        "score": "float",
        "time": "timestamp[us, tz=UTC]",
        "utc_offset_minutes": "int16",
        "local_time": "timestamp[us]",
    }
    assert json.loads(schema.metadata[b"sed.labels"]) == ["dog", NASTY]


def test_pandas_opens_it_and_has_the_hours_of_the_place(tmp_path):
    start = datetime(2024, 10, 27, 1, 30, tzinfo=BERLIN)  # the night in which clocks are set back
    events = with_timestamps(
        [Event(3600.0 * n, 3600.0 * n + 1, "owl", 0.5) for n in range(4)], start
    )
    events.append(replace(events[0], time=None))
    table = pd.read_parquet(write(tmp_path / "x.parquet", events))
    assert table.time[1] == pd.Timestamp("2024-10-27T00:30", tz="UTC")
    assert table.time.isna().tolist() == [False] * 4 + [True]
    known = table[table.time.notna()]
    hours = known.local_time.dt.hour
    assert hours.tolist() == [1, 2, 2, 3]


def test_a_time_without_a_zone_is_a_local_time(tmp_path):
    event = Event(90.0, 91.0, "dog", 0.5, time=datetime(2024, 5, 1, 5, 30))
    path = write(tmp_path / "x.parquet", [event])
    table = pd.read_parquet(path)
    assert table.time.isna().all()
    assert table.utc_offset_minutes.isna().all()
    assert table.local_time[0] == pd.Timestamp("2024-05-01T05:30")
    assert read_parquet_events(path)[0].time == event.time


def write_whole(path, events):
    with written_whole(path) as part:
        write(part, events, rows_per_group=100)


def test_an_error_leaves_nothing_under_the_name(tmp_path):
    def interrupted():
        yield EVENTS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x.parquet", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_output_error(tmp_path):
    events = (Event(n**0.5, n**0.7, f"label {n}", 0.5, f"file {n}") for n in range(100_000))
    with (
        tiny_disk(tmp_path, kib=64),
        pytest.raises(OutputError, match=r"x\.parquet: cannot write: No space left on device\."),
    ):
        write_whole(tmp_path / "x.parquet", events)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_reported_as_such(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(
        SedError, match=r"x\.parquet: cannot be read as events \(not written by sed\)\. Give"
    ):
        read_parquet_events(path)
    pd.DataFrame({"label": ["dog"]}).to_parquet(path)
    with pytest.raises(SedError, match=r"cannot be read as events \(not written by sed\)"):
        read_parquet_events(path)
    with pytest.raises(SedError, match=r"gone\.parquet: cannot be read as events \(.*No such file"):
        read_parquet_events(tmp_path / "gone.parquet")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    expected = r"x\.parquet: Parquet needs an extra: pip install 'sed-engine\[parquet\]'"
    with pytest.raises(MissingExtraError, match=expected):
        ParquetWriter(tmp_path / "x.parquet")
    with pytest.raises(MissingExtraError, match=expected):
        read_parquet_events(tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []
