"""Recordings decoded once, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sed.audio.blocks import read_recording
from sed.cli import app
from sed.errors import OutputError, TableError, UsageError
from sed.events.tracker import Event
from tests.conftest import ROOT, rising_noise
from train.data.audio import memmap_wav, n_samples, read_clip, wav_header
from train.data.clips import Clip
from train.data.loudness import non_silent_range
from train.data.tables import read_table, write_index
from train.prepare.cutting import CuttingConfig, clip_segment, kept_range, split_range
from train.prepare.manifest import load_manifest, reset
from train.prepare.prepare import PrepareCallbacks, prepare

RATE = 8_000


@pytest.fixture
def source(tmp_path):
    """Return a folder per class with six recordings of 3 s at several rates and formats."""
    folder = tmp_path / "source"
    for i, name in enumerate(("cat/1.wav", "cat/1.flac", "cat/2.ogg", "dog/1.wav", "dog/b c.flac")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rate = (8_000, 11_025)[i % 2]
        soundfile.write(folder / name, 0.5 * rising_noise(3 * rate, i), rate)
    both = np.stack([rising_noise(24_000, 8), rising_noise(24_000, 9)], axis=1)
    soundfile.write(folder / "dog/é.wav", both, 8_000, "PCM_24")
    return folder


def sed(*arguments):
    return CliRunner().invoke(app(), [str(a) for a in arguments], env={"COLUMNS": "100"})


def wavs(out):
    return {str(p.relative_to(out)): p.stat() for p in sorted(out.rglob("*.wav"))}


def contents(out):
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and p.name != "prepared.json")
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


def test_stored_recordings_are_what_decoding_gives(source, tmp_path):
    out = tmp_path / "out"
    summary = prepare(source, out, sample_rate=RATE)
    assert (summary.n_recordings, summary.n_clips, summary.n_reused) == (6, 6, 0)
    assert summary.audio_seconds == pytest.approx(18.0, abs=1e-3)
    assert summary.n_bytes == sum(stat.st_size for stat in wavs(out).values())
    names = ["cat/1.flac", "cat/1.wav", "cat/2.ogg", "dog/1.wav", "dog/b c.flac", "dog/é.wav"]
    assert list(wavs(out)) == [f"audio/{name}.wav" for name in names]
    for name in names:
        stored = memmap_wav(out / "audio" / f"{name}.wav", RATE)
        np.testing.assert_array_equal(stored, read_recording(source / name, RATE))
    clips = read_table(summary.index)
    assert [clip.labels for clip in clips] == [("cat",)] * 3 + [("dog",)] * 3
    assert [clip.group for clip in clips] == [clip.group for clip in read_table(source)]
    assert [clip.path for clip in clips] == [str(out / "audio" / f"{name}.wav") for name in names]
    record = json.loads((out / "prepared.json").read_text("utf-8"))
    assert sorted(record["files"]) == sorted(f"{name}.wav" for name in names)
    assert record["finished"]
    assert record["options"]["sample_rate"] == RATE
    assert {"soundfile", "soxr", "sed-engine"} <= set(record["versions"])


def test_what_is_there_is_not_decoded_again(source, tmp_path):
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
    np.testing.assert_array_equal(memmap_wav(tmp_path / "out/audio/pcm.wav.wav", RATE), pcm)
    wanted = [0, 16_384, -32_768, 32_767, 32_767, -32_768, 32_767, -8_192]
    assert memmap_wav(tmp_path / "out/audio/loud.wav.wav", RATE).tolist() == wanted


def test_faulty_recordings_are_told_and_the_rest_is_prepared(source, tmp_path):
    out = tmp_path / "out"
    good = (source / "cat/1.flac").read_bytes()
    (source / "cat/1.flac").write_bytes(good[: len(good) // 2])
    (source / "dog/1.wav").write_text("no sound")
    soundfile.write(source / "dog/zero.wav", np.zeros(RATE), RATE)
    done = sed("prepare", source, out, "--sample-rate", RATE)
    assert done.exit_code == 1
    assert done.stdout == f"{out / 'index.csv'}\n"
    assert "dog/1.wav: is not a sound file that can be read" in done.stderr
    assert "cat/1.flac: damaged at 0.000 s" in done.stderr
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


def test_killed_at_any_write_it_goes_on(source, tmp_path):
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
    assert max(n_noted) >= 1  # the record is kept on the way


def test_ctrl_c_stops_at_once_and_the_command_goes_on(source, tmp_path):
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
    told = process.communicate()[1]
    assert time.monotonic() - pressed < 1.5  # with the end of the interpreter
    assert process.returncode == 130
    assert "stopped after 6 recordings; the same command continues from there" in told
    assert not (out / "index.csv").exists()
    assert set(p.suffix for p in out.rglob("*") if p.is_file()) == {".wav", ".json"}
    (source / "dog/hours.wav").unlink()
    assert prepare(source, out, sample_rate=RATE).n_reused == 6


def test_a_full_disk_is_told_and_leaves_nothing_half_written(source, tmp_path, monkeypatch):
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


def test_a_recording_too_long_for_a_file_is_told(source, tmp_path, monkeypatch):
    monkeypatch.setattr("train.prepare.transcode.LARGEST_WAV_BYTES", 4 * 20_000)
    summary = prepare(source, tmp_path / "out", sample_rate=RATE, max_seconds=2.4)
    assert summary.failures == ()
    with pytest.raises(TableError):
        prepare(source, tmp_path / "more", sample_rate=RATE)
    reasons = load_manifest(tmp_path / "more").failures
    assert all("is too long to be stored in one file" in reason for reason in reasons.values())


def test_pieces_share_the_group_and_lie_behind_one_another(source, tmp_path):
    summary = prepare(source, tmp_path / "out", sample_rate=RATE, segment_seconds=1.25)
    clips = read_table(summary.index)
    assert summary.n_clips == len(clips) == 12  # 1.25 + 1.25, and 0.5 left out
    assert len({clip.group for clip in clips}) == 6
    for first, second in zip(clips[::2], clips[1::2], strict=True):
        assert first.group == second.group
        whole = read_clip(replace(first, duration_seconds=None), RATE)
        assert n_samples(first, RATE) == n_samples(second, RATE) == 10_000
        np.testing.assert_array_equal(read_clip(first, RATE), whole[:10_000])
        np.testing.assert_array_equal(read_clip(second, RATE), whole[10_000:20_000])
        assert len(whole) == 20_000  # what no piece holds is not stored


def test_a_split_keeps_pieces_of_a_source_together_and_needs_no_decoding(tmp_path):
    for i in range(40):
        path = tmp_path / "source" / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rising_noise(2 * RATE, i), RATE)
    arguments = (
        "prepare",
        tmp_path / "source",
        tmp_path / "out",
        "--sample-rate",
        RATE,
        "--segment-seconds",
        "0.5",
    )
    assert sed(*arguments).exit_code == 0
    done = sed(*arguments, "--split", "0.5,0.25,0.25")
    assert done.exit_code == 0, done.stderr
    assert "40 recordings already stored" in done.stderr
    assert "train" in done.stderr
    rows = [line.split(",") for line in (tmp_path / "out/index.csv").read_text().splitlines()]
    group, split = rows[0].index("group"), rows[0].index("split")
    sides = {row[group]: set() for row in rows[1:]}
    for row in rows[1:]:
        sides[row[group]].add(row[split])
    assert all(len(side) == 1 for side in sides.values())
    counts = {
        name: sum(side == {name} for side in sides.values()) for name in ("train", "val", "test")
    }
    assert counts == {"train": 20, "val": 10, "test": 10}


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


def test_events_follow_into_trimmed_pieces(tmp_path):
    sound = 1e-4 * rising_noise(8 * RATE)
    sound[2 * RATE : 6 * RATE] += 0.5 * np.sin(np.arange(4 * RATE)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", sound, RATE, "FLOAT")
    events = (Event(2.0, 3.5, "a", 1.0), Event(3.25, 6.0, "b", 1.0))
    clip = Clip(str(tmp_path / "x.wav"), ("a", "b", "scene"), "g", events=events)
    write_index(tmp_path / "table.csv", [clip], None, [""])
    summary = prepare(
        tmp_path / "table.csv", tmp_path / "out", sample_rate=RATE, trim_db=30, segment_seconds=2.0
    )
    first, second = read_table(summary.index)
    assert [(e.onset, e.offset, e.label) for e in first.events] == [
        (0.0, 1.5, "a"),
        (1.25, 2.0, "b"),
    ]
    assert [(e.onset, e.offset, e.label) for e in second.events] == [(0.0, 2.0, "b")]
    assert set(first.labels) >= {"a", "b"}
    assert "a" not in second.labels
    assert (first.start_seconds, first.duration_seconds, second.start_seconds) == (0.0, 2.0, 2.0)


def test_silent_pieces_are_left_out_and_counted(tmp_path):
    (tmp_path / "source/a").mkdir(parents=True)
    sound = rising_noise(4 * RATE)
    sound[RATE : 3 * RATE] = 0
    soundfile.write(tmp_path / "source/a/x.wav", sound, RATE)
    done = sed(
        "prepare",
        tmp_path / "source",
        tmp_path / "out",
        "--sample-rate",
        RATE,
        "--segment-seconds",
        1,
    )
    assert "1 recording · 2 clips · 4.0 s of sound" in done.stderr
    assert "2 clips of digital silence left out" in done.stderr
    assert [c.start_seconds for c in read_table(tmp_path / "out/index.csv")] == [0.0, 3.0]


@given(
    lengths=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)),
    trim_db=st.sampled_from([20.0, 40.0, 60.0]),
    below_db=st.floats(1.0, 30.0),
    offset=st.integers(0, 500),
)
def test_trimming_cuts_off_what_is_quiet_and_nothing_else(lengths, trim_db, below_db, offset):
    step = RATE // 50
    before, inside, behind = (n * step for n in lengths)
    quiet, loud = 0.5 * 10 ** (-(trim_db + below_db) / 20), 0.5
    signs = np.where(np.arange(before + inside + behind + offset) % 2, 1.0, -1.0)
    levels = np.full(len(signs), quiet)
    levels[offset + before : offset + before + inside] = loud
    levels[offset + before + step : offset + before + inside - step] = 0.0  # a pause is no end
    kept = non_silent_range(
        (levels * signs).astype(np.float32), (offset, len(signs)), RATE, trim_db
    )
    assert kept == (offset + before, offset + before + inside)


@given(begin=st.integers(0, 10_000), n=st.integers(1, 50_000), cut=st.floats(0.01, 3.0))
def test_pieces_cover_all_but_a_short_rest(begin, n, cut):
    length = int(cut * RATE + 0.5)
    pieces = split_range((begin, begin + n), CuttingConfig(RATE, segment_seconds=cut))
    assert pieces[0][0] == begin
    assert all(first[1] == second[0] for first, second in pairwise(pieces))
    assert all(end - first == length for first, end in pieces[:-1])
    assert pieces[-1][1] - pieces[-1][0] >= min(n, length / 2)
    assert 0 <= begin + n - pieces[-1][1] < length / 2


@given(
    spans=st.lists(st.tuples(st.integers(0, 800), st.integers(1, 400)), max_size=6),
    cut=st.sampled_from([0.1, 0.25, 0.7]),
)
def test_events_of_pieces_are_those_of_the_whole(spans, cut):
    rate, n = 1_000, 1_000
    events = tuple(Event(a / rate, min(a + b, n) / rate, "ab"[a % 2], 1.0) for a, b in spans)
    heard = tuple(sorted({event.label for event in events}))
    clip = Clip("x", heard, "g", events=events)
    sounding = np.zeros((len(events), n), bool)
    for begin in range(0, n, int(cut * rate)):
        end = min(n, begin + int(cut * rate))
        piece = clip_segment(clip, (begin, end), rate)
        assert set(piece.labels) == {event.label for event in piece.events}
        inside = [e for e in events if e.onset < end / rate and e.offset > begin / rate]
        assert [e.label for e in piece.events] == [e.label for e in inside]
        for event, whole in zip(piece.events, inside, strict=True):
            first, last = (round(edge * rate) + begin for edge in (event.onset, event.offset))
            assert begin <= first < last <= end
            sounding[events.index(whole), first:last] = True
    for event, row in zip(events, sounding, strict=True):
        if events.count(event) == 1:
            assert row.sum() == round((event.offset - event.onset) * rate)


def test_labels_that_no_event_tells_of_stay():
    events = (Event(0.0, 1.0, "a", 1.0), Event(0.0, 1.0, "c", 1.0))
    clip = Clip("x", ("a", "b"), "g", secondary=("c", "d"), events=events)
    piece = clip_segment(clip, (1_000, 2_000), 1_000)
    assert (piece.labels, piece.secondary, piece.events) == (("b",), ("d",), ())
    weak = replace(clip, events=None)
    assert clip_segment(weak, (1_000, 2_000), 1_000) == weak


def test_first_seconds_are_those_behind_the_silence():
    sound = np.r_[np.zeros(RATE), np.ones(3 * RATE)].astype(np.float32)
    config = CuttingConfig(RATE, trim_db=30, max_seconds=2.0)
    assert kept_range(sound, (0, 4 * RATE), config) == (RATE, 3 * RATE)


def test_options_that_cannot_be_are_told_all_at_once():
    with pytest.raises(
        UsageError,
        match="expected a rate of 8000 to 384000, got 7; trim_db above 0, got -1; "
        "segment_seconds above 0, got 0; 16 or 32 bits, got 24",
    ):
        CuttingConfig(7, trim_db=-1, segment_seconds=0, bits=24)


def test_folders_that_cannot_be_prepared_into(source, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(UsageError, match="file: is a file"):
        prepare(source, tmp_path / "file")
    with pytest.raises(UsageError, match=r"files that sed prepare did not make: notes\.txt"):
        prepare(source, tmp_path / "mine")
    with pytest.raises(UsageError, match="lies in the source"):
        prepare(source, source / "prepared")
    with pytest.raises(UsageError, match="lies in the source"):
        prepare(source, source)
    with pytest.raises(TableError):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "name the folder to prepare into" in str(sed("prepare", source).exception)


def test_other_options_are_refused_with_the_way_out(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    before = contents(out)
    with pytest.raises(
        UsageError,
        match=r"out: was prepared with other options: sample_rate 8000 before, 16000 now; "
        "trim_db none "
        r"before, 40 now\. Remove that first \(--reset\), or name another folder\.",
    ):
        prepare(source, out, sample_rate=16_000, trim_db=40)
    with pytest.raises(UsageError, match=r"source .*source before, .*dog now"):
        prepare(source / "dog", out, sample_rate=RATE)
    assert contents(out) == before


def test_a_file_in_the_way_is_not_overwritten(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    (out / "audio/dog/mine.wav.wav").write_text("mine")
    soundfile.write(source / "dog/mine.wav", rising_noise(RATE), RATE)
    with pytest.raises(UsageError, match=r"would overwrite: dog/mine\.wav\.wav"):
        prepare(source, out, sample_rate=RATE)
    assert (out / "audio/dog/mine.wav.wav").read_text() == "mine"


def test_reset_removes_what_was_made_and_nothing_else(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    assert sed("prepare", source, out, "--reset").exit_code == 0
    assert not out.exists()

    prepare(source, out, sample_rate=RATE)
    (out / "audio/cat/notes.txt").write_text("mine")
    (out / "audio/dog/1.wav.wav").write_text("mine, too")
    done = sed("prepare", out, "--reset")
    assert "7 files removed" in done.stderr  # five recordings, the index, the record
    assert "did not make it: audio/cat/notes.txt, audio/dog/1.wav.wav" in done.stderr
    assert contents(out) == {"audio/cat/notes.txt": b"mine", "audio/dog/1.wav.wav": b"mine, too"}
    assert len(list(source.rglob("*.*"))) == 6
    done = sed("prepare", source, out, "--reset")
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match="not made by sed prepare"):
        reset(source)


@pytest.mark.parametrize("name", ["../source/cat/1.wav", "/etc/hostname"])
def test_a_record_that_leads_elsewhere_is_not_followed(source, tmp_path, name):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    record = json.loads((out / "prepared.json").read_text("utf-8"))
    record["files"][name] = None
    (out / "prepared.json").write_text(json.dumps(record), "utf-8")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"its prepared\.json is damaged"):
        reset(out)
    assert contents(tmp_path) == before


def test_a_link_that_leads_elsewhere_is_not_followed(source, tmp_path):
    out = tmp_path / "out"
    prepare(source, out, sample_rate=RATE)
    (out / "audio/cat").rename(tmp_path / "moved")
    (out / "audio/cat").symlink_to(tmp_path / "moved")
    reset(out)
    assert len(list((tmp_path / "moved").iterdir())) == 3


def test_labels_that_no_index_can_hold_are_told_before_decoding(tmp_path):
    (tmp_path / "source/a;b").mkdir(parents=True)
    soundfile.write(tmp_path / "source/a;b/x.wav", rising_noise(RATE), RATE)
    with pytest.raises(UsageError, match="holds a ;"):
        prepare(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_is_told(source, tmp_path):
    told = []
    callbacks = PrepareCallbacks(lambda *n: told.append(n), lambda s: told.append(s), told.append)
    prepare(source, tmp_path / "out", sample_rate=RATE, callbacks=callbacks, workers=1)
    assert told[0] == (6, 0)
    assert told[1:] == pytest.approx([3.0] * 6, abs=1e-3)
