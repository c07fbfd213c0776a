"""A database, a page that shows it, a browser, and axe-core."""

import shutil

import pytest

from tests.streaming.web.axe import axe_source
from tests.streaming.web.viewer import viewed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def view(path):
    with viewed(path) as (web, dispatcher):
        yield web, dispatcher


@pytest.fixture(scope="module")
def browser():
    if (program := shutil.which("chromium")) is None:
        pytest.skip("needs chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    return axe_source(tmp_path_factory.mktemp("axe"))
