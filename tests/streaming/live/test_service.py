"""A service manager is notified, with a watchdog only while sound is processed."""

import os
import socket
from dataclasses import replace

import pytest

from streaming.live.service import ServiceNotifier, service_socket
from streaming.messages import InputStatus, Status

if not hasattr(socket, "AF_UNIX"):
    pytest.skip("this system has no sockets of files", allow_module_level=True)

INPUT = InputStatus("mic", "listening", 48_000, 1, 0, 0, 0, 0, 0, 0, 0)
WATCHED = {"WATCHDOG_USEC": "4000", "WATCHDOG_PID": str(os.getpid())}


def status(n_processed, state="listening"):
    return Status(1.0, 0.1, 0.0, 3, (replace(INPUT, n_processed=n_processed, state=state),))


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(0.01)
        yield receiver


def received(manager):
    try:
        return manager.recv(4096).decode().splitlines()
    except TimeoutError:
        return []


def test_a_service_says_that_it_is_ready_goes_on_and_ends(manager, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    notifier = ServiceNotifier(
        manager.getsockname(), lambda status: f"{status.n_events} events", WATCHED
    )
    notifier.handle(status(0))
    assert received(manager) == ["READY=1", "STATUS=3 events", "WATCHDOG=1"]
    for n, state, expected in [
        (10, "listening", ["WATCHDOG=1"]),
        (10, "listening", []),
        (20, "listening", ["WATCHDOG=1"]),
        (20, "lost", ["WATCHDOG=1"]),
    ]:
        clock[0] += 0.5
        notifier.handle(status(n, state))
        assert received(manager) == expected
    clock[0] += 0.0001
    notifier.handle(status(30))
    assert received(manager) == []
    notifier.close()
    assert received(manager) == ["STOPPING=1"]


@pytest.mark.parametrize("values", [{}, WATCHED | {"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_no_watchdog_unless_this_process_is_watched(manager, values):
    notifier = ServiceNotifier(manager.getsockname(), lambda _: "", values)
    notifier.handle(status(0))
    assert received(manager) == ["READY=1", "STATUS="]
    notifier.close()


def test_a_manager_that_is_not_there_is_no_fault_and_ready_is_said_again(tmp_path):
    notifier = ServiceNotifier(str(tmp_path / "none"), lambda _: "", {})
    notifier.handle(status(0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "none"))
        receiver.settimeout(0.01)
        notifier.handle(status(0))
        assert received(receiver) == ["READY=1"]
    notifier.close()


def test_the_address_may_be_abstract():
    assert service_socket({}) is None
    assert service_socket({"NOTIFY_SOCKET": "vsock:1:2"}) is None
    assert service_socket({"NOTIFY_SOCKET": "/run/notify"}) == "/run/notify"
    address = service_socket({"NOTIFY_SOCKET": f"@sed-test-{os.getpid()}"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(0.01)
        ServiceNotifier(address, lambda _: "", {}).close()
        assert received(receiver) == ["STOPPING=1"]
