"""The journal of an archive: what is in it survives, and only what belongs together."""

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import datetime

import pytest

from sed.audio.find import Recording
from sed.errors import DamagedRecordingError, OutputError, SedError, UsageError
from sed.events.sqlite import DatabaseError
from sed.events.tracker import Event
from streaming.offline.job import JobResult
from streaming.offline.journal import PAGE, Journal

SETTINGS = {"model": "a1b2", "hop": "default"}
A, B, C = (Recording(f"/sound/{name}.wav", f"{name}.wav", 10) for name in "abc")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / ".sed-journal.sqlite"


@contextmanager
def started(path, recordings=(B, A, C), *, settings=SETTINGS, resume=False):
    with Journal(path) as journal:
        journal.begin(settings, "/sound", resume=resume)
        journal.plan(recordings)
        yield journal


def result(n=2, path="/sound/a.wav"):
    return JobResult(tuple(Event(k / 3, k + 0.1, "wren", k / 7, path) for k in range(n)), 60.0)


def test_recordings_wait_in_the_order_of_their_names_and_each_is_finished_once(path):
    with started(path) as journal:
        assert list(journal.waiting()) == [A, B, C]
        journal.start(A)
        journal.start(B)
        assert journal.started() == [A, B]
        journal.finish(A, result())
        journal.undo(B)
        assert (list(journal.waiting()), journal.started()) == ([B, C], [])
        assert journal.totals() == (3, 30, 1, 10, 0)
    with started(path, resume=True) as journal:
        assert list(journal.waiting()) == [B, C]


def test_events_come_back_as_they_were_in_the_order_of_the_names(path):
    time = datetime.fromisoformat("2024-05-01T05:30:00.123456+02:00")
    dated = Event(1 / 3, 0.1 + 0.2, "merle à plastron", 1 / 7, B.path, time)
    with started(path) as journal:
        journal.finish(B, JobResult((dated,), 1.0))
        journal.finish(A, result(2))
        assert list(journal.events()) == [*result(2).events, dated]


def test_a_failure_keeps_its_events_and_is_tried_again(path):
    failed = JobResult(
        result(1).events, 3.0, SedError("/sound/a.wav: damaged at 3 s. Copy it again.")
    )
    with started(path) as journal:
        journal.finish(A, failed)
        assert list(journal.events()) == list(failed.events)
        assert list(journal.problems()) == [("/sound/a.wav", "failed", str(failed.failure))]
    with started(path, resume=True) as journal:
        assert list(journal.waiting()) == [A, B, C]
        assert list(journal.events()) == []
        journal.finish(A, result(2))
        assert list(journal.problems()) == []
        assert list(journal.events()) == list(result(2).events)


def damaged(path, reason):
    failure = DamagedRecordingError(path, 3.0, reason)
    return JobResult(result(1, path).events, 3.0, failure, is_damaged=True)


def test_what_is_damaged_is_read_once_and_reported_each_time(path, tmp_path):
    """Unless it was replaced, its results are gone, or an extra would read on."""
    recordings = []
    for name in "abcd":
        (tmp_path / name).write_text("sound")
        recordings.append(Recording(str(tmp_path / name), name, 5))
    a, b, c, d = recordings
    with started(path, recordings) as journal:
        for recording in recordings:
            journal.start(recording)
            reason = "gone. With pip install av FFmpeg reads on." if recording == d else "gone."
            journal.finish(recording, damaged(recording.path, reason))
        problems = list(journal.problems())
    (tmp_path / "b").write_text("other")
    errors = []
    with Journal(path) as journal:
        journal.begin(SETTINGS, "/sound", resume=True)
        journal.plan(recordings, lambda recording: recording != c, errors.append)
        assert list(journal.waiting()) == [b, c, d]
        assert [str(error) for error in errors] == [f"{a.path}: damaged at 3.000 s: gone."]
        assert list(journal.problems()) == problems[:1]
        assert list(journal.events()) == list(damaged(a.path, "").events)
        assert journal.totals().n_finished == 1


def test_new_recordings_and_those_that_have_grown_are_taken_in(path):
    with started(path, [A, B]) as journal:
        journal.finish(A, result())
        journal.finish(B, result())
    grown = Recording("/sound/b.wav", "b.wav", 11)
    with started(path, [A, grown, C, C], resume=True) as journal:
        assert list(journal.waiting()) == [grown, C]
        assert journal.totals().n_bytes == 31


def test_what_is_no_longer_requested_is_kept_until_it_is(path):
    with started(path) as journal:
        journal.finish(A, JobResult(failure=SedError("broken")))
    with started(path, [B], resume=True) as journal:
        assert list(journal.waiting()) == [B]
        assert list(journal.problems()) == [("/sound/a.wav", "failed", "broken")]
        assert journal.totals() == (2, 20, 1, 10, 1)  # what is finished counts, C does not
        journal.finish(B, result(1, B.path))
    with started(path, resume=True) as journal:
        assert list(journal.waiting()) == [A, C]
        assert list(journal.events()) == list(result(1, B.path).events)


def test_a_name_need_not_be_text(path):
    odd = Recording("/sound/\udcff.wav", "\udcff.wav", 1)
    events = (Event(0.0, 1.0, "x", 0.5, odd.path),)
    with started(path, [odd]) as journal:
        assert list(journal.waiting()) == [odd]
        journal.start(odd)
        journal.finish(odd, JobResult(events, 1.0, SedError("\udcff: odd")))
        assert list(journal.events()) == list(events)
        assert list(journal.problems()) == [(odd.path, "failed", "\udcff: odd")]


def test_more_recordings_than_a_page_are_each_given_once_while_they_are_finished(path):
    many = [Recording(f"/sound/{n:04}", f"{n:04}", 1) for n in range(2 * PAGE + 3)]
    with started(path, many) as journal:
        given = []
        for recording in journal.waiting():
            given.append(recording)
            journal.start(recording)
            if len(given) % 2:
                journal.finish(recording, JobResult())
        assert given == many


def test_an_earlier_run_is_continued_only_on_request(path):
    with started(path) as journal:
        journal.finish(A, result())
    with (
        pytest.raises(UsageError, match=r"out: an earlier run left results.*Give --resume"),
        started(path),
    ):
        pass


def test_other_settings_are_refused_and_named(path):
    def again(changes):
        with Journal(path) as journal:
            journal.begin(SETTINGS | changes, "/sound", resume=True)

    with started(path) as journal:
        journal.finish(A, result())
    with pytest.raises(UsageError, match=r"started with hop default, and now it is 1\.0\. Give"):
        again({"hop": "1.0"})
    with pytest.raises(UsageError, match="started with top nothing, and now it is 3"):
        again({"top": "3"})


def test_recordings_elsewhere_need_an_output_of_their_own(path):
    with started(path) as journal:
        journal.finish(A, result())
    with Journal(path) as journal:
        assert journal.begin(SETTINGS, "/sound/deep", resume=True) == "/sound"
        with pytest.raises(UsageError, match="about recordings in /sound, and /soun lies outside"):
            journal.begin(SETTINGS, "/soun", resume=True)


def test_where_nothing_is_finished_a_journal_is_begun_anew(path):
    with started(path):
        pass
    with started(path, [C], settings={"model": "other"}) as journal:
        assert list(journal.waiting()) == [C]


def test_half_a_transaction_is_none(path):
    """The events of a recording are there with its end, or not at all."""
    with started(path) as journal:
        journal.start(A)
        bad = JobResult((*result(2).events, Event(0.0, 1.0, None, 0.5)), 9.0)
        with pytest.raises(DatabaseError, match="NOT NULL"):
            journal.finish(A, bad)
        assert (journal.started(), list(journal.events())) == ([A], [])


@pytest.mark.parametrize(
    ("version", "columns"),
    [(2, ("version", "is_damaged", "notices")), (3, ("is_damaged", "notices"))],
)
def test_a_journal_of_an_earlier_version_is_resumed(path, version, columns):
    with started(path) as journal:
        journal.finish(A, result())
    with closing(sqlite3.connect(path)) as old, old:
        for column in columns:
            old.execute(f"ALTER TABLE recordings DROP COLUMN {column}")
        old.execute(f"PRAGMA user_version = {version}")
    old.close()
    for _ in range(2):
        with started(path, resume=True) as journal:
            assert list(journal.waiting()) == [B, C]
            assert list(journal.events()) == list(result().events)


def test_values_that_cannot_be_are_an_error_with_a_remedy(path):
    with started(path) as journal:
        journal.finish(A, result())

    def read():
        with Journal(path) as journal:
            journal.begin(SETTINGS, "/sound", resume=True)
            list(journal.events())

    for change in (
        "UPDATE settings SET value = 'sound' WHERE name = 'root'",
        "DELETE FROM settings WHERE name = 'root'",
        "UPDATE events SET time = 'noon'",
    ):
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(change)
        other.close()
        with pytest.raises(DatabaseError, match=r"cannot be read as a journal .*--output"):
            read()


def test_two_runs_in_one_folder_are_refused_until_the_first_is_dead(path):
    program = (
        "import os, sys; from streaming.offline.journal import Journal; "
        "journal = Journal(sys.argv[1]); journal.begin({}, '/', resume=False); "
        "print('has it', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with first:
        assert first.stdout.readline() == b"has it\n"
        with pytest.raises(DatabaseError, match=r"another run is using it. Wait for it"):
            Journal(path)
        first.kill()
    Journal(path).__exit__()


def test_what_is_no_journal_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("hello" * 1_000)
    with pytest.raises(DatabaseError, match=r"cannot be read as a journal"):
        Journal(path)
    assert path.read_text() == "hello" * 1_000
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(DatabaseError, match="of another program"):
        Journal(path)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="journal: cannot write: File exists"):
        Journal(tmp_path / "file" / "journal")


def test_a_journal_of_another_version_is_refused_in_one_line(path):
    with started(path):
        pass
    with closing(sqlite3.connect(path)) as journal, journal:
        journal.execute("PRAGMA user_version = 1")
    journal.close()
    with pytest.raises(DatabaseError, match=r"has schema version 1, and this program uses 4\. "):
        Journal(path)
