"""The page itself: its files, and what a browser shows."""

import re
from datetime import datetime, timedelta

import pytest

from streaming.messages import ClipSaved, EventEnded, EventStarted, Gap, Problem
from streaming.web.routes import PAGE
from streaming.web.server import WebView
from tests.streaming.web.browse import seen
from tests.streaming.web.viewer import (
    LABELS,
    LOG_MEL,
    RATE,
    audio_block,
    event,
    save_clip,
    status,
    viewed,
)


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
        "event_changed",
        "event_deleted",
        "gap",
        "problem",
        "missed",
        "status",
    ]
    for key in ("spectrograms", "active_events", "labels", "model", "status"):
        assert f"message.{key}" in handlers


COLOURS = """
canvas => new Set(new Uint32Array(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size
"""


def feed_a_scene(dispatcher, folder):
    """Send some seconds of two inputs, with every type of message."""
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
        notices = page.locator("#log .notice p").all_text_contents()
        assert notices == ["the disk is full", "mic: 1.0 s lost: unplugged"]
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
def test_the_length_of_an_active_event_is_that_of_its_sound_even_after_a_reload(browser, view):
    web, dispatcher = view
    with seen(browser, web) as page:
        page.locator("#connection[data-state=live]").wait_for()
        dispatcher.handle(EventStarted(event(0.5)))
        for n in range(20):
            dispatcher.handle(audio_block(n * RATE // 2))
        for _ in range(2):
            length = page.locator("#log .active .length", has_text=re.compile(r"^9\.[45] s$"))
            length.wait_for(timeout=5_000)
            page.reload()


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
