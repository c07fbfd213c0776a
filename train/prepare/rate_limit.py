"""Space out requests to each host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Allows so many requests per second and host, evenly spaced, to any number of threads.

    Parameters
    ----------
    per_second
        Requests per second to each host.
    wait
        Waits for some seconds; may raise to stop.
    clock
        Returns the time in seconds.
    """

    def __init__(
        self,
        per_second: float,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / per_second
        self._wait = wait
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}  # when the next request to a host may start

    def acquire(self, host: str) -> None:
        """Wait until a request to a host may start."""
        while True:
            with self._lock:
                now = self._clock()
                start = self._next.get(host, now)
                if start <= now:
                    self._next[host] = now + self._interval
                    return
            self._wait(start - now)

    def hold(self, host: str, seconds: float) -> None:
        """Allow no request to a host for some seconds."""
        with self._lock:
            start = self._clock() + seconds
            self._next[host] = max(self._next.get(host, start), start)
