"""Alerts: commands with hostile labels, and a web server that is sometimes down."""

import base64
import http.server
import json
import os
import shlex
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from http import HTTPStatus

import numpy as np
import pytest

from sed.errors import UsageError
from sed.events.tracker import Event
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    Dispatcher,
    EventEnded,
    EventStarted,
    Gap,
    Problem,
)
from streaming.sinks.clips import ClipRecorder
from streaming.sinks.command import CommandAlert
from streaming.sinks.delivery import DeliveryConfig
from streaming.sinks.payload import payload_of
from streaming.sinks.webhook import Webhook
from tests.streaming.sinks.test_delivery import until

QUICK = DeliveryConfig(
    capacity=100, first_retry_seconds=0.01, max_retry_seconds=0.02, close_seconds=3
)
TIME = datetime(2026, 11, 21, 13, 15, 0, 250_000, timezone(timedelta(hours=1)))
EVENT = Event(12.25, 13.5, "dog", 0.875, "garden", TIME)
GAP = Gap("garden", 2.0, 3.0, 16_000, "the driver lost some", TIME)

DUMP = """\
import json, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(sys.argv[2:]) + "\\n")
"""


def labelled(label):
    return Event(1.0, 2.0, label, 0.5, "mic", TIME)


def texts(messages):
    assert all(isinstance(message, Problem) for message in messages)
    return [message.text for message in messages]


@pytest.fixture
def dump(tmp_path):
    """Return the beginning of a command that writes its arguments down, and how to read them."""
    script, written = tmp_path / "du mp.py", tmp_path / "written"
    script.write_text(DUMP)

    def calls():
        lines = written.read_text().splitlines() if written.exists() else []
        return [json.loads(line) for line in lines]

    return shlex.join([sys.executable, str(script), str(written)]), calls


def python(program):
    return shlex.join([sys.executable, "-c", program])


def test_notes_hold_what_is_known():
    onset = {
        "type": "onset",
        "label": "dog",
        "score": 0.875,
        "onset": 12.25,
        "offset": None,
        "duration": None,
        "time": "2026-11-21T13:15:00.250+01:00",
        "source": "garden",
        "clip": None,
    }
    assert payload_of(EventStarted(EVENT), waits_for_clip=False) == onset
    event = onset | {"type": "event", "offset": 13.5, "duration": 1.25}
    assert payload_of(EventEnded(EVENT), waits_for_clip=False) == event
    assert payload_of(EventEnded(EVENT), waits_for_clip=True) is None
    assert payload_of(ClipSaved(EVENT, "a.flac"), waits_for_clip=True) == event | {"clip": "a.flac"}
    assert payload_of(ClipSaved(EVENT, "a.flac"), waits_for_clip=False) is None
    assert payload_of(GAP, waits_for_clip=False) == {
        "type": "gap",
        "onset": 2.0,
        "offset": 3.0,
        "time": "2026-11-21T13:15:00.250+01:00",
        "source": "garden",
        "reason": "the driver lost some",
    }
    assert payload_of(Problem("x"), waits_for_clip=False) is None


def test_a_command_is_given_each_value_in_its_place(dump):
    command, calls = dump
    alert = CommandAlert(
        command + " '{label} at {time}: {score}' --span={onset}-{offset} {duration} "
        '\'{"from": "{source}"}\' {clip} {}',
        waits_for_clip=True,
    )
    assert alert.handle(EventStarted(EVENT)) == []
    assert alert.handle(EventEnded(EVENT)) == []
    assert alert.handle(ClipSaved(EVENT, "a b.flac")) == []
    assert alert.handle(ClipSaved(EVENT, None)) == []
    assert alert.close() == []
    first = [
        "dog at 2026-11-21T13:15:00.250+01:00: 0.875",
        "--span=12.250-13.500",
        "1.250",
        '{"from": "garden"}',
        "a b.flac",
        "{}",
    ]
    assert calls() == [first, [*first[:4], "", "{}"]]


def test_a_command_at_the_onset_is_not_run_at_the_end(dump):
    command, calls = dump
    alert = CommandAlert(command + " {label} {offset}", at="onset")
    for message in (EventStarted(EVENT), EventEnded(EVENT), GAP):
        assert alert.handle(message) == []
    assert alert.close() == []
    assert calls() == [["dog", ""]]


def test_a_hostile_label_stays_one_argument(dump, tmp_path):
    command, calls = dump
    labels = [
        "a b",
        "it's",
        'say "hi"',
        f"x; touch {tmp_path}/pwned",
        f"$(touch {tmp_path}/pwned)",
        "{clip} {label} {{score}}",
        "\\1 \\g<0>\n\t*",
        "--help",
        "élan 鳥",
    ]
    alert = CommandAlert(command + " {label} <{label}> end")
    for label in labels:
        alert.handle(EventEnded(labelled(label)))
    assert alert.close() == []
    assert calls() == [[label, f"<{label}>", "end"] for label in labels]
    assert not (tmp_path / "pwned").exists()


def test_a_label_that_no_argument_can_hold_is_reported(dump):
    command, calls = dump
    alert = CommandAlert(command + " {label}")
    alert.handle(EventEnded(labelled("a\0b")))
    alert.handle(EventEnded(labelled("dog")))
    reports = texts(alert.close())
    assert reports[0] == f"command {sys.executable}: cannot be run: embedded null byte"
    assert reports[1].endswith("works again: 1 delivered, 1 lost")
    assert calls() == [["dog"]]


def test_a_command_that_waits_for_its_clip_finds_it(dump, tmp_path):
    command, calls = dump
    clips = ClipRecorder(tmp_path / "clips", delay_seconds=1)
    alert = CommandAlert(f"{command} {{clip}}", waits_for_clip=True)
    dispatcher = Dispatcher([clips, alert])
    block = np.zeros((8_000, 1), np.float32)
    no_columns = np.empty((0, 4), np.float32)
    for n in range(4):
        dispatcher.handle(AudioBlock("mic", n * 8_000, block, 8_000, no_columns, no_columns))
        if n == 2:
            dispatcher.handle(EventEnded(labelled("dog")))
    dispatcher.handle(EventEnded(labelled("cat")))
    dispatcher.close()
    paths = [path for (path,) in calls()]
    assert [path.rpartition("Z_")[2] for path in paths] == ["dog_mic.flac", "cat_mic.flac"]
    assert all(os.path.isfile(path) for path in paths)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "true {lable}",
            r"unknown placeholder \{lable\} in the command. Known: \{label\}, \{score\}",
        ),
        ("true 'x", r"true 'x: No closing quotation. Quote it as for a shell."),
        ("  ", "the command is empty"),
        ("no-such-program-here {label}", "there is no program no-such-program-here. Check"),
    ],
)
def test_a_command_that_cannot_be_is_refused(command, message):
    with pytest.raises(UsageError, match=message):
        CommandAlert(command)


def test_a_command_that_fails_is_reported_once_each_way_with_its_last_words(tmp_path):
    flag = tmp_path / "works"
    program = (
        f"import os, sys; os.path.exists({str(flag)!r}) or "
        r"sys.exit('much\x1b[2J\nno \x1b[1mspeaker\n')"
    )
    alert = CommandAlert(python(program))
    for _ in range(3):
        alert.handle(EventEnded(EVENT))
    reports = []
    until(lambda: reports.extend(texts(alert.handle(GAP))) or reports)
    assert reports == [f"command {sys.executable}: ended with status 1: 'no \\x1b[1mspeaker'"]
    until(lambda: not alert._queue._waiting and not alert._queue._is_sending)
    flag.touch()
    alert.handle(EventEnded(EVENT))
    assert texts(alert.close()) == [f"command {sys.executable}: works again: 1 delivered, 3 lost"]


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"
    program = f"sleep 60 & echo $$ $! > {shlex.quote(str(pids))}; wait"
    alert = CommandAlert(f"sh -c {shlex.quote(program)}", timeout=1)
    alert.handle(EventEnded(EVENT))
    reports = texts(alert.close())
    assert reports == ["command sh: took more than 1 s and was killed"]
    for pid in pids.read_text().split():
        until(lambda pid=pid: not is_running(pid))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_command_leaves_in_the_background_is_not_waited_for():
    alert = CommandAlert("sh -c 'sleep 20 & exit 0'")
    alert.handle(EventEnded(EVENT))
    assert alert.close() == []  # or it would have waited in vain


def test_commands_never_keep_the_listener_waiting_and_the_oldest_are_dropped(tmp_path):
    alert = CommandAlert(
        "sleep 30", config=DeliveryConfig(capacity=5, close_seconds=0.1), timeout=60
    )
    began = time.monotonic()
    alert.handle(EventEnded(EVENT))
    until(lambda: not alert._queue._waiting)
    reports = [text for _ in range(99) for text in texts(alert.handle(EventEnded(EVENT)))]
    reports += texts(alert.close())
    assert time.monotonic() - began < 15
    assert reports == [
        "command sleep: 5 items wait for delivery; the oldest are dropped",
        "command sleep: closed with 6 not delivered",
    ]
    alert._queue._thread.join(5)
    assert not alert._queue._thread.is_alive()  # since what it ran was killed


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


def test_notes_are_posted_as_json(server):
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
def test_what_may_pass_is_tried_again_in_order(server, status):
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
def test_what_is_refused_is_not_tried_again(server, status):
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
    began = time.monotonic()
    for _ in range(100):
        alert.handle(EventEnded(EVENT))
    assert time.monotonic() - began < 4  # a timeout for each would take longer
    until(lambda: alert._queue._notices)
    began = time.monotonic()
    reports = texts(alert.close())
    assert time.monotonic() - began < 4
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
