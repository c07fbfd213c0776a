"""A database, a page that shows it, a browser, and axe-core."""

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


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    return axe_source(tmp_path_factory.mktemp("axe"))
