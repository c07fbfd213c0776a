"""The list of events and the hours in a browser: choose, go back in time, mark, delete, keys."""

import json
import sqlite3
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from sed.events.hierarchy import Hierarchy
from sed.events.plot_axes import class_colour
from sed.models.registry import find_model
from streaming.messages import EventEnded, EventStarted
from streaming.sinks.record.history import stored_events
from tests.streaming.web.browse import seen
from tests.streaming.web.viewer import LABELS, event, status, viewed

pytestmark = pytest.mark.slow

N = 1_500
# Noon, so that the events of the last hours are on one day.
NOON = datetime.now().astimezone().replace(hour=12, minute=0, second=0, microsecond=0)
ROWS = "#log .event"


def fill(path, n):
    """Write an event for each of the `n` minutes before noon: dog, siren, dog, wind."""
    rows = []
    for minute in range(n, 0, -1):
        moment = NOON - timedelta(minutes=minute)
        label = ("dog", "siren", "dog", "wind")[minute % 4]
        times = moment.isoformat(timespec="milliseconds"), moment.timestamp()
        rows.append((label, round(1 - minute / n, 4), *times))
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO events (session_id, source, label, onset, offset, score, time, unix_time) "
            "VALUES (1, 'mic', ?, 0, 1.5, ?, ?, ?)",
            rows,
        )
    connection.close()


@pytest.fixture
def served(path):
    hierarchy = Hierarchy.from_dict(LABELS, {"dog": ["animal"]})
    with viewed(path, hierarchy=hierarchy) as (web, dispatcher):
        fill(path, N)
        yield web, dispatcher


def labels(page):
    return page.locator(f"{ROWS} .label").all_text_contents()


def test_events_are_chosen_by_class_kind_score_day_and_hour(browser, served):
    web, dispatcher = served
    with seen(browser, web) as page:
        page.locator(ROWS).nth(50).wait_for()
        assert labels(page)[:4] == ["siren", "dog", "wind", "dog"]
        choice = page.get_by_label("Class")
        choice.select_option("label:wind")
        page.wait_for_function("[...document.querySelectorAll('.event .label')].every("
                               "e => e.textContent === 'wind')")  # fmt: skip
        dispatcher.handle(EventEnded(event(0, "wind", time=NOON)))
        page.locator(ROWS, has_text="12:00:00").wait_for()
        # Each day has a line above its events, also above those that come later.
        lines = page.locator("#log li").evaluate_all("all => all.map(each => each.className)")
        assert lines[:2] == ["day", "event"]
        dispatcher.handle(EventEnded(event(0, "dog", time=NOON)))
        choice.select_option("kind:animal")
        page.locator(ROWS, has_text="dog").first.wait_for()
        assert set(labels(page)) == {"dog"}
        page.get_by_label("Score from").fill("0.99")
        page.get_by_label("Score from").press("Enter")
        page.wait_for_function("document.querySelectorAll('.event').length < 20")
        assert page.locator(ROWS).count() == 7
        page.get_by_role("button", name="Show all").click()
        page.locator(ROWS, has_text="wind").first.wait_for()
        page.get_by_role("button", name="Day before").click()
        yesterday = NOON - timedelta(days=1)
        page.locator(ROWS, has_text="23:59:00").wait_for()
        title = f"{yesterday:%A} {yesterday.day} {yesterday:%B}"
        assert page.locator("#history-title").text_content() == title
        assert page.locator("#log .day").all_text_contents() == [title]
        link = page.get_by_role("link", name="CSV").get_attribute("href")
        assert link == f"/download/csv?day={yesterday:%Y-%m-%d}"
        cell = page.locator("#hours td button[title^=siren]").nth(3)
        name, n = cell.get_attribute("aria-label").rsplit(": ", 1)
        cell.click()
        page.locator("[name=hour]").wait_for()
        page.wait_for_function(f"document.querySelectorAll('.event').length === {n.split()[0]}")
        assert set(labels(page)) == {"siren"}
        hour = name.rsplit(", ")[-1][:3]
        times = page.locator(f"{ROWS} .time").all_text_contents()
        assert all(each.startswith(hour) for each in times)
        page.locator("[name=hour]").click()
        page.wait_for_function(f"document.querySelectorAll('.event').length > {n.split()[0]}")


def test_older_events_are_loaded_to_the_first_while_the_page_stays_small(browser, served):
    web, dispatcher = served
    with seen(browser, web) as page:
        page.locator(ROWS).nth(50).wait_for()
        for _ in range(200):
            dispatcher.handle(status())  # without any message the page would connect again
            page.locator("#log").evaluate("list => list.scrollTop = list.scrollHeight")
            page.wait_for_timeout(30)
            if page.locator("#older").is_hidden():
                break
        first = (NOON - timedelta(minutes=N)).strftime("%H:%M:%S")
        assert page.locator(f"{ROWS} .time").last.text_content() == first
        assert page.locator(ROWS).count() <= 1_000
        times = page.locator(f"{ROWS} .time").evaluate_all("all => all.map(e => e.dateTime)")
        moments = [datetime.fromisoformat(time) for time in times]
        assert {a - b for a, b in pairwise(moments)} == {timedelta(minutes=1)}
        page.get_by_role("button", name="Back to the newest").click()
        page.locator(ROWS, has_text="11:59:00").first.wait_for()
        assert page.locator(f"{ROWS} .time").first.text_content() == "11:59:00"


def test_marks_and_deletions_reach_the_database_and_other_viewers(browser, served, path):
    web, dispatcher = served
    with seen(browser, web) as page, seen(browser, web) as other:
        for each in (page, other):
            each.locator(ROWS).nth(50).wait_for()
        # An event that has just ended can be marked too.
        dispatcher.handle(EventStarted(event(0, time=NOON)))
        dispatcher.handle(EventEnded(event(0, time=NOON)))
        row = page.locator(ROWS).first
        row.locator(".right:visible").click()
        page.locator(".right[aria-pressed=true]").wait_for()
        other.locator(".right[aria-pressed=true]").wait_for()
        assert stored_events(path, 1)[0].verdict == "right"
        row.locator(".right").click()
        other.locator(".right[aria-pressed=true]").wait_for(state="detached")
        assert stored_events(path, 1)[0].verdict is None
        row.locator(".delete").click()
        page.get_by_role("button", name="Keep").click()
        row.locator(".delete").click()
        assert "12:00:00?" in page.locator("#confirm p").text_content()
        page.get_by_role("button", name="Delete", exact=True).click()
        for each in (page, other):
            each.locator(ROWS, has_text="12:00:00").wait_for(state="detached")
        assert stored_events(path, 1)[0].id == N


def test_the_list_is_used_by_keys(browser, served, path):
    web, _ = served
    with seen(browser, web) as page:
        page.locator(ROWS).nth(50).wait_for()
        page.locator("#log").focus()
        for key in ("ArrowDown", "ArrowDown", "n", "ArrowDown", "y", "ArrowUp", "ArrowRight"):
            page.keyboard.press(key)
        page.locator(".right[aria-pressed=true]").wait_for()
        page.locator(".is-wrong").wait_for()
        verdicts = [row.verdict for row in stored_events(path, 4)]
        assert verdicts == [None, "right", "wrong", None]
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert focused.startswith("Wrong: dog")
        page.keyboard.press("Delete")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == focused
        page.keyboard.press("Delete")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function("!document.querySelector('.is-wrong')")
        assert len(stored_events(path, N)) == N - 1
        # The next row has the focus, and the list is left by one Tab.
        assert "wind" in page.evaluate("document.activeElement.getAttribute('aria-label')")
        for _ in range(3):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "older"
        page.locator("#hours td button").last.focus()
        page.keyboard.press("ArrowUp")
        assert "siren" in page.evaluate("document.activeElement.getAttribute('aria-label')")


def test_the_settings_are_shown_as_text(browser, path):
    settings = {"Model": {"name": "<b>everyday</b>", "classes": "50"}}
    with viewed(path, settings=lambda: settings) as (web, _), seen(browser, web) as page:
        page.get_by_text("Settings").click()
        assert page.locator("#settings dt").all_text_contents() == ["name", "classes"]
        assert page.locator("#settings dd").all_text_contents() == ["<b>everyday</b>", "50"]


def test_the_colours_of_the_page_are_those_of_the_pictures(browser, view):
    labels = json.loads(find_model("general").with_suffix(".json").read_text())["labels"]
    labels += ["", "ünï \N{GRINNING FACE}"]
    with seen(browser, view[0]) as page:
        script = "async names => names.map((await import('/colours.js')).classColour)"
        assert page.evaluate(script, labels) == [class_colour(label) for label in labels]


def test_a_million_events_are_shown_quickly(browser, path, monkeypatch):
    """Each step is quick, as it is with few events."""
    with viewed(path) as (web, _):
        fill(path, 1_000_000)
        with seen(browser, web) as page:
            page.locator(ROWS).nth(50).wait_for()
            seconds = {}
            for name, act in {
                "class": lambda: page.get_by_label("Class").select_option("label:siren"),
                "score": lambda: page.get_by_label("Score from").fill("0.9999"),
                "day": lambda: page.get_by_role("button", name="Day before").click(),
            }.items():
                page.evaluate("performance.clearResourceTimings()")
                act()
                page.wait_for_timeout(700)
                timings = page.evaluate(
                    "performance.getEntriesByType('resource').map(e => e.duration)"
                )
                seconds[name] = max(timings, default=0) / 1000
            assert max(seconds.values()) < 0.5, seconds
