import os
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import soundfile

from sed.audio.blocks import read_recording
from sed.audio.decode import open_recording
from sed.audio.find import common_root, find_recordings, iter_recordings
from sed.audio.remote import RemoteFile, is_remote, local_copy, remote_files
from sed.errors import MissingExtraError, RecordingError
from streaming.offline.executor import ThreadExecutor
from streaming.offline.job_config import JobConfig
from streaming.offline.outputs import OutputConfig
from streaming.offline.scan import Scan
from streaming.pipeline.config import DetectorConfig
from tests.conftest import rising_noise


@pytest.fixture
def bucket():
    """Return a folder in memory with sounds and other things."""
    fsspec = pytest.importorskip("fsspec", reason="needs the remote extra")
    memory = fsspec.filesystem("memory")
    contents = {"b.wav": b"12", "deep/a.FLAC": b"123", "notes.txt": b"1", ".old/c.wav": b"1"}
    memory.pipe({f"/bucket/birds/{name}": content for name, content in contents.items()})
    yield "memory://bucket/birds"
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """Return the folder that copies go to."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def web(tmp_path):
    """Return the address of a folder, served on this machine."""
    pytest.importorskip("aiohttp", reason="needs the remote extra")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=tmp_path))
    with server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_protocol_makes_a_path_remote():
    assert [is_remote(p) for p in ("s3://b/x.wav", "gs://b", "file:///x", "simplecache::s3://b")]
    assert not any(map(is_remote, ("a.wav", "/a/b.wav", "-", "a:b.wav", "C:\\x.wav", "a/s3://b")))


def test_files_below_a_folder_are_named_relative_to_it(bucket):
    assert list(remote_files(bucket)) == [
        RemoteFile(f"{bucket}/.old/c.wav", ".old/c.wav", 1),
        RemoteFile(f"{bucket}/b.wav", "b.wav", 2),
        RemoteFile(f"{bucket}/deep/a.FLAC", "deep/a.FLAC", 3),
        RemoteFile(f"{bucket}/notes.txt", "notes.txt", 1),
    ]
    assert list(remote_files(f"{bucket}/")) == list(remote_files(bucket))
    assert list(remote_files(f"{bucket}/b.wav")) == [RemoteFile(f"{bucket}/b.wav", "b.wav", 2)]


def test_recordings_are_found_as_in_a_folder_of_this_machine(bucket):
    found, errors = find_recordings([bucket, f"{bucket}/notes.txt"])
    assert [(r.path.removeprefix(bucket), r.name, r.n_bytes) for r in found] == [
        ("/b.wav", "b.wav", 2), ("/deep/a.FLAC", "deep/a.FLAC", 3), ("/notes.txt", "notes.txt", 1)
    ]  # fmt: skip
    assert errors == []


def test_recordings_are_listed_one_by_one_for_an_archive(bucket):
    errors = []
    sources = [bucket, f"{bucket}/b.wav"]
    found = list(iter_recordings(sources, common_root(sources), errors))
    assert [(r.path.removeprefix(bucket), r.name) for r in found] == [
        ("/b.wav", "birds/b.wav"), ("/deep/a.FLAC", "birds/deep/a.FLAC"), ("/b.wav", "birds/b.wav")
    ]  # fmt: skip
    assert errors == []


def test_missing_files_are_reported(bucket):
    import fsspec

    fsspec.filesystem("memory").pipe("/bucket/birds/texts/a.txt", b"1")
    found, errors = find_recordings([f"{bucket}/none", f"{bucket}/texts", "odd://x"])
    assert found == []
    assert [str(e) for e in errors] == [
        f"{bucket}/none: there is no file or folder of this name. Check the name.",
        f"{bucket}/texts: this folder holds no recordings (.wav, .flac, .ogg, .opus, .mp3, .aiff, "
        "…). Check the name.",
        "odd://x: cannot be downloaded: Protocol not known: odd. Check the name, the network, the "
        "credentials and the space for temporary files.",
    ]


def test_a_package_that_a_protocol_needs_is_named(monkeypatch):
    pytest.importorskip("fsspec", reason="needs the remote extra")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RecordingError, match=r"s3://b/x: this .* a package: Install s3fs to acc"):
        list(remote_files("s3://b/x"))


def test_without_fsspec_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3://b/x: .* 'sed-engine\[remote\]'"):
        open_recording("s3://b/x")


def test_a_copy_is_there_while_it_is_opened_and_no_longer(bucket, copies):
    with local_copy(f"{bucket}/deep/a.FLAC") as copy:
        assert (Path(copy).suffix, Path(copy).parent) == (".FLAC", copies)
        opened = open(copy, "rb")  # noqa: SIM115  # stays open
    assert os.listdir(copies) == []
    with opened:
        assert opened.read() == b"123"


def test_a_copy_that_cannot_be_made_leaves_nothing(bucket, copies):
    with pytest.raises(RecordingError, match=r"x\.wav: no such file\. Check the name\."):
        open_recording(f"{bucket}/x.wav")
    with pytest.raises(RecordingError, match=r"birds/b\.wav: is not a sound file"):
        open_recording(f"{bucket}/b.wav")
    assert os.listdir(copies) == []


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_recording_on_the_web_is_read_like_a_local_one(web, copies, tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, rising_noise(20_000), 8_000)
    assert (read_recording(f"{web}/a.{ending}", 8_000) == read_recording(path, 8_000)).all()
    assert os.listdir(copies) == []


def test_a_folder_on_the_web_is_searched(web, tmp_path):
    (tmp_path / "birds" / "deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.ogg", "c.txt"):
        (tmp_path / "birds" / name).write_text("x")
    found, errors = find_recordings([f"{web}/birds/"])
    assert [(r.path, r.name) for r in found] == [
        (f"{web}/birds/a.wav", "a.wav"), (f"{web}/birds/deep/b.ogg", "deep/b.ogg")
    ]  # fmt: skip
    assert errors == []


def test_events_and_results_keep_the_name(tiny_checkpoint, copies, tmp_path):
    pytest.importorskip("fsspec", reason="needs the remote extra")
    folder = tmp_path / "archive" / "deep"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.flac", rising_noise(40_000), 8_000)
    (folder / "b.wav").write_bytes((folder / "a.flac").read_bytes()[:30_000])
    for name, source in {"near": tmp_path / "archive", "far": f"file://{tmp_path}/archive"}.items():
        results = OutputConfig(output=f"{tmp_path}/{name}/")
        job = JobConfig(results, tiny_checkpoint, DetectorConfig(hop_seconds=0.5))
        scan = Scan(job, ThreadExecutor(n_at_once=2))
        summary = scan.run([source])
        assert (summary.n_files, len(summary.failures)) == (2, 1)
        assert str(summary.failures[0]).startswith(f"{source}/deep/b.wav: damaged at ")
    for name in ("a.flac.csv", "b.wav.csv"):
        near, far = ((tmp_path / n / "deep" / name).read_text() for n in ("near", "far"))
        assert far == near.replace(str(tmp_path), f"file://{tmp_path}")
    assert os.listdir(copies) == []
