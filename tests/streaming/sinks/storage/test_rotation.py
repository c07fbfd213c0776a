"""A file of lines is begun anew at a size or a day, and a number of files is kept."""

from datetime import datetime

import pytest

from sed.errors import UsageError
from streaming.messages import EventEnded
from streaming.sinks.event_file import EventFileSink
from streaming.sinks.storage.rotation import Rotation, RotationConfig
from tests.streaming.sinks.databases import event


def labels(path):
    return [line.split(",")[3] for line in path.read_text().splitlines()[1:]]


def test_a_file_is_rotated_at_its_size_and_each_has_a_header(tmp_path):
    path = tmp_path / "events.csv"
    sink = EventFileSink(path, rotation=RotationConfig("0.2kB", keep=2))
    for n in range(12):
        assert sink.handle(EventEnded(event(0.0, label=f"c{n}"))) == []
    sink.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "events.1.csv", "events.2.csv", "events.csv",
    ]  # fmt: skip
    files = [tmp_path / name for name in ("events.2.csv", "events.1.csv", "events.csv")]
    assert len({each.read_text().partition("\n")[0] for each in files}) == 1
    kept = [label for each in files for label in labels(each)]
    assert kept == [f"c{n}" for n in range(12 - len(kept), 12)]
    assert len(kept) >= 4


@pytest.mark.parametrize(
    ("every", "times", "expected"),
    [
        ("day", [(2026, 10, 25, 23), (2026, 10, 25, 23), (2026, 10, 26, 0)], [False, False, True]),
        ("week", [(2026, 10, 24, 1), (2026, 10, 25, 23), (2026, 10, 26, 0)], [False, False, True]),
        ("", [(2026, 10, 24, 1), (2027, 10, 25, 23)], [False, False]),
    ],
)
def test_a_file_is_rotated_with_the_day_or_week(tmp_path, every, times, expected):
    clock = iter([datetime(*times[0]), *(datetime(*time) for time in times)])
    path = tmp_path / "e.jsonl"
    path.touch()
    rotation = Rotation(path, RotationConfig(every), now=lambda: next(clock))
    rotation.take()
    assert [rotation.is_due(1_000) for _ in times] == expected


def test_fewer_files_are_kept_when_the_number_is_lowered(tmp_path):
    path = tmp_path / "e.jsonl"
    for n in ("", ".1", ".2", ".3", ".4"):
        (tmp_path / f"e{n}.jsonl").write_text(n)
    Rotation(path, RotationConfig("day", keep=2)).rotate()
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "e.1.jsonl": "", "e.2.jsonl": ".1",
    }  # fmt: skip


@pytest.mark.parametrize("every", ["hour", "10", "0MB", "10XB"])
def test_a_rotation_that_cannot_be_is_misuse(every):
    with pytest.raises(UsageError, match="expected a rotation every day, week or size such as"):
        RotationConfig(every)
    with pytest.raises(UsageError, match="expected 1 to 9,999 rotated files to keep, got 0"):
        RotationConfig("day", keep=0)
