import csv
from datetime import datetime, timedelta

import pytest

from sed.errors import OutputError, UsageError
from sed.events.event_table import EventTable
from sed.events.tracker import Event
from streaming.results.summary.effort import RecordedSpan
from streaming.results.summary.plots import _ticks
from streaming.results.summary.summarise import summarise

START = datetime(2026, 5, 1, 4)
EVENTS = [
    Event(0, 60, "owl", 0.5, "r/north/a.wav", START),
    Event(0, 30, "owl", 1.0, "r/south/b.wav", START + timedelta(days=1)),
    Event(0, 30, "=dog", 0.75, "r/south/b.wav", START + timedelta(hours=1)),
]
SPANS = [RecordedSpan("r/north/a.wav", START, 3600.0), RecordedSpan("r/pond/c.wav", START, 1800.0)]

pytest.importorskip("matplotlib")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_tables_pictures_and_the_page(tmp_path):
    table = EventTable.of_events(EVENTS)
    found = summarise(table, tmp_path, by="site", recordings=SPANS)
    assert (found.n_events, found.n_classes, found.n_files, found.n_untimed) == (3, 2, 2, 0)
    assert found.recorded_hours == 1.5
    assert rows_of(tmp_path / "classes.csv") == [
        {
            "label": "owl", "events": "2", "minutes": "1.500", "mean_score": "0.750",
            "best_score": "1.000", "events_per_hour": "1.3333",
        },
        {
            "label": "'=dog", "events": "1", "minutes": "0.500", "mean_score": "0.750",
            "best_score": "0.750", "events_per_hour": "0.6667",
        },
    ]  # fmt: skip
    assert rows_of(tmp_path / "by_site.csv")[0] == {
        "site": "north", "label": "owl", "events": "1", "minutes": "1.000",
        "events_per_hour": "1.0000",
    }  # fmt: skip
    assert rows_of(tmp_path / "effort.csv") == [
        {"site": "north", "recorded_hours": "1.0000"},
        {"site": "pond", "recorded_hours": "0.5000"},
        {"site": "south", "recorded_hours": "0.0000"},
    ]
    for name in ("hours", "dates", "activity"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    page = (tmp_path / "summary.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "<td>owl</td>" in page
    assert "src=" not in page.replace('src="data:', "")


def test_without_recordings_and_without_times(tmp_path):
    table = EventTable.of_events([Event(0, 60, "<script>x</script>", -12.5, "a.wav")])
    found = summarise(table, tmp_path)
    (row,) = rows_of(tmp_path / "classes.csv")
    assert (row["mean_score"], row["best_score"]) == ("-12.500", "-12.500")
    assert (found.n_untimed, found.recorded_hours) == (1, None)
    assert rows_of(tmp_path / "by_hour.csv") == [
        {"hour": "", "label": "<script>x</script>", "events": "1", "minutes": "1.000"}
    ]
    assert not (tmp_path / "effort.csv").exists()
    assert not [*tmp_path.glob("*.png")]
    page = (tmp_path / "summary.html").read_text()
    assert "The time of day of 1 event is unknown" in page
    assert "Counts do not allow for the hours that were recorded" in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "<script" not in page


def test_many_years_and_classes_are_drawn(tmp_path):
    events = [
        Event(0, 1, f"class {i}", 0.5, "a.wav", START + timedelta(days=40 * i)) for i in range(50)
    ]
    summarise(EventTable.of_events(events), tmp_path, by="week")
    assert len(rows_of(tmp_path / "by_week.csv")) == 50


def test_what_cannot_be_is_refused(tmp_path):
    table = EventTable.of_events(EVENTS)
    with pytest.raises(UsageError, match=r"unknown grouping 'sites'\. Did you mean site"):
        summarise(table, tmp_path, by="sites")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        summarise(table, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (3, 3, [3]),
        (1.2, 1.9, [1.2, 1.9]),
        (3, 60, [5, 10, 20, 50]),
        (0.3, 40_000, [1, 10, 100, 1_000, 10_000]),
    ],
)
def test_colours_are_labelled_with_round_numbers(low, high, ticks):
    assert _ticks(low, high) == pytest.approx(ticks)
