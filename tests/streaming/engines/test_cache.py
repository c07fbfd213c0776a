"""The cache is never the cause of an error or of another result, whatever happens to its files."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sed
from sed.files import written_whole
from sed.models.checkpoint import save_checkpoint
from streaming.engines import select
from streaming.engines.cache import cache_folder, cached_json, read_values
from streaming.engines.exported import GRAPH, METADATA, export_cached
from streaming.engines.select import open_engine
from tests.conftest import ROOT, rising_noise

SPEEDS = {"onnx": 2.0, "torch": 1.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_checkpoint):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


@pytest.fixture(scope="module")
def whole(saved, tmp_path_factory):
    """Return a cache with the tiny model, all of whose files are good."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    cache = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SED_CACHE", str(cache))
        patch.setattr(select, "_installed", lambda precision: ["onnx"])
        patch.setattr(select, "_measure_engines", lambda *_: SPEEDS)
        open_engine(saved, device="cpu")
    assert len(files_of(cache)) == 3
    return cache


@pytest.fixture
def copied(whole, tmp_path, monkeypatch):
    """Return a copy of it, which is used, and measures no engines."""
    folder = tmp_path / "cache"
    shutil.copytree(whole, folder)
    monkeypatch.setenv("SED_CACHE", str(folder))
    monkeypatch.setattr(select, "_installed", lambda precision: ["onnx"])
    monkeypatch.setattr(select, "_measure_engines", lambda *_: SPEEDS)
    return folder


def files_of(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


def damages(n_flips):
    """Yield a name and what damages a file, for each way."""
    generator = np.random.default_rng(0)

    def cut(path, share):
        os.truncate(path, int(path.stat().st_size * share))

    def flip(path, place, bit):
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        path.write_bytes(content)

    def replace(path, make):
        path.unlink()
        make(path)

    for share in (0.0, 0.1, 0.5, 0.9):
        yield f"cut to {share}", lambda path, share=share: cut(path, share)
    for _ in range(n_flips):
        place, bit = generator.random(), int(generator.integers(8))
        yield f"bit {bit} at {place:.2f}", lambda path, p=place, b=bit: flip(path, p, b)
    yield "grown", lambda path: path.write_bytes(path.read_bytes() + b"\0")
    yield "zeros", lambda path: path.write_bytes(bytes(path.stat().st_size))
    yield "of another program", lambda path: path.write_text("[1, 2, 3]")
    yield "no text", lambda path: path.write_bytes(b'{"a": "\xff"}')
    yield "gone", lambda path: path.unlink()
    yield "a folder", lambda path: replace(path, lambda p: (p / "x").mkdir(parents=True))
    yield "a pipe", lambda path: replace(path, os.mkfifo)
    yield "a link to nothing", lambda path: replace(path, lambda p: p.symlink_to("nothing"))


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_file_is_made_again(saved, whole, copied, monkeypatch, number):
    """45 cases, with the graph of before in place of exporting it once more."""

    def export_again(checkpoint, path, *_, **__):
        shutil.copy(next(whole.rglob(GRAPH)), path)

    monkeypatch.setattr("streaming.export.export.export", export_again)
    monkeypatch.setattr("sed.models.checkpoint.load_checkpoint", lambda _: None)
    metadata = read_values(next(whole.rglob(METADATA)))["metadata"]
    monkeypatch.setattr("streaming.export.export.graph_metadata", lambda *_: metadata)
    path = files_of(copied)[number]
    good = files_of(whole)[number].read_bytes()
    json_path = saved.with_suffix(".json")
    for name, damage in damages(n_flips=3):
        damage(path)
        graph, found = export_cached(saved, json_path)
        speeds = cached_json(select.engine_speeds_file(graph.parent), lambda: SPEEDS)
        assert (found, speeds, path.read_bytes()) == (metadata, SPEEDS, good), name
        assert len(files_of(copied)) == len([*graph.parent.iterdir()]) == 3


@pytest.mark.slow  # 63 exports
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_file_changes_no_event(saved, copied, tmp_path, number):
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, rising_noise(32_000), 8_000)
    expected = list(sed.detect(sound, open_engine(saved, engine="torch", device="cpu")))
    assert expected
    path = files_of(copied)[number]
    for name, damage in damages(n_flips=9):
        damage(path)
        found = sed.detect(sound, open_engine(saved, device="cpu"))
        assert [(e.onset, e.offset, e.label) for e in found] == [
            (e.onset, e.offset, e.label) for e in expected
        ], name
        assert path.is_file()


ONCE = """
import sys, threading, time
from pathlib import Path
from streaming.engines import exported
from streaming.engines.cache import write_values

def export(weights, graph, metadata, layer):
    with open(sys.argv[2], "a") as file:
        file.write("x")
    time.sleep(0.3)
    graph.write_text("graph")
    write_values(metadata, {"graph_sha256": exported.sha256_of(graph), "metadata": {"a": 1}})
    return {"a": 1}

exported._export = export
files = Path(sys.argv[1]), Path(sys.argv[1]).with_suffix(".json")
found = []
threads = [
    threading.Thread(target=lambda: found.append(exported.export_cached(*files)[1]))
    for _ in range(3)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == [{"a": 1}] * 3, found
"""


def test_threads_and_processes_export_a_model_once(saved, tmp_path):
    counts = tmp_path / "counts"
    environment = os.environ | {"SED_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", ONCE, saved, counts], env=environment)
        for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert counts.read_text() == "x"
    names = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(names) == [GRAPH, METADATA]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Return the folder for temporary files of a user without a home."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    for name in ("SED_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_without_a_home_the_cache_is_private_and_found_again(temporary):
    folder = cache_folder()
    assert folder.parent == temporary
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cache_folder() == folder
    program = "from streaming.engines.cache import cache_folder; print(cache_folder())"
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(folder)


def test_a_cache_that_another_user_may_have_prepared_is_not_taken(temporary):
    user = os.getuid()
    planted = [temporary / f"sed-engine-{user}{ending}" for ending in ("", "-", "-a", "-b", "-c")]
    for folder in planted[:3]:
        folder.mkdir()
        folder.chmod(0o777)
    planted[3].symlink_to(temporary)
    planted[4].write_text("")
    folder = cache_folder()
    assert folder not in planted
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    if user == 0:
        os.chown(folder, 1, 1)
        assert cache_folder() != folder


REASONS = {
    "file": errno.ENOTDIR,
    "file/below": errno.ENOTDIR,
    "n" * 300: errno.ENAMETOOLONG,
    "/proc/sed": errno.ENOENT,
}


@pytest.mark.parametrize("place", REASONS, ids=["file", "below", "long", "read-only"])
def test_a_cache_that_cannot_be_written_costs_a_notice(
    saved, whole, tmp_path, temporary, monkeypatch, caplog, place
):
    """Also one that cannot even be looked at; a model is then prepared once, for its owner."""
    (tmp_path / "file").touch()
    cache = tmp_path / place
    monkeypatch.setenv("SED_CACHE", str(cache))
    n_exports = 0

    def export(checkpoint, path, *_, **__):
        nonlocal n_exports
        n_exports += 1
        with written_whole(path) as part:
            shutil.copy(next(whole.rglob(GRAPH)), part)

    monkeypatch.setattr("streaming.export.export.export", export)
    monkeypatch.setattr(select, "_installed", lambda precision: ["onnx"])
    monkeypatch.setattr(select, "_measure_engines", lambda *_: SPEEDS)
    for name in ("onnx", "onnx", "auto"):
        open_engine(saved, engine=name, device="cpu")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    [own] = temporary.iterdir()
    reason = os.strerror(REASONS[place])
    [warning] = warnings
    assert warning.startswith(f"{cache}: cannot write: {reason}. ")
    assert warning.endswith(f" The model is prepared in {own} instead.")
    assert n_exports == 1
    assert (tmp_path / "file").read_bytes() == b""


def test_a_file_in_place_of_the_cache_is_not_removed(tmp_path, monkeypatch):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    monkeypatch.setenv("SED_CACHE", str(file))
    assert cached_json(file / "batch.json", lambda: SPEEDS) == SPEEDS
    assert file.read_text() == "mine"


def test_a_home_that_can_be_written_is_used(tmp_path, monkeypatch):
    for name in ("SED_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sed-engine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "sed-engine"
    monkeypatch.setenv("SED_CACHE", "/some/where")
    assert cache_folder() == Path("/some/where")
