"""What is to be sent, in order, by a thread of its own: whoever puts it in never waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from streaming.messages import Message, Problem

Item = TypeVar("Item")


@dataclass(frozen=True)
class DeliveryConfig:
    """How much may wait, and for how long."""

    capacity: int = 1_000  # items that may wait; beyond, the oldest are dropped
    first_wait: float = 1.0  # seconds until something is tried again, doubled each time
    longest_wait: float = 300.0  # seconds at most
    close_wait: float = 5.0  # seconds at the end, for what is still waiting


class PermanentError(Exception):
    """An item that will not be taken, however often it is tried."""


class TransientError(Exception):
    """An item that was not taken now; to try again may help."""


class DeliveryQueue(Generic[Item]):
    """Sends items one after the other, and tries again until each is sent or refused.

    What goes wrong is told once, and once more when something is sent and nothing is left waiting.

    Parameters
    ----------
    name
        What it sends to, as people may read it.
    send
        Sends an item, in a thread of its own; raises `PermanentError` or `TransientError`. What
        else it raises is a refusal too.
    config
        Bounds and times.
    seed
        Of the jitter, by which many that lost one server do not come back to it at once.
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
        self._change = threading.Condition()  # guards all that follows
        self._waiting: deque[Item] = deque()
        self._is_sending = False
        self._is_closed = False
        self._is_hurried = False
        self._complaints: set[str] = set()  # what was told and is not right again
        self._n_sent = self._n_lost = 0  # since the first complaint
        self._notices: list[Message] = []
        self._thread = threading.Thread(target=self._run, name=f"delivery {name}", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Take an item; if too many wait already, the oldest of them is dropped."""
        with self._change:
            self._waiting.append(item)
            if len(self._waiting) > self._config.capacity:
                self._waiting.popleft()
                self._report_fault(
                    "full", f"{len(self._waiting)} wait to be delivered; the oldest are lost"
                )
                self._n_lost += 1
            self._change.notify_all()

    def notices(self) -> list[Message]:
        """Return what went wrong, and right again, since the last call."""
        with self._change:
            notices, self._notices = self._notices, []
        return notices

    def failed(self, reason: str) -> None:
        """Tell that sending would not work now."""
        with self._change:
            self._report_fault("failing", reason)

    def resume(self) -> None:
        """Note that sending works again, and go on with it at once."""
        with self._change:
            self._is_hurried = True
            if not self._is_sending:
                self._report_recovery()
            self._change.notify_all()

    def close(self) -> list[Message]:
        """Send what waits, for a few seconds at most; return what was not told yet."""
        with self._change:
            self._is_hurried = True
            self._change.notify_all()
            self._change.wait_for(
                lambda: not self._waiting and not self._is_sending, self._config.close_wait
            )
            self._is_closed = True
            self._change.notify_all()
            if n_left := len(self._waiting) + self._is_sending:
                self._notices.append(Problem(f"{self._name}: closed with {n_left} not delivered"))
        if not n_left:
            self._thread.join()
        return self.notices()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                item = self._waiting.popleft()
                self._is_sending = True
            self._send_until_taken(item)
            with self._change:
                self._is_sending = False
                self._change.notify_all()

    def _send_until_taken(self, item: Item) -> None:
        wait = self._config.first_wait
        while not self._is_closed:
            self._is_hurried = False
            try:
                self._send(item)
            except PermanentError as error:
                return self._lose(str(error))
            except TransientError as error:
                self.failed(f"{error}. It is tried again until it works")
                wait = self._config.first_wait if self._pause(wait) else 2 * wait
            except Exception as error:  # that nobody foresaw; the next item may be a better one
                return self._lose(f"something could not be sent: {error!r}")
            else:
                with self._change:
                    self._n_sent += 1
                    self._report_recovery()
                return

    def _lose(self, reason: str) -> None:
        with self._change:
            self._report_fault("failing", reason)
            self._n_lost += 1

    def _pause(self, seconds: float) -> bool:
        """Wait, half to all of a time; return whether that was cut short."""
        share = self._generator.uniform(0.5, 1.0)
        with self._change:
            seconds = share * min(seconds, self._config.longest_wait)
            return self._change.wait_for(lambda: self._is_hurried or self._is_closed, seconds)

    def _report_fault(self, kind: str, reason: str) -> None:
        if not self._complaints:
            self._n_sent = self._n_lost = 0
        if kind not in self._complaints and not self._is_closed:
            self._complaints.add(kind)
            self._notices.append(Problem(f"{self._name}: {reason}"))

    def _report_recovery(self) -> None:
        """Tell that all is right again, if it was not, and nothing waits any more."""
        if self._complaints and not self._waiting:
            self._complaints.clear()
            counts = (self._n_sent, "delivered"), (self._n_lost, "lost")
            counted = ", ".join(f"{n} {what}" for n, what in counts if n)
            self._notices.append(
                Problem(f"{self._name}: works again" + f": {counted}" * bool(counted))
            )
