"""Remote files read from any byte on; web servers are in tests/train/prepare/test_download.py."""

import os
import pickle
import time
from email.utils import formatdate

import pytest

from sed.audio.remote_stream import RemoteError, _seconds_of, _version_of, open_stream
from sed.errors import RecordingError

CONTENT = bytes(range(256)) * 4_000


def test_stored_files_are_continued_if_they_are_the_same(tmp_path):
    pytest.importorskip("fsspec", reason="needs the remote extra")
    (tmp_path / "a.wav").write_bytes(CONTENT)
    url = f"file://{tmp_path}/a.wav"
    whole = open_stream(url)
    assert b"".join(whole.blocks()) == CONTENT
    assert (whole.start, whole.n_bytes) == (0, len(CONTENT))
    whole.close()
    rest = open_stream(url, start=1_001, n_bytes=whole.n_bytes, tag=whole.tag)
    assert rest.start == 1_001
    assert b"".join(rest.blocks()) == CONTENT[1_001:]
    rest.close()
    os.utime(tmp_path / "a.wav", (1, 1))
    other = open_stream(url, start=1_001, n_bytes=whole.n_bytes, tag=whole.tag)
    assert other.start == 0
    other.close()


def test_check_may_stop_it(tmp_path):
    pytest.importorskip("fsspec", reason="needs the remote extra")
    (tmp_path / "a.wav").write_bytes(CONTENT)

    def check():
        raise KeyboardInterrupt

    stream = open_stream(f"file://{tmp_path}/a.wav", check=check)
    with pytest.raises(KeyboardInterrupt):
        list(stream.blocks())
    stream.close()


@pytest.mark.parametrize("url", ["file:///nowhere/a.wav", "nonsense://a/b.wav"])
def test_what_cannot_be_opened_is_an_error(url):
    pytest.importorskip("fsspec", reason="needs the remote extra")
    with pytest.raises(RecordingError, match=url):
        open_stream(url)


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120.0), (" 0 ", 0.0), ("", None), ("soon", None), ("-1", None)]
)
def test_the_seconds_that_a_server_asks_to_wait(header, seconds):
    assert _seconds_of(header) == seconds


def test_a_date_to_wait_for_is_in_the_future():
    assert _seconds_of(formatdate(time.time() + 90, usegmt=True)) == pytest.approx(90, abs=3)
    assert _seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_a_version_is_one_that_a_range_may_depend_on():
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert _version_of({"ETag": '"a"', "Last-Modified": date}) == '"a"'
    assert _version_of({"ETag": 'W/"a"', "Last-Modified": date}) == date
    assert _version_of({}) == ""


def test_an_error_keeps_its_status_between_processes():
    error = pickle.loads(pickle.dumps(RemoteError("http://h/a", "is busy", 503, 7.0)))
    assert (error.status, error.retry_after, error.is_transient) == (503, 7.0, True)
    assert str(error) == "http://h/a: is busy"
    assert not RemoteError("http://h/a", "is gone", 404).is_transient
