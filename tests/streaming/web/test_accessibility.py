"""Nothing on the live page, the login page and the review page keeps people out, by axe-core."""

from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from sed.events.event_table import EventTable
from streaming.messages import ClipSaved, EventEnded, EventStarted, Gap, Problem
from streaming.results.review.server import serve_review
from tests.streaming.results.review.reviewed import events, session_of, write_noise
from tests.streaming.web.axe import findings
from tests.streaming.web.viewer import RATE, audio_block, event, save_clip, status, viewed

pytestmark = pytest.mark.slow
SETTINGS = {"Model": {"name": "everyday"}, "Outputs": {"database": "garden.sqlite"}}
VIEWS = pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)


@contextmanager
def opened(browser, url, width, scheme):
    """Open a page that also takes scripts of the test."""
    size = {"width": width, "height": 800}
    context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()


@VIEWS
def test_the_live_page(browser, axe, path, tmp_path, width, scheme):
    now = datetime.now().astimezone()
    with viewed(path, settings=lambda: SETTINGS) as (web, dispatcher):
        for n in range(120):
            source = ("mic", "garden")[n % 2]
            moment = now - timedelta(minutes=10 * (n % 11) * (n % 13))
            dispatcher.handle(EventEnded(event(n, ("dog", "siren")[n % 3 > 0], source, moment)))
        with opened(browser, web.url, width, scheme) as page:
            page.locator("#hours td button").first.wait_for()
            for n in range(4):
                dispatcher.handle(audio_block(n * RATE // 2, seed=n))
            dispatcher.handle(EventEnded(event(9, "dog", "mic", now)))
            dispatcher.handle(ClipSaved(event(9, "dog", "mic", now), str(save_clip(tmp_path))))
            dispatcher.handle(EventStarted(event(2, "wind", "mic", now)))
            dispatcher.handle(Gap("mic", 4, 5, RATE, "unplugged", now))
            dispatcher.handle(Problem("the disk is full"))
            dispatcher.handle(status("lost", n_dropped=RATE))
            page.locator(".play:visible").wait_for()
            page.locator("#classes li").first.wait_for()
            page.locator("#settings summary").click()
            page.locator(".right:visible").nth(0).click()
            page.locator(".wrong:visible").nth(1).click()
            page.locator(".is-wrong").wait_for()
            found, n_passed = findings(page, axe)
            assert found == []
            assert n_passed > 20
            page.locator("#hours td button").first.click()
            page.locator("[name=hour]").wait_for()
            page.locator(".delete:visible").first.click()
            assert findings(page, axe)[0] == []


@VIEWS
def test_the_login_page(browser, axe, path, width, scheme):
    with (
        viewed(path, token="s3cret") as (web, _),
        opened(browser, web.url, width, scheme) as page,
    ):
        assert findings(page, axe)[0] == []


@VIEWS
def test_the_review_page(browser, axe, tmp_path, width, scheme):
    write_noise(tmp_path / "a.wav")
    table = EventTable.concat([events(), events(1, "no.wav", "owl")])
    server = serve_review(session_of(tmp_path, table, reviewer="Ana"), port=0)
    try:
        with opened(browser, server.url, width, scheme) as page:
            page.locator("#picture[src]").wait_for()
            assert findings(page, axe)[0] == []
            for key in "yun":
                page.keyboard.press(key)
                page.wait_for_timeout(300)
            page.keyboard.press("ArrowLeft")
            page.locator(".chosen").wait_for()
            assert findings(page, axe)[0] == []
    finally:
        server.close()


def test_too_little_contrast_is_found(browser, axe, view):
    with opened(browser, view[0].url, 1280, "light") as page:
        page.evaluate("document.getElementById('model').style.color = '#ddd'")
        page.locator("#model", has_text="default").wait_for()
        assert [name for name, *_ in findings(page, axe)[0]] == ["color-contrast"]
