"""The responses: clips, events, history, metrics and health."""

import socket
from datetime import datetime, timedelta

from sed.events.hierarchy import Hierarchy
from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded, Problem
from streaming.web.server import WebView
from tests.streaming.web.viewer import (
    LABELS,
    LOG_MEL,
    ROUTES,
    START,
    event,
    get,
    live,
    receive,
    save_clip,
    status,
    viewed,
)


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
        "%2fetc%2fpasswd", "page.html/../../web.py", "page.html", "clips/" + "1" * 5_000,
    ):  # fmt: skip
        with socket.create_connection((host, int(port))) as raw:  # normalises no path
            request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            raw.sendall(request.encode())
            response = b"".join(iter(lambda: raw.recv(65_536), b""))
        assert response.startswith(b"HTTP/1.1 404 "), path


def test_a_file_that_is_no_sound_is_not_served_even_if_the_database_names_it(view, tmp_path):
    web, dispatcher = view
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    dispatcher.handle(EventEnded(event(0)))
    dispatcher.handle(ClipSaved(event(0), str(secret)))
    assert get(web, "/clips/1").status_code == 404


def test_events_and_hours_are_read_from_the_database(view):
    web, dispatcher = view
    now = datetime.now().astimezone()
    for n in range(5):
        dispatcher.handle(EventEnded(event(n, time=now - timedelta(minutes=60 * n))))
    dispatcher.handle(EventEnded(event(9, "siren", time=now)))
    rows = get(web, "/events?limit=2").json()["events"]
    assert [row["id"] for row in rows] == [1, 6]  # the latest by their onsets
    assert rows[1] | {"time": "", "unix_time": 0} == {
        "type": "event", "label": "siren", "score": 0.8, "onset": 9.0, "offset": 10.5,
        "duration": 1.5, "time": "", "source": "mic", "clip": None, "id": 6, "session_id": 1,
        "unix_time": 0, "verdict": None,
    }  # fmt: skip
    assert [row["id"] for row in get(web, "/events?after=1&limit=3").json()["events"]] == [2, 3, 4]
    assert len(get(web, "/events").json()["events"]) == 6
    history = get(web, "/history?hours=3").json()
    assert history["counts"] == {"dog": [1, 1, 1], "siren": [0, 0, 1]}
    assert datetime.fromisoformat(history["hours"][2]) == now.replace(
        minute=0, second=0, microsecond=0
    )
    assert len(get(web, "/history").json()["hours"]) == 24


def test_numbers_out_of_range_are_refused(view):
    for query in (
        "events?limit=0", "events?limit=x", "events?after=-1", "events?after=" + "9" * 30,
        "history?hours=0", "history?hours=99999", "events?limit=²", "events?after=" + "1" * 5_000,
        "events?limit=" + "0" * 5_000 + "1", "history?hours=" + "2" * 9_000,
    ):  # fmt: skip
        response = get(view[0], query)
        assert response.status_code == 400, query
        assert response.json()["error"].startswith("expected ")


def test_events_are_chosen_by_parameters(path):
    parents = {"dog": ["animal"], "cat": ["animal"]}
    hierarchy = Hierarchy.from_dict(("dog", "cat", "siren"), parents)
    with viewed(path, hierarchy=hierarchy) as (web, dispatcher):
        for n, label in enumerate(("dog", "cat", "siren", "unknown", "dog")):
            day = START + timedelta(days=n)
            source = ("mic", "door")[n % 2]
            dispatcher.handle(EventEnded(Event(0, 1, label, 0.5 + n / 10, source, day)))

        def ids(query):
            return [row["id"] for row in get(web, f"/events?{query}").json()["events"]]

        assert ids("label=dog") == [1, 5]
        assert ids("label=dog&label=siren&limit=2") == [3, 5]
        assert ids("kind=animal") == [1, 2, 5]
        assert ids("kind=animal&source=mic") == [1, 5]
        assert ids("kind=siren") == [3]
        assert ids("label=unknown") == [4]
        assert ids("label=wind") == []  # a class of the model without events
        assert ids("min_score=0.75") == [4, 5]
        assert ids("before=4&limit=2") == [2, 3]
        # 21 to 25 November at 13:15 and an offset of one hour, on a machine of any time zone.
        assert ids("from=2026-11-23T13:15:00+01:00") == [3, 4, 5]
        assert ids("from=2026-11-23T13:15:00%2B01:00&to=2026-11-24T12:15:00Z") == [3]
        first = (START + timedelta(days=1)).astimezone().date()
        assert ids(f"from={first}&to={first}") == [2]


def test_what_is_not_known_is_refused_with_names_near_it(view):
    web, dispatcher = view
    dispatcher.handle(EventEnded(event(0)))
    for query, text in {
        "events?lable=dog": "unknown parameter 'lable'. Did you mean label?",
        "events?offset=3": "unknown parameter 'offset'. Known: label, kind, source, from, to, "
        "min_score, limit, after, before.",
        "events?label=Dog": "there is no class 'Dog'. Did you mean dog?",
        "events?kind=sirens": "there is no kind 'sirens'. Did you mean siren?",
        "events?from=yesterday": "expected from as a day or a time, like 2026-11-21 or "
        "2026-11-21T13:15:00+01:00",
        "events?to=2026-13-01": "expected to as a day or a time, like 2026-11-21 or "
        "2026-11-21T13:15:00+01:00",
        "events?to=9999-12-31": "expected to as a day or a time, like 2026-11-21 or "
        "2026-11-21T13:15:00+01:00",
        "events?min_score=nan": "expected min_score from 0 to 1",
        "events?min_score=2": "expected min_score from 0 to 1",
        "events?limit=1&limit=2": "limit is given too often",
        "events?" + 201 * "label=dog&": "label is given too often",
        "events?after=1&before=2": "expected after or before, not both",
        "history?label=dog": "unknown parameter 'label'. Known: hours, day, source.",
        "clips/1?download=1": "unknown parameter 'download'. This address takes none.",
        "metrics?name=x": "unknown parameter 'name'. This address takes none.",
        "health?verbose": "unknown parameter 'verbose'. This address takes none.",
    }.items():
        response = get(web, query)
        assert (response.status_code, response.json()) == (400, {"error": text}), query


def test_the_token_is_a_parameter_of_every_route(path):
    with viewed(path, token="secret") as (web, _):
        for route in ("events", "history", "metrics"):
            assert get(web, f"{route}?token=secret").status_code == 200


def test_a_database_that_cannot_be_read_is_reported(tmp_path):
    web = WebView(port=0, database_path=tmp_path / "none.db", labels=LABELS, log_mel=LOG_MEL)
    response = get(web, "/events")
    assert response.status_code == 503
    assert "none.db: cannot be read: unable to open" in response.json()["error"]
    assert web.close() == []


def test_an_unexpected_failure_is_reported_once(view, monkeypatch):
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
    monkeypatch.setattr("streaming.web.metrics.STALLED_SECONDS", -1)
    states.append((get(web, "/health").status_code, get(web, "/health").json()["state"]))
    assert states == [(503, "starting"), (200, "listening"), (503, "lost"), (503, "stalled")]


def test_every_response_forbids_content_of_other_sites(view):
    for route in ROUTES:
        headers = get(view[0], route).headers
        assert headers["content-security-policy"].startswith("default-src 'self';"), route
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
