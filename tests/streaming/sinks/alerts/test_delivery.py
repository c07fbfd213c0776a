"""The delivery queue: in order, bounded, with retries, and never blocking."""

import threading
import time

import pytest

from sed.errors import SedError
from streaming.sinks.alerts.delivery import DeliveryConfig, DeliveryQueue
from tests.conftest import until

QUICK = DeliveryConfig(
    capacity=3, first_retry_seconds=0.005, max_retry_seconds=0.01, close_seconds=2
)


class Receiver:
    """Receive items, or raise a given error."""

    def __init__(self, error=None):
        self.error = error
        self.items = []
        self.n_tries = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, item):
        self.n_tries += 1
        assert self.gate.wait(5)
        if self.error is not None:
            raise self.error
        self.items.append(item)


def texts(notices):
    return [problem.text for problem in notices]


def test_items_are_sent_in_their_order():
    receiver = Receiver()
    queue = DeliveryQueue("it", receiver, DeliveryConfig())
    for item in range(50):
        queue.put(item)
    assert queue.close() == []
    assert receiver.items == list(range(50))


def test_items_that_cannot_be_sent_are_retried_in_order_and_reported_once_each_way():
    receiver = Receiver(ConnectionError("it is away"))
    queue = DeliveryQueue("it", receiver, QUICK)
    for item in range(3):
        queue.put(item)
    until(lambda: receiver.n_tries > 5)
    assert texts(queue.notices()) == ["it: it is away. Delivery is retried until it succeeds"]
    receiver.error = None
    until(lambda: len(receiver.items) == 3)
    assert texts(queue.close()) == ["it: works again: 3 delivered"]
    assert receiver.items == [0, 1, 2]


def test_the_oldest_items_in_a_full_queue_are_dropped_and_counted():
    receiver = Receiver()
    receiver.gate.clear()
    queue = DeliveryQueue("it", receiver, QUICK)
    queue.put(0)
    until(lambda: receiver.n_tries == 1)
    for item in range(1, 9):
        queue.put(item)
    assert texts(queue.notices()) == ["it: 3 items wait for delivery; the oldest are dropped"]
    receiver.gate.set()
    assert texts(queue.close()) == ["it: works again: 4 delivered, 5 lost"]
    assert receiver.items == [0, 6, 7, 8]


def test_permanent_failures_are_not_retried_and_are_reported_once():
    receiver = Receiver(SedError("it does not want that"))
    queue = DeliveryQueue("it", receiver, QUICK)
    for item in range(3):
        queue.put(item)
    until(lambda: receiver.n_tries == 3)
    receiver.error = None
    queue.put(3)
    until(lambda: receiver.items)
    assert texts(queue.close()) == [
        "it: it does not want that",
        "it: works again: 1 delivered, 3 lost",
    ]


def test_an_item_that_fails_unexpectedly_is_dropped_and_the_rest_is_still_sent():
    receiver = Receiver(KeyError("x"))
    queue = DeliveryQueue("it", receiver, QUICK)
    queue.put(0)
    until(lambda: receiver.n_tries == 1 and not queue._is_sending)
    receiver.error = None
    queue.put(1)
    assert texts(queue.close()) == [
        "it: an item could not be sent: KeyError('x')",
        "it: works again: 1 delivered, 1 lost",
    ]
    assert receiver.items == [1]


def test_retry_delays_double_up_to_the_maximum_and_jitter_at_most_halves_them():
    waits = []

    class Watched(DeliveryQueue):
        def _pause(self, seconds):
            waits.append(seconds)
            self._is_closed = len(waits) == 12
            return False

    queue = Watched("it", Receiver(ConnectionError("away")), DeliveryConfig())
    queue.put(0)
    until(lambda: len(waits) == 12)
    assert waits == [2.0**n for n in range(12)]
    started = time.monotonic()
    quick = DeliveryQueue("it", Receiver(), DeliveryConfig(max_retry_seconds=0.1), seed=1)
    assert not quick._pause(1000)
    assert 0.05 <= time.monotonic() - started < 5
    quick.close()


def test_after_a_recovery_the_next_item_is_sent_at_once():
    receiver = Receiver(ConnectionError("away"))
    queue = DeliveryQueue("it", receiver, DeliveryConfig(first_retry_seconds=1000))
    queue.put(0)
    until(lambda: receiver.n_tries == 1)
    receiver.error = None
    queue.resume()
    until(lambda: receiver.items)
    assert texts(queue.close())[1:] == ["it: works again: 1 delivered"]


def test_a_failure_is_reported_even_if_no_other_item_waits():
    queue = DeliveryQueue("it", Receiver(), QUICK)
    queue.failed("it is away")
    queue.failed("it is still away")
    queue.resume()
    queue.resume()
    assert texts(queue.notices()) == ["it: it is away", "it: works again"]
    assert queue.close() == []


@pytest.mark.parametrize("is_hanging", [False, True])
def test_closing_takes_no_longer_than_configured_and_counts_the_remaining_items(is_hanging):
    receiver = Receiver(ConnectionError("away"))
    if is_hanging:
        receiver.gate.clear()
    queue = DeliveryQueue(
        "it", receiver, DeliveryConfig(first_retry_seconds=1000, close_seconds=0.05)
    )
    for item in range(4):
        queue.put(item)
    until(lambda: receiver.n_tries == 1)
    started = time.monotonic()
    reports = texts(queue.close())
    assert time.monotonic() - started < 5
    assert reports[-1] == "it: closed with 4 not delivered"
    receiver.gate.set()
    queue._thread.join(5)
    assert not queue._thread.is_alive()
    assert queue.notices() == []


def test_what_was_lost_is_counted_at_the_end_if_nothing_was_delivered_since():
    receiver = Receiver(SedError("it does not want that"))
    queue = DeliveryQueue("it", receiver, QUICK)
    for item in range(3):
        queue.put(item)
    until(lambda: receiver.n_tries == 3)
    assert texts(queue.close()) == ["it: it does not want that", "it: closed with 3 lost"]


def test_closing_tries_once_more():
    receiver = Receiver(ConnectionError("away"))
    queue = DeliveryQueue("it", receiver, DeliveryConfig(first_retry_seconds=1000))
    queue.put(0)
    until(lambda: receiver.n_tries == 1)
    receiver.error = None
    assert texts(queue.close())[1:] == ["it: works again: 1 delivered"]
