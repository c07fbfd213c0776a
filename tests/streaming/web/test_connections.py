"""Connections without a token: none of them, and no number of them, locks out those with one."""

import resource
import selectors
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from benchmarks.live.strangers import strangers
from streaming.messages import ClipSaved, EventEnded
from streaming.sinks.alerts.command import CommandAlert
from streaming.web import connections
from streaming.web.connections import ConnectionsConfig
from tests.conftest import until
from tests.streaming.web.viewer import event, get, live, receive, status, viewed

FEW = ConnectionsConfig(
    n_strangers=8,
    n_requests=4,
    n_viewers=3,
    header_seconds=0.3,
    request_seconds=30.0,
    close_seconds=0.3,
)
BEARER = {"Authorization": "Bearer s3cret"}
UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@contextmanager
def page(path, config=FEW):
    with viewed(path, token="s3cret", connections=config) as (web, dispatcher):
        dispatcher.handle(status())
        yield web, dispatcher


def opened(web, sent=b""):
    """Return a connection that has sent some bytes."""
    host, port = web.url.removeprefix("http://").rstrip("/").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(sent)
    return connection


def read_all(connection):
    """Return what a connection receives until it is closed, and after how many seconds."""
    started, received = time.monotonic(), b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionError:
        pass
    return received, time.monotonic() - started


def health(web):
    """Return the state as a client with the token receives it, and the seconds that it takes."""
    started = time.monotonic()
    return get(web, "/health", headers=BEARER).json()["state"], time.monotonic() - started


def test_idle_and_half_open_connections_and_strangers_lock_nobody_out(path):
    with page(path) as (web, _), ExitStack() as stack:
        sent = [b""] * 40 + [b"GET /health HTTP/1.1\r\nHost: localh"] * 20 + [UPGRADE] * 20
        for each in sent:
            stack.enter_context(closing(opened(web, each)))
        for _ in range(5):
            state, seconds = health(web)
            assert state == "listening"
            assert seconds < 1.0


def test_a_client_that_sends_no_whole_request_is_disconnected_at_a_deadline(path):
    with page(path) as (web, _), ExitStack() as stack:
        opened_at = time.monotonic()
        for sent in (b"", b"GET / HTTP/1.1\r\n", UPGRADE):
            connection = stack.enter_context(closing(opened(web, sent)))
            assert read_all(connection)[0] == b""
            assert 0.2 < time.monotonic() - opened_at < 4.0


def test_to_send_a_header_byte_by_byte_extends_no_deadline(path):
    with page(path) as (web, _), closing(opened(web, b"GET / HTTP/1.1\r\nX: ")) as connection:
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 5.0:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000]
)
def test_what_is_no_request_is_disconnected_at_once(path, sent):
    config = ConnectionsConfig(header_seconds=60.0)
    with page(path, config) as (web, _), closing(opened(web, sent)) as connection:
        assert read_all(connection)[1] < 2.0


def test_a_request_in_parts_is_one_request(path):
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
    with page(path) as (web, _), closing(opened(web)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(request), 3):
            connection.sendall(request[at : at + 3])
            time.sleep(0.002)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_a_stranger_keeps_no_connection(path):
    for request in (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", UPGRADE + b"\r\n"):
        with page(path) as (web, _), closing(opened(web, request)) as connection:
            received, seconds = read_all(connection)
            assert received.startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))
            assert seconds < 1.0


def test_viewers_beyond_their_share_are_refused_and_lock_out_no_request(path):
    with page(path) as (web, dispatcher), ExitStack() as stack:
        viewers = [
            stack.enter_context(live(web, additional_headers=BEARER)) for _ in range(FEW.n_viewers)
        ]
        for _ in range(3):
            with pytest.raises(InvalidStatus, match="503"), live(web, additional_headers=BEARER):
                pass
        for route in ("/health", "/metrics"):
            assert get(web, route, headers=BEARER).status_code == 200
        dispatcher.handle(EventEnded(event(0)))
        for viewer in viewers:
            receive(viewer, "event_ended")
        viewers[0].close()
        until(lambda: "sed_viewers 2.0" in get(web, "/metrics", headers=BEARER).text)
        with live(web, additional_headers=BEARER) as viewer:
            receive(viewer, "snapshot")


def test_requests_with_the_token_make_room_for_each_other(path):
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
    with page(path) as (web, _), ExitStack() as stack:
        for _ in range(3 * FEW.n_requests):
            connection = stack.enter_context(closing(opened(web, request)))
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_never_reads_is_disconnected(path, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "CHECK_SECONDS", 0.05)
    config = ConnectionsConfig(request_seconds=0.3)
    clip = tmp_path / "large.flac"
    with open(clip, "wb") as file:
        file.truncate(60_000_000)  # more than the system buffers
    with page(path, config) as (web, dispatcher):
        dispatcher.handle(EventEnded(event(0)))
        dispatcher.handle(ClipSaved(event(0), str(clip)))
        with closing(opened(web)) as connection:
            connection.sendall(b"GET /clips/1?token=s3cret HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(1.0)
            received, _ = read_all(connection)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert len(received) < clip.stat().st_size


def test_connections_wait_in_the_system_while_the_server_has_no_time(path):
    """A connection that finds no place there is tried again by its system only after seconds."""
    somaxconn = Path("/proc/sys/net/core/somaxconn")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not somaxconn.exists() or int(somaxconn.read_text()) < 2_000 or hard < 4_096:
        pytest.skip("needs a Linux that lets 2,000 connections wait, and 4,096 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4_096), hard))
    has_time = threading.Event()
    try:
        with page(path) as (web, _), ExitStack() as stack:
            host, port = web.url.removeprefix("http://").rstrip("/").split(":")
            assert health(web)[0] == "listening"  # the server has started
            web._loop.call_soon_threadsafe(has_time.wait, 20)
            waiting = selectors.DefaultSelector()
            stack.callback(waiting.close)
            for _ in range(1_500):
                connection = stack.enter_context(closing(socket.socket()))
                connection.setblocking(False)
                connection.connect_ex((host, int(port)))
                waiting.register(connection, selectors.EVENT_WRITE)
            until(lambda: len(waiting.select(0)) == 1_500)
            has_time.set()
            assert health(web)[0] == "listening"
    finally:
        has_time.set()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "numbers"), [(1_024, (341, 85, 85)), (65_536, (1_000, 100, 100)), (11, (3, 1, 1))]
)
def test_the_numbers_follow_the_file_descriptors(limit, numbers, monkeypatch):
    monkeypatch.setattr(connections, "_max_descriptors", lambda: limit)
    config = ConnectionsConfig.for_this_process()
    assert (config.n_strangers, config.n_requests, config.n_viewers) == numbers


def test_commands_run_while_connections_come_and_go(path, tmp_path):
    with page(path) as (web, dispatcher), ExitStack() as stack:
        alert = CommandAlert(f"touch '{tmp_path}/ran-{{onset}}'")
        for n in range(10):
            for _ in range(20):
                stack.enter_context(closing(opened(web)))
            dispatcher.handle(EventEnded(event(n)))
            assert alert.handle(EventEnded(event(n))) == []
        assert alert.close() == []
        assert len(get(web, "/events", headers=BEARER).json()["events"]) == 10
    assert len(list(tmp_path.glob("ran-*"))) == 10


@pytest.mark.slow
def test_thousands_of_connections_without_the_token_cost_no_event_clip_or_command():
    found = strangers(60.0)
    assert found["events"] == found["events_expected"] == found["events_with_clip"] > 5
    assert found["commands"] == found["events"]
    assert (found["events_of_another_time_or_label"], found["status"]) == (0, 0)
    assert found["problems"] == []
    assert "0 samples dropped" in found["account"]
    assert found["health_slowest_seconds"] < 1.0
    assert found["health_requests"] > 100
    assert found["most_files_of_the_process"] < found["open_files"]
