"""An iterator that runs ahead in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Generator[T], n_ahead: int) -> Generator[T]:
    """Yield what a generator yields, while it runs at most `n_ahead` items ahead.

    What it raises is raised here, in its place in the order. Closing this one closes it too.
    """
    waiting: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(n_ahead)
    stopped = threading.Event()

    def put(item: list[T], end: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return waiting.put((item, end), timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put([item])
                if stopped.is_set():
                    break
            put([], StopIteration())
        except BaseException as error:
            put([], error)
        finally:
            items.close()

    thread = threading.Thread(target=run, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, end = waiting.get()
            yield from item
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
    finally:
        stopped.set()
        thread.join(timeout=1.0)  # longer only if it waits for somebody to say something
