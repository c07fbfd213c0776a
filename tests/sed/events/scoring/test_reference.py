import time

import pytest

from sed.errors import TableError
from sed.events.event_table import EventTable
from sed.events.scoring.reference import align
from tests.sed.events.scoring.small_events import table_of

TRUTH = table_of([("north/a.wav", "dog", 1.0, 2.0), ("b.wav", "cat", 3.0, 4.0)])


def test_recordings_and_classes_have_the_same_numbers():
    found = table_of([("b", "owl", 0.0, 1.0), ("rec/north/a.flac", "dog", 1.0, 2.5)])
    reference, (detected,) = align(TRUTH, [found])
    assert reference.labels == ("dog", "cat", "owl")
    assert reference.n_true_labels == 2
    assert detected.file.tolist() == [1, 0]
    assert detected.label.tolist() == [2, 0]
    # Recordings end with their last event, which may be a detection.
    assert reference.durations.tolist() == [2.5, 4.0]
    assert reference.hours == pytest.approx(6.5 / 3600)


def test_recordings_without_events_count_with_their_durations():
    durations = {"a.wav": 10.0, "b.wav": 20.0, "c.wav": 30.0}
    found = table_of([("c.wav", "dog", 1.0, 2.0), ("d.wav", "dog", 1.0, 2.0)])
    reference, (detected,) = align(TRUTH, [found], durations)
    assert reference.hours * 3600 == pytest.approx(60.0)
    # What is not in the table of durations is not evaluated.
    assert detected.file.tolist() == [2]
    assert reference.events.file.tolist() == [0, 1]


def test_a_recording_without_a_duration_is_named():
    with pytest.raises(
        TableError, match=r"no duration of 1 recording of the truth, such as b\.wav"
    ):
        align(TRUTH, [], {"a.wav": 10.0})


def test_many_recordings_that_only_detections_have_take_no_time():
    n = 20_000
    found = EventTable.of_columns([f"{i}.wav" for i in range(n)], ["dog"] * n, [0.0] * n, [1.0] * n)
    start = time.perf_counter()
    reference, _ = align(TRUTH, [found])
    assert len(reference.durations) == n + 2
    assert time.perf_counter() - start < 5
