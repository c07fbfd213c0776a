"""Tables of links: rows, downloads, and the same prepared folder as from files."""

import io
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.audio.blocks import read_recording
from sed.errors import TableError
from sed.events.reading.header import read_columns
from sed.events.reading.table import read_text_table
from tests.conftest import ROOT, rising_noise, until
from tests.train.prepare.prepared import RATE, sed, wavs
from tests.train.prepare.web import QUICK
from train.data.audio import plain_wav, read_clip
from train.data.tables import read_table
from train.prepare.download_files import name_of
from train.prepare.links import is_links, read_links, seconds_of
from train.prepare.manifest import load_manifest
from train.prepare.prepare import LinkCallbacks, PrepareCallbacks, prepare


def encoded(seconds, seed, kind="WAV"):
    """Return noise as the bytes of a file of 8 kHz."""
    file = io.BytesIO()
    soundfile.write(file, rising_noise(int(seconds * RATE), seed), RATE, format=kind)
    return file.getvalue()


def table(folder, *rows):
    """Write a table of links, the names of its columns first."""
    path = folder / "links.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def run(path, out, **options):
    return prepare(path, out, sample_rate=RATE, download=QUICK, **options)


def column(index, name):
    return [row[name] for _, row in read_text_table(index).records()]


def test_links_become_a_prepared_folder(server, tmp_path):
    a = server.add("/a.flac", encoded(2, 1, "FLAC"))
    b = server.add("/sub/a.flac", encoded(3, 2, "FLAC"))
    path = table(
        tmp_path,
        "url,label,licence,group,fold",
        f"{a},drone,CC0,north,2",
        f"{b},car;speech,,,",
    )
    summary = run(path, tmp_path / "out")
    assert (summary.n_recordings, summary.n_clips, summary.n_unlicensed) == (2, 2, 1)
    clips = read_table(summary.index)
    assert [clip.labels for clip in clips] == [("drone",), ("car", "speech")]
    assert [clip.group for clip in clips] == ["north", b]
    assert [clip.fold for clip in clips] == ["2", ""]
    assert [clip.licence for clip in clips] == ["CC0", ""]
    assert column(summary.index, "source") == [a, b]
    for clip, url in zip(clips, (a, b), strict=True):
        download = tmp_path / "out/downloads" / f"{name_of(url)}.flac"
        np.testing.assert_array_equal(read_clip(clip, RATE), read_recording(download, RATE))
    record = json.loads((tmp_path / "out/prepared.json").read_text())
    assert set(record["downloads"]) == {a, b}
    assert not (tmp_path / "out/failures.csv").exists()


def test_parts_are_cut_to_the_sample_and_a_url_is_fetched_once(server, tmp_path):
    url = server.add("/a.wav", encoded(5, 1))
    path = table(
        tmp_path,
        "url,label,start,end",
        f"{url},a,0.5,1.25",
        f"{url},b,0:00:02,0:00:03.0001",
        f"{url},c,,1",
        f"{url},d,4,",
    )
    summary = run(path, tmp_path / "out")
    samples = soundfile.read(io.BytesIO(encoded(5, 1)), dtype="float32")[0]
    spans = [(4_000, 10_000), (16_000, 24_001), (0, 8_000), (32_000, 40_000)]
    for clip, (first, last) in zip(read_table(summary.index), spans, strict=True):
        np.testing.assert_array_equal(read_clip(clip, RATE), samples[first:last])
        assert clip.group == url
    assert len(server.requests) == 1
    assert len(wavs(tmp_path / "out/audio")) == 1


def test_failures_are_listed_and_the_rest_is_prepared(server, tmp_path):
    good = server.add("/good.wav", encoded(1, 1))
    text = server.add("/text.wav", b"no sound")
    missing = server.url("/missing.wav")
    path = table(tmp_path, "url,label", *(f"{url},a" for url in (missing, good, text)))
    out = tmp_path / "out"
    quick = "--requests-per-second", 10_000
    done = sed("prepare", path, out, "--sample-rate", RATE, *quick)
    assert done.exit_code == 1
    assert done.stdout == f"{out / 'index.csv'}\n"
    assert f"sed: {missing}: the server refuses it: 404 Not Found" in done.stderr
    assert f"sed: {text}: is not a sound file that can be read" in done.stderr
    assert "1 recording · 1 clip · 1.0 s of sound · 0.0 MB · 2 failures" in done.stderr
    assert "1 clip from links without a known licence: the column licence is empty" in done.stderr
    assert column(out / "failures.csv", "url") == [missing, text]
    assert all("Check" in reason for reason in column(out / "failures.csv", "reason")[:1])
    assert set(load_manifest(out).failures) == {missing, text}

    server.add("/missing.wav", encoded(1, 2))
    server.requests.clear()
    done = sed("prepare", path, out, "--sample-rate", RATE, *quick)
    assert "2 recordings already downloaded" in done.stderr
    assert [name for name, _ in server.requests] == ["/missing.wav"]
    assert column(out / "failures.csv", "url") == [text]
    path = table(tmp_path, "url,label", f"{good},a", f"{missing},a")
    assert sed("prepare", path, out, "--sample-rate", RATE, *quick).exit_code == 0
    assert not (out / "failures.csv").exists()


def test_where_everything_fails_the_reasons_are_listed(server, tmp_path):
    path = table(tmp_path, "url,label", f"{server.url('/missing.wav')},a")
    with pytest.raises(TableError, match="none of its recordings can be read"):
        run(path, tmp_path / "out")
    assert column(tmp_path / "out/failures.csv", "url") == [server.url("/missing.wav")]
    assert not (tmp_path / "out/index.csv").exists()


def test_reset_removes_downloads_and_nothing_else(server, tmp_path):
    urls = [server.add("/a.wav", encoded(1, 1)), server.url("/missing.wav")]
    path, out = table(tmp_path, "url,label", *(f"{url},a" for url in urls)), tmp_path / "out"
    run(path, out)
    (out / "downloads/mine.wav").write_text("x")
    (out / "downloads" / f".{name_of(urls[1])}.part").write_text("x")
    done = sed("prepare", out, "--reset")
    assert "did not make it: downloads/mine.wav" in done.stderr
    assert [p.name for p in out.rglob("*")] == ["downloads", "mine.wav"]
    (out / "downloads/mine.wav").unlink()
    (out / "downloads").rmdir()
    run(path, out)
    assert sed("prepare", out, "--reset").exit_code == 0
    assert not out.exists()


def test_reset_does_not_follow_a_link_out_of_the_folder(server, tmp_path):
    url = server.add("/a.wav", encoded(1, 1))
    path, out = table(tmp_path, "url,label", f"{url},a"), tmp_path / "out"
    run(path, out)
    (out / "downloads").rename(tmp_path / "elsewhere")
    (out / "downloads").symlink_to(tmp_path / "elsewhere")
    sed("prepare", out, "--reset")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_faulty_rows_are_listed_before_anything_is_downloaded(server, tmp_path):
    good = server.add("/a.wav", encoded(1, 1))
    path = table(
        tmp_path,
        "url,label,start,end,duration",
        f"{good},a,,,",
        "file:///etc/hostname,a,,,",
        "/etc/hostname,a,,,",
        "simplecache::https://example.org/a.wav,a,,,",
        "https:///a.wav,a,,,",
        "https://example.org/a b.wav,a,,,",
        f"{good},,,,",
        f"{good},a,2,1,",
        f"{good},a,x,,",
        f"{good},a,1,2,3",
        ",a,,,",
    )
    with pytest.raises(TableError) as caught:
        run(path, tmp_path / "out")
    message = str(caught.value)
    assert "links.csv: 10 faulty rows of 11" in message
    for line in (
        "row 3: file:///etc/hostname: expected an address that starts with one of http, https",
        "row 4: /etc/hostname: expected an address",
        "row 5: simplecache::https://example.org/a.wav: expected an address",
        "row 6: https:///a.wav: expected an address",
        "row 7: https://example.org/a b.wav: an address has no spaces",
        f"row 8: {good}: no label",
        f"row 9: {good}: ends at 1, not after its start",
        f"row 10: {good}: expected seconds or h:mm:ss, got 'x'",
        f"row 11: {good}: both an end and a duration",
        "row 12: ?: no url",
    ):
        assert line in message
    assert server.requests == []
    assert not (tmp_path / "out").exists()


def test_tables_that_are_not_of_links(tmp_path):
    assert not is_links(tmp_path)
    assert not is_links(table(tmp_path, "file,label,url", "a.wav,a,https://example.org/a"))
    path = table(tmp_path, "url,class", "https://example.org/a.wav,x")
    assert is_links(path)
    with pytest.raises(TableError, match=r"a table of links needs a column label\. Add it"):
        read_links(path)
    with pytest.raises(TableError, match="holds no rows"):
        read_links(table(tmp_path, "url,label"))
    with pytest.raises(TableError, match=r"a table of links\. Download what they name with sed"):
        read_table(table(tmp_path, "url,label", "https://example.org/a.wav,x"))
    assert read_columns(tmp_path / "links.csv") == ("url", "label")


@settings(max_examples=50)
@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_times_are_read_exactly(hours, minutes, seconds, thousandths):
    time = seconds_of(f"{hours}:{minutes:02}:{seconds:02}.{thousandths:03}")
    assert time * 1_000 == ((hours * 60 + minutes) * 60 + seconds) * 1_000 + thousandths
    assert seconds_of(f" {minutes}:{seconds:02} ") == 60 * minutes + seconds
    assert seconds_of(f"{hours}.{thousandths:03}") * 1_000 == 1_000 * hours + thousandths


@pytest.mark.parametrize("cell", ["1:60", "1:2:3:4", "-1", "1.5:00", "nan", "1e3", "60:00:60", ":"])
def test_what_is_no_time_is_refused(cell):
    with pytest.raises(ValueError, match="expected seconds or h:mm:ss"):
        seconds_of(cell)
    assert seconds_of(" ") is None


def test_help_names_the_extras_and_that_licences_apply():
    text = " ".join(sed("prepare", "--help").stdout.split())
    assert "need the extra remote; pages of videos are left to yt-dlp, the extra web-audio" in text
    assert "the licence of each work apply" in text


PREPARE = """
import sys
from tests.train.prepare.web import QUICK
from train.prepare.prepare import prepare
prepare(sys.argv[1], sys.argv[2], sample_rate=8_000, download=QUICK)
"""


def test_killed_in_a_download_it_continues_with_the_rest(server, tmp_path):
    content, held = encoded(30, 2), threading.Event()
    done, cut = server.add("/a.wav", encoded(1, 1)), server.add("/b.wav", content, waits=held)
    path = table(tmp_path, "url,label", f"{done},a", f"{cut},b")
    out = tmp_path / "out"
    command = [sys.executable, "-c", PREPARE, str(path), str(out)]
    process = subprocess.Popen(command, cwd=ROOT)
    part = out / "downloads" / f".{name_of(cut)}.part"
    finished = out / "downloads" / f"{name_of(done)}.wav"
    until(lambda: part.exists() and part.stat().st_size and finished.exists(), 30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    held.set()
    server.pages["/b.wav"].waits = None
    kept = part.read_bytes()
    assert 0 < len(kept) < len(content)
    server.requests.clear()
    counts = []
    callbacks = PrepareCallbacks(links=LinkCallbacks(on_start=lambda *n: counts.append(n)))
    summary = run(path, out, callbacks=callbacks)
    assert counts == [(1, 1)]
    assert [name for name, _ in server.requests] == ["/b.wav"]
    assert server.ranges("/b.wav") == [f"bytes={len(kept)}-"]
    assert (out / "downloads" / f"{name_of(cut)}.wav").read_bytes() == content
    assert summary.n_recordings == 2
    stored = plain_wav(out / "audio" / f"{name_of(cut)}.wav.wav", RATE)
    assert len(stored) == 30 * RATE
