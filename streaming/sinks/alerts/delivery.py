"""Deliver items in order from a background thread, with retries and a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from sed.errors import SedError
from streaming.messages import FaultReporter, Message, Problem

Item = TypeVar("Item")


@dataclass(frozen=True)
class DeliveryConfig:
    """Size of a delivery queue, and times of its retries.

    Attributes
    ----------
    capacity
        Items that may wait; beyond that the oldest are dropped.
    first_retry_seconds
        Wait before the first retry; doubled each time.
    max_retry_seconds
        Longest wait before a retry.
    close_seconds
        Time for delivering what still waits when the queue is closed.
    """

    capacity: int = 1_000
    first_retry_seconds: float = 1.0
    max_retry_seconds: float = 300.0
    close_seconds: float = 5.0


class DeliveryQueue(Generic[Item]):
    """Send items one after the other, and retry each until it is delivered or refused.

    A fault is reported once, and once more when an item is delivered and none is left waiting.

    Parameters
    ----------
    name
        The destination, as it is named in reports.
    send
        Sends an item; called from the thread of the queue. Raises `ConnectionError` if the item
        should be sent again; the item is dropped on a `SedError` or any other exception.
    config
        Size of the queue, and times of its retries.
    seed
        Of the jitter of the retries, which spreads the clients of a server that comes back.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Item], None],
        config: DeliveryConfig | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self._name = name
        self._send = send
        self._config = config or DeliveryConfig()
        self._generator = np.random.default_rng(seed)
        self._change = threading.Condition()  # guards all attributes below
        self._waiting: deque[Item] = deque()
        self._is_sending = False
        self._is_closed = False
        self._retries_now = False  # cuts the current wait short
        self._faults = FaultReporter()
        self._n_sent = self._n_lost = 0  # since the first fault
        self._notices: list[Message] = []
        self._thread = threading.Thread(target=self._run, name=f"delivery {name}", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Append an item without blocking; a full queue drops its oldest item."""
        with self._change:
            self._waiting.append(item)
            if len(self._waiting) > self._config.capacity:
                self._waiting.popleft()
                self._report_fault(
                    "full", f"{len(self._waiting)} items wait for delivery; the oldest are dropped"
                )
                self._n_lost += 1
            self._change.notify_all()

    def notices(self) -> list[Message]:
        """Return the faults and recoveries since the last call."""
        with self._change:
            notices, self._notices = self._notices, []
        return notices

    def failed(self, reason: str) -> None:
        """Report that the destination cannot be reached."""
        with self._change:
            self._report_fault("failing", reason)

    def resume(self) -> None:
        """Report that the destination can be reached again, and retry at once."""
        with self._change:
            self._retries_now = True
            if not self._is_sending:
                self._report_recovery()
            self._change.notify_all()

    def close(self) -> list[Message]:
        """Deliver what waits, for `close_seconds` at most; return the last notices."""
        with self._change:
            self._retries_now = True
            self._change.notify_all()
            self._change.wait_for(
                lambda: not self._waiting and not self._is_sending, self._config.close_seconds
            )
            self._is_closed = True
            self._change.notify_all()
            n_left = len(self._waiting) + self._is_sending
            # Those of earlier faults were counted when these were over.
            n_lost = self._n_lost if self._faults.is_faulty else 0
            counts = (n_left, "not delivered"), (n_lost, "lost")
            if counted := ", ".join(f"{n} {what}" for n, what in counts if n):
                self._notices.append(Problem(f"{self._name}: closed with {counted}"))
        if not n_left:
            self._thread.join()
        # The destination usually holds this queue; without this, its sockets would stay open until
        # the garbage collector runs.
        self._send = _discard
        return self.notices()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                item = self._waiting.popleft()
                self._is_sending = True
            self._deliver(item)
            with self._change:
                self._is_sending = False
                self._change.notify_all()

    def _deliver(self, item: Item) -> None:
        """Send an item until it is delivered or refused, or the queue is closed."""
        wait = self._config.first_retry_seconds
        while not self._is_closed:
            self._retries_now = False
            try:
                self._send(item)
            except SedError as error:
                return self._drop(str(error))
            except ConnectionError as error:
                self.failed(f"{error}. Delivery is retried until it succeeds")
                wait = self._config.first_retry_seconds if self._pause(wait) else 2 * wait
            # An unexpected error costs this item only: the next one may be fine.
            except Exception as error:
                return self._drop(f"an item could not be sent: {error!r}")
            else:
                with self._change:
                    self._n_sent += 1
                    self._report_recovery()
                return

    def _drop(self, reason: str) -> None:
        with self._change:
            self._report_fault("failing", reason)
            self._n_lost += 1

    def _pause(self, seconds: float) -> bool:
        """Wait for 50 to 100 % of a time; return whether the wait was cut short."""
        share = self._generator.uniform(0.5, 1.0)
        with self._change:
            seconds = share * min(seconds, self._config.max_retry_seconds)
            return self._change.wait_for(lambda: self._retries_now or self._is_closed, seconds)

    def _report_fault(self, kind: str, reason: str) -> None:
        if not self._faults.is_faulty:
            self._n_sent = self._n_lost = 0
        if not self._is_closed:
            self._notices += self._faults.update(f"{self._name}: {reason}", kind=kind)

    def _report_recovery(self) -> None:
        """Report that all is delivered again, if there was a fault and no item is left waiting."""
        if not self._waiting:
            counts = (self._n_sent, "delivered"), (self._n_lost, "lost")
            counted = ", ".join(f"{n} {what}" for n, what in counts if n)
            text = f"{self._name}: works again" + f": {counted}" * bool(counted)
            self._notices += self._faults.update(None, recovery=text)


def _discard(item: object) -> None:
    """Stand in for the destination of a closed queue."""
