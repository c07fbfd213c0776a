"""The page: access, responses, and that viewers never slow the listener."""

import asyncio
import base64
import json
import re
import shutil
import socket
import sqlite3
import sys
import time
import tracemalloc
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone

import httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sed.errors import MissingExtraError, SedError, UsageError
from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    Dispatcher,
    EventEnded,
    EventStarted,
    Gap,
    InputStatus,
    Problem,
    Status,
)
from streaming.sinks.database import EventDatabase
from streaming.sinks.history import find_event
from streaming.web.feed import MAX_QUEUED, Feed, Viewer
from streaming.web.routes import PAGE
from streaming.web.server import WebView, parse_address

START = datetime(2026, 11, 21, 13, 15, tzinfo=timezone(timedelta(hours=1)))
LOG_MEL = LogMelConfig()
LABELS = ("dog", "siren", "wind")
RATE = 16_000
ROUTES = ["/", "/page.css", "/page.js", "/icon.svg", "/events", "/history", "/clips/1", "/metrics",
          "/health", "/nothing"]  # fmt: skip


def event(onset, label="dog", source="mic", time=None):
    return Event(onset, onset + 1.5, label, 0.8, source, time or START + timedelta(seconds=onset))


def audio_block(start=0, seconds=0.5, source="mic", seed=0):
    """Return noise, its columns of about the right size, and a frame."""
    generator = np.random.default_rng(seed)
    block = 0.1 * generator.standard_normal((round(seconds * RATE), 1)).astype(np.float32)
    columns = generator.normal(-2, 2, (round(100 * seconds), 64)).astype(np.float32)
    probs = generator.uniform(0, 1, (2, len(LABELS))).astype(np.float32)
    return AudioBlock(source, start, block, RATE, columns, probs)


def status(state="listening", **counts):
    values = {"n_delivered": 100, "n_processed": 90, "n_dropped": 7, "n_waiting": 3, "n_missing": 0,
              "n_overflows": 2, "n_gaps": 1} | counts  # fmt: skip
    return Status(12.5, 0.25, 0.4, 3, (InputStatus("mic", state, RATE, 1, **values),))


@contextmanager
def viewed(path, **options):
    """Give a page, and a dispatcher that leads to its database and to it."""
    database = EventDatabase(path)
    web = WebView(
        options.pop("host", "127.0.0.1"), 0, database_path=path, labels=LABELS,
        log_mel=LOG_MEL, **options,
    )  # fmt: skip
    dispatcher = Dispatcher([database, web])
    try:
        yield web, dispatcher
    finally:
        dispatcher.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def view(path):
    with viewed(path) as (web, dispatcher):
        yield web, dispatcher


def live(web, **options):
    return connect(web.url.replace("http", "ws") + "live", proxy=None, **options)


CLIENT = httpx.Client(
    trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
)


def get(web, path, **options):
    return CLIENT.get(web.url + path.removeprefix("/"), **options)


def receive(viewer, kind):
    """Return the messages of a viewer up to the first of a type, that one last."""
    seen = []
    until = time.monotonic() + 10
    while not any(each["type"] == kind for each in seen):
        seen += json.loads(viewer.recv(timeout=until - time.monotonic()))
    return seen


def last(viewer, kind):
    return next(each for each in receive(viewer, kind) if each["type"] == kind)


def save_clip(folder, seconds=1.0):
    """Write a FLAC file."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(folder / "dog.flac", sound, RATE)
    return folder / "dog.flac"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 8765)),
        ("9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)),
        ("0.0.0.0", ("0.0.0.0", 8765)),
        ("garden.local:80", ("garden.local", 80)),
        ("garden:0", ("garden", 0)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::1]", ("::1", 8765)),
        ("::1", ("::1", 8765)),
    ],
)
def test_addresses_are_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["host:port", "99999", "a:1:b:2]:3", "http://x:1", "a b", "x:-1"])
def test_what_is_no_address_is_refused(text):
    expected = r"is not an address\. Give HOST:PORT, like 127\.0\.0\.1:8765"
    with pytest.raises(UsageError, match=expected):
        parse_address(text)


def test_a_viewer_is_reported_of_all_that_happens(view):
    web, dispatcher = view
    with live(web) as viewer:
        snapshot = last(viewer, "snapshot")
        assert snapshot["labels"] == list(LABELS)
        assert snapshot["cell_seconds"] == 0.04
        assert len(snapshot["band_hz"]) == 64
        assert snapshot["band_hz"] == sorted(snapshot["band_hz"])
        assert (snapshot["spectrograms"], snapshot["active_events"]) == ([], [])
        assert snapshot["status"] is None
        dispatcher.handle(audio_block())
        dispatcher.handle(EventStarted(event(0.5)))
        dispatcher.handle(EventEnded(event(0.5)))
        dispatcher.handle(Gap("mic", 1, 2, 16_000, "unplugged", START))
        dispatcher.handle(Problem("something"))
        dispatcher.handle(status())
        seen = receive(viewer, "status")
    assert [each["type"] for each in seen] == [
        "audio_block",
        "event_started",
        "event_ended",
        "gap",
        "problem",
        "status",
    ]
    block, started, ended, gap, problem, last_status = seen
    assert (block["source"], block["end"], block["clipped"]) == ("mic", 0.48, False)
    assert len(base64.b64decode(block["cells"])) == 12 * 64
    assert block["rms_db"] == pytest.approx(-20, abs=0.3)
    assert block["peak_db"] > block["rms_db"]
    assert {c for c, _ in block["top"]} == {0, 1, 2}
    assert started["event"] == ended["event"]
    assert ended["event"] == {
        "source": "mic", "label": "dog", "onset": 0.5, "offset": 2.0, "score": 0.8,
        "time": "2026-11-21T13:15:00.500+01:00",
    }  # fmt: skip
    assert gap["time"] == "2026-11-21T13:15:00.000+01:00"
    assert gap["n_samples"] == 16_000
    assert problem["text"] == "something"
    assert last_status["sources"][0]["n_dropped"] == 7


def test_a_viewer_that_comes_later_is_reported_of_the_last_minute(view):
    web, dispatcher = view
    with live(web) as first:
        for n in range(150):
            dispatcher.handle(audio_block(n * RATE // 2))
        dispatcher.handle(EventStarted(event(1)))
        dispatcher.handle(EventStarted(event(2, "siren")))
        dispatcher.handle(EventEnded(event(1)))
        dispatcher.handle(status())
        receive(first, "status")
        with live(web) as second:
            snapshot = last(second, "snapshot")
    (known,) = snapshot["spectrograms"]
    assert known["end"] == pytest.approx(75, abs=0.04)
    assert len(base64.b64decode(known["cells"])) == 60 / 0.04 * 64
    assert [each["label"] for each in snapshot["active_events"]] == ["siren"]
    assert snapshot["status"]["uptime_seconds"] == 12.5


def test_cells_mean_the_same_however_sound_came_and_go_on_after_a_gap():
    columns = np.random.default_rng(1).normal(-2, 3, (100, 64)).astype(np.float32)
    nothing = np.empty((0, 3), np.float32)
    spectrograms = []
    for size in (100, 7):
        feed = Feed(LABELS, LOG_MEL, "m")
        for at in range(0, 100, size):
            block = np.zeros((RATE // 100, 1), np.float32)
            feed.encode(AudioBlock("mic", at, block, RATE, columns[at : at + size], nothing))
        spectrograms.append(feed.snapshot()["spectrograms"])
    assert spectrograms[0] == spectrograms[1]
    cells = np.frombuffer(base64.b64decode(spectrograms[0][0]["cells"]), np.uint8).reshape(25, 64)
    loudest = columns.reshape(25, 4, 64).max(axis=1)
    decibels = (loudest - LOG_MEL.silence_value) * LOG_MEL.db_per_unit
    np.testing.assert_array_equal(cells, np.clip(decibels / 0.5, 0, 255).astype(np.uint8))
    feed.encode(Gap("mic", 1, 3, 2 * RATE, "lost", START))
    (spectrogram,) = feed.snapshot()["spectrograms"]
    assert spectrogram["end"] == 3
    assert base64.b64decode(spectrogram["cells"])[25 * 64 :] == bytes(50 * 64)


def test_nan_samples_and_names_that_are_not_utf8_stay_json(view):
    web, dispatcher = view
    bad = np.full((10, 1), np.nan, np.float32)
    frames, columns = np.full((1, 3), np.nan, np.float32), np.full((4, 64), np.nan, np.float32)
    with live(web) as viewer:
        dispatcher.handle(AudioBlock("m\udc80", 0, bad, RATE, columns, frames))
        dispatcher.handle(status())
        assert "NaN" not in json.dumps(receive(viewer, "status"))


def test_a_clip_is_reported_with_its_id_as_soon_as_the_database_has_it(view, path, tmp_path):
    web, dispatcher = view
    clip = save_clip(tmp_path)
    with live(web) as viewer:
        dispatcher.handle(EventEnded(event(0)))
        dispatcher.handle(EventEnded(event(5)))
        dispatcher.handle(ClipSaved(event(0), None))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            dispatcher.handle(ClipSaved(event(5), str(clip)))
            time.sleep(0.2)
            other.execute("ROLLBACK")
        time.sleep(0.5)
        dispatcher.handle(status())
        dispatcher.handle(status())
        row = last(viewer, "clip_saved")["event"]
    assert (row["id"], row["label"], row["onset"], row["has_clip"]) == (2, "dog", 5.0, True)
    assert "dog.flac" not in json.dumps(row)


def test_a_clip_that_cannot_be_reported_of_for_a_reason_unforeseen_keeps_no_other_from_it(
    view, tmp_path, monkeypatch
):
    web, dispatcher = view
    clip = str(save_clip(tmp_path))

    def fail_at_first(path, the_event):
        if the_event.onset < 5:
            raise KeyError(the_event.onset)
        return find_event(path, the_event)

    monkeypatch.setattr("streaming.web.server.find_event", fail_at_first)
    with live(web) as viewer:
        for onset in (0.0, 1.0, 5.0):
            dispatcher.handle(EventEnded(event(onset)))
            dispatcher.handle(ClipSaved(event(onset), clip))
        seen, until = [], time.monotonic() + 10
        while sum(each["type"] == "problem" for each in seen) < 2:
            assert time.monotonic() < until
            dispatcher.handle(status())
            seen += receive(viewer, "status")
    assert [each["event"]["onset"] for each in seen if each["type"] == "clip_saved"] == [5]
    assert [each["text"] for each in seen if each["type"] == "problem"] == [
        "the web view could not announce a clip: KeyError(0.0)",
        "the web view announces clips again",
    ]


def test_clips_are_served_by_id_whole_and_in_part(view, tmp_path):
    web, dispatcher = view
    clip = save_clip(tmp_path)
    dispatcher.handle(EventEnded(event(0)))
    dispatcher.handle(ClipSaved(event(0), str(clip)))
    dispatcher.handle(EventEnded(event(5)))
    whole = get(web, "/clips/1")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/flac")
    assert whole.content == clip.read_bytes()
    part = get(web, "/clips/1", headers={"Range": "bytes=4-41"})
    assert (part.status_code, part.content) == (206, clip.read_bytes()[4:42])
    assert get(web, "/clips/2").json() == {"error": "event 2 has no clip"}
    clip.unlink()
    deleted = get(web, "/clips/1")
    assert (deleted.status_code, deleted.json()) == (
        404,
        {"error": "the clip of event 1 was deleted"},
    )


def test_nothing_is_served_by_its_path(view):
    web, _ = view
    host, port = web.url.removeprefix("http://").rstrip("/").split(":")
    for path in (
        "clips/../web.py", "clips/%2e%2e/%2e%2e/etc/passwd", "clips//etc/passwd", "clips/-1",
        "clips/1%2f..%2f..", "clips/" + "9" * 40, "clips/1.flac", "page/../web.py", "..%2fweb.py",
        "%2fetc%2fpasswd", "page.html/../../web.py", "page.html",
    ):  # fmt: skip
        with socket.create_connection((host, int(port))) as raw:  # a client that tidies nothing
            request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            raw.sendall(request.encode())
            response = b"".join(iter(lambda: raw.recv(65_536), b""))
        assert response.startswith(b"HTTP/1.1 404 "), path


def test_what_is_no_sound_is_not_served_even_if_the_database_names_it(view, tmp_path):
    web, dispatcher = view
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    dispatcher.handle(EventEnded(event(0)))
    dispatcher.handle(ClipSaved(event(0), str(secret)))
    assert get(web, "/clips/1").status_code == 404


def test_events_and_hours_are_reported_from_the_database(view):
    web, dispatcher = view
    now = datetime.now().astimezone()
    for n in range(5):
        dispatcher.handle(EventEnded(event(n, time=now - timedelta(minutes=60 * n))))
    dispatcher.handle(EventEnded(event(9, "siren", time=now)))
    rows = get(web, "/events?limit=2").json()["events"]
    assert [row["id"] for row in rows] == [5, 6]
    assert rows[1] | {"time": "", "unix_time": 0} == {
        "id": 6, "session_id": 1, "source": "mic", "label": "siren", "onset": 9.0, "offset": 10.5,
        "score": 0.8, "time": "", "unix_time": 0, "has_clip": False,
    }  # fmt: skip
    assert [row["id"] for row in get(web, "/events?after=1&limit=3").json()["events"]] == [2, 3, 4]
    assert len(get(web, "/events").json()["events"]) == 6
    history = get(web, "/history?hours=3").json()
    assert history["counts"] == {"dog": [1, 1, 1], "siren": [0, 0, 1]}
    assert datetime.fromisoformat(history["hours"][2]) == now.replace(
        minute=0, second=0, microsecond=0
    )
    assert len(get(web, "/history").json()["hours"]) == 24


def test_numbers_that_cannot_be_are_refused(view):
    for query in (
        "events?limit=0", "events?limit=x", "events?after=-1", "events?after=" + "9" * 30,
        "history?hours=0", "history?hours=99999", "events?limit=²",
    ):  # fmt: skip
        response = get(view[0], query)
        assert response.status_code == 400, query
        assert response.json()["error"].startswith("expected ")


def test_a_database_that_cannot_be_read_is_reported(tmp_path):
    web = WebView(port=0, database_path=tmp_path / "none.db", labels=LABELS, log_mel=LOG_MEL)
    response = get(web, "/events")
    assert response.status_code == 503
    assert "none.db: cannot be read: unable to open" in response.json()["error"]
    assert web.close() == []


def test_what_fails_unforeseen_is_reported_once(view, monkeypatch):
    web, _ = view

    def fail(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("streaming.web.routes.stored_events", fail)
    for _ in range(2):
        response = get(web, "/events")
        assert (response.status_code, response.json()) == (500, {"error": "internal error"})
    assert web.handle(status()) == [
        Problem("the web view failed on /events: ZeroDivisionError('division by zero')")
    ]
    assert web.handle(status()) == []


def test_metrics_are_what_prometheus_reads(view):
    web, dispatcher = view
    assert "sed_viewers 0.0" in get(web, "/metrics").text
    for label in ("dog", "dog", 'a "quoted" label'):
        dispatcher.handle(EventEnded(event(0, label)))
    dispatcher.handle(status())
    with live(web) as viewer:
        receive(viewer, "snapshot")
        response = get(web, "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    lines = response.text.splitlines()
    for line in (
        'sed_events_total{label="dog",source="mic"} 2.0',
        'sed_events_total{label="a \\"quoted\\" label",source="mic"} 1.0',
        'sed_samples_delivered_total{source="mic"} 100.0',
        'sed_samples_processed_total{source="mic"} 90.0',
        'sed_samples_dropped_total{source="mic"} 7.0',
        'sed_samples_missing_total{source="mic"} 0.0',
        'sed_input_overflows_total{source="mic"} 2.0',
        'sed_gaps_total{source="mic"} 1.0',
        'sed_input_connected{source="mic"} 1.0',
        "sed_latency_seconds 0.4",
        "sed_real_time_factor 0.25",
        "sed_uptime_seconds 12.5",
        "sed_viewers 1.0",
    ):
        assert line in lines


def test_health_is_that_of_the_listener(view, monkeypatch):
    web, dispatcher = view
    states = []
    for message in (None, status(), status("lost")):
        if message:
            dispatcher.handle(message)
        response = get(web, "/health")
        states.append((response.status_code, response.json()["state"]))
    dispatcher.handle(status())
    monkeypatch.setattr("streaming.web.routes.STALLED_SECONDS", -1)
    states.append((get(web, "/health").status_code, get(web, "/health").json()["state"]))
    assert states == [(503, "starting"), (200, "listening"), (503, "lost"), (503, "stalled")]


def test_every_response_forbids_content_of_other_sites(view):
    for route in ROUTES:
        headers = get(view[0], route).headers
        assert headers["content-security-policy"].startswith("default-src 'self';"), route
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    for name in ("page.html", "login.html"):
        text = (PAGE / name).read_text()
        assert "<style" not in text
        assert " style=" not in text
        assert "http:" not in text
        assert "https:" not in text


def test_the_page_handles_every_type_of_message():
    text = (PAGE / "page.js").read_text()
    handlers = text[text.index("const handlers") : text.index("\n};")]
    assert re.findall(r"^  (\w+)\(", handlers, re.MULTILINE) == [
        "snapshot",
        "audio_block",
        "event_started",
        "event_ended",
        "clip_saved",
        "gap",
        "problem",
        "missed",
        "status",
    ]
    for key in ("spectrograms", "active_events", "labels", "model", "status"):
        assert f"message.{key}" in handlers


def test_with_a_token_nothing_is_reported_without_it(path):
    with viewed(path, token="s3cret é") as (web, dispatcher):
        dispatcher.handle(EventEnded(event(0)))
        wrong = (
            {},
            {"headers": {"Authorization": "Bearer wrong"}},
            {"headers": {"Authorization": "Basic s3cret"}},
            {"headers": {"Cookie": "sed_0=x; nothing"}},
            {"params": {"token": "wrong"}},
            {"params": {"token": ""}},
        )
        for route in ROUTES:
            for options in wrong:
                response = get(web, route, **options)
                assert response.status_code == 401, (route, options)
                assert "set-cookie" not in response.headers
        bearer = {"Authorization": "Bearer s3cret é".encode()}
        for route in ROUTES[:6] + ROUTES[7:8]:
            assert get(web, route, headers=bearer).status_code == 200, route
        for options in ({}, {"additional_headers": {"Authorization": "Bearer wrong"}}):
            with pytest.raises(InvalidStatus, match="403"):
                live(web, **options)
        login = get(web, "/", headers={"Accept": "text/html"})
        assert login.status_code == 401
        assert 'name="token"' in login.text
        assert get(web, "/login.css").status_code == 200


def test_a_token_in_the_address_becomes_a_cookie_and_goes_away(path):
    page = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    with viewed(path, token="s3cret") as (web, _):
        response = get(web, "/events?limit=2&token=s3cret", headers=page)
        assert (response.status_code, response.headers["location"]) == (303, "/events?limit=2")
        cookie, *attributes = response.headers["set-cookie"].split("; ")
        assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"]
        assert "s3cret" not in cookie
        assert get(web, "/", headers={"Cookie": f"other=1; {cookie}"}).status_code == 200
        with live(web, additional_headers={"Cookie": cookie}) as viewer:
            receive(viewer, "snapshot")
        with connect(web.url.replace("http", "ws") + "live?token=s3cret", proxy=None) as viewer:
            receive(viewer, "snapshot")
        far = get(web, "//far.example/%5C?token=s3cret", headers=page).headers["location"]
        assert far == "/far.example/%5C"


def test_a_program_may_give_the_token_in_the_address(path):
    with viewed(path, token="s3cret é") as (web, _):
        for route in ("/metrics", "/events", "/"):
            response = get(web, route, params={"token": "s3cret é"})
            assert (response.status_code, "set-cookie" in response.headers) == (200, False), route
        assert "sed_viewers 0.0" in get(web, "/metrics?token=s3cret%20%C3%A9").text


def test_strangers_do_not_get_in_through_a_browser(view):
    web, _ = view
    port = web.url.rstrip("/").rpartition(":")[2]
    for host in (
        "far.example",
        f"far.example:{port}",
        "127.0.0.1.far.example",
        "10.0.0.1",
        "",
        "[",
    ):
        for route in ROUTES:
            response = get(web, route, headers={"Host": host})
            assert response.status_code in (400, 403), (host, route)
    for host in ("localhost", f"LOCALHOST:{port}", "127.0.0.1", "[::1]:80", "127.1.2.3"):
        assert get(web, "/", headers={"Host": host}).status_code == 200, host
    for origin in ("http://far.example", "null", "http://localhost:1", f"http://localhost:{port}x"):
        with pytest.raises(InvalidStatus, match="403"):
            live(web, origin=origin)
    with live(web, origin=web.url.rstrip("/")) as viewer:
        receive(viewer, "snapshot")


def test_others_can_reach_it_only_with_a_token(path):
    for host in ("0.0.0.0", "::"):
        with pytest.raises(UsageError, match="give --token"):
            WebView(host, 0, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    with pytest.raises(UsageError, match="the token is empty"):
        WebView(port=0, token=" ", database_path=path, labels=LABELS, log_mel=LOG_MEL)
    with viewed(path, host="0.0.0.0", token="s3cret") as (web, _):
        assert web.url.startswith("http://127.0.0.1:")
        bearer = {"Authorization": "Bearer s3cret"}
        assert get(web, "/", headers={**bearer, "Host": "garden.local"}).status_code == 200


def test_an_address_in_use_is_an_error_at_once(path, view):
    port = int(view[0].url.rstrip("/").rpartition(":")[2])
    with pytest.raises(SedError) as refused:
        WebView(port=port, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    assert str(refused.value) == (
        f"127.0.0.1:{port}: cannot be used: Address already in use. "
        "Choose another address with --web HOST:PORT."
    )
    with pytest.raises(SedError, match=r"no\.such\.host\.invalid:0: cannot be used"):
        WebView("no.such.host.invalid", 0, database_path=path, labels=LABELS, log_mel=LOG_MEL)


@pytest.mark.parametrize("host", ["..", "a..b", "a" * 64])
def test_a_host_that_cannot_be_a_name_is_an_error_at_once(path, host):
    with pytest.raises(SedError) as refused:
        WebView(host, 80, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    assert str(refused.value) == (
        f"{host}:80: cannot be used: the host name is not valid. "
        "Choose another address with --web HOST:PORT."
    )


def test_the_address_is_free_again_when_it_is_closed(path):
    with viewed(path) as (web, _), live(web) as viewer:
        receive(viewer, "snapshot")
        port = int(web.url.rstrip("/").rpartition(":")[2])
    again = WebView(port=port, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    assert get(again, "/").status_code == 200
    again.close()


def test_what_is_not_installed_is_named(path, monkeypatch):
    for name in ("uvicorn", "websockets", "starlette.applications", "prometheus_client"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            patch.delitem(sys.modules, "streaming.web.routes", raising=False)
            with pytest.raises(MissingExtraError, match=r"the web view needs .*\[web\]"):
                WebView(port=0, database_path=path, labels=LABELS, log_mel=LOG_MEL)


def test_viewers_do_not_disturb_each_other(view):
    web, dispatcher = view
    with live(web) as first, live(web) as second:
        receive(first, "snapshot")
        with live(web) as third:
            receive(third, "snapshot")
        dispatcher.handle(status())
        assert last(first, "status") == last(second, "status")
        until = time.monotonic() + 10
        while "sed_viewers 2.0" not in get(web, "/metrics").text:
            assert time.monotonic() < until


def test_a_viewer_that_never_reads_slows_no_other_and_memory_stays(view):
    web, dispatcher = view
    messages = [audio_block(n * RATE // 2, seed=n) for n in range(20)]
    host, port = web.url.removeprefix("http://").rstrip("/").split(":")
    with live(web) as good, socket.create_connection((host, int(port))) as stuck:
        stuck.sendall(
            b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        receive(good, "snapshot")
        for n in range(500):
            dispatcher.handle(messages[n % 20])
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        began = time.monotonic()
        for n in range(100_000):
            web.handle(messages[n % 20])
        seconds = time.monotonic() - began
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 20
        assert after - before < 30e6
        dispatcher.handle(EventEnded(event(7)))
        seen = receive(good, "event_ended")
        n_missed = sum(each["n"] for each in seen if each["type"] == "missed")
        assert n_missed > 0
        assert n_missed + sum(each["type"] == "audio_block" for each in seen) == 100_500
        assert len(seen) > 1


def test_a_slow_viewer_is_reported_how_much_it_missed():
    async def watch():
        viewer = Viewer('{"type": "snapshot"}')
        assert await viewer.next() == '[{"type": "snapshot"}]'
        for n in range(MAX_QUEUED + 25):
            viewer.put(str(n))
        first = json.loads(await viewer.next())
        viewer.put("7")
        return first, json.loads(await viewer.next())

    first, second = asyncio.run(watch())
    assert first == [{"type": "missed", "n": 25}, *range(25, MAX_QUEUED + 25)]
    assert second == [7]


def test_messages_after_the_end_are_no_problem(path):
    with viewed(path) as (web, _):
        web.close()
        assert web.handle(status()) == []


@pytest.fixture(scope="module")
def browser():
    if (program := shutil.which("chromium")) is None:
        pytest.skip("needs chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def seen(browser, web, **options):
    """Open the page; at the end, nothing was wrong and nothing was requested from elsewhere."""
    page = browser.new_page(**options)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(web.url)
    try:
        yield page
        assert errors == []
        assert {url for url in requests if not url.startswith(web.url)} == set()
    finally:
        page.close()


COLOURS = """
canvas => new Set(new Uint32Array(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size
"""


def feed_a_scene(dispatcher, folder):
    """Send some seconds of two inputs with every kind of message."""
    now = datetime.now().astimezone()
    for n in range(16):
        for source in ("mic", "<b>garden</b>"):
            dispatcher.handle(audio_block(n * RATE // 2, source=source, seed=n))
    early, late = (now - timedelta(seconds=s) for s in (6, 2))
    dispatcher.handle(EventStarted(event(2, time=early)))
    dispatcher.handle(EventEnded(event(2, time=early)))
    dispatcher.handle(ClipSaved(event(2, time=early), str(save_clip(folder))))
    dispatcher.handle(EventStarted(event(6, "<img src=x onerror=alert(1)>", "<b>garden</b>", late)))
    dispatcher.handle(Gap("mic", 4, 5, RATE, "unplugged", now - timedelta(seconds=4)))
    dispatcher.handle(Problem("the disk is full"))
    dispatcher.handle(status(n_dropped=RATE))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_the_page_shows_what_happens(browser, view, tmp_path, width, scheme):
    web, dispatcher = view
    size = {"width": width, "height": 800}
    with seen(browser, web, viewport=size, color_scheme=scheme) as page:
        page.get_by_text("No events yet.").wait_for()
        feed_a_scene(dispatcher, tmp_path)
        page.locator(".play:visible").wait_for()
        assert page.locator(".source-name").all_text_contents() == ["mic", "<b>garden</b>"]
        assert page.locator("#log li .label").all_text_contents() == [
            "<img src=x onerror=alert(1)>", "dog",
        ]  # fmt: skip
        assert page.locator("#log .active").count() == 1
        notes = page.locator("#log .notice p").all_text_contents()
        assert notes == ["the disk is full", "mic: 1.0 s lost: unplugged"]
        assert "dropped16,000 samples (1.00 s)" in page.locator("#status").text_content()
        assert page.locator("#classes li").count() == len(LABELS)
        page.wait_for_timeout(300)
        for n in range(2):
            assert page.locator("canvas").nth(n).evaluate(COLOURS) > 100
        page.locator(".play:visible").click()
        page.locator(".play.plays").wait_for()
        page.locator(".play:visible:not(.plays)").wait_for()  # when it has ended
        assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(1)
        page.locator("#hours td.hot").first.wait_for(timeout=8_000)
        assert page.locator("#hours tbody tr").count() == 1
        room = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert room <= 0


@pytest.mark.slow
def test_the_page_comes_back_when_the_listener_does(browser, path):
    page = browser.new_page()
    with viewed(path) as (web, dispatcher):
        port = int(web.url.rstrip("/").rpartition(":")[2])
        page.goto(web.url)
        page.locator("#connection[data-state=live]").wait_for()
        dispatcher.handle(EventStarted(event(0)))
        page.locator("#log .active").wait_for()
    page.get_by_text("no connection, trying again").wait_for()
    again = WebView(port=port, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    page.locator("#connection[data-state=live]").wait_for()
    assert page.get_by_text("connected again after").count() == 1
    assert page.locator("#log .active").count() == 0
    page.close()
    again.close()


@pytest.mark.slow
def test_the_login_page_accepts_the_token(browser, path):
    with viewed(path, token="s3cret é") as (web, _):
        page = browser.new_page()
        page.goto(web.url)
        page.get_by_label("Access token").fill("s3cret é")
        page.get_by_role("button").click()
        page.locator("#connection[data-state=live]").wait_for()
        assert page.url == web.url
        page.close()
