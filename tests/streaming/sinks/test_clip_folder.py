"""The folder of clips: names, limits, and what happens when a disk is full."""

import errno
import os
import shutil
import subprocess
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import sed.files
from sed.errors import OutputError
from sed.events.tracker import Event
from streaming.messages import ClipSaved, EventEnded, Problem
from streaming.sinks.clips import ClipRecorder, ClipsConfig
from tests.conftest import tiny_disk
from tests.streaming.sinks.clip_playback import (
    RATE,
    START,
    event,
    files,
    paths,
    play,
    problems,
    read,
    sound,
    status,
)


def test_two_events_of_one_label_and_time_get_different_names(tmp_path):
    samples = sound(3)
    for _ in range(2):  # as after a restart in the same second
        clips = ClipRecorder(tmp_path, delay_seconds=1)
        for source in ("a b", "a_b"):
            play(
                clips, samples, [(20_000, EventEnded(event(0.5, 1, source=source)))], source=source
            )
    day = "2026-11-21/20261121T121500.500Z_siren_a-b"
    assert files(tmp_path) == [f"{day}.flac", f"{day}_2.flac", f"{day}_3.flac", f"{day}_4.flac"]


def test_of_many_clips_at_once_only_the_first_is_synced(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), sync(file)))
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(3)
    for n in range(4):
        play(clips, samples, [(20_000, EventEnded(event(0.5, 1, source=f"mic{n}")))],
             source=f"mic{n}")  # fmt: skip
    assert (len(files(tmp_path)), len(synced)) == (4, 1)


def test_names_are_safe_and_short_for_any_label_and_source(tmp_path):
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


def test_old_clips_are_deleted_even_without_new_events(tmp_path):
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


def test_a_clip_that_cannot_be_deleted_is_reported_once_each_way(tmp_path, monkeypatch):
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
def test_a_clip_that_cannot_be_deleted_does_not_keep_the_others(tmp_path, limit):
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


def test_no_clip_goes_where_a_disk_was_and_none_is_forgotten_meanwhile(tmp_path):
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(disk)
    samples = sound(2)
    with ExitStack() as stack:
        stack.enter_context(tiny_disk(disk, 512))
        now = [START]
        config = ClipsConfig(max_days=1)
        clips = ClipRecorder(link / "of", config, delay_seconds=1, now=lambda: now[0])
        play(clips, samples, [(14_000, EventEnded(event(0.5, 1)))])
        (clip,) = disk.glob("of/*/*.flac")
        kept = clip.read_bytes()
        subprocess.run(["umount", "-l", str(disk)], check=True)
        now[0] += timedelta(days=2)
        results = play(clips, samples, [(14_000, EventEnded(event(0.5, 1, "dog")))])
        (problem,) = problems([*results, *clips.handle(status("listening"))])
        assert f"the disk at {disk} is not there" in problem
        assert list(disk.iterdir()) == []
        subprocess.run(["mount", "-t", "tmpfs", "none", str(disk)], check=True)
        clip.parent.mkdir(parents=True)
        clip.write_bytes(kept)
        assert list(clips.handle(status("listening"))) == []
        assert list(disk.glob("of/*/*.flac")) == []


def test_a_folder_that_cannot_be_made_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match=r"file/clips: cannot write: Not a directory\. Choose another"
    ):
        ClipRecorder(tmp_path / "file" / "clips", delay_seconds=1)
    with pytest.raises(OutputError, match="File exists"):
        ClipRecorder(tmp_path / "file", delay_seconds=1)


def test_a_folder_that_is_read_only_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot write: it is read-only"):
        ClipRecorder(tmp_path, delay_seconds=1)
