"""The sound of events: exact to the sample, within limits, and what happens when a disk is full."""

import errno
import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import sed.files
from sed.audio.flac import FlacFile, write_flac
from sed.errors import OutputError, UsageError
from sed.events.tracker import Event
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    EventEnded,
    EventStarted,
    Gap,
    InputStatus,
    Problem,
    Status,
)
from streaming.sinks.clips import ClipRecorder, ClipsConfig
from tests.conftest import tiny_disk

RATE = 8_000
START = datetime(2026, 11, 21, 13, 15, tzinfo=timezone(timedelta(hours=1)))
NOTHING = np.empty((0, 4), np.float32)


def sound(seconds, n_channels=1, seed=0):
    """Return noise in steps of 16 bits, as a microphone gives it."""
    steps = np.random.default_rng(seed).integers(-(2**15), 2**15, (int(seconds * RATE), n_channels))
    return (steps / 2**15).astype(np.float32)


def audio_block(block, start, source="mic", sample_rate=RATE):
    return AudioBlock(source, start, block, sample_rate, NOTHING, NOTHING)


def event(onset, offset, label="siren", source="mic"):
    return Event(onset, offset, label, 0.8, source, START + timedelta(seconds=onset))


def gap(at, n_samples, source="mic"):
    onset, offset = at / RATE, (at + n_samples) / RATE
    return Gap(source, onset, offset, n_samples, "lost", START + timedelta(seconds=onset))


def status(state, n_waiting=0):
    return Status(1, 0, 0, 0, (InputStatus("mic", state, RATE, 1, 0, 0, 0, n_waiting, 0, 0, 0),))


def play(clips, samples, messages=(), *, source="mic", piece=800, start=0, sample_rate=RATE):
    """Push samples in pieces, and each (position, message) once that position was processed."""
    results, messages = [], sorted(messages, key=lambda pair: pair[0])
    for at in range(0, len(samples), piece):
        block = samples[at : at + piece]
        results += clips.handle(audio_block(block, start + at, source, sample_rate))
        while messages and messages[0][0] <= start + at + len(block):
            results += clips.handle(messages.pop(0)[1])
    assert not messages
    return results


def paths(results):
    return [Path(result.path) for result in results if isinstance(result, ClipSaved)]


def read(path):
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples, sample_rate


def files(folder):
    return sorted(os.fspath(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def problems(results):
    return [result.text for result in results if isinstance(result, Problem)]


def test_a_clip_is_the_event_with_its_rolls_to_the_sample(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.5, post_roll=0.25), delay_seconds=1)
    samples = sound(5, 2)
    the_event = event(1.5, 2.75)
    results = play(
        clips, samples, [(14_000, EventStarted(the_event)), (23_000, EventEnded(the_event))]
    )
    assert results == [
        ClipSaved(the_event, str(tmp_path / "2026-11-21/20261121T121501.500Z_siren_mic.flac"))
    ]
    saved, sample_rate = read(results[0].path)
    assert sample_rate == RATE
    assert soundfile.info(results[0].path).subtype == "PCM_24"
    np.testing.assert_array_equal(saved, samples[8_000:24_000])
    assert clips.close() == []


def test_a_clip_is_written_as_soon_as_its_post_roll_is_there(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(post_roll=1), delay_seconds=1)
    samples = sound(3)
    assert play(clips, samples[:12_000], [(12_000, EventEnded(event(0.5, 1)))]) == []
    assert clips.handle(audio_block(samples[12_000:15_999], 12_000)) == []
    (clip,) = clips.handle(audio_block(samples[15_999:16_000], 15_999))
    np.testing.assert_array_equal(read(clip.path)[0], samples[:16_000])


def test_an_event_reported_of_after_its_post_roll_is_saved_at_once(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.1, post_roll=0.1), delay_seconds=2)
    samples = sound(4)
    (path,) = paths(play(clips, samples, [(24_000, EventEnded(event(0.5, 1)))]))
    np.testing.assert_array_equal(read(path)[0], samples[3_200:8_800])


def test_a_clip_is_cut_where_the_input_begins_and_ends(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(2)
    first, last = event(0.25, 0.5), event(1.5, 2, "dog")
    results = play(clips, samples, [(12_000, EventEnded(first)), (16_000, EventEnded(last))])
    np.testing.assert_array_equal(read(paths(results)[0])[0], samples[:12_000])
    (path,) = paths(clips.close())
    np.testing.assert_array_equal(read(path)[0], samples[4_000:])


@pytest.mark.parametrize("state", ["ended", "lost"])
def test_a_clip_does_not_wait_for_sound_that_does_not_come(tmp_path, state):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(2)
    assert play(clips, samples, [(16_000, EventEnded(event(1, 1.5)))]) == []
    assert clips.handle(status("listening")) == []
    assert clips.handle(status(state, n_waiting=5)) == []
    (path,) = paths(clips.handle(status(state)))
    np.testing.assert_array_equal(read(path)[0], samples)


def test_overlapping_events_have_a_clip_each(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.1, post_roll=0.1), delay_seconds=1)
    samples = sound(4)
    siren, dog = event(1, 3), event(1.5, 2, "dog")
    messages = [
        (9_000, EventStarted(siren)),
        (13_000, EventStarted(dog)),
        (18_000, EventEnded(dog)),
        (26_000, EventEnded(siren)),
    ]
    results = play(clips, samples, messages)
    assert [result.event for result in results] == [dog, siren]
    np.testing.assert_array_equal(read(results[0].path)[0], samples[11_200:16_800])
    np.testing.assert_array_equal(read(results[1].path)[0], samples[7_200:24_800])


def test_inputs_have_their_own_rates_and_channels(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0, post_roll=0), delay_seconds=1)
    rates = {"garden": (44_100, 1), "street": (48_000, 3), "many": (16_000, 9)}
    sounds = {}
    for source, (rate, n_channels) in rates.items():
        sounds[source] = sound(rate * 2 / RATE, n_channels)
        the_event = event(0.5, 1.25, source=source)
        play(clips, sounds[source][: rate // 2], source=source, sample_rate=rate)
        rest = sounds[source][rate // 2 :]
        (path,) = paths(
            play(
                clips,
                rest,
                [(rate * 3 // 2, EventEnded(the_event))],
                source=source,
                sample_rate=rate,
                start=rate // 2,
            )
        )
        saved, sample_rate = read(path)
        assert sample_rate == rate
        np.testing.assert_array_equal(
            saved, sounds[source][rate // 2 : rate * 5 // 4, :8], err_msg=source
        )


def test_a_clip_does_not_reach_across_a_gap(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(6)
    before, after = event(1, 1.9), event(3.2, 4, "dog")
    play(clips, samples[:16_000], [(16_000, EventEnded(before))])
    (first,) = paths(clips.handle(gap(16_000, 8_000)))
    np.testing.assert_array_equal(read(first)[0], samples[:16_000])
    (second,) = paths(play(clips, samples[24_000:], [(40_000, EventEnded(after))], start=24_000))
    np.testing.assert_array_equal(read(second)[0], samples[24_000:40_000])


def test_positions_that_jump_are_a_gap_too(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(6)
    play(clips, samples[:16_000], [(16_000, EventEnded(event(1, 1.9)))])
    (first,) = paths(clips.handle(audio_block(samples[24_000:40_000], 24_000)))
    np.testing.assert_array_equal(read(first)[0], samples[:16_000])
    (second,) = paths(clips.handle(EventEnded(event(3.2, 4))))
    np.testing.assert_array_equal(read(second)[0], samples[24_000:40_000])


def test_an_event_that_lasts_beyond_a_gap_keeps_the_audio_before_it(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(4)
    the_event = event(1, 3)
    assert play(clips, samples[:16_000], [(9_600, EventStarted(the_event))]) == []
    assert clips.handle(gap(16_000, 800)) == []
    results = play(clips, samples[16_800:], [(26_000, EventEnded(the_event))], start=16_800)
    np.testing.assert_array_equal(read(paths(results)[0])[0], samples[:16_000])


def test_a_gap_of_no_known_length_cuts_no_clip(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(4)
    ended, lasting = event(1, 1.75), event(1.5, 2.5, "dog")
    messages = [
        (15_200, EventEnded(ended)),
        (15_200, EventStarted(lasting)),
        (16_000, gap(16_000, 0)),
    ]
    results = play(clips, samples, [*messages, (24_000, EventEnded(lasting))])
    assert [result.event for result in results] == [ended, lasting]
    np.testing.assert_array_equal(read(results[0].path)[0], samples[:22_000])
    np.testing.assert_array_equal(read(results[1].path)[0], samples[4_000:28_000])


def test_of_a_long_event_the_beginning_is_kept_and_written_while_it_lasts(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.5, max_seconds=2), delay_seconds=0.5)
    samples = sound(20)
    the_event = event(1, 18)
    assert play(clips, samples[:27_999], [(9_000, EventStarted(the_event))]) == []
    assert files(tmp_path) == []
    assert clips.handle(audio_block(samples[27_999:28_000], 27_999)) == []
    assert files(tmp_path) == []  # the events of this block are not reported yet
    assert clips.handle(audio_block(samples[28_000:28_001], 28_000)) == []
    assert len(files(tmp_path)) == 1
    results = play(clips, samples[28_001:], [(150_000, EventEnded(the_event))], start=28_001)
    np.testing.assert_array_equal(read(paths(results)[0])[0], samples[4_000:24_000])


def test_an_event_of_just_the_longest_length_keeps_its_post_roll(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_seconds=2), delay_seconds=1)
    samples = sound(6)
    messages = [(9_000, EventStarted(event(1, 2))), (32_000, EventEnded(event(1, 3)))]
    (path,) = paths(play(clips, samples, messages))
    np.testing.assert_array_equal(read(path)[0], samples[:32_000])


def test_of_an_event_reported_of_very_late_what_is_there_is_kept(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.5, max_seconds=2), delay_seconds=1)
    samples = sound(20)
    the_event = event(1, 16)  # it was faint for long
    messages = [(120_000, EventStarted(the_event)), (136_000, EventEnded(the_event))]
    (path,) = paths(play(clips, samples, messages))
    first = 119_200 - int(3.5 * RATE)  # as long as before the piece with the news
    np.testing.assert_array_equal(read(path)[0], samples[first : first + 2 * RATE])


def test_memory_is_bounded_by_what_is_configured(tmp_path):
    config = ClipsConfig(pre_roll=0.5, post_roll=0.5, max_seconds=1)
    clips = ClipRecorder(tmp_path, config, delay_seconds=0.5)
    play(clips, sound(60))
    assert clips._buffers["mic"].stop - clips._buffers["mic"].start == 2 * RATE + 800
    assert len(clips._buffers["mic"]._ring._items) <= 4 * 2 * RATE


def test_an_event_whose_audio_was_lost_has_no_clip_and_that_is_reported_once(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_seconds=1), delay_seconds=1)
    samples = sound(10)
    late = [event(0.1, 0.5), event(0.2, 0.5, "dog"), event(8, 8.5, "cat")]
    results = play(clips, samples, [(80_000, EventEnded(e)) for e in late])
    assert [a.path for a in results if isinstance(a, ClipSaved)][:2] == [None, None]
    assert problems(results) == [
        "mic: the audio of an event was lost before the event was reported. Its clip is left out.",
        f"clips are saved again in {tmp_path}",
    ]
    assert [a.event for a in results if isinstance(a, ClipSaved)] == late
    (problem, clip) = clips.handle(EventEnded(event(99, 100, source="unknown")))
    assert clip.path is None
    assert "unknown" in problem.text


def test_two_events_of_one_name_at_one_time_have_names_of_their_own(tmp_path):
    samples = sound(3)
    for _ in range(2):  # as after a restart in the same second
        clips = ClipRecorder(tmp_path, delay_seconds=1)
        for source in ("a b", "a_b"):
            play(
                clips, samples, [(20_000, EventEnded(event(0.5, 1, source=source)))], source=source
            )
    day = "2026-11-21/20261121T121500.500Z_siren_a-b"
    assert files(tmp_path) == [f"{day}.flac", f"{day}_2.flac", f"{day}_3.flac", f"{day}_4.flac"]


def test_names_are_safe_and_short_whatever_label_and_source_hold(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(2)
    hostile = ["../../etc/passwd", "a/b\\c:d*?\"<>|\n\0'; rm -rf $HOME", "_-.-_", "", "é" * 300]
    for i, text in enumerate([*hostile, "鳥 élan", "\udc80-f"]):
        source = text + "/.."
        results = play(
            clips, samples, [(16_000, EventEnded(event(0.1 * i, 0.9, text, source)))], source=source
        )
        (path,) = paths([*results, *clips.close()])
        assert path.parent == tmp_path / "2026-11-21"
        assert len(os.fsencode(path.name)) < 230
        assert path.is_file()
    names = [name.split("Z_")[1] for name in files(tmp_path)]
    assert names[0] == "etc-passwd_etc-passwd.flac"
    assert names[1] == "a-b-c-d-rm-rf-HOME_a-b-c-d-rm-rf-HOME.flac"
    assert names[2] == names[3] == "unnamed_unnamed.flac"
    assert names[5] == "鳥-élan_鳥-élan.flac"


def test_names_sort_by_time_when_the_clocks_are_set_back(tmp_path):
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    for n, time in enumerate(
        [datetime(2026, 10, 25, 2, 50, tzinfo=summer), datetime(2026, 10, 25, 2, 10, tzinfo=winter)]
    ):
        source = f"mic{n}"
        play(
            clips,
            sound(3),
            [(20_000, EventEnded(Event(0.5, 1, "siren", 0.9, source, time)))],
            source=source,
        )
    assert [name[11:31] for name in files(tmp_path)] == [
        "20261025T005000.000Z",
        "20261025T011000.000Z",
    ]


def save_some(clips, onsets):
    """Save an event of a tenth of a second at each onset; return the results."""
    results = []
    for onset in onsets:
        source = f"mic{onset}"
        the_event = Event(0.5, 0.6, "siren", 0.9, source, START + timedelta(hours=onset))
        results += play(clips, sound(1), [(7_200, EventEnded(the_event))], source=source)
        results += clips.close()
    return results


def test_the_oldest_clips_go_when_they_take_too_much(tmp_path):
    size = Path(paths(save_some(ClipRecorder(tmp_path / "one", delay_seconds=1), [0]))[0].name)
    size = (tmp_path / "one" / "2026-11-21" / size).stat().st_size
    folder = tmp_path / "clips"
    foreign = [
        "notes.txt",
        "2026-11-21/notes.flac",
        "2026-11-20/20261121T000000.000Z_dog_mic.flac",
        "music/20260101T000000.000Z_dog_mic.flac",
    ]
    for name in foreign:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(10 * size))
    save_some(ClipRecorder(folder, delay_seconds=1), range(0, 24, 8))
    config = ClipsConfig(max_mb=2.5 * size / 1e6)
    results = save_some(ClipRecorder(folder, config, delay_seconds=1), [36, 60])
    assert problems(results) == []
    assert set(files(folder)) - set(foreign) == {
        "2026-11-23/20261123T001500.000Z_siren_mic36.flac",
        "2026-11-24/20261124T001500.000Z_siren_mic60.flac",
    }
    assert not (folder / "2026-11-22").exists()
    assert set(foreign) <= set(files(folder))


def test_the_clip_that_was_just_written_stays_however_small_the_limit(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_mb=1e-6), delay_seconds=1)
    results = save_some(clips, [5, 0])
    assert files(tmp_path) == ["2026-11-21/20261121T121500.000Z_siren_mic0.flac"]
    assert paths(results)[1].is_file()


def test_clips_grow_old_even_if_nothing_happens(tmp_path):
    time = START
    clips = ClipRecorder(tmp_path, ClipsConfig(max_days=2), delay_seconds=1, now=lambda: time)
    save_some(clips, [0, 24])
    time = START + timedelta(hours=48.5)
    clips.handle(status("listening"))
    assert files(tmp_path) == ["2026-11-22/20261122T121500.000Z_siren_mic24.flac"]
    assert not (tmp_path / "2026-11-21").exists()
    time = START + timedelta(hours=99)
    ClipRecorder(tmp_path, ClipsConfig(max_days=2), delay_seconds=1, now=lambda: time).handle(
        status("listening")
    )
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_another_program_deleted_is_no_problem(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_mb=1e-6), delay_seconds=1)
    shutil.rmtree(paths(save_some(clips, [0]))[0].parent)
    assert problems(save_some(clips, [24])) == []
    assert files(tmp_path) == ["2026-11-22/20261122T121500.000Z_siren_mic24.flac"]


def test_what_cannot_be_deleted_is_reported_once_each_way(tmp_path, monkeypatch):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_mb=1e-6), delay_seconds=1)
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if path.suffix == ".flac":
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    results = save_some(clips, range(3))
    oldest = tmp_path / "2026-11-21" / "20261121T121500.000Z_siren_mic0.flac"
    assert problems(results) == [f"{oldest}: cannot delete: Permission denied."]
    assert len(paths(results)) == 3
    monkeypatch.undo()
    assert problems(save_some(clips, [3])) == [f"old clips are deleted again in {tmp_path}"]
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("limit", [{"max_days": 1}, {"max_mb": 1e-6}])
def test_one_that_cannot_be_deleted_keeps_no_other(tmp_path, limit):
    stuck = tmp_path / "2026-11-20" / "20261120T000000.000Z_dog_mic.flac"
    stuck.mkdir(parents=True)
    time = START + timedelta(hours=72)
    clips = ClipRecorder(tmp_path, ClipsConfig(**limit), delay_seconds=1, now=lambda: time)
    results = save_some(clips, [0, 24, 71])
    (problem,) = problems(results)
    assert problem.startswith(f"{stuck}: cannot delete: ")
    assert files(tmp_path) == ["2026-11-24/20261124T111500.000Z_siren_mic71.flac"]
    stuck.rmdir()
    assert problems(clips.handle(status("listening"))) == [
        f"old clips are deleted again in {tmp_path}"
    ]
    assert not stuck.parent.exists()


def test_a_full_disk_is_reported_once_each_way_and_leaves_no_half_file(tmp_path, monkeypatch):
    clips = ClipRecorder(tmp_path, delay_seconds=1)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sed.files.os, "fsync", full)
    results = save_some(clips, range(3))
    assert [type(result) for result in results] == [Problem, ClipSaved, ClipSaved, ClipSaved]
    assert [result.path for result in results[1:]] == [None] * 3
    assert "cannot write: No space left on device" in results[0].text
    assert results[0].text.endswith("Detection continues without clips.")
    assert files(tmp_path) == []
    monkeypatch.undo()
    results = save_some(clips, [3, 4])
    assert problems(results) == [f"clips are saved again in {tmp_path}"]
    assert len(files(tmp_path)) == 2


def test_a_disk_that_is_really_full(tmp_path):
    with tiny_disk(tmp_path, 64):
        clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0, post_roll=0), delay_seconds=1)
        samples = sound(12)
        events = [event(n, n + 1.0) for n in range(8)]
        results = play(clips, samples, [((e.offset + 1) * RATE, EventEnded(e)) for e in events])
        assert [result.event for result in results if isinstance(result, ClipSaved)] == events
        saved = [result.path for result in results if isinstance(result, ClipSaved) and result.path]
        assert 1 <= len(saved) < 8
        assert len(problems(results)) == 1
        assert "No space left on device" in problems(results)[0]
        assert files(tmp_path) == [os.path.relpath(path, tmp_path) for path in saved]
        for path, e in zip(saved, events, strict=False):
            first = int(e.onset * RATE)
            np.testing.assert_array_equal(read(path)[0], samples[first : first + RATE])
        Path(saved[0]).unlink()
        again = event(9.5, 10)
        results = clips.handle(EventEnded(again))
        assert problems(results) == [f"clips are saved again in {tmp_path}"]
        assert Path(results[-1].path).is_file()


def test_a_folder_that_cannot_be_made_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/clips: cannot write: Not a directory\. Free some"):
        ClipRecorder(tmp_path / "file" / "clips", delay_seconds=1)
    with pytest.raises(OutputError, match="File exists"):
        ClipRecorder(tmp_path / "file", delay_seconds=1)


def test_a_folder_that_is_read_only_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot write: it is read-only"):
        ClipRecorder(tmp_path, delay_seconds=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pre_roll": -1}, "expected pre_roll from 0 to 3600 s"),
        ({"post_roll": float("nan")}, "expected post_roll from 0 to 3600 s"),
        ({"max_seconds": 0}, "expected max_seconds above 0 and at most 3600"),
        ({"max_mb": -2}, "expected max_mb above 0"),
        ({"max_days": 1e9}, "expected max_days above 0 and at most 36500"),
    ],
)
def test_values_that_cannot_work_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        ClipsConfig(**values)


@pytest.mark.parametrize("sample_rate", [96_001, 700_000])
def test_a_rate_that_flac_cannot_hold_is_an_error_that_says_so(tmp_path, sample_rate):
    reason = rf"FLAC cannot hold such sound \({sample_rate} Hz, channels: 2\)"
    with pytest.raises(OutputError, match=rf"x\.flac: cannot write: {reason}\."):
        write_flac(tmp_path / "x.flac", sound(1, 2), sample_rate)
    with pytest.raises(OSError, match=reason):
        FlacFile(tmp_path / "x.flac", sample_rate, 2)
    assert list(tmp_path.iterdir()) == []


def test_clips_go_on_where_flac_cannot_hold_the_rate(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    results = play(clips, sound(30), [(192_000, EventEnded(event(0.5, 1)))], sample_rate=96_001)
    assert [result.path for result in results if isinstance(result, ClipSaved)] == [None]
    assert "FLAC cannot hold such sound (96001 Hz, channels: 1)" in problems(results)[0]


def test_flac_clips_what_is_too_loud_and_silences_nan(tmp_path):
    samples = np.array([[2], [-2], [np.nan], [np.inf], [-np.inf], [2**-23], [-1]], np.float32)
    write_flac(tmp_path / "x.flac", samples, 48_000)
    most = 1 - 2**-23
    assert read(tmp_path / "x.flac")[0][:, 0].tolist() == [most, -1, 0, most, -1, 2**-23, -1]


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_the_pieces_in_which_sound_comes_make_no_difference(tmp_path_factory, data):
    config = ClipsConfig(
        pre_roll=data.draw(st.sampled_from([0, 0.03, 0.5])),
        post_roll=data.draw(st.sampled_from([0, 0.04, 0.4])),
        max_seconds=data.draw(st.sampled_from([0.3, 5])),
    )
    samples = sound(2)
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, 12_000), st.integers(100, 8_000)), min_size=1, max_size=4)
    )
    messages = []
    for n, (onset, length) in enumerate(spans):
        offset = min(onset + length, 15_000)
        the_event = event(onset / RATE, offset / RATE, f"label{n}")
        begun = min(onset + 1_000, offset)
        messages += [
            (begun, 2 * n, EventStarted(the_event)),
            (offset + 800, 2 * n + 1, EventEnded(the_event)),
        ]
    messages.sort(key=lambda triple: triple[:2])
    contents = []
    for sizes in ([800], data.draw(st.lists(st.integers(20, 1_600), min_size=1, max_size=20))):
        folder = tmp_path_factory.mktemp("clips")
        clips = ClipRecorder(folder, config, delay_seconds=0.4)
        results, waiting, at, n = [], list(messages), 0, 0
        while at < len(samples):
            block = samples[at : at + sizes[n % len(sizes)]]
            results += clips.handle(audio_block(block, at))
            at, n = at + len(block), n + 1
            while waiting and waiting[0][0] <= at:
                results += clips.handle(waiting.pop(0)[2])
        results += clips.close()
        assert len(results) == len(spans)
        contents.append({name: (folder / name).read_bytes() for name in files(folder)})
    assert contents[0] == contents[1]
    pre_roll, post_roll, max_seconds = (
        round(seconds * RATE) for seconds in (config.pre_roll, config.post_roll, config.max_seconds)
    )
    for n, (onset, length) in enumerate(spans):
        offset = min(onset + length, 15_000)
        stop = offset + post_roll if offset - onset <= max_seconds else onset + max_seconds
        (name,) = [name for name in contents[0] if f"_label{n}_" in name]
        np.testing.assert_array_equal(
            read(folder / name)[0], samples[max(0, onset - pre_roll) : stop]
        )
