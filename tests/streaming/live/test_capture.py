"""Every captured sample is processed, dropped or waiting, and positions stay true across gaps."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.live.capture import (
    OVERFLOW,
    TOO_SLOW,
    AudioChunk,
    CaptureBuffer,
    Disconnect,
    SampleGap,
)
from streaming.messages import Problem

HOP = 100


def buffer(capacity=1000):
    return CaptureBuffer(
        hop_length=HOP, capacity_samples=capacity, wake=threading.Condition(), sample_rate=8_000
    )


def sound(first, n):
    """Return samples that say where they belong."""
    return np.arange(first, first + n, dtype=np.float32)[:, None]


def taken(ring, most=HOP):
    items = []
    while (item := ring.pop(most)) is not None:
        items.append(item)
    return items


def test_what_is_pushed_comes_out_in_hops_and_in_order():
    ring = buffer()
    for first in range(0, 350, 50):
        ring.push(sound(first, 50))
    items = taken(ring)
    assert [(item.start, len(item.block)) for item in items] == [
        (0, 100), (100, 100), (200, 100), (300, 50)
    ]  # fmt: skip
    np.testing.assert_array_equal(np.concatenate([i.block for i in items])[:, 0], np.arange(350))


def test_a_full_ring_drops_half_of_it_in_whole_hops_the_oldest_first():
    ring = buffer(1000)
    for first in range(0, 1050, 50):
        ring.push(sound(first, 50))
    gap, *chunks = taken(ring)
    assert gap == SampleGap(0, 500, TOO_SLOW)
    assert chunks[0].start == 500
    assert chunks[0].block[0, 0] == 500.0
    assert (ring.n_delivered, ring.n_dropped, ring.n_processed, ring.n_gaps) == (1050, 500, 550, 1)


def test_holes_side_by_side_are_one():
    ring = buffer(1000)
    for first in range(0, 2050, 50):
        ring.push(sound(first, 50))
    gaps = [item for item in taken(ring) if isinstance(item, SampleGap)]
    assert gaps == [SampleGap(0, 1500, TOO_SLOW)]


def test_a_block_longer_than_the_ring_keeps_its_end():
    ring = buffer(1000)
    ring.push(sound(0, 2750))
    gap, *chunks = taken(ring)
    assert gap.n_samples % HOP == 0
    assert chunks[-1].block[-1, 0] == 2749.0
    assert ring.n_delivered == 2750 == ring.n_processed + ring.n_dropped


def test_a_device_that_was_gone_leaves_a_hole_in_its_place():
    ring = buffer()
    ring.push(sound(0, 150))
    ring.disconnected("gone")
    assert ring.state == "lost"
    ring.reconnected(5_000, "unplugged", "back")
    ring.push(sound(5_150, 50))
    kinds = [type(item) for item in taken(ring)]
    assert kinds == [AudioChunk, AudioChunk, Disconnect, Problem, SampleGap, Problem, AudioChunk]
    assert ring.n_missing == 5_000
    assert ring.state == "listening"


def test_overflows_are_all_counted_and_reported_once_a_second():
    ring = buffer()
    for _ in range(5):
        ring.overflow()
    assert taken(ring) == [SampleGap(0, 0, OVERFLOW)]
    assert ring.n_overflows == 5


def test_a_source_that_waits_for_room_loses_nothing():
    ring, stop = buffer(1000), threading.Event()

    def deliver():
        for first in range(0, 10_000, 50):
            ring.wait_for_room(50, stop)
            ring.push(sound(first, 50))
        ring.end()

    thread = threading.Thread(target=deliver)
    thread.start()
    n = 0
    while not ring.is_done:
        if (item := ring.pop(HOP)) is not None:
            assert item.start == n
            n += len(item.block)
    thread.join()
    assert (n, ring.n_dropped) == (10_000, 0)


def test_a_block_longer_than_the_ring_does_not_wait_for_ever():
    ring = buffer(200)
    ring.wait_for_room(400, threading.Event())
    ring.push(sound(0, 400))
    assert ring.n_delivered == 400


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 700)),
        st.tuples(st.just("take"), st.integers(1, 300)),
        st.tuples(st.just("lose"), st.integers(0, 900)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps, st.sampled_from([200, 1000, 1234]))
def test_nothing_is_lost_without_account(steps, capacity):
    ring = buffer(capacity)
    position = processed = 0
    seen = []
    for what, n in steps:
        if what == "push":
            ring.push(sound(position, n))
            position += n
        elif what == "lose":
            ring.disconnected("gone")
            ring.reconnected(n, "unplugged")
            position += n
        elif (item := ring.pop(n)) is not None:
            seen.append(item)
    assert ring.n_waiting <= max(capacity, 2 * HOP)
    seen += taken(ring)
    at = 0  # positions have no overlap, and no gap that is not reported
    for item in seen:
        if isinstance(item, AudioChunk):
            assert item.start == at
            np.testing.assert_array_equal(item.block[:, 0], sound(at, len(item.block))[:, 0])
            processed += len(item.block)
            at = item.stop
        elif isinstance(item, SampleGap):
            assert item.start == at
            at = item.stop
    assert at == position
    assert processed == ring.n_processed
    assert ring.n_delivered == ring.n_processed + ring.n_dropped + ring.n_waiting
    assert (
        sum(i.n_samples for i in seen if isinstance(i, SampleGap))
        == ring.n_dropped + ring.n_missing
    )
    assert ring.n_dropped % HOP == 0
    assert ring.n_gaps == sum(isinstance(item, SampleGap) for item in seen)


def test_nothing_comes_from_an_empty_ring():
    ring = buffer()
    assert ring.pop(HOP) is None
    assert not ring.is_done
    ring.end()
    assert ring.is_done


@pytest.mark.parametrize("n_channels", [1, 2, 8])
def test_channels_stay_together(n_channels):
    ring = CaptureBuffer(
        hop_length=HOP, capacity_samples=1000, wake=threading.Condition(), sample_rate=8_000
    )
    ring.push(np.tile(sound(0, 130), (1, n_channels)))
    assert [item.block.shape for item in taken(ring)] == [(100, n_channels), (30, n_channels)]
