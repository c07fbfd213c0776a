import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.events.event_table import EventTable
from sed.events.tracker import Event
from streaming.results.clips.choose import PICKS, ChoiceConfig, choose_events


def chosen(scores, **options):
    """Return the scores that are chosen of events that are far apart."""
    events = [Event(100.0 * i, 100.0 * i + 1, "a", s, "x.wav") for i, s in enumerate(scores)]
    table = EventTable.of_events(events)
    return table.score[choose_events(table, ChoiceConfig(**options))[0]].tolist()


def test_each_pick():
    scores = [0.1, 0.9, 0.45, 0.8, 0.6, 0.3, 1.0]
    assert chosen(scores, per_class=2) == [1.0, 0.9]
    assert chosen(scores, per_class=2, pick="uncertain") == [0.6, 0.45]
    assert chosen(scores, per_class=3, pick="spread") == [1.0, 0.6, 0.1]
    drawn = {tuple(chosen(scores, per_class=2, pick="random", seed=s)) for s in range(20)}
    assert len(drawn) > 5


def test_events_that_overlap_are_passed_over_while_there_are_others():
    events = [
        Event(0.0, 1.0, "a", 0.9, "x"),
        Event(2.5, 3.0, "a", 0.8, "x"),  # within the padding of the first
        Event(0.0, 1.0, "a", 0.7, "y"),
    ]
    table = EventTable.of_events(events)
    rows = choose_events(table, ChoiceConfig(per_class=2))[0]
    assert table.score[rows].tolist() == [0.9, 0.7]
    rows = choose_events(table, ChoiceConfig(per_class=2, pad_seconds=0.5))[0]
    assert table.score[rows].tolist() == [0.9, 0.8]
    rows = choose_events(table, ChoiceConfig(per_class=3))[0]
    assert table.score[rows].tolist() == [0.9, 0.8, 0.7]


@given(
    st.lists(
        st.builds(
            Event,
            st.sampled_from([0.0, 5.0, 50.0]), st.just(60.0), st.sampled_from("abc"),
            st.sampled_from([0.25, 0.5, 1.0]), st.sampled_from("xy"),
        )
    ),
    st.sampled_from(PICKS),
    st.integers(1, 4),
    st.randoms(),
)  # fmt: skip
def test_any_events(events, pick, per_class, random):
    config = ChoiceConfig(per_class, pick)
    table = EventTable.of_events(events)
    rows = choose_events(table, config)
    for label, own in zip(table.labels, rows, strict=True):
        n = sum(event.label == label for event in events)
        assert len(own) == len({*own.tolist()}) == min(n, per_class)
        assert (np.diff(table.score[own]) <= 0).all()
        assert {table.labels[table.label[row]] for row in own} <= {label}
    random.shuffle(events)
    again = EventTable.of_events(events)
    picked = {table.event(row) for own in rows for row in own}
    assert {again.event(row) for own in choose_events(again, config) for row in own} == picked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pick": "bset"}, "unknown choice 'bset'. Did you mean best?"),
        ({"per_class": 0}, "expected 1 or more clips per class, got 0"),
        ({"pad_seconds": -1.0}, "expected a padding of 0 s or more, got -1"),
        ({"max_seconds": 0.0}, "expected a longest clip above 0 s, got 0"),
    ],
)
def test_impossible_choices_are_refused(options, message):
    with pytest.raises(UsageError) as caught:
        ChoiceConfig(**options)
    assert message in str(caught.value)
