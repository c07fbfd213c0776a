"""Packets that a live stream has lost, and clocks of cameras that jump."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sed.audio.decoders.live_times import PacketLoss

RATE, PACKET = 8_000, 160
SECONDS = PACKET / RATE


def losses(times, clock=lambda: 1_000.0):
    """Return what is lost before each packet of these times, in packets; the clock begins at 0."""
    loss = PacketLoss(RATE, 0.0, clock)
    return [loss.before(seconds, PACKET) / PACKET for seconds in times]


@given(st.lists(st.booleans(), min_size=2, max_size=50), st.floats(0, 1e5))
def test_each_lost_packet_is_counted(arrives, first):
    times = [first + n * SECONDS for n, here in enumerate(arrives) if here]
    found = losses(times)
    expected = [0, *(round((b - a) / SECONDS) - 1 for a, b in pairwise(times))]
    assert [round(n, 1) for n in found] == expected[: len(found)]


def test_the_clock_of_a_camera_may_jump():
    now = iter(SECONDS * n for n in range(10))
    hour = 3_600.0
    times = [0.0, SECONDS, hour, hour + SECONDS, 5.0, 5.0 + SECONDS]
    assert losses(times, lambda: next(now)) == [0] * 6


def test_small_shifts_and_unknown_times_are_no_loss():
    shifted = [0.0, 0.024, 0.04, 0.066, None, 0.1, None, None, 0.16]
    assert losses(shifted) == [0] * 9


def test_no_more_is_lost_than_time_has_passed():
    assert losses([0.0, 2.0], lambda: 1.5) == [0, 99]
    assert losses([0.0, 3.0], lambda: 1.5) == [0, 0]
