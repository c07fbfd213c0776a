"""An iterator that runs ahead in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


class Prefetcher(Iterator[T]):
    """Gives what a generator gives, while that runs at most some items ahead, from now on.

    What it raises is raised here, in its place in the order.

    Parameters
    ----------
    items
        Runs in the thread, and is closed there.
    n_ahead
        Items that may wait.
    """

    def __init__(self, items: Generator[T], n_ahead: int) -> None:
        self._waiting: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(n_ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(items,), name="read-ahead", daemon=True
        )
        self._thread.start()

    def __next__(self) -> T:
        item, end = self._waiting.get()
        if end is not None:
            self._waiting.put(([], end))  # for whoever asks again
            raise end
        return item[0]

    def stop(self) -> None:
        """Have the generator closed when it gives its next item."""
        self._stopped.set()

    @property
    def is_done(self) -> bool:
        """Whether the generator is closed."""
        return not self._thread.is_alive()

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Stop, and wait until the generator is closed, unless it waits for somebody itself."""
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
        finally:
            items.close()
        self._put([], end)

    def _put(self, item: list[T], end: BaseException | None = None) -> None:
        while not self._stopped.is_set():
            try:
                return self._waiting.put((item, end), timeout=0.1)
            except queue.Full:
                continue
