import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.events.event_table import EventTable
from sed.events.tracker import Event
from streaming.results.summary.counts import GROUPINGS, group_by, with_clock_of, with_local_times
from streaming.results.summary.effort import RecordedSpan

DAWN = datetime(2026, 5, 1, 4, 30)
EVENTS = EventTable.of_events(
    [
        Event(0, 7200, "rain", 1, "r/north/a.wav", DAWN),
        Event(5, 6, "owl", 1, "r/south/b.wav"),
        Event(5, 6, "owl", 0.5, "r/north/a.wav", datetime(2026, 5, 10, 4, 59, 59, 500_000)),
    ]
)
SPANS = [
    RecordedSpan("r/north/a.wav", DAWN, 7200.0),
    RecordedSpan("r/pond/c.wav", datetime(2026, 5, 3, 4, 30), 60.0),
    RecordedSpan("r/pond/d.wav", None, 30.0),
    RecordedSpan("r/pond/e.wav", DAWN, None),
]


@pytest.mark.parametrize(
    ("grouping", "groups", "events", "seconds", "recorded"),
    [
        (
            "hour",
            ("04", "05", "06", ""),
            [[1, 1], [0, 0], [0, 0], [0, 1]],
            [[1800, 0.5], [3600, 0.5], [1800, 0], [0, 1]],
            [1860, 3600, 1800, 0],
        ),
        (
            "day",
            ("2026-05-01", "2026-05-03", "2026-05-10", ""),
            [[1, 0], [0, 0], [0, 1], [0, 1]],
            [[7200, 0], [0, 0], [0, 1], [0, 1]],
            [7200, 60, 0, 0],
        ),
        (
            "week",
            ("2026-W18", "2026-W19", ""),
            [[1, 0], [0, 1], [0, 1]],
            [[7200, 0], [0, 1], [0, 1]],
            [7260, 0, 0],
        ),
        (
            "site",
            ("north", "pond", "south"),
            [[1, 1], [0, 0], [0, 1]],
            [[7200, 1], [0, 0], [0, 1]],
            [7200, 90, 0],
        ),
        (
            "file",
            ("r/north/a.wav", "r/pond/c.wav", "r/pond/d.wav", "r/south/b.wav"),
            [[1, 1], [0, 0], [0, 0], [0, 1]],
            [[7200, 1], [0, 0], [0, 0], [0, 1]],
            [7200, 60, 30, 0],
        ),
    ],
)
def test_each_grouping(grouping, groups, events, seconds, recorded):
    found = group_by(grouping, EVENTS, SPANS)
    assert found.groups == groups
    assert found.events.tolist() == events
    assert np.allclose(found.seconds, seconds)
    assert np.allclose(found.recorded_seconds, recorded)
    assert group_by(grouping, EVENTS, None).recorded_seconds is None


@given(
    st.lists(
        st.builds(
            Event,
            st.just(0.0), st.integers(0, 10**5).map(float), st.sampled_from("abc"), st.just(1.0),
            st.sampled_from(["x/1", "y/2"]),
            st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2001, 1, 1)),
        )
    ),
    st.sampled_from(GROUPINGS),
)  # fmt: skip
def test_no_event_and_no_second_is_lost(events, grouping):
    table = EventTable.of_events(events)
    found = group_by(grouping, table, None)
    n = len(table.labels)
    assert found.events.sum(axis=0).tolist() == np.bincount(table.label, minlength=n).tolist()
    assert np.allclose(found.seconds.sum(axis=0), np.bincount(table.label, table.offset, n))


def test_times_come_from_the_table_then_the_recordings_then_their_names():
    table = EventTable.of_events(
        [
            Event(1, 2, "a", 1, "x.wav", DAWN),
            Event(1.5, 2, "a", 1, "x.wav"),
            Event(2, 3, "a", 1, "20260502_010000.wav"),
            Event(2, 3, "a", 1, "y.wav"),
        ]
    )
    start = datetime(2026, 6, 1)
    dated = with_local_times(table, [RecordedSpan("x.wav", start, 1.0)])
    assert dated.local_time.tolist() == [
        DAWN,
        datetime(2026, 6, 1, 0, 0, 1, 500_000),
        datetime(2026, 5, 2, 1, 0, 2),
        None,
    ]


def test_recordings_have_the_clock_of_the_table():
    utc = [datetime(2026, month, 1, 23, 30) for month in (1, 6, 7)]
    times = [(utc[0], 1), (utc[1], 2)]  # of Berlin, in winter and in summer
    events = EventTable.of_events(
        Event(90.5, 92, "owl", 1, f"{i}.wav", start + timedelta(hours=hours, seconds=90))
        for i, (start, hours) in enumerate(times)
    )
    spans = [RecordedSpan(f"{i}.wav", start, 60.0) for i, start in enumerate(utc)]
    found = with_clock_of(events, [*spans, RecordedSpan("x.wav", None, 60.0)])
    # The last one has no event, and is of the same season as the second.
    assert [span.start for span in found] == [
        *(datetime(2026, 1, 2, 0, 30), datetime(2026, 6, 2, 1, 30)),
        *(datetime(2026, 7, 2, 1, 30), None),
    ]
    undated = EventTable.of_events([Event(1, 2, "owl", 1, "0.wav")])
    assert with_clock_of(undated, spans) == spans
    late = [RecordedSpan("0.wav", None, 60.0)]  # whose name does not say when it began
    assert with_clock_of(events, late)[0].start == datetime(2026, 1, 2, 0, 29, 59, 500_000)


@pytest.mark.slow
def test_a_hundred_thousand_recordings_get_the_clock_of_the_table_soon():
    n = 100_000
    names = [f"{i}.wav" for i in range(n)]
    begin = np.datetime64("2026-01-01") + np.arange(n) * np.timedelta64(60_000_000, "us")
    spans = [RecordedSpan(name, t, 60.0) for name, t in zip(names, begin.tolist(), strict=True)]
    table = EventTable.of_columns(names, ["owl"] * n, np.zeros(n), np.ones(n), None, begin)
    start = time.perf_counter()
    with_clock_of(table, spans)
    assert time.perf_counter() - start < 5
