"""Push notifications through Apprise, with its service of JSON and a server on this machine."""

import base64
import http.server
import json
import logging
import sys
import threading
from functools import partial

import pytest

from sed.errors import MissingExtraError, UsageError
from streaming.cli.live.outputs import LiveOutputs
from streaming.messages import ClipSaved, EventEnded, EventStarted, Problem
from streaming.sinks.alerts.delivery import DeliveryConfig
from streaming.sinks.alerts.push import PushAlert
from tests.conftest import until
from tests.streaming.sinks.alerts.examples import EVENT, GAP, labelled, texts

QUICK = DeliveryConfig(capacity=3, first_retry_seconds=0.01, max_retry_seconds=0.02)
TEXT = "dog at 13:15:00 on 2026-11-21, score 0.88, 1.2 s, from garden"
# Apprise imports all services, and what they need where it is installed.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
needs_apprise = partial(pytest.importorskip, "apprise", reason="needs the push extra")


class Service(http.server.ThreadingHTTPServer):
    """Keeps what is posted; `status` is its reply."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.posts = []  # (path, JSON)
        self.url = f"json://user:s3cret@127.0.0.1:{self.server_port}/t0ken"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def messages(self):
        return [body["message"] for _, body in self.posts]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.posts.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    needs_apprise()
    service = Service()
    yield service
    service.shutdown()
    service.server_close()


def test_complete_events_are_sent_as_text_with_their_clip(service, tmp_path):
    clip = tmp_path / "dog.flac"
    clip.write_bytes(b"fLaC sound")
    push = PushAlert([service.url], waits_for_clip=True, config=QUICK)
    for message in (
        EventStarted(EVENT),
        EventEnded(EVENT),
        GAP,
        ClipSaved(EVENT, str(clip)),
        ClipSaved(EVENT, str(tmp_path / "deleted.flac")),
        ClipSaved(labelled("car_horn"), None),
    ):
        assert push.handle(message) == []
    assert push.close() == []
    assert [path for path, _ in service.posts] == ["/t0ken"] * 3
    first, second, third = (body for _, body in service.posts)
    assert (first["title"], first["message"]) == ("dog", TEXT)
    (attached,) = first["attachments"]
    assert base64.b64decode(attached["base64"]) == b"fLaC sound"
    assert (second["message"], second["attachments"]) == (TEXT, [])
    assert (third["title"], third["message"].split(" at")[0]) == ("car horn", "car horn")


def test_each_service_gets_each_event_and_one_that_is_away_gets_it_later(service):
    other = Service()
    other.status = 503
    try:
        push = PushAlert([service.url, other.url], config=QUICK)
        reports = texts(push.handle(EventEnded(EVENT)))
        until(lambda: reports.extend(texts(push.handle(Problem("")))) or reports, 20)
        assert service.messages == [TEXT]
        other.status = 200
        reports += texts(push.close())
    finally:
        other.shutdown()
        other.server_close()
    assert other.messages == [TEXT]
    assert reports == [
        "push to JSON: the service did not take a notification. Delivery is retried until it "
        "succeeds",
        "push to JSON: works again: 1 delivered",
    ]


def test_addresses_are_read_from_elsewhere_and_never_shown(service, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PUSH_URL", service.url)
    (tmp_path / "push").write_text(service.url + "\n")
    service.status = 401
    outputs = LiveOutputs(push=["env:PUSH_URL", f"file:{tmp_path}/push"], on_event="true")
    makers = outputs.alerts()
    assert "PUSH_URL" in makers["on_event"].keywords["hidden"]
    push = makers["push"]()
    reports = texts(push.handle(EventEnded(EVENT)))
    until(lambda: reports.extend(texts(push.handle(Problem("")))) or len(reports) == 2, 20)
    service.status = 200
    reports += texts(push.close())
    assert service.messages == [TEXT, TEXT]
    shown = "".join(capfd.readouterr()) + " ".join(reports)
    assert "s3cret" not in shown
    assert "t0ken" not in shown
    assert not logging.getLogger("apprise").propagate


def test_an_address_that_apprise_does_not_know_is_refused_without_its_secret():
    needs_apprise()
    with pytest.raises(UsageError, match="push address 2 is not one that Apprise knows") as raised:
        PushAlert(["json://127.0.0.1", "nothing://s3cret"])
    assert "s3cret" not in str(raised.value)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MissingExtraError, match=r"push notifications needs? .*\[push\]"):
        PushAlert(["json://127.0.0.1"])
