"""Stop cleanly on Ctrl-C (SIGINT) and SIGTERM, and read again on SIGHUP: all signal handling.

Python runs signal handlers in the main thread only, so off the main thread the handlers below
install nothing, and the program keeps the ones it has. Where the platform has no signal masks
(Windows), `signals_blocked` changes nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulExit:
    """Turn the first Ctrl-C or SIGTERM into a request to stop, for the body of a `with`.

    The program checks `requested` where it can stop, or stops when `on_request` is called. From
    then on the handlers from before are in place again: a second signal ends the program as it
    would have without this. Put `sigterm_as_interrupt` around it where a second SIGTERM shall
    raise `KeyboardInterrupt` instead of killing the process.

    Parameters
    ----------
    on_request
        Called once, in the main thread, when the first signal arrives.
    """

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._on_request = on_request
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> GracefulExit:
        """Install the handlers, in the main thread."""
        if _in_main_thread():
            for number in STOP_SIGNALS:
                self._handlers[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the handlers from before."""
        self._restore()

    def _request(self, *_: object) -> None:
        self.requested = True
        self._restore()
        if self._on_request is not None:
            self._on_request()

    def _restore(self) -> None:
        while self._handlers:
            _set_handler(*self._handlers.popitem())


@contextmanager
def hangup_calls(on_hangup: Callable[[], None]) -> Iterator[None]:
    """Call a function on SIGHUP, in the main thread, within the body of a `with`.

    Where the platform has no such signal (Windows), nothing is installed.
    """
    if not _in_main_thread() or not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda *_: on_hangup())
    try:
        yield
    finally:
        _set_handler(signal.SIGHUP, before)


def has_terminal() -> bool:
    """Return whether this process has a terminal; one that was closed is none, and sends SIGHUP."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on SIGTERM too, within the body of a `with`."""
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        _set_handler(signal.SIGTERM, before)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM from this thread, within the body of a `with`.

    Threads and processes that start meanwhile inherit it and keep it: the program that starts them
    has to end them. A signal that arrives is delivered when the body has ended.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_stopping_to_parent() -> None:
    """Ignore Ctrl-C and the first SIGTERM from now on, in a worker process.

    A terminal and a batch system send their signals to all processes of a job, and the parent
    process stops its workers when it needs them no longer: by a SIGTERM, the second one here.
    """
    if _in_main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: _set_handler(signal.SIGTERM, signal.SIG_DFL))


def ignore_ended_children() -> None:
    """Let child processes end from now on as if nothing had happened: the program exits itself."""
    if _in_main_thread() and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _set_handler(number: int, handler: Any) -> None:
    """Install a handler; one that was not installed from Python is None, and cannot be."""
    signal.signal(number, signal.SIG_DFL if handler is None else handler)
