from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sed.events.event_table import EventTable
from sed.events.tracker import Event

zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
times = st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.none() | zones)
seconds = st.floats(0, 1e6)
events = st.builds(
    Event, seconds, seconds, st.text(max_size=3), st.floats(0, 1), st.text(max_size=3),
    st.none() | times,
)  # fmt: skip


@given(st.lists(events, max_size=8), st.lists(events, max_size=8))
def test_a_table_keeps_events_and_their_order(first, second):
    table = EventTable.of_events(first)
    assert [*table.events()] == first
    both = EventTable.concat([table, EventTable.of_events(second)])
    assert [*both.events()] == first + second
    assert len({*both.labels}) == len(both.labels)
    assert len({*both.files}) == len(both.files)


def test_times_are_those_of_a_clock_at_the_place():
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    made = [Event(0, 1, "a", 1, time=t) for t in (noon, noon.astimezone(UTC), None)]
    table = EventTable.of_events(made)
    assert table.local_time.astype(str).tolist()[:2] == [
        "2026-05-01T12:00:00.000000",
        "2026-05-01T10:00:00.000000",
    ]
    assert np.isnat(table.local_time[2])
    assert table.utc_offset_minutes[:2].tolist() == [120, 0]


def test_rows_by_number_and_by_mask():
    table = EventTable.of_events([Event(i, i + 1, "ab"[i % 2], 0.5, "x") for i in range(4)])
    assert [e.onset for e in table.take(np.array([3, 0])).events()] == [3, 0]
    assert [e.label for e in table.take(table.label == 1).events()] == ["b", "b"]


def test_names_that_become_equal_are_one():
    table = EventTable.of_events([Event(0, 1, "a", 1, "x"), Event(1, 2, "b", 1, "y")])
    renamed = table.renamed(labels=["c", "c"])
    assert renamed.labels == ("c",)
    assert [(e.label, e.file) for e in renamed.events()] == [("c", "x"), ("c", "y")]
