"""Events of Parquet files as columns: those that reading them one by one gives."""

from dataclasses import fields
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import SedError
from sed.events.event_table import EventTable
from sed.events.tracker import Event
from sed.events.writing.parquet import ParquetWriter, read_parquet_events

pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
from sed.events.reading.parquet import read_parquet_table

words = st.sampled_from(["dog", "owl", "a, b", "", "\u00e9lan"])
zones = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
times = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.none() | zones)
seconds, scores = st.floats(0, 1e9), st.floats(0, 1, width=32)
any_event = st.builds(Event, seconds, seconds, words, scores, words, st.none() | times)


@given(st.lists(any_event, max_size=12), st.integers(1, 5))
def test_columns_are_those_of_the_events(tmp_path_factory, events, rows_per_group):
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    with ParquetWriter(path, rows_per_group=rows_per_group) as writer:
        for event in events:
            writer.write(event)
    found, expected = read_parquet_table(path), EventTable.of_events(read_parquet_events(path))
    for field in fields(EventTable):
        own, other = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(own, other)
        assert np.asarray(own).dtype == np.asarray(other).dtype or not len(own)


def test_names_that_another_program_stored_plainly_are_read(tmp_path):
    path = tmp_path / "x.parquet"
    with ParquetWriter(path) as writer:
        for label in ("owl", "dog", "owl"):
            writer.write(Event(1.0, 2.0, label, 0.5, "a.wav"))
    table = pd.read_parquet(path)
    table.astype({"label": str}).to_parquet(path)
    assert [event.label for event in read_parquet_table(path).events()] == ["owl", "dog", "owl"]
    table.assign(label=["owl", None, "owl"]).to_parquet(path)
    with pytest.raises(SedError, match=r"x\.parquet: cannot be read as events"):
        read_parquet_table(path)
