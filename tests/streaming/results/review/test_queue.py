"""Filters and orders, against loops over all events."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.event_table import EventTable
from streaming.results.review.queue import ORDERS, STATES, Queue, QueueConfig
from streaming.results.review.session import with_times
from streaming.results.review.store import Decision, EventKey
from tests.streaming.results.review.reviewed import decision, events

FILES = ("rec/north/20260501_060000.wav", "rec/north/x.wav", "rec/south/20260502_230000.wav")
LABELS = ("dog", "owl")
ROWS = st.tuples(
    st.sampled_from(FILES),
    st.sampled_from(LABELS),
    st.integers(0, 5_000),
    st.sampled_from([0.0, 0.1, 0.5, 0.55, 0.9, 1.0]),
)
DECIDED = st.tuples(
    st.integers(0, 11), st.sampled_from(["right", "wrong", "unsure"]), st.sampled_from("ab")
)
CONFIGS = st.builds(
    QueueConfig,
    label=st.sampled_from([None, *LABELS]),
    min_score=st.sampled_from([0.0, 0.1, 0.5]),
    max_score=st.sampled_from([0.55, 1.0]),
    site=st.sampled_from([None, "north", "south"]),
    day=st.sampled_from([None, "", "2026-05-01", "2026-05-02"]),
    state=st.sampled_from(STATES),
    order=st.sampled_from(ORDERS),
    reviewer=st.sampled_from(["", "a"]),
)


def expected_state(verdicts):
    """Return the state of an event by the verdicts of its reviewers."""
    certain = {each for each in verdicts if each != "unsure"}
    if not verdicts:
        return "open"
    return "unsure" if not certain else "disagreed" if len(certain) > 1 else "reviewed"


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12), st.lists(DECIDED, max_size=8), CONFIGS)
def test_a_queue_is_what_a_loop_finds(rows, decided, config):
    files, labels, onsets, scores = zip(*rows, strict=True)
    table = EventTable.of_columns(files, labels, onsets, [on + 1 for on in onsets], scores)
    queue = Queue(with_times(table))
    events = [queue.table.event(i) for i in range(len(queue))]
    assert len({queue.key(i) for i in range(len(queue))}) == len(queue)
    assert {(e.file, e.label, e.onset) for e in events} == {row[:3] for row in rows}
    by_row = {}
    for i, verdict, reviewer in decided:
        if i < len(queue):
            key = queue.key(i)
            true_label = key.label if verdict == "right" else ""
            by_row.setdefault(i, {})[reviewer] = Decision(
                key, 0.5, reviewer, verdict, true_label, 0.0, 1.0
            )
    for i, decisions in by_row.items():
        queue.update(queue.key(i), decisions.values())

    def is_in(i):
        event, decisions = events[i], by_row.get(i, {})
        day = "" if event.time is None else event.time.date().isoformat()
        state = expected_state([each.verdict for each in decisions.values()])
        is_state = {
            "all": True,
            "mine": config.reviewer not in decisions,
            "reviewed": state in ("reviewed", "disagreed"),
        }.get(config.state, state == config.state)
        site = event.file.split("/")[-2]
        return (
            config.label in (None, event.label)
            and config.min_score <= event.score <= config.max_score
            and (config.site in (None, site) or len({e.file for e in events}) == 1)
            and config.day in (None, day)
            and is_state
        )

    # Sites are folders below the one that all recordings share.
    if len({file.split("/")[1] for file in files}) < 2:
        config = QueueConfig(**{**config.__dict__, "site": None})
    found = queue.rows(config).tolist()
    assert sorted(found) == [i for i in range(len(queue)) if is_in(i)]
    key = {
        "best": lambda i: -events[i].score,
        "uncertain": lambda i: abs(events[i].score - 0.5),
        "time": lambda i: (events[i].time is None, str(events[i].time)),
        "random": lambda i: 0,
    }[config.order]
    keys = [key(i) for i in found]
    assert keys == sorted(keys)


def test_a_random_order_follows_its_seed():
    queue = Queue(events(50))
    orders = [queue.rows(QueueConfig(order="random", seed=seed)).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(50))


def test_an_event_is_found_by_its_key_and_counts_once():
    table = EventTable.concat([events(3), events(5), events(2, "b.wav", "owl")])
    queue = Queue(table)
    assert len(queue) == 7
    assert [queue.row(queue.key(i)) for i in range(7)] == list(range(7))
    assert queue.row(EventKey("a.wav", "dog", 0.0, 1.001)) is None
    assert queue.row(EventKey("c.wav", "dog", 0.0, 1.0)) is None
    queue.update(queue.key(3), [decision(3)])
    assert queue.counts().tolist() == [[4, 1, 0, 0, 0], [2, 0, 0, 0, 0]]


def test_unknown_states_and_orders_are_refused():
    with pytest.raises(UsageError, match=r"unknown state 'opn'\. Did you mean open\?"):
        QueueConfig(state="opn")
    with pytest.raises(UsageError, match="unknown order"):
        QueueConfig(order="worst")


@pytest.mark.slow
def test_a_million_events_are_ready_in_two_seconds():
    rng, n = np.random.default_rng(0), 1_000_000
    onset = np.round(rng.uniform(0, 3_600, n), 3)
    table = EventTable(
        tuple(f"rec/site{i % 20}/20260{1 + i % 9}01_060000_{i}.wav" for i in range(10_000)),
        tuple(f"class {i}" for i in range(500)),
        rng.integers(0, 10_000, n).astype(np.int32),
        rng.integers(0, 500, n).astype(np.int32),
        onset,
        onset + 1,
        rng.uniform(0, 1, n),
        np.full(n, "NaT", "datetime64[us]"),
        np.full(n, -32_768, np.int16),
    )
    start = time.process_time()
    queue = Queue(with_times(table))
    queue.rows(QueueConfig())
    assert time.process_time() - start < 2
