"""A database, and a page that shows it."""

import pytest

from tests.streaming.web.viewer import viewed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def view(path):
    with viewed(path) as (web, dispatcher):
        yield web, dispatcher
