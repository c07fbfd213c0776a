"""Access: tokens, cookies, and requests that other sites make a browser send."""

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sed.errors import UsageError
from streaming.messages import EventEnded
from streaming.web.server import WebView
from tests.streaming.web.viewer import LABELS, LOG_MEL, ROUTES, event, get, live, receive, viewed


def test_with_a_token_every_route_requires_it(path):
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


def test_a_program_may_send_the_token_in_the_address(path):
    with viewed(path, token="s3cret é") as (web, _):
        for route in ("/metrics", "/events", "/"):
            response = get(web, route, params={"token": "s3cret é"})
            assert (response.status_code, "set-cookie" in response.headers) == (200, False), route
        assert "sed_viewers 0.0" in get(web, "/metrics?token=s3cret%20%C3%A9").text


def test_other_sites_get_no_access_through_a_browser(view):
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


def test_other_machines_can_reach_it_only_with_a_token(path):
    for host in ("0.0.0.0", "::"):
        with pytest.raises(UsageError, match="give --token"):
            WebView(host, 0, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    with pytest.raises(UsageError, match="the token is empty"):
        WebView(port=0, token=" ", database_path=path, labels=LABELS, log_mel=LOG_MEL)
    with viewed(path, host="0.0.0.0", token="s3cret") as (web, _):
        assert web.url.startswith("http://127.0.0.1:")
        bearer = {"Authorization": "Bearer s3cret"}
        assert get(web, "/", headers={**bearer, "Host": "garden.local"}).status_code == 200
