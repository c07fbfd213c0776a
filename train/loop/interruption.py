"""Stopping between two steps, and never within one."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Stop:
    """Whether Ctrl-C or a polite kill has come; a second one is not waited for.

    So the weights are never saved in the middle of a step, and nothing that was learnt is lost.
    Outside the main thread signals are not ours to hear.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
