import math

import pytest

from sed.errors import TableError
from sed.events.reading.clips import read_clips
from sed.events.tracker import Event
from sed.events.writing.formats import TEXT_WRITERS, open_writer


def test_a_table_of_any_columns(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_text(
        "filename,start,end,duration,category\n"
        "a.wav,1.5,2.5,,dog\n"
        "b.wav,,,3,\n"
        "c.wav,2,,,cat\n"
        'd.wav,0,4,9,"a, b"\n'
    )
    assert read_clips(path) == [
        Event(1.5, 2.5, "dog", 1.0, "a.wav"),
        Event(0.0, 3.0, "", 1.0, "b.wav"),
        Event(2.0, math.inf, "cat", 1.0, "c.wav"),
        Event(0.0, 4.0, "a, b", 1.0, "d.wav"),
    ]


@pytest.mark.parametrize("format", [n for n in TEXT_WRITERS if n != "audacity"])
def test_events_of_every_format_come_back(tmp_path, format):
    events = [Event(0.5, 1.25, "dog", 0.75, "a.wav"), Event(2.0, 3.0, "cat", 0.5, "b.wav")]
    path = tmp_path / f"events{TEXT_WRITERS[format].extension}"
    with open_writer(path, format) as writer:
        for event in events[: 2 if writer.many_recordings else 1]:
            writer.write(event)
    for read, event in zip(read_clips(path), events, strict=False):
        assert (read.onset, read.offset, read.label, read.file) == (
            event.onset, event.offset, event.label, event.file
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,start\na.wav,1\n", "expected a column file, filename, fname or path, got name"),
        ("file,start,end\na.wav,2,1\nb.wav,x,2\n,0,1\n",
         r"line 2: expected 0 <= onset < offset, got 2 and 1; line 3: expected a number for "
         r"onset, got 'x'; "
         r"line 4: no file. Correct these rows."),
    ],
)  # fmt: skip
def test_faulty_tables_are_named(tmp_path, text, message):
    path = tmp_path / "clips.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=message):
        read_clips(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(TableError, match=r"none\.csv: cannot be read: No such file"):
        read_clips(tmp_path / "none.csv")
