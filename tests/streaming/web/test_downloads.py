"""Days that are chosen and downloaded: names, hours, CSV, Raven and clips."""

import io
import time
import tracemalloc
import zipfile
from datetime import datetime, timedelta

import pytest

from sed.events.event_table import EventTable
from sed.events.hierarchy import Hierarchy
from sed.events.reading.event_tables import read_event_table
from streaming.messages import ClipSaved, EventEnded
from streaming.sinks.record.history import ALL
from streaming.web import downloads
from tests.streaming.sinks.databases import opened
from tests.streaming.web.viewer import CLIENT, event, get, save_clip, viewed

DAY = datetime(2026, 11, 21)


@pytest.fixture
def web(path, tmp_path, monkeypatch):
    """A page with events at the borders of a day in a zone of its own."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    hierarchy = Hierarchy.from_dict(["dog", "siren", "wind"], {"dog": ["animal"]})
    try:
        with viewed(path, hierarchy=hierarchy) as (web, dispatcher):
            for n, (hour, label, source) in enumerate(
                ((-0.01, "dog", "mic"), (0, "dog", "mic"), (13.25, "siren", "b"), (24, "dog", "b"))
            ):
                moment = (DAY + timedelta(hours=hour)).astimezone()
                found = event(10 * n, label, source, moment)
                dispatcher.handle(EventEnded(found))
                if n == 1:
                    dispatcher.handle(ClipSaved(found, str(save_clip(tmp_path))))
                if n == 2:
                    dispatcher.handle(ClipSaved(found, str(tmp_path / "deleted.flac")))
            CLIENT.post(web.url + "events/3/verdict", json={"verdict": "wrong"})
            yield web
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_day_as_csv(web, tmp_path):
    response = get(web, "/download/csv?day=2026-11-21")
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["content-disposition"] == 'attachment; filename="sed_2026-11-21.csv"'
    assert response.text.splitlines() == [
        "file,onset,offset,label,score,time,verdict,clip",
        "mic,10.000,11.500,dog,0.8000,2026-11-21T00:00:00.000+01:00,,dog.flac",
        "b,20.000,21.500,siren,0.8000,2026-11-21T13:15:00.000+01:00,wrong,deleted.flac",
    ]
    (tmp_path / "day.csv").write_bytes(response.content)
    table = read_event_table(tmp_path / "day.csv")
    assert isinstance(table, EventTable)
    assert table.labels == ("dog", "siren")


def test_a_day_as_a_selection_table_counts_from_midnight(web):
    response = get(web, "/download/raven?day=2026-11-21&kind=animal")
    assert response.headers["content-disposition"].endswith('"sed_2026-11-21.selections.txt"')
    head, line = response.text.splitlines()
    row = dict(zip(head.split("\t"), line.split("\t"), strict=True))
    assert (row["Begin Time (s)"], row["End Time (s)"]) == ("0.000000", "1.500000")
    assert (row["Label"], row["Low Freq (Hz)"], row["High Freq (Hz)"]) == ("dog", "125.0", "7500.0")


def test_the_clips_of_a_day_are_those_that_are_still_there(web, tmp_path):
    response = get(web, "/download/clips?day=2026-11-21")
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert [each.filename for each in archive.infolist()] == ["dog.flac"]
        assert archive.infolist()[0].date_time == (2026, 11, 21, 0, 0, 0)
        assert archive.read("dog.flac") == (tmp_path / "dog.flac").read_bytes()


def test_what_is_no_download_is_refused(web):
    for query, status, text in (
        ("download/csv", 400, "expected a day"),
        ("download/csv?day=21.11.2026", 400, "expected day as a day, like 2026-11-21"),
        ("download/csv?day=9999-12-31", 400, "expected day as a day"),
        ("download/csv?day=2026-11-21&label=cat", 400, "there is no class 'cat'"),
        ("download/csv?day=2026-11-21&from=2026-11-21", 400, "unknown parameter 'from'"),
        ("download/xls?day=2026-11-21", 404, "expected one of csv, raven, clips"),
    ):
        response = get(web, query)
        assert response.status_code == status, query
        assert response.json()["error"].startswith(text), query


def test_a_download_takes_little_memory(path, tmp_path):
    with opened(path) as database:
        for n in range(40):
            found = event(n, time=(DAY + timedelta(seconds=n)).astimezone())
            database.handle(EventEnded(found))
            database.handle(ClipSaved(found, str(tmp_path / f"{n}.flac")))
            (tmp_path / f"{n}.flac").write_bytes(b"x" * 1_000_000)
        tracemalloc.start()
        n_bytes = sum(map(len, downloads.zip_of(path, ALL)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert 40e6 < n_bytes < 40.1e6
    assert peak < 2e6


def test_the_names_that_events_can_be_chosen_by(web):
    assert get(web, "/names").json() == {
        "labels": ["dog", "siren"],
        "kinds": {"animal": ["dog"]},
        "sources": ["b", "mic"],
        "first_day": "2026-11-20",
    }


def test_the_hours_of_a_day(web):
    history = get(web, "/history?day=2026-11-21").json()
    assert (history["hours"][0], len(history["hours"])) == ("2026-11-21T00:00:00+01:00", 24)
    assert {label: sum(counts) for label, counts in history["counts"].items()} == {
        "dog": 1,
        "siren": 1,
    }
    assert history["counts"]["siren"][13] == 1
    assert [*get(web, "/history?day=2026-11-21&source=b").json()["counts"]] == ["siren"]
    for day, n_hours, last in (
        ("2026-03-29", 23, "2026-03-29T23:00:00+02:00"),  # the clock goes forward
        ("2026-10-25", 25, "2026-10-25T23:00:00+01:00"),  # and back
    ):
        hours = get(web, f"/history?day={day}").json()["hours"]
        assert (len(hours), hours[-1]) == (n_hours, last)
