import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.pipeline.ring_buffer import RingBuffer


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)), max_size=30))
def test_holds_what_was_pushed_and_not_dropped(steps):
    ring = RingBuffer()
    stream = np.arange(100_000, dtype=np.float32)
    for n_pushed, n_dropped in steps:
        ring.push(stream[ring.stop : ring.stop + n_pushed])
        ring.drop(ring.start + n_dropped)
        assert ring.start <= ring.stop
        np.testing.assert_array_equal(
            ring.view(ring.start, ring.stop), stream[ring.start : ring.stop]
        )


def test_memory_follows_what_is_held():
    ring = RingBuffer((4,))
    for _ in range(1_000):
        ring.push(np.zeros((500, 4), np.float32))
        ring.drop(ring.stop - 700)
    assert len(ring._items) <= 2 * 1_200


def test_positions_that_are_gone_or_to_come_are_refused():
    ring = RingBuffer()
    ring.push(np.zeros(10, np.float32))
    ring.drop(4)
    for start, stop in ((3, 6), (6, 11), (8, 7)):
        with pytest.raises(IndexError, match="not within"):
            ring.view(start, stop)
