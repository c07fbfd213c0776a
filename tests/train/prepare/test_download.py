"""Downloads: politely, each once, and on from where a connection or a process ended."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import RecordingError, UsageError
from tests.conftest import until
from tests.train.prepare.web import QUICK
from train.prepare.download import DownloadConfig, Downloader
from train.prepare.download_files import (
    Download,
    files_of,
    finished_path,
    load_download,
    name_of,
    part_path,
    save_download,
    sound_suffix,
)
from train.prepare.rate_limit import RateLimit

CONTENT = np.random.default_rng(1).bytes(300_000)


def fetch(folder, *urls, config=QUICK):
    """Return the result of each url."""
    return list(Downloader(folder, config).run(urls).values())


def test_a_file_arrives_whole_with_its_facts(server, tmp_path):
    url = server.add("/a/red%20kite.wav", CONTENT)
    (download,) = fetch(tmp_path, url)
    assert download == Download(url, f"{name_of(url)}.wav", len(CONTENT), '"1"')
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert finished_path(tmp_path, load_download(tmp_path, url)) == tmp_path / download.file
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".wav"]
    ((_, headers),) = server.requests
    assert headers["User-Agent"].startswith("sed-engine/")
    assert headers["Accept-Encoding"] == "identity"


def test_a_refusal_is_an_error_and_the_others_are_downloaded(server, tmp_path):
    good = server.add("/good.wav", CONTENT)
    error, download = fetch(tmp_path, server.url("/missing.wav"), good)
    assert isinstance(error, RecordingError)
    assert "missing.wav: the server refuses it: 404 Not Found. Check the address." in str(error)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert server.ranges("/missing.wav") == [""]  # asked once


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(server, tmp_path, status):
    url = server.add("/a.wav", CONTENT, statuses=[(status, {"Retry-After": "0"})] * 3)
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert len(server.requests) == 4


def test_after_the_retries_it_is_an_error(server, tmp_path):
    url = server.add("/a.wav", CONTENT, statuses=[(503, {})] * 9)
    (error,) = fetch(tmp_path, url, config=replace(QUICK, n_retries=2))
    assert "503 Service Unavailable" in str(error)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "after", ["86400", "Wed, 01 Jan 2200 00:00:00 GMT"], ids=["seconds", "date"]
)
def test_a_server_that_asks_to_wait_for_long_is_left_alone(server, tmp_path, after):
    url = server.add("/a.wav", CONTENT, statuses=[(429, {"Retry-After": after})] * 2)
    (error,) = fetch(tmp_path, url)
    assert "the server asks to wait" in str(error)
    assert "Run the same command later." in str(error)
    assert len(server.requests) == 1


def test_a_cut_connection_is_continued_where_it_ended(server, tmp_path):
    content = 10 * CONTENT
    url = server.add("/a.wav", content, cuts=[1_000_000, 1_500_000])
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == content
    # What was in the buffers when the connection broke comes again.
    first, second, third = server.ranges("/a.wav")
    assert first == ""
    assert 500_000 < int(second[6:-1]) <= 1_000_000
    assert 1_500_000 < int(third[6:-1]) <= 2_500_000
    assert server.requests[-1][1]["If-Range"] == '"1"'


def test_without_ranges_it_is_begun_anew(server, tmp_path):
    url = server.add("/a.wav", CONTENT, cuts=[100_000], has_ranges=False)
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize("tag", ['"2"', ""], ids=["another version", "no version, another size"])
def test_another_version_of_the_file_is_begun_anew(server, tmp_path, tag):
    url = server.add("/a.wav", CONTENT, tag=tag)
    part_path(tmp_path, url).write_bytes(b"x" * 1_000)
    save_download(tmp_path, Download(url, n_bytes=299_999, tag='"1"' if tag else ""))
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert server.ranges("/a.wav")[0] == "bytes=1000-"


def test_a_part_of_an_unknown_version_is_not_continued(server, tmp_path):
    url = server.add("/a.wav", CONTENT, tag="", has_length=False)
    part_path(tmp_path, url).write_bytes(b"x" * 1_000)
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert server.ranges("/a.wav") == [""]


def test_a_part_that_is_too_long_is_begun_anew(server, tmp_path):
    url = server.add("/a.wav", CONTENT)
    part_path(tmp_path, url).write_bytes(b"x" * 400_000)
    save_download(tmp_path, Download(url, n_bytes=len(CONTENT), tag='"1"'))
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert server.ranges("/a.wav") == ["bytes=400000-", ""]


def test_killed_between_the_facts_and_the_name_it_is_whole(tmp_path):
    url = "https://example.org/a.wav"
    part_path(tmp_path, url).write_bytes(CONTENT)
    save_download(tmp_path, Download(url, f"{name_of(url)}.wav", len(CONTENT)))
    path = finished_path(tmp_path, load_download(tmp_path, url))
    assert path.read_bytes() == CONTENT


def test_redirects_are_followed_and_the_name_is_that_of_the_url(server, tmp_path):
    server.add("/there", CONTENT, kind="audio/flac")
    url = server.add("/here", statuses=[(302, {"Location": "/there"})])
    (download,) = fetch(tmp_path, url)
    assert download.file == f"{name_of(url)}.flac"
    assert (tmp_path / download.file).read_bytes() == CONTENT


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(server, tmp_path):
    url = server.add("/a.wav", statuses=[(302, {"Location": "file:///etc/hostname"})])
    (error,) = fetch(tmp_path, url)
    assert isinstance(error, RecordingError)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_web_page_in_place_of_a_sound_is_an_error(server, tmp_path):
    url = server.add("/a.wav", b"<html>", kind="text/html; charset=utf-8")
    (error,) = fetch(tmp_path, url)
    assert "sends a web page in place of the sound" in str(error)


def test_a_file_that_is_too_large_is_refused(server, tmp_path):
    urls = server.add("/a.wav", CONTENT), server.add("/b.wav", CONTENT, has_length=False)
    for error in fetch(tmp_path, *urls, config=replace(QUICK, max_gb=0.0001)):
        assert "is larger than 0.0001 GB. Raise --max-download-gb." in str(error)
    assert not list(tmp_path.glob(".*.part"))


def test_a_server_that_is_not_there_is_an_error(server, tmp_path):
    url = server.url("/a.wav").replace(str(server.server_port), "1")
    (error,) = fetch(tmp_path, url, config=replace(QUICK, n_retries=1))
    assert "the connection is lost" in str(error)
    assert "Check the address and the network." in str(error)


def test_stopped_in_the_middle_it_continues(server, tmp_path):
    waits = threading.Event()
    url = server.add("/a.wav", CONTENT, waits=waits)
    part = part_path(tmp_path, url)
    downloader = Downloader(tmp_path, QUICK)

    def stop(_):
        until(lambda: part.exists() and part.stat().st_size)
        raise KeyboardInterrupt

    downloader._on_done = stop
    with pytest.raises(KeyboardInterrupt):
        downloader.run([server.add("/b.wav", b"12"), url])
    waits.set()
    n_bytes = part.stat().st_size
    assert 0 < n_bytes <= len(CONTENT) // 2
    server.pages["/a.wav"].waits = None
    (download,) = fetch(tmp_path, url)
    assert (tmp_path / download.file).read_bytes() == CONTENT
    assert server.ranges("/a.wav")[-1] == f"bytes={n_bytes}-"


class FakeClock:
    def __init__(self):
        self.now = 100.0
        self.starts = []

    def wait(self, seconds):
        assert seconds > 0
        self.now += seconds

    def request(self, limit, host):
        limit.acquire(host)
        self.starts.append((host, self.now))


def test_requests_to_a_host_are_spaced_and_hosts_do_not_wait_for_each_other():
    clock = FakeClock()
    limit = RateLimit(2.0, clock.wait, lambda: clock.now)
    for host in "aabba":
        clock.request(limit, host)
    assert clock.starts == [("a", 100.0), ("a", 100.5), ("b", 100.5), ("b", 101.0), ("a", 101.0)]
    clock.now = 200.0  # no credit for idle time
    for _ in range(3):
        clock.request(limit, "a")
    assert [now for _, now in clock.starts[-3:]] == [200.0, 200.5, 201.0]


def test_a_host_on_hold_gets_no_request_until_then():
    clock = FakeClock()
    limit = RateLimit(1.0, clock.wait, lambda: clock.now)
    limit.hold("a", 30.0)
    limit.hold("a", 3.0)  # the longer one counts
    clock.request(limit, "b")
    clock.request(limit, "a")
    assert clock.starts == [("b", 100.0), ("a", 130.0)]


def test_no_more_than_so_many_downloads_at_once(server, tmp_path):
    busy, most, lock = 0, 0, threading.Lock()

    class Counting(Downloader):
        def _result(self, url):
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            result = super()._result(url)
            with lock:
                busy -= 1
            return result

    urls = [server.add(f"/{i}.wav", b"1") for i in range(8)]
    Counting(tmp_path, replace(QUICK, connections=2)).run(urls)
    assert most == 2


@settings(max_examples=50)
@given(st.text(min_size=1))
def test_any_url_gives_a_safe_name_of_its_own(text):
    name = name_of(f"http://host/{text}")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 16 <= len(name) <= 57
    assert name != name_of(f"http://host/{text}x")


def test_hostile_names_stay_in_the_folder(server, tmp_path):
    url = server.add("/..%2F..%2F..%2Fetc%2Fcron.d%2Fx%00.wav?f=../../y", CONTENT)
    folder = tmp_path / "downloads"
    folder.mkdir()
    (download,) = fetch(folder, url)
    assert download.file == f"x-{name_of(url)[-16:]}.wav"
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize("file", ["../x.wav", "/etc/hostname", "other.wav", "NAME.a/b", "NAME."])
def test_facts_that_lead_elsewhere_are_not_followed(tmp_path, file):
    url = "https://example.org/a.wav"
    save_download(tmp_path, Download(url, n_bytes=5))
    (facts,) = tmp_path.iterdir()
    record = json.loads(facts.read_text()) | {"file": file.replace("NAME", name_of(url))}
    facts.write_text(json.dumps(record))
    assert load_download(tmp_path, url) == Download(url)
    facts.write_text("{")
    assert load_download(tmp_path, url) == Download(url)


def test_files_of_a_url_are_those_and_no_others(tmp_path):
    urls = ["https://example.org/a.wav", "https://example.org/b.wav"]
    (tmp_path / "mine.wav").write_text("x")
    save_download(tmp_path, Download(urls[0]))
    part_path(tmp_path, urls[1]).write_text("x")
    assert sorted(files_of(tmp_path, urls)) == sorted(
        [tmp_path / f"{name_of(urls[0])}.json", part_path(tmp_path, urls[1])]
    )
    assert files_of(tmp_path, urls[:1]) == [tmp_path / f"{name_of(urls[0])}.json"]


@pytest.mark.parametrize(
    ("url", "kind", "suffix"),
    [
        ("http://h/a.FLAC?x=1.wav", "", ".flac"),
        ("http://h/a", "audio/mpeg", ".mp3"),
        ("http://h/a.php", "audio/x-wav", ".wav"),
        ("http://h/a.exe", "application/x-msdownload", ""),
        ("http://h/", "", ""),
    ],
)
def test_the_ending_is_that_of_a_sound_or_none(url, kind, suffix):
    assert sound_suffix(url, kind) == suffix


def test_impossible_settings_are_refused_all_at_once():
    with pytest.raises(UsageError, match="requests_per_second above 0, got 0; max_gb above 0, got "
                       "-1; 1 connection or more, got 0; 0 retries or more, got -1"):  # fmt: skip
        DownloadConfig(0, 0, -1, -1)
