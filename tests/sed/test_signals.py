"""Handle Ctrl-C and SIGTERM."""

import os
import signal
import threading

import pytest

from sed.signals import (
    STOP_SIGNALS,
    GracefulExit,
    leave_stopping_to_parent,
    signals_blocked,
    sigterm_as_interrupt,
)


@pytest.fixture(autouse=True)
def handlers():
    """Check that the handlers are those from before; restore them in any case."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield before
    after = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_requests_and_the_second_acts(number):
    calls = []

    def run():
        with sigterm_as_interrupt(), GracefulExit(lambda: calls.append("request")) as stop:
            os.kill(os.getpid(), number)
            calls.append(stop.requested)
            os.kill(os.getpid(), number)
            calls.append("not interrupted")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert calls == ["request", True]


def test_sigterm_interrupts():
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)


def test_blocked_signals_arrive_afterwards():
    calls = []

    def run():
        with signals_blocked():
            # To this thread: one to the process could reach a thread of torch, which blocks none.
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            calls.append("held back")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert calls == ["held back"]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOP_SIGNALS)


def test_without_signal_masks_nothing_is_blocked(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask")
    with signals_blocked():
        pass


def test_a_worker_ignores_ctrl_c_and_the_first_sigterm(handlers):
    leave_stopping_to_parent()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_off_the_main_thread_handlers_stay(handlers):
    seen = []

    def run():
        with sigterm_as_interrupt(), GracefulExit() as stop, signals_blocked():
            leave_stopping_to_parent()
            seen.append({number: signal.getsignal(number) for number in STOP_SIGNALS})
            seen.append(stop.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [handlers, False]
