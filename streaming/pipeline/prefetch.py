"""Run a generator ahead of its consumer, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


class Prefetcher(Iterator[T]):
    """Iterates over a generator that runs ahead in a thread, from the moment this is made.

    An exception of the generator is raised here, after the items before it.

    Parameters
    ----------
    items
        Runs in the thread, and is closed there.
    n_ahead
        Items that may wait to be consumed; 0 for any number.
    """

    def __init__(self, items: Generator[T], n_ahead: int = 0) -> None:
        self._waiting: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(n_ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(items,), name="prefetch", daemon=True
        )
        self._thread.start()

    def __next__(self) -> T:
        item, end = self._waiting.get()
        if end is not None:
            self._waiting.put(([], end))  # the next call raises it too
            raise end
        return item[0]

    def stop(self) -> None:
        """Close the generator when it yields its next item; returns at once."""
        self._stopped.set()

    @property
    def is_done(self) -> bool:
        """Whether the generator is closed."""
        return not self._thread.is_alive()

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Stop, and wait until the generator is closed, for at most `timeout_seconds`."""
        self.stop()
        self._thread.join(timeout_seconds)

    def _run(self, items: Generator[T]) -> None:
        try:
            for item in items:
                self._put([item])
                if self._stopped.is_set():
                    break
            end: BaseException = StopIteration()
        except BaseException as error:
            end = error
        try:
            items.close()
        # The consumer must not wait forever for the next item.
        except BaseException as error:
            end = error
        self._put([], end)

    def _put(self, item: list[T], end: BaseException | None = None) -> None:
        while not self._stopped.is_set():
            try:
                return self._waiting.put((item, end), timeout=0.1)
            except queue.Full:
                continue
