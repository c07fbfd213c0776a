"""Thresholds from events that people have reviewed."""

import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import UsageError
from sed.events.post_processing import read_post_processing
from sed.events.scoring.reviews import REVIEWS, REVIEWS_VERSION
from sed.events.sqlite import LIVE_RECORD, LIVE_RECORD_VERSION, open_sqlite
from train.tune.reviewed import read_reviewed, thresholds_of

EVENTS = "CREATE TABLE events (id, source, label, onset, offset, score);"
VERDICTS = "CREATE TABLE verdicts (event_id, verdict);"
DECISIONS = (
    "CREATE TABLE decisions (id INTEGER PRIMARY KEY, file, label, onset, offset, reviewer, "
    "verdict, true_label);"
)


def live(path, *, schema=EVENTS + VERDICTS, n=100):
    """Write events with scores 0.00 to 0.99; from 0.5 on they are right."""
    made = open_sqlite(path, application_id=LIVE_RECORD, version=LIVE_RECORD_VERSION, schema=schema)
    with closing(made) as connection:
        for i in range(n):
            row = i, "garden", "dog", i + 0.00012, i + 1.0, i / 100
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
            if "verdicts" in schema:
                verdict = "right" if i >= 50 else "wrong"
                connection.execute("INSERT INTO verdicts VALUES (?, ?)", (i, verdict))
    return path


def reviewed(path, rows):
    """Write what reviewers say: number of the event, reviewer, verdict, true label."""
    made = open_sqlite(path, application_id=REVIEWS, version=REVIEWS_VERSION, schema=DECISIONS)
    with closing(made) as connection:
        for i, *said in rows:
            row = "garden", "dog", float(i), i + 1.0, *said
            connection.execute("INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)
    return path


def test_the_threshold_is_the_lowest_with_the_wanted_precision(tmp_path):
    path = live(tmp_path / "events.sqlite")
    (dog,) = read_reviewed(path, [], 0.9)
    assert (dog.label, dog.n_events, dog.n_reviewed, dog.n_right) == ("dog", 100, 100, 50)
    # 50 right of 55 are more than 0.9, and 50 of 56 are less.
    assert dog.threshold.value == pytest.approx(0.45)
    assert dog.outcome == "set"
    ((label, one),) = thresholds_of([dog]).classes
    assert (label, dict(one.values)) == (
        "dog",
        {"onset_threshold": 0.45, "offset_threshold": 0.225},
    )
    (dog,) = read_reviewed(path, [], 0.5)
    assert dog.outcome == "good as it is"
    assert thresholds_of([dog]).classes == ()


def test_a_class_without_such_a_threshold_or_with_few_reviews_is_left(tmp_path):
    path = live(tmp_path / "events.sqlite", n=50)
    (dog,) = read_reviewed(path, [], 0.9)
    assert (dog.threshold, dog.outcome) == (None, "no threshold is enough")
    path = live(tmp_path / "few.sqlite", n=9)
    assert read_reviewed(path, [], 0.9)[0].outcome == "fewer than 10 reviewed"


def test_what_most_reviewers_say_at_last_counts_before_the_page(tmp_path):
    path = live(tmp_path / "events.sqlite", schema=EVENTS)
    rows = [(i, "a", "right", "dog") for i in range(40, 100)]
    rows += [(i, "a", "wrong", "") for i in range(40)]
    rows += [(90, "a", "wrong", ""), (90, "a", "right", "dog")]  # changed twice
    rows += [(91, "b", "relabelled", "fox")]  # no majority
    rows += [(92, who, "relabelled", "fox") for who in "bc"]
    rows += [(93, who, "unsure", "") for who in "bc"]
    (dog,) = read_reviewed(path, [reviewed(tmp_path / "reviews.sqlite", rows)], 0.9)
    assert (dog.n_reviewed, dog.n_right) == (99, 58)


def test_events_without_a_review_are_refused(tmp_path):
    path = live(tmp_path / "events.sqlite", schema=EVENTS)
    with pytest.raises(UsageError, match=r"no event is reviewed: the reviews have no verdicts"):
        read_reviewed(path, [], 0.9)
    other = reviewed(tmp_path / "reviews.sqlite", [(1_000, "a", "right", "dog")])
    with pytest.raises(UsageError, match=r"the reviews are about other events\. Mark events"):
        read_reviewed(path, [other], 0.9)
    with pytest.raises(UsageError, match="expected --min-precision above 0"):
        read_reviewed(path, [], 0.0)


def test_the_command_writes_what_detect_reads(tmp_path):
    path = live(tmp_path / "events.sqlite")
    output = tmp_path / "tuned.toml"
    done = CliRunner().invoke(app(), ["tune", "--from", str(path), "--output", str(output)])
    assert done.exit_code == 0, done
    ((label, one),) = read_post_processing(output).classes
    assert (label, dict(one.values)["onset_threshold"]) == ("dog", 0.45)
    row = next(line.split() for line in done.stderr.splitlines() if line.startswith("dog"))
    assert row == ["dog", "100", "100", "50", "0.450", "0.91", "0.80–0.96", "set"]
    for options in (["--from", "a", "--data", "b", "-o", "c"], ["--from", "a"], ["general"]):
        done = CliRunner().invoke(app(), ["tune", *options])
        assert isinstance(done.exception, UsageError)


def test_the_database_of_sed_review_is_known_by_the_same_numbers(tmp_path):
    store = pytest.importorskip("streaming.results.review.store")
    path = tmp_path / "reviews.sqlite"
    store.ReviewStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        found = [
            connection.execute(f"PRAGMA {n}").fetchone()[0]
            for n in ("application_id", "user_version")
        ]
    assert found == [REVIEWS, REVIEWS_VERSION]
