"""The server: its address, and what it needs."""

import sys

import pytest

import streaming.web
from sed.errors import MissingExtraError, SedError, UsageError
from streaming.web.http_server import parse_address
from streaming.web.server import WebView
from tests.streaming.web.viewer import LABELS, LOG_MEL, get, live, receive, viewed


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 8765)),
        ("9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)),
        ("0.0.0.0", ("0.0.0.0", 8765)),
        ("garden.local:80", ("garden.local", 80)),
        ("garden:0", ("garden", 0)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::1]", ("::1", 8765)),
        ("::1", ("::1", 8765)),
    ],
)
def test_addresses_are_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["host:port", "99999", "a:1:b:2]:3", "http://x:1", "a b", "x:-1"])
def test_an_invalid_address_is_refused(text):
    expected = r"is not an address\. Give HOST:PORT, like 127\.0\.0\.1:8765"
    with pytest.raises(UsageError, match=expected):
        parse_address(text)


def test_an_address_in_use_is_an_error_at_once(path, view):
    port = int(view[0].url.rstrip("/").rpartition(":")[2])
    with pytest.raises(SedError) as refused:
        WebView(port=port, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    assert str(refused.value) == (
        f"127.0.0.1:{port}: cannot be used: Address already in use. "
        "Choose another address with --web HOST:PORT."
    )
    with pytest.raises(SedError, match=r"no\.such\.host\.invalid:0: cannot be used"):
        WebView("no.such.host.invalid", 0, database_path=path, labels=LABELS, log_mel=LOG_MEL)


@pytest.mark.parametrize("host", ["..", "a..b", "a" * 64])
def test_a_host_that_cannot_be_a_name_is_an_error_at_once(path, host):
    with pytest.raises(SedError) as refused:
        WebView(host, 80, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    assert str(refused.value) == (
        f"{host}:80: cannot be used: the host name is not valid. "
        "Choose another address with --web HOST:PORT."
    )


def test_the_address_is_free_again_when_it_is_closed(path):
    with viewed(path) as (web, _), live(web) as viewer:
        receive(viewer, "snapshot")
        port = int(web.url.rstrip("/").rpartition(":")[2])
    again = WebView(port=port, database_path=path, labels=LABELS, log_mel=LOG_MEL)
    assert get(again, "/").status_code == 200
    again.close()


def test_a_missing_library_is_named(path, monkeypatch):
    for name in ("uvicorn", "websockets", "starlette.applications", "prometheus_client"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            # Both the modules and the attributes of their package come back afterwards.
            for module in ("routes", "metrics"):
                patch.delitem(sys.modules, f"streaming.web.{module}", raising=False)
                patch.delattr(streaming.web, module, raising=False)
            with pytest.raises(MissingExtraError, match=r"the web view needs .*\[web\]"):
                WebView(port=0, database_path=path, labels=LABELS, log_mel=LOG_MEL)
