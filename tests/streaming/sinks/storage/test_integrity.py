"""A damaged database is found at the start, a large one in the background."""

import time

from streaming.messages import EventEnded, Status
from streaming.sinks.storage import integrity
from streaming.sinks.storage.integrity import BackgroundCheck
from tests.streaming.sinks.databases import event, opened, rows

STATUS = Status(1.0, 0.0, 0.0, 0, ())


def damaged(path):
    """Fill a database, and overwrite a page of it that is not the first."""
    with opened(path) as database:
        for n in range(100):
            database.handle(EventEnded(event(float(n))))
    content = bytearray(path.read_bytes())
    [(page,)] = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'events_by_source'")
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    return path


def test_a_small_database_is_checked_before_it_is_used(tmp_path):
    path = damaged(tmp_path / "e.sqlite")
    with opened(path) as database:
        [message] = database.handle(STATUS)
        database.handle(EventEnded(event(0.0)))
    assert message.text == (
        f"{path}: is damaged; its events may be gone; what is left is kept as {path}.damaged"
    )
    assert rows(path, "SELECT count(*) FROM events") == [(1,)]


def test_a_large_database_is_checked_in_the_background(tmp_path, monkeypatch):
    monkeypatch.setattr(integrity, "MAX_BYTES_AT_ONCE", 0)
    path = damaged(tmp_path / "e.sqlite")
    with opened(path) as database:
        messages, until = [], time.monotonic() + 10
        while not messages and time.monotonic() < until:
            messages += database.handle(STATUS)
        database.handle(EventEnded(event(0.0)))
    assert [message.text for message in messages] == [
        f"{path}: is damaged; its events may be gone; what is left is kept as {path}.damaged",
        f"{path}: opened again, as a new session",
    ]
    assert rows(path, "SELECT count(*) FROM events") == [(1,)]


def test_a_check_ends_after_its_time_without_a_result(tmp_path):
    path = damaged(tmp_path / "e.sqlite")
    check = BackgroundCheck(path, max_seconds=-1.0)
    check.close()
    # So few pages are read before the first look at the time.
    assert check.is_damaged in (True, False)
    assert not check._thread.is_alive()


def test_a_file_that_is_not_there_is_not_damaged(tmp_path):
    check = BackgroundCheck(tmp_path / "none.sqlite")
    check._thread.join()
    assert not check.is_damaged
