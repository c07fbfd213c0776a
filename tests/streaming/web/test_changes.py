"""What people change on the page: marks of events, and events that they delete."""

import pytest

from streaming.messages import ClipSaved, EventEnded
from tests.streaming.web.viewer import CLIENT, event, get, last, live, receive, save_clip, viewed

NAME = "20261121T121500.250Z_dog_mic.flac"


@pytest.fixture
def web(view, tmp_path):
    web, dispatcher = view
    for onset in range(2):
        dispatcher.handle(EventEnded(event(onset)))
    (tmp_path / "2026-11-21").mkdir()
    clip = save_clip(tmp_path).rename(tmp_path / "2026-11-21" / NAME)
    dispatcher.handle(ClipSaved(event(0), str(clip)))
    return web


def send(web, method, path, **options):
    return CLIENT.request(method, web.url + path, **options)


def mark(web, number, verdict, **options):
    return send(web, "POST", f"events/{number}/verdict", json={"verdict": verdict}, **options)


def test_a_mark_is_stored_and_shown_to_all_viewers(web):
    with live(web) as viewer:
        receive(viewer, "snapshot")
        response = mark(web, 2, "wrong")
        assert (response.status_code, response.json()["event"]["verdict"]) == (200, "wrong")
        assert last(viewer, "event_changed")["event"] == response.json()["event"]
        assert [e["verdict"] for e in get(web, "/events").json()["events"]] == [None, "wrong"]
        assert mark(web, 2, None).json()["event"]["verdict"] is None


def test_an_event_is_deleted_with_its_clip_and_from_all_viewers(web, tmp_path):
    with live(web) as viewer:
        receive(viewer, "snapshot")
        assert send(web, "DELETE", "events/1").json() == {"id": 1}
        assert last(viewer, "event_deleted")["id"] == 1
    assert [e["id"] for e in get(web, "/events").json()["events"]] == [2]
    assert not (tmp_path / "2026-11-21").exists()
    again = send(web, "DELETE", "events/1")
    assert (again.status_code, again.json()) == (404, {"error": "there is no event 1"})


def test_what_is_no_change_is_refused(web):
    for response, status, text in (
        (mark(web, 2, "rigth"), 400, "unknown verdict 'rigth'. Did you mean right?"),
        (mark(web, 2, 1), 400, "unknown verdict 1."),
        (mark(web, 2, ["right"]), 400, "unknown verdict ['right']."),
        (mark(web, 99, "right"), 404, "there is no event 99"),
        (mark(web, "x", "right"), 404, "expected the id of an event"),
        (send(web, "POST", "events/2/verdict", content="{"), 400, "expected a JSON object"),
        (send(web, "POST", "events/2/verdict", json={}), 400, "expected a verdict"),
        (send(web, "POST", "events/2/verdict", content=" " * 20_001), 413, "expected at most"),
        (send(web, "DELETE", "events/2?force=1"), 400, "unknown parameter 'force'"),
    ):
        assert response.status_code == status
        assert response.json()["error"].startswith(text)
    assert [e["verdict"] for e in get(web, "/events").json()["events"]] == [None, None]


def test_pages_of_other_sites_change_nothing(web):
    foreign = {"Origin": "https://elsewhere.example"}
    assert mark(web, 2, "wrong", headers=foreign).status_code == 403
    assert send(web, "DELETE", "events/1", headers=foreign).status_code == 403
    assert mark(web, 2, "wrong", headers={"Host": "elsewhere.example"}).status_code == 403
    assert [e["verdict"] for e in get(web, "/events").json()["events"]] == [None, None]
    assert mark(web, 2, "right", headers={"Origin": web.url.rstrip("/")}).status_code == 200


def test_changes_need_the_token(path):
    with viewed(path, token="s3cret") as (web, dispatcher):
        dispatcher.handle(EventEnded(event(0)))
        assert mark(web, 1, "right").status_code == 401
        assert send(web, "DELETE", "events/1").status_code == 401
        bearer = {"Authorization": "Bearer s3cret"}
        assert mark(web, 1, "right", headers=bearer).status_code == 200


def test_a_clip_that_cannot_be_deleted_is_reported(web, tmp_path):
    clip = tmp_path / "2026-11-21" / NAME
    clip.unlink()
    clip.mkdir()
    response = send(web, "DELETE", "events/1")
    assert response.status_code == 503
    assert NAME in response.json()["error"]
    assert len(get(web, "/events").json()["events"]) == 2
