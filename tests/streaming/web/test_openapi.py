"""The description of the API: it has all routes and their parameters, and what they return."""

import re

import pytest
from starlette.routing import Route

from streaming.messages import EventEnded
from streaming.web.routes import PAGE, Routes, page_files
from tests.streaming.web.viewer import event, get, status


@pytest.fixture
def described(view):
    return get(view[0], "/openapi.json").json()


def test_all_routes_are_described_and_no_others(described):
    routes = (
        Routes(None, None, None, None, print, settings={}, band_hz=(0.0, 8_000.0))
        .application()
        .routes
    )
    files = page_files(PAGE)
    found = {
        (route.path, method.lower())
        for route in routes
        if isinstance(route, Route) and route.path not in files
        for method in route.methods - {"HEAD"}
    }
    assert found == {(path, name) for path, each in described["paths"].items() for name in each}


def test_each_parameter_is_described(view, described):
    web, _ = view
    for path, methods in described["paths"].items():
        if "get" not in methods:
            continue
        known = [p["name"] for p in methods["get"]["parameters"] if p["in"] == "query"]
        address = path.replace("{id}", "1").replace("{format}", "csv")
        refused = get(web, f"{address}?zzzzzz=1")
        assert refused.status_code == 400, path
        text = refused.json()["error"].removeprefix("unknown parameter 'zzzzzz'. ")
        listed = re.findall(r"\w+", text.removeprefix("Known: ")) if "Known" in text else []
        assert sorted(listed) == sorted(known), path


def test_responses_are_what_is_described(view, described):
    jsonschema = pytest.importorskip("jsonschema")
    web, dispatcher = view
    dispatcher.handle(EventEnded(event(0)))
    dispatcher.handle(status())

    def validate(response, responses):
        content = responses[str(response.status_code)]["content"]["application/json"]
        schema = content["schema"] | {"components": described["components"]}
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate(response.json())

    for path in ("/events", "/names", "/history", "/settings", "/health", "/openapi.json"):
        validate(get(web, path), described["paths"][path]["get"]["responses"])
    assert get(web, "/events").json()["events"][0]["label"] == "dog"
    error = described["components"]["responses"]["Error"]["content"]["application/json"]
    jsonschema.Draft202012Validator(
        error["schema"] | {"components": described["components"]}
    ).validate(get(web, "/events?lable=dog").json())


def test_all_references_lead_somewhere(described):
    for reference in set(re.findall(r"'\$ref': '#/([^']+)'", str(described))):
        found = described
        for part in reference.split("/"):
            found = found[part]
        assert found
