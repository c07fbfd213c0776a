"""The page as a program uses it: queues, sound, decisions, and who may send them."""

import io

import httpx
import pytest
import soundfile
from starlette.testclient import TestClient

from sed.errors import UsageError
from sed.events.event_table import EventTable
from streaming.results.review.routes import ReviewRoutes
from streaming.results.review.server import serve_review
from tests.streaming.results.review.reviewed import (
    RATE,
    SCRIPT,
    events,
    session_of,
    write_noise,
)

CLIENT = httpx.Client(
    trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
)


@pytest.fixture
def served(tmp_path):
    write_noise(tmp_path / "a.wav", n_channels=2)
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    parts = [events(), events(1, "bad.wav", "owl"), events(1, "no.wav", SCRIPT)]
    session = session_of(tmp_path, EventTable.concat(parts), reviewer="Ana")
    server = serve_review(session, port=0)
    yield server, session
    server.close()
    session.store.close()


def get(server, path, **options):
    return CLIENT.get(server.url + path, **options)


def post(server, path, content=None, **options):
    return CLIENT.post(server.url + path, json=content or {}, **options)


def test_a_queue_is_served_part_by_part_and_stays_as_it_is(served):
    server, _ = served
    first = get(server, "queue", params={"label": 0, "limit": 2}).json()
    assert (first["n"], [each["id"] for each in first["events"]]) == (6, [0, 1])
    assert first["events"][1] == {
        "id": 1,
        "file": "a.wav",
        "site": "a.wav",
        "label": "dog",
        "onset": 2.0,
        "offset": 3.0,
        "score": 0.85,
        "time": "",
        "decisions": [],
    }
    post(server, "decide", {"id": 0, "verdict": "right"})
    second = get(server, "queue", params={"label": 0, "limit": 2, "queue": first["queue"],
                                          "first": 2}).json()  # fmt: skip
    assert [each["id"] for each in second["events"]] == [2, 3]
    assert get(server, "queue", params={"label": 0}).json()["n"] == 5
    uncertain = get(server, "queue", params={"order": "uncertain", "max_score": 0.7}).json()
    assert [each["score"] for each in uncertain["events"]] == [0.45, 0.55, 0.65]


def test_the_sound_of_an_event_is_served_whole_and_in_part(served):
    server, _ = served
    about = get(server, "events/1/sound").json()
    version = about.pop("version")
    assert about == {"start": 1.0, "seconds": 3.0, "top_hz": RATE / 2}
    # What a browser keeps of one run is not shown in the next, whose events have the same numbers.
    again = ReviewRoutes(served[1])
    assert len(version) == 8
    assert TestClient(again.application()).get("events/1/sound").json()["version"] != version
    whole = get(server, "events/1/sound.flac")
    assert whole.headers["content-type"] == "audio/flac"
    assert soundfile.read(io.BytesIO(whole.content))[0].shape == (3 * RATE, 2)
    part = get(server, "events/1/sound.flac", headers={"Range": "bytes=4-41"})
    assert (part.status_code, part.content) == (206, whole.content[4:42])
    assert part.headers["content-range"] == f"bytes 4-41/{len(whole.content)}"
    late = get(server, "events/1/sound.flac", headers={"Range": "bytes=99999999-"})
    assert late.status_code == 416
    picture = get(server, "events/1/spectrogram.png")
    assert picture.content.startswith(b"\x89PNG")


def test_what_is_wrong_with_a_recording_is_said_for_its_events_alone(served):
    server, _ = served
    assert "bad.wav: " in get(server, "events/6/sound").json()["error"]
    missing = get(server, "events/7/sound").json()["error"]
    assert missing.startswith("no.wav: no such file in ")
    assert missing.endswith("give --audio DIR.")
    assert get(server, "events/7/sound.flac").status_code == 404
    assert post(server, "decide", {"id": 7, "verdict": "wrong"}).status_code == 200


def test_decisions_undo_overview_and_precision(served, tmp_path):
    server, _ = served
    decided = [
        {"id": 0, "verdict": "right", "reviewer": "Ana", "onset": 0.1234, "offset": 0.9},
        {"id": 0, "verdict": "wrong", "reviewer": "Ben"},
        {"id": 1, "verdict": "relabelled", "label": "  tawny  owl ", "reviewer": "Ana"},
        {"id": 2, "verdict": "relabelled", "label": "dog", "reviewer": "Ana"},
        {"id": 2, "verdict": "right", "reviewer": "Ben"},
    ]
    shown = [post(server, "decide", each).json()["event"]["decisions"] for each in decided]
    first = shown[0][0]
    assert first.pop("reviewed_at") > "2020"
    assert first == {"reviewer": "Ana", "verdict": "right", "true_label": "dog",
                     "onset": 0.123, "offset": 0.9}  # fmt: skip
    assert shown[2][0]["true_label"] == "tawny owl"
    assert shown[3][0]["verdict"] == "right"
    overview = get(server, "overview").json()
    assert overview["classes"][0] == {"id": 0, "label": "dog", "n": 6, "open": 3, "right": 1,
                                      "unsure": 0, "disagreed": 1}  # fmt: skip
    assert overview["agreement"] == {"shared": 2, "agreed": 1}
    assert overview["reviewers"] == ["Ana", "Ben"]
    assert {SCRIPT, "tawny owl"} < {*overview["labels"]}
    found = get(server, "precision", params={"label": 0, "wanted": 0.5}).json()
    reviewed = [(each["n_reviewed"], each["n_right"]) for each in found["bins"]]
    assert reviewed[7:] == [(1, 1), (1, 0), (0, 0)]
    assert (found["sure"], found["estimated"]["value"]) == (None, 0.75)
    undone = post(server, "undo", {"reviewer": "Ana"}).json()["event"]
    assert (undone["id"], [each["reviewer"] for each in undone["decisions"]]) == (2, ["Ben"])
    assert post(server, "undo", {"reviewer": "Zoe"}).json() == {"event": None}
    labels, _ = post(server, "export").json()["files"]
    assert labels == str(tmp_path / "reviews.tsv")
    assert "a.wav\t2.000\t3.000\ttawny owl" in (tmp_path / "reviews.tsv").read_text()


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("decide", {"id": 99, "verdict": "right"}, 404),
        ("decide", {"id": "1/../2", "verdict": "right"}, 404),
        ("decide", {"id": 0, "verdict": "yes"}, 400),
        ("decide", {"id": 0, "verdict": ["right"]}, 400),
        ("decide", {"id": 0, "verdict": "relabelled", "label": " "}, 400),
        ("decide", {"id": 0, "verdict": "relabelled", "label": 7}, 400),
        ("decide", {"id": 0, "verdict": "right", "onset": 2, "offset": 1}, 400),
        ("decide", {"id": 0, "verdict": "right", "onset": "1", "offset": 2}, 400),
        ("decide", {"id": 0, "verdict": "right", "onset": 1, "offset": 10**400}, 400),
        ("decide", {"id": 0, "verdict": "right", "onset": 1, "offset": 1e300}, 400),
        ("decide", {"id": 0, "verdict": None}, 400),
        ("decide", {"id": 0, "verdict": "relabelled", "label": "tawny\0owl"}, 400),
        ("decide", {"id": 0, "verdict": "right", "reviewer": "x" * 201}, 400),
        ("decide", ["right"], 400),
        ("undo", {"reviewer": "x" * 30_000}, 413),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(served, path, content, status):
    server, session = served
    response = post(server, path, content)
    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert session.store.decisions == {}


@pytest.mark.parametrize("query", ["label=99", "label=-1", "limit=0", "first=x", "min_score=nan"])
def test_filters_that_do_not_exist_are_refused(served, query):
    assert get(served[0], f"queue?{query}").status_code == 400


def test_other_sites_and_hosts_change_and_read_nothing(served):
    server, session = served
    content = {"id": 0, "verdict": "right"}
    for headers in (
        {"Origin": "https://far.example"},
        {"Origin": "null"},
        {"Host": "far.example"},
    ):
        assert post(server, "decide", content, headers=headers).status_code == 403
    assert get(server, "queue", headers={"Host": "far.example"}).status_code == 403
    assert session.store.decisions == {}
    own = {"Origin": server.url.rstrip("/")}
    assert post(server, "decide", content, headers=own).status_code == 200
    policy = get(server, "").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_with_a_token_nothing_is_open_without_it(tmp_path):
    session = session_of(tmp_path, events())
    with pytest.raises(UsageError, match="other machines can reach"):
        serve_review(session, "0.0.0.0", 0)
    server = serve_review(session, port=0, token="s3cret")
    for path in ("", "review.js", "overview", "queue", "precision", "events/0", "events/0/sound"):
        assert get(server, path).status_code == 401
    assert post(server, "decide", {"id": 0, "verdict": "right"}).status_code == 401
    assert session.store.decisions == {}
    bearer = {"Authorization": "Bearer s3cret"}
    assert get(server, "overview", headers=bearer).json()["n_events"] == 6
    server.close()
    session.store.close()
