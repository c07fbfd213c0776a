"""The page itself: its files, and what a browser shows."""

import pytest

from sed.events.event_table import EventTable
from streaming.results.review.routes import OWN_PAGE
from streaming.results.review.server import serve_review
from tests.streaming.results.review.reviewed import SCRIPT, events, session_of, write_noise


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    text = (OWN_PAGE / "page.html").read_text()
    for inline in ("<style", " style=", "http:", "https:", " onclick", "<script>"):
        assert inline not in text
    for script in OWN_PAGE.glob("*.js"):
        assert "innerHTML" not in script.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_a_review_by_keys(browser, tmp_path, width, scheme):
    write_noise(tmp_path / "a.wav")
    parts = [events(), events(1, "no.wav", "owl"), events(1, "a.wav", SCRIPT)]
    session = session_of(tmp_path, EventTable.concat(parts), reviewer="Ana")
    server = serve_review(session, port=0)
    size = {"width": width, "height": 800}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))

    def press(*keys):
        for key in keys:
            place = page.locator("#position").text_content()
            page.keyboard.press(key)
            page.wait_for_function(
                "place => document.getElementById('position').textContent !== place", arg=place
            )

    def verdicts():
        found = {}
        for event, decisions in session.store.snapshot().items():
            for each in decisions:
                found[event.label, event.onset] = (each.verdict, each.true_label, each.true_onset)
        return found

    page.goto(server.url)
    page.locator("#picture[src]").wait_for()
    assert page.locator("#queue li").count() == 8
    assert page.locator("#event-label").text_content() == "dog"
    # The best three have the same score; the recording of the second is missing.
    press("y")
    page.locator("#failure").wait_for()
    assert "no.wav: no such file" in page.locator("#failure").text_content()
    press("n")
    page.locator("#picture[src]").wait_for()
    assert page.locator("#event-label").text_content() == SCRIPT
    press("u")
    page.locator("#region").wait_for()
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert page.locator("#onset").input_value() == "1.900"
    press("y")
    page.keyboard.press("l")
    page.keyboard.type("tawny owl")
    press("Enter")
    press("y", "z")
    assert verdicts() == {
        ("dog", 0.0): ("right", "dog", 0.0),
        ("owl", 0.0): ("wrong", "", 0.0),
        (SCRIPT, 0.0): ("unsure", "", 0.0),
        ("dog", 2.0): ("right", "dog", 1.9),
        ("dog", 4.0): ("relabelled", "tawny owl", 4.0),
    }
    page.locator("#progress", has_text="5 of 8 reviewed").wait_for()
    press("ArrowLeft", "ArrowRight")
    page.locator("#picture[src]").wait_for()
    page.keyboard.press("Space")
    page.locator("#play.plays").wait_for()
    page.evaluate("document.getElementById('filters').open = true")
    page.select_option("select[name=state]", "unsure")
    page.locator("#position", has_text="1 of 1").wait_for()
    assert page.locator("#queue .name").all_text_contents() == [SCRIPT]
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert errors == []
    assert {url for url in requests if not url.startswith(server.url)} == set()
    page.close()
    server.close()
    session.store.close()


@pytest.mark.slow
def test_a_border_follows_the_mouse(browser, tmp_path):
    write_noise(tmp_path / "a.wav")
    session = session_of(tmp_path, events(2), reviewer="Ana")
    server = serve_review(session, port=0)
    page = browser.new_page()
    page.goto(server.url)
    handle = page.locator(".handle[data-side=offset]")
    handle.wait_for()
    box, view = handle.bounding_box(), page.locator("#view").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(view["x"] + 0.9 * view["width"], middle[1], steps=3)
    page.mouse.up()
    # The sound is from 0 to 2 s.
    assert float(page.locator("#offset").input_value()) == pytest.approx(1.8, abs=0.01)
    assert page.locator("#onset").input_value() == "0.000"
    page.keyboard.press("y")
    page.locator("#position", has_text="2 of 2").wait_for()
    (decided,) = [each for of_event in session.store.snapshot().values() for each in of_event]
    assert decided.true_offset == pytest.approx(1.8, abs=0.01)
    page.close()
    server.close()
    session.store.close()
