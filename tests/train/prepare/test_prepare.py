"""Prepare recordings: decoded once, resumed after a kill, and checked for faults."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sed.audio.blocks import read_recording
from sed.errors import OutputError, TableError, UsageError
from tests.conftest import ROOT, rising_noise
from tests.train.prepare.prepared import RATE, contents, sed, wavs
from train.data.audio import plain_wav, read_clip, wav_header
from train.data.clips import Clip
from train.data.tables import read_table, write_index
from train.prepare.cutting import CuttingConfig
from train.prepare.manifest import load_manifest
from train.prepare.prepare import PrepareCallbacks, prepare


def test_stored_recordings_are_what_decoding_gives(source, tmp_path):
    out = tmp_path / "out"
    summary = prepare(source, out, sample_rate=RATE)
    assert (summary.n_recordings, summary.n_clips, summary.n_reused) == (6, 6, 0)
    assert summary.audio_seconds == pytest.approx(18.0, abs=1e-3)
    assert summary.n_bytes == sum(stat.st_size for stat in wavs(out).values())
    names = ["cat/1.flac", "cat/1.wav", "cat/2.ogg", "dog/1.wav", "dog/b c.flac", "dog/é.wav"]
    assert list(wavs(out)) == [f"audio/{name}.wav" for name in names]
    for name in names:
        stored = plain_wav(out / "audio" / f"{name}.wav", RATE)
        np.testing.assert_array_equal(stored[:], read_recording(source / name, RATE))
    clips = read_table(summary.index)
    assert [clip.labels for clip in clips] == [("cat",)] * 3 + [("dog",)] * 3
    assert [clip.group for clip in clips] == [clip.group for clip in read_table(source)]
    assert [clip.path for clip in clips] == [str(out / "audio" / f"{name}.wav") for name in names]
    record = json.loads((out / "prepared.json").read_text("utf-8"))
    assert sorted(record["files"]) == sorted(f"{name}.wav" for name in names)
    assert record["finished"]
    assert record["options"]["sample_rate"] == RATE
    assert {"soundfile", "soxr", "sed-engine"} <= set(record["versions"])


def test_odd_recordings_are_named_at_the_end_also_when_they_were_stored_before(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "cat").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    soundfile.write(source / "cat/dead.wav", np.stack([0 * noise, noise], axis=1), RATE)
    soundfile.write(source / "cat/good.wav", noise, RATE)
    soundfile.write(source / "cat/loud.wav", np.clip(5 * noise, -0.5, 0.5), RATE)
    expected = [
        "look at these:",
        f"  {source}/cat/dead.wav: channel 1 is dead: all its samples that were looked at are "
        "about equal. Export the other, channel 2, and prepare that.",
    ]
    for _ in range(2):
        done = sed("prepare", source, out, "--sample-rate", RATE)
        lines = done.stderr.splitlines()
        first = lines.index(expected[0])
        assert lines[first : first + 2] == expected[:2]
        assert "% of the samples are clipped. Record with a lower gain." in lines[first + 2]
        assert lines[-1].endswith(" · 2 to look at · 0 failures")
        assert (len(lines[first:]), "--channel" in done.stderr, done.exit_code) == (4, False, 0)
    assert "look at" not in sed("prepare", source, out, "--sample-rate", RATE, "-q").stderr


def test_prepared_recordings_are_not_decoded_again(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    before, index = wavs(out), (out / "index.csv").read_bytes()
    os.utime(source / "cat/1.wav", ns=(0, 0))  # as if it were another
    soundfile.write(source / "dog/new.wav", rising_noise(RATE), RATE)
    (out / "audio/dog/1.wav.wav").write_bytes(b"RIFF")  # no longer whole
    (out / "audio/cat/2.ogg.wav").unlink()
    summary = prepare(source, out, sample_rate=RATE)
    assert (summary.n_recordings, summary.n_reused) == (7, 3)
    after = wavs(out)
    again = {
        name
        for name in after
        if after[name].st_mtime_ns != getattr(before.get(name), "st_mtime_ns", 0)
    }
    assert again == {
        f"audio/{n}.wav" for n in ("cat/1.wav", "dog/1.wav", "cat/2.ogg", "dog/new.wav")
    }
    assert set(index.splitlines()) < set((out / "index.csv").read_bytes().splitlines())


def test_sixteen_bits_are_those_of_the_source_and_clipping_is_counted(tmp_path):
    loud = np.array([0.0, 0.5, -1.0, 1.0, 1.5, -1.5, 3.0, -0.25], np.float32)
    pcm = (20_000 * rising_noise(RATE)).astype(np.int16)
    (tmp_path / "source/a").mkdir(parents=True)
    soundfile.write(tmp_path / "source/a/loud.wav", loud, RATE, "FLOAT")
    soundfile.write(tmp_path / "source/a/pcm.wav", pcm, RATE)
    done = sed(
        "prepare", tmp_path / "source", tmp_path / "out", "--sample-rate", RATE, "--bits", 16
    )
    assert done.exit_code == 0, done.stderr
    assert "3 samples of 1 recording clipped at full scale; --bits 32 keeps them" in done.stderr
    np.testing.assert_array_equal(plain_wav(tmp_path / "out/audio/pcm.wav.wav", RATE)[:], pcm)
    wanted = [0, 16_384, -32_768, 32_767, 32_767, -32_768, 32_767, -8_192]
    assert plain_wav(tmp_path / "out/audio/loud.wav.wav", RATE)[:].tolist() == wanted


def test_faulty_recordings_are_reported_and_the_rest_is_prepared(source, tmp_path):
    out = tmp_path / "out"
    good = (source / "cat/1.flac").read_bytes()
    (source / "cat/1.flac").write_bytes(good[: len(good) // 2])
    (source / "dog/1.wav").write_text("no sound")
    soundfile.write(source / "dog/zero.wav", np.zeros(RATE), RATE)
    done = sed("prepare", source, out, "--sample-rate", RATE)
    assert done.exit_code == 1
    assert done.stdout == f"{out / 'index.csv'}\n"
    assert "dog/1.wav: is not a sound file that can be read" in done.stderr
    assert "cat/1.flac: damaged at 1.486 s" in done.stderr
    assert "dog/zero.wav: every sample is zero" in done.stderr
    assert "4 recordings · 4 clips · 12.0 s of sound · 0.4 MB · 3 failures" in done.stderr
    assert len(read_table(out / "index.csv")) == len(wavs(out)) == 4
    assert len(json.loads((out / "prepared.json").read_text("utf-8"))["failures"]) == 3

    (source / "cat/1.flac").write_bytes(good)
    done = sed("prepare", source, out, "--sample-rate", RATE)
    assert done.exit_code == 1  # two are still faulty
    assert "4 recordings already stored" in done.stderr
    assert len(read_table(out / "index.csv")) == 5


def test_no_recording_that_can_be_read_is_an_error(tmp_path):
    (tmp_path / "source/a").mkdir(parents=True)
    (tmp_path / "source/a/x.wav").write_text("no sound")
    with pytest.raises(TableError, match="none of its recordings can be read"):
        prepare(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out/index.csv").exists()


KILLED_AT_EACH_SYNC = """
import itertools, os, signal, sys
from train.prepare.prepare import prepare
source, out, n_kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
for n in range(n_kills):
    if os.fork() == 0:
        count, sync = itertools.count(-1), os.fsync  # the first is a trial of the index
        def fsync(file):  # the content is written, and the name not yet given
            if next(count) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(file)
        os.fsync = fsync
        prepare(source, f"{out}/{n}", sample_rate=8_000, workers=2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL, n
"""


@pytest.mark.parametrize("n_turns", [1, pytest.param(4, marks=pytest.mark.slow)])  # of 8 kills
def test_a_run_killed_at_any_write_can_be_continued(source, tmp_path, n_turns):
    for turn in range(n_turns):
        _kill_at_each_write(source, tmp_path / str(turn))


def _kill_at_each_write(source, tmp_path):
    prepare(source, tmp_path / "unbroken", sample_rate=RATE)
    unbroken = contents(tmp_path / "unbroken")
    n_kills = 8  # a record at least, six recordings, the index
    program = [sys.executable, "-c", KILLED_AT_EACH_SYNC, source, tmp_path / "outs", str(n_kills)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n_noted = []
    for out in (tmp_path / "outs" / str(n) for n in range(n_kills)):
        before = contents(out)
        parts = {name for name in before if name.endswith(".part")}
        assert parts  # the kill fell into a write
        assert {k: v for k, v in before.items() if k not in parts}.items() <= unbroken.items()
        assert "index.csv" not in before
        is_new = not (out / "prepared.json").exists()
        files = {} if is_new else load_manifest(out).files
        noted = {f"audio/{name}" for name, facts in files.items() if facts}
        n_noted.append(len(noted))
        stats = wavs(out)
        assert prepare(source, out, sample_rate=RATE).n_reused == len(noted)
        assert all(wavs(out)[name].st_mtime_ns == stats[name].st_mtime_ns for name in noted)
        assert contents(out) == unbroken
        assert not [path.name for path in out.rglob(".*")]
    assert max(n_noted) >= 1  # the record is kept on the way


def test_ctrl_c_stops_at_once_and_the_same_command_continues(source, tmp_path):
    with open(source / "dog/hours.wav", "wb") as file:
        file.write(wav_header(1_000_000_000, 16_000, np.int16))
        file.truncate(file.tell() + 2_000_000_000)  # takes no room on the disk
    out = tmp_path / "out"
    program = Path(sys.executable).with_name("sed-engine")
    command = [program, "prepare", source, out, "--sample-rate", str(RATE), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(wavs(out)) < 6:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)  # as a terminal does it
    output = process.communicate()[1]
    assert time.monotonic() - pressed < 1.5  # with the end of the interpreter
    assert process.returncode == 130
    assert "stopped after 6 recordings; the same command continues from there" in output
    assert not (out / "index.csv").exists()
    assert set(p.suffix for p in out.rglob("*") if p.is_file()) == {".wav", ".json"}
    (source / "dog/hours.wav").unlink()
    assert prepare(source, out, sample_rate=RATE).n_reused == 6


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(source, tmp_path, monkeypatch):
    sync = os.fsync

    def full(file):
        if ".wav." in os.readlink(
            f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}"
        ):
            raise OSError(28, "No space left on device")
        sync(file)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to know which file is written")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"\.wav: cannot write: No space left on device"):
        prepare(source, tmp_path / "out", sample_rate=RATE)
    assert contents(tmp_path / "out") == {}
    monkeypatch.undo()
    assert prepare(source, tmp_path / "out", sample_rate=RATE).n_recordings == 6


def test_a_recording_too_long_for_a_file_is_reported(source, tmp_path, monkeypatch):
    monkeypatch.setattr("train.prepare.transcode.LARGEST_WAV_BYTES", 4 * 20_000)
    summary = prepare(source, tmp_path / "out", sample_rate=RATE, max_seconds=2.4)
    assert summary.failures == ()
    with pytest.raises(TableError):
        prepare(source, tmp_path / "more", sample_rate=RATE)
    reasons = load_manifest(tmp_path / "more").failures
    assert all("is too long to be stored in one file" in reason for reason in reasons.values())


def test_clips_of_one_file_are_stored_once_and_found_again(tmp_path):
    sound = rising_noise(10 * RATE)
    soundfile.write(tmp_path / "long.flac", sound, RATE)
    spans = [(2.0, 1.5), (3.0, 2.0), (7.0, None)]
    clips = [
        Clip(str(tmp_path / "long.flac"), ("a",), "g", start_seconds=b, duration_seconds=s)
        for b, s in spans
    ]
    write_index(tmp_path / "table.csv", clips, None, [""] * 3)
    summary = prepare(tmp_path / "table.csv", tmp_path / "out", sample_rate=RATE, max_seconds=1.75)
    assert (summary.n_recordings, summary.n_clips) == (1, 3)
    assert summary.audio_seconds == 6.75  # from 2.0 to 8.75
    whole = read_recording(tmp_path / "long.flac", RATE)
    for clip, (begin, end) in zip(
        read_table(summary.index), [(2, 3.5), (3, 4.75), (7, 8.75)], strict=True
    ):
        wanted = whole[int(begin * RATE) : int(end * RATE)]
        np.testing.assert_array_equal(read_clip(clip, RATE), wanted)


def test_invalid_options_are_reported_together():
    with pytest.raises(
        UsageError,
        match="expected a rate of 8000 to 1000000, got 7; trim_db above 0, got -1; "
        "segment_seconds above 0, got 0; 16 or 32 bits, got 24",
    ):
        CuttingConfig(7, trim_db=-1, segment_seconds=0, bits=24)


def test_labels_that_no_index_can_hold_are_reported_before_decoding(tmp_path):
    (tmp_path / "source/a;b").mkdir(parents=True)
    soundfile.write(tmp_path / "source/a;b/x.wav", rising_noise(RATE), RATE)
    with pytest.raises(UsageError, match="holds a ;"):
        prepare(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_is_reported(source, tmp_path):
    progress = []
    callbacks = PrepareCallbacks(
        lambda *n: progress.append(n), lambda s: progress.append(s), progress.append
    )
    prepare(source, tmp_path / "out", sample_rate=RATE, callbacks=callbacks, workers=1)
    assert progress[0] == (6, 0)
    assert progress[1:] == pytest.approx([3.0] * 6, abs=1e-3)
