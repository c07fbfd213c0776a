"""Decisions last: through restarts, kills, undo, and several reviewers."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from sed.errors import UsageError
from sed.events.sqlite import DatabaseError
from streaming.results.review.store import EventKey, ReviewStore, consensus
from tests.streaming.results.review.reviewed import decision


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reviews.sqlite"


def verdicts(store):
    return {
        (event.onset, name): each.verdict
        for event, decisions in store.decisions.items()
        for name, each in decisions.items()
    }


def test_a_database_goes_on_where_it_ended(path):
    with ReviewStore(path) as store:
        first = store.add(decision(0))
        store.add(decision(1, "relabelled", "Ben", "owl", onset=1.75))
        store.add(decision(0, "wrong"))
    with ReviewStore(path) as store:
        assert verdicts(store) == {(0.0, "Ana"): "wrong", (2.0, "Ben"): "relabelled"}
        again = store.decisions[EventKey("a.wav", "dog", 2.0, 3.0)]["Ben"]
        assert (again.true_label, again.true_onset, again.true_offset) == ("owl", 1.75, 3.0)
        assert again.reviewed_at >= first.reviewed_at > "2020"


def test_undo_takes_back_the_last_decision_of_its_reviewer_alone(path):
    with ReviewStore(path) as store:
        for each in (decision(0), decision(1), decision(1, "wrong"), decision(2, reviewer="Ben")):
            store.add(each)
        assert store.undo("Ana").verdict == "wrong"
        assert verdicts(store)[2.0, "Ana"] == "right"
        assert store.undo("Ana").event.onset == 2.0
        assert verdicts(store) == {(0.0, "Ana"): "right", (4.0, "Ben"): "right"}
        store.undo("Ana")
        assert store.undo("Ana") is None
        left = verdicts(store)
    with ReviewStore(path) as store:
        assert verdicts(store) == left == {(4.0, "Ben"): "right"}


def test_names_that_are_not_utf8_come_back(path):
    name = "caf\udce9.wav"
    with ReviewStore(path) as store:
        store.add(decision(0, file=name, reviewer="Zoë", verdict="relabelled", label="'; DROP --"))
    with ReviewStore(path) as store:
        assert list(store.decisions) == [EventKey(name, "dog", 0.0, 1.0)]
        assert store.decisions[EventKey(name, "dog", 0.0, 1.0)]["Zoë"].true_label == "'; DROP --"


def test_a_second_process_and_other_databases_are_refused(path, tmp_path):
    with (
        ReviewStore(path),
        pytest.raises(DatabaseError, match="is in use by another `sed review`"),
    ):
        ReviewStore(path)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(DatabaseError, match=r"is a database of another program\. .*--db"):
        ReviewStore(other)
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        ReviewStore(tmp_path / "text.db")


@pytest.mark.parametrize(
    "options",
    [
        {"verdict": "maybe"},
        {"verdict": "relabelled", "label": " "},
        {"onset": 1.0},
        {"onset": -0.5},
        {"onset": float("nan")},
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(options):
    with pytest.raises(UsageError):
        decision(0, **options)


def test_most_reviewers_decide_and_a_tie_is_open():
    right, wrong, owl = (
        decision(0, verdict, name, label)
        for verdict, name, label in (
            ("right", "Ana", None),
            ("wrong", "Ben", None),
            ("relabelled", "Cem", "owl"),
        )
    )
    unsure = decision(0, "unsure", "Dan")
    assert consensus([right, unsure]) == right
    assert consensus([unsure]) is None
    assert consensus([right, wrong]) is None
    assert consensus([right, wrong, owl]) is None
    assert consensus([right, wrong, decision(0, "wrong", "Eve")]).verdict == "wrong"


PROGRAM = """
import sys
from streaming.results.review.store import ReviewStore
from tests.streaming.results.review.reviewed import decision
store = ReviewStore(sys.argv[1])
for i in range(100_000):
    store.add(decision(i))
    print(i, flush=True)
"""


@pytest.mark.slow
def test_a_killed_review_loses_nothing_that_was_confirmed(path):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), path], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if int(line) == 200:
                process.send_signal(signal.SIGKILL)
                break
        last = max([200, *(int(line) for line in process.stdout if line.endswith("\n"))])
    with ReviewStore(path) as store:
        onsets = sorted(event.onset for event in store.decisions)
        assert onsets[: last + 1] == [2.0 * i for i in range(last + 1)]
        assert len(onsets) <= last + 2
