"""Sound of web pages: what is asked of yt-dlp, and what becomes of its results and errors."""

import logging
import sys
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import pytest

from sed.errors import MissingExtraError, RecordingError
from tests.train.prepare.web import QUICK
from train.prepare.download import Downloader
from train.prepare.download_files import Download, finished_path, load_download, name_of
from train.prepare.web_audio import NOTE, download_page

PAGE = b"<html><title>Dawn</title><body><audio src='/dawn.wav'></audio></body></html>"


class StandIn:
    """Stands for yt_dlp.YoutubeDL: finds one recording in each page."""

    info = MappingProxyType(
        {"id": "1", "title": "Dawn\n chorus", "license": "CC BY 4.0", "uploader": "A. Nyman"}
    )
    options = None
    error = None

    def __init__(self, options):
        type(self).options = options

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def extract_info(self, url, download):
        assert not download
        if self.error is not None:
            raise self.error
        return {**self.info, "webpage_url": f"{url}#page"}

    def process_ie_result(self, info, download):
        assert download
        place = self.options["paths"]["home"]
        path = f"{place}/{self.options['outtmpl']['default'] % {'ext': 'webm'}}"
        with open(path, "wb") as file:
            file.write(b"12345")
        for hook in self.options["progress_hooks"]:
            hook({"status": "finished"})
        return {**info, "requested_downloads": [{"filepath": path}]}


@pytest.fixture
def stand_in(monkeypatch):
    """Return a fresh stand-in for yt-dlp."""
    kind = type("Fresh", (StandIn,), {})
    monkeypatch.setitem(sys.modules, "yt_dlp", SimpleNamespace(YoutubeDL=kind))
    return kind


def take(url, folder, check=lambda: None):
    return download_page(url, folder, max_bytes=10**9, pause_seconds=0.001, check=check)


def test_a_page_is_left_to_yt_dlp_and_its_facts_are_kept(server, tmp_path, stand_in, caplog):
    urls = [server.add(f"/watch/{i}", PAGE, kind="text/html; charset=utf-8") for i in "ab"]
    with caplog.at_level(logging.WARNING, "sed"):
        downloads = Downloader(tmp_path, QUICK).run(urls)
    for url in urls:
        assert downloads[url] == Download(
            url,
            file=f"{name_of(url)}.webm",
            n_bytes=5,
            licence="CC BY 4.0",
            uploader="A. Nyman",
            title="Dawn chorus",
            page=f"{url}#page",
        )
        assert load_download(tmp_path, url) == downloads[url]
        assert finished_path(tmp_path, downloads[url]).read_bytes() == b"12345"
    assert [record.message for record in caplog.records] == [NOTE]  # once
    options = stand_in.options
    assert options["format"] == "bestaudio/best"
    assert not {"cookiefile", "cookiesfrombrowser", "postprocessors", "usenetrc"} & set(options)
    assert (options["noplaylist"], options["quiet"], options["fixup"]) == (True, True, "never")
    assert options["max_filesize"] == 4_000_000_000


def test_without_yt_dlp_pages_fail_and_files_do_not(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    page, file = server.add("/watch", PAGE, kind="text/html"), server.add("/a.wav", b"12")
    error, download = Downloader(tmp_path, QUICK).run([page, file]).values()
    assert isinstance(error, MissingExtraError)
    assert str(error) == (
        f"{page}: is a web page; taking its sound needs an extra: "
        "pip install 'sed-engine[web-audio]'"
    )
    assert download.n_bytes == 2


def test_errors_of_yt_dlp_are_errors_of_the_page(tmp_path, stand_in):
    stand_in.error = KeyError("\x1b[0;31mERROR:\x1b[0m gone\n for good.")
    with pytest.raises(RecordingError, match=r"/watch: its page gives no sound: .*gone"):
        take("https://example.org/watch", tmp_path)


class StoppedError(Exception):
    pass


def test_a_stop_gets_through(tmp_path, stand_in):
    def check():
        raise StoppedError

    with pytest.raises(StoppedError):
        take("https://example.org/watch", tmp_path, check)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"entries": [{}, {}]}, "its page has 2 recordings. Give the address of each."),
        ({"entries": []}, "its page has 0 recordings"),
        ({"is_live": True}, "is a live stream. Use sed listen."),
    ],
)
def test_what_is_not_one_recording_is_refused(tmp_path, stand_in, info, message):
    stand_in.info = info
    with pytest.raises(RecordingError, match=message):
        take("https://example.org/watch", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_yt_dlp_leaves_out_is_an_error(tmp_path, stand_in):
    stand_in.process_ie_result = lambda *_, **__: {"requested_downloads": [{}]}
    with pytest.raises(RecordingError, match=r"no single file of at most 1 GB.*max-download-gb"):
        take("https://example.org/watch", tmp_path)


@pytest.mark.slow  # yt-dlp loads for a second
def test_yt_dlp_itself_takes_the_sound_of_a_page(server, tmp_path):
    pytest.importorskip("yt_dlp", reason="needs the web-audio extra")
    server.add("/dawn.wav", b"RIFF" + bytes(3_000))
    url = server.add("/watch", PAGE, kind="text/html")
    (download,) = Downloader(tmp_path, replace(QUICK, connections=1)).run([url]).values()
    assert (tmp_path / download.file).read_bytes() == b"RIFF" + bytes(3_000)
    assert download.file == f"{name_of(url)}.wav"
    assert download.title.startswith("Dawn")
    assert download.page == url
    none = server.add("/none", b"<html></html>", kind="text/html")
    (error,) = Downloader(tmp_path, QUICK).run([none]).values()
    assert "its page gives no sound: Unsupported URL" in str(error)
