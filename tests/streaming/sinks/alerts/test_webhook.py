"""Webhooks: a web server that is sometimes down, and addresses with secrets."""

import base64
import http.server
import json
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus

import pytest

from sed.errors import SedError, UsageError
from streaming.cli.live.outputs import LiveOutputs
from streaming.messages import ClipSaved, EventEnded, EventStarted, Problem
from streaming.sinks.alerts.delivery import DeliveryConfig
from streaming.sinks.alerts.secrets import read_header, read_secret, secret_variables
from streaming.sinks.alerts.webhook import Webhook
from streaming.sinks.payload import payload_of
from tests.conftest import until
from tests.streaming.sinks.alerts.examples import EVENT, GAP, labelled, texts

QUICK = DeliveryConfig(
    capacity=100, first_retry_seconds=0.01, max_retry_seconds=0.02, close_seconds=3
)


class Server:
    """A web server on this machine with chosen responses, which can be down."""

    def __init__(self):
        self.posts = []  # (path, headers, body)
        self.statuses = []  # of the next responses; then 200
        self.n_requests = 0
        self.hold = threading.Event()
        self.hold.set()
        self.port = 0
        self.start()

    def start(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                server.n_requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.hold.wait(5)
                status = server.statuses.pop(0) if server.statuses else 200
                if status == 200:
                    server.posts.append((self.path, dict(self.headers), json.loads(body)))
                if status == 0:
                    self.wfile.write(b"nonsense\r\n\r\n")
                    return
                self.send_response(status, f"secret {self.path}")
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self):
                raise AssertionError("unexpected error")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self):
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def labels(self):
        return [payload["label"] for _, _, payload in self.posts]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.stop()


def hook(server, **options):
    options = {"config": QUICK, "timeout": 2} | options
    return Webhook(f"http://127.0.0.1:{server.port}/hook?key=s3cret", **options)


def test_payloads_are_posted_as_json(server):
    alert = hook(server, headers={"X-Room": "attic"}, waits_for_clip=True)
    for message in (EventStarted(EVENT), EventEnded(EVENT), ClipSaved(EVENT, "a.flac"), GAP):
        assert alert.handle(message) == []
    assert alert.close() == []
    assert [payload for _, _, payload in server.posts] == [
        payload_of(message, waits_for_clip=True)
        for message in (EventStarted(EVENT), ClipSaved(EVENT, "a.flac"), GAP)
    ]
    path, headers, _ = server.posts[0]
    assert path == "/hook?key=s3cret"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Room"] == "attic"
    assert headers["User-Agent"] == "sed-engine"
    assert "Authorization" not in headers


def test_a_name_and_password_become_basic_authentication(server):
    alert = Webhook(f"http://a%40b:p%2Fw%3A@127.0.0.1:{server.port}/ü x".replace(" ", "%20"))
    alert.handle(EventEnded(EVENT))
    assert alert.close() == []
    ((path, headers, _),) = server.posts
    assert path == "/%C3%BC%20x"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"a@b:p/w:"


@pytest.mark.parametrize("status", [500, 503, 408, 429, 0])
def test_transient_failures_are_retried_in_order(server, status):
    server.statuses = [status] * 3
    alert = hook(server)
    labels = [f"label {n}" for n in range(4)]
    for label in labels:
        alert.handle(EventEnded(labelled(label)))
    reports = texts(alert.close())
    name = f"webhook http://127.0.0.1:{server.port}"
    reason = (
        f"the server returned {status} {HTTPStatus(status).phrase}"
        if status
        else "the reply of the server is not HTTP"
    )
    assert reports == [
        f"{name}: {reason}. Delivery is retried until it succeeds",
        f"{name}: works again: 4 delivered",
    ]
    assert server.labels == labels
    assert server.n_requests == 7


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302, 307])
def test_permanent_failures_are_not_retried(server, status):
    server.statuses = [status, status]
    alert = hook(server)
    for n in range(3):
        alert.handle(EventEnded(labelled(f"label {n}")))
    reports = texts(alert.close())
    name = f"webhook http://127.0.0.1:{server.port}"
    assert reports == [
        f"{name}: the server returned {status} {HTTPStatus(status).phrase}. Check the address",
        f"{name}: works again: 1 delivered, 2 lost",
    ]
    assert server.labels == ["label 2"]
    assert server.n_requests == 3


def test_a_server_that_is_away_gets_everything_when_it_is_back(server):
    alert = hook(server)
    server.stop()
    labels = [f"label {n}" for n in range(20)]
    reports = []
    for label in labels:
        reports += texts(alert.handle(EventEnded(labelled(label))))
    until(lambda: reports.extend(texts(alert.handle(Problem("")))) or reports)
    server.start()
    reports += texts(alert.close())
    name = f"webhook http://127.0.0.1:{server.port}"
    assert reports == [
        f"{name}: the server cannot be reached: Connection refused. "
        "Delivery is retried until it succeeds",
        f"{name}: works again: 20 delivered",
    ]
    assert server.labels == labels


def test_a_server_that_hangs_does_not_block_the_listener(server):
    server.hold.clear()
    alert = hook(
        server, timeout=0.05, config=DeliveryConfig(first_retry_seconds=0.01, close_seconds=0.3)
    )
    started = time.monotonic()
    for _ in range(100):
        alert.handle(EventEnded(EVENT))
    assert time.monotonic() - started < 4  # a timeout for each would take longer
    until(lambda: alert._queue._notices)
    started = time.monotonic()
    reports = texts(alert.close())
    assert time.monotonic() - started < 4
    name = f"webhook http://127.0.0.1:{server.port}"
    assert reports == [
        f"{name}: the server cannot be reached: timed out. Delivery is retried until it succeeds",
        f"{name}: closed with 100 not delivered",
    ]
    alert._queue._thread.join(5)


@pytest.mark.parametrize("status", [0, 302, 401, 503, None])
def test_no_secret_of_the_address_is_ever_reported(server, status):
    address = f"http://name:pa55word@127.0.0.1:{server.port}/t0ken/x?key=s3cret#fr4gment"
    alert = Webhook(address, config=DeliveryConfig(first_retry_seconds=0.01, close_seconds=0.05))
    if status is None:
        server.stop()
    server.statuses = [status] * 100
    alert.handle(EventEnded(EVENT))
    until(lambda: alert._queue._notices)
    reports = " ".join(texts(alert.close()))
    assert f"127.0.0.1:{server.port}" in reports
    for secret in ("pa55word", "name", "s3cret", "t0ken", "fr4gment"):
        assert secret not in reports
    if status is None:
        server.start()
    alert._queue._thread.join(5)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://u:pa55word@host/x",
        "file:///etc/passwd",
        "host/path",
        "http://",
        "http://u:pa55/word@host/",
        "http://host:pa55word/",
        "http://host/a pa55word",
        "http://host/\npa55word",
        "http://a..b/?pa55word",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_secrets(url):
    with pytest.raises(UsageError) as caught:
        Webhook(url)
    assert str(caught.value) == (
        "expected an address that begins with http or https, like https://host/path"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("X y", "1"), ("", "1"), ("X", "a\r\nY: b"), ("X", "鳥")]
)
def test_a_header_that_cannot_be_sent_is_refused(name, value):
    with pytest.raises(UsageError, match="cannot be sent"):
        Webhook("http://127.0.0.1/", headers={name: value})


def test_a_server_that_sends_byte_by_byte_exceeds_one_deadline_for_all():
    is_over = threading.Event()

    def trickle(connection):
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not is_over.wait(0.02):
                connection.sendall(b"X")

    def serve(listening):
        with suppress(OSError):
            while True:
                threading.Thread(target=trickle, args=listening.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        place = f"127.0.0.1:{listening.getsockname()[1]}"
        config = DeliveryConfig(first_retry_seconds=60.0, close_seconds=0.1)
        hook = Webhook(f"http://{place}/s3cret", timeout=0.3, config=config)
        started = time.monotonic()
        hook.handle(EventEnded(EVENT))
        notices = []
        until(lambda: notices.extend(hook.handle(Problem(""))) or notices)
        assert 0.25 < time.monotonic() - started < 3.0
        assert texts(notices) == [
            f"webhook http://{place}: the server cannot be reached: timed out. "
            "Delivery is retried until it succeeds"
        ]
        # The thread of the exchange has ended, although the server still sends.
        until(lambda: not any(thread.name == "webhook" for thread in threading.enumerate()))
        is_over.set()
        hook.close()


def test_addresses_and_headers_come_from_the_environment_or_a_file(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.port}/s3cret")
    (tmp_path / "key").write_text("Bearer s3cret\n")
    outputs = LiveOutputs(
        webhook="env:HOOK", webhook_header=[f"Authorization: file:{tmp_path}/key", "X-Room: garden"]
    )
    hook = outputs.alerts()["webhook"]()
    hook.handle(EventEnded(EVENT))
    assert hook.close() == []
    ((path, headers, _),) = server.posts
    assert (path, headers["Authorization"], headers["X-Room"]) == (
        "/s3cret", "Bearer s3cret", "garden",
    )  # fmt: skip
    assert read_secret("plain") == "plain"


def test_a_secret_may_follow_one_word_in_a_header(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    (tmp_path / "a key").write_text("s3cret\n")
    for value in ("Bearer env:HOOK_TOKEN", f"Bearer  file:{tmp_path}/a key"):
        assert read_header(f"Authorization: {value}") == ("Authorization", "Bearer s3cret")
    assert read_header("X-Link: https://host/env:x") == ("X-Link", "https://host/env:x")
    # A command that an event runs does not inherit it.
    assert "HOOK_TOKEN" in secret_variables(["Bearer env:HOOK_TOKEN"])


@pytest.mark.parametrize("value", ["a b env:HOOK", "key=env:HOOK", '"env:HOOK"', "x, file:/k"])
def test_a_secret_that_would_be_sent_as_it_is_written_is_refused(value):
    with pytest.raises(UsageError, match=r"env: and file: stand alone or after one word, like"):
        read_header(f"Authorization: {value}")


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_header, "Authorization: Bearer env:NO_SUCH", "env:NO_SUCH: there is no value"),
        (read_secret, "env:NO_SUCH", "env:NO_SUCH: there is no value"),
        (read_secret, "file:/no/such", "/no/such: cannot be read: No such file or directory"),
        (read_header, "s3cret", "expected a header as NAME: VALUE"),
        (read_header, ": s3cret", "expected a header as NAME: VALUE"),
    ],
)
def test_a_secret_that_is_not_there_is_an_error_without_it(read, text, message):
    with pytest.raises((SedError, UsageError), match=message) as refused:
        read(text)
    assert "s3cret" not in str(refused.value)
