"""Files of events and audio survive full disks and killed processes."""

import errno
import io
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

from sed.audio.blocks import read_recording
from sed.audio.sound_file import quantize_24bit, write_flac
from sed.errors import OutputError, SedError, UsageError
from sed.events.reading.events import read_events
from sed.events.tracker import Event
from streaming.messages import AudioBlock, EventEnded, EventStarted, Gap, Problem, Status
from streaming.sinks.audio_file import AudioRecorder
from streaming.sinks.database import EventDatabase
from streaming.sinks.event_file import EventFileSink, EventStreamSink
from streaming.sinks.text import ErrorSink, TextSink
from tests.conftest import rising_noise, tiny_disk

TIME = datetime(2026, 11, 21, 13, 15, 2, 350_000, UTC)
DOG = Event(1.5, 2.75, "dog", 0.9123, "garden", TIME)
ODD = Event(3.0, 4.0, 'a, b\t"c"\n', 0.5, "garden", TIME)
GAP = Gap("garden", 5.0, 7.5, 40_000, "the device was gone", TIME)
RATE = 8_000


def audio_block(samples, start=0, source="garden"):
    block = samples[:, None] if samples.ndim == 1 else samples
    nothing = np.empty((0, 0), np.float32)
    return AudioBlock(source, start, block.astype(np.float32), RATE, nothing, nothing)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_written_events_are_read_again_with_their_time_and_without_gaps(tmp_path, format):
    path = tmp_path / f"events.{format}"
    file = EventFileSink(path)
    for message in (EventStarted(DOG), EventEnded(DOG), GAP, EventEnded(ODD)):
        assert list(file.handle(message)) == []
    file.close()
    assert [(e.onset, e.label, e.file, e.time) for e in read_events(path, format)] == [
        (1.5, "dog", "garden", TIME),
        (3.0, ODD.label, "garden", TIME),
    ]


def test_gaps_are_rows_too():
    out = {format: io.StringIO() for format in ("csv", "jsonl", "tsv")}
    for format, stream in out.items():
        EventStreamSink(stream, format).handle(GAP)
    time = "2026-11-21T13:15:02.350+00:00"
    assert out["csv"].getvalue() == (
        f"file,onset,offset,label,score,time\ngarden,5.000,7.500,[gap],0.0000,{time}\n"
    )
    assert out["jsonl"].getvalue() == (
        '{"type": "gap", "onset": 5.0, "offset": 7.5, "duration": 2.5, "n_samples": 40000, '
        f'"time": "{time}", "source": "garden", "reason": "the device was gone"}}\n'
    )
    assert out["tsv"].getvalue().endswith("garden\t5.000\t7.500\t[gap]\n")


def test_a_file_without_a_header_is_continued_too(tmp_path):
    for _ in range(2):
        file = EventFileSink(tmp_path / "events.jsonl")
        file.handle(EventEnded(DOG))
        file.close()
    assert len(read_events(tmp_path / "events.jsonl", "jsonl")) == 2


def test_a_file_is_continued_even_after_a_truncated_line(tmp_path):
    path = tmp_path / "events.csv"
    for cut in (0, 10):
        file = EventFileSink(path)
        file.handle(EventEnded(DOG))
        file.close()
        with open(path, "rb+") as end:
            end.truncate(path.stat().st_size - cut)
    file = EventFileSink(path)
    file.handle(EventEnded(DOG))
    file.close()
    lines = path.read_text().splitlines()
    assert lines[0] == "file,onset,offset,label,score,time"
    assert lines[1] == lines[3]
    assert lines[1].startswith(lines[2])
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("csv", "file,onset,offset,label,score\n"),
        ("jsonl", "Dear diary\n"),
        ("jsonl", '{"a": 1}\n'),
        ("tsv", "x"),
    ],
)
def test_another_kind_of_file_is_left_alone(tmp_path, format, text):
    path = tmp_path / f"events.{format}"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"holds something else than live events as {format}"):
        EventFileSink(path)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("name", "format"), [("x.raven", None), ("x.csv", "audacity"), ("x", None)]
)
def test_formats_without_a_column_for_the_name_of_an_input_are_refused(tmp_path, name, format):
    with pytest.raises(UsageError, match=r"cannot be written as|ending is of no format"):
        EventFileSink(tmp_path / name, format)


def test_a_folder_that_cannot_be_written_is_reported_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for kind in (EventFileSink, AudioRecorder):
        with pytest.raises(OutputError, match=r"cannot write"):
            kind(tmp_path / "file" / "x.csv")


def test_a_full_disk_is_reported_once_and_nothing_is_missing_once_there_is_space(
    tmp_path, monkeypatch
):
    path = tmp_path / "events.csv"
    file = EventFileSink(path)
    disk = _Disk(file._file)
    monkeypatch.setattr(file, "_file", disk)
    disk.room = 30
    (problem,) = file.handle(EventEnded(DOG))
    assert "events.csv: cannot write: No space left on device" in problem.text
    assert list(file.handle(EventEnded(ODD))) == []
    disk.room = 10_000
    (problem,) = file.handle(EventEnded(DOG))
    assert problem == Problem(f"{path}: written again, with all that waited")
    file.close()
    assert [event.label for event in read_events(path, "csv")] == ["dog", ODD.label, "dog"]


class _Disk:
    """A file on a disk of limited space."""

    def __init__(self, file):
        self._file = file
        self.room = 0

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(data[: self.room])
        self.room -= written
        return written

    def close(self):
        self._file.close()


def test_captured_sound_is_saved_to_the_last_of_24_bits(tmp_path):
    saved = AudioRecorder(tmp_path)
    sound = rising_noise(20_000)
    for first in range(0, 20_000, 400):
        assert list(saved.handle(audio_block(sound[first : first + 400], first))) == []
    saved.close()
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z_garden\.flac", path.name)
    np.testing.assert_allclose(read_recording(path, RATE), sound, rtol=0, atol=2.0**-23)


def test_a_gap_and_an_hour_each_begin_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.sinks.audio_file.MAX_FILE_SECONDS", 1.0)
    saved = AudioRecorder(tmp_path)
    blocks = [0, 4_000, 8_000, 12_000, 20_000]  # of half a second each; one second is missing
    for first in blocks:
        saved.handle(audio_block(np.full(4_000, first / 50_000), first))
    saved.handle(audio_block(np.full(4_000, 0.9), 0, source="shed"))
    saved.close()
    files = sorted(tmp_path.iterdir())
    assert [soundfile.info(path).frames for path in files if "garden" in path.name] == [
        8_000, 8_000, 4_000
    ]  # fmt: skip
    assert [path.name.split("_")[1] for path in files].count("shed.flac") == 1


def test_saved_sound_survives_a_full_disk(tmp_path, monkeypatch):
    saved = AudioRecorder(tmp_path)
    monkeypatch.setattr("streaming.sinks.audio_file.RETRY_SECONDS", 1.0)
    saved.handle(audio_block(np.ones(800) / 2))

    def full(self, block):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr("sed.audio.sound_file.FlacFile.write", full)
        (problem,) = saved.handle(audio_block(np.ones(800) / 2, 800))
        assert re.search(r"No space left.*Detection continues without saved audio", problem.text)
        for first in range(1_600, 20_000, 800):  # it is tried again, and not reported again
            assert list(saved.handle(audio_block(np.ones(800) / 2, first))) == []
    reports = [
        m
        for first in range(20_000, 32_000, 800)
        for m in saved.handle(audio_block(np.ones(800), first))
    ]
    assert reports == [Problem(f"audio is saved again in {tmp_path}")]
    saved.close()
    frames = [soundfile.info(path).frames for path in sorted(tmp_path.iterdir())]
    assert frames[0] == 800
    assert frames[-1] > 4_000


STATUS = Status(1.0, 0.1, 0.1, 0, ())


def lines_of(path):
    return [line.split(",")[3] for line in path.read_text().splitlines()]


def texts(messages):
    return [message.text for message in messages]


def test_a_file_that_is_removed_is_noticed_and_begun_again(tmp_path):
    path = tmp_path / "of" / "events.csv"
    file = EventFileSink(path)
    for _ in range(3):
        assert list(file.handle(EventEnded(DOG))) == []
    assert list(file.handle(STATUS)) == []
    shutil.rmtree(path.parent)
    assert texts(file.handle(STATUS)) == [
        f"{path}: was removed or moved; 3 lines of this session went with it",
        f"{path}: opened again",
    ]
    path.unlink()
    # Before a line is written the file is looked for, so that no line is lost.
    assert len(texts(file.handle(EventEnded(DOG)))) == 2
    assert list(file.close()) == []
    assert lines_of(path) == ["label", "dog"]


@pytest.mark.parametrize("how", ["renamed", "copied and emptied", "replaced"])
def test_a_file_that_is_rotated_is_noticed_and_begun_again(tmp_path, how):
    path, old = tmp_path / "events.csv", tmp_path / "events.csv.1"
    file = EventFileSink(path)
    file.handle(EventEnded(DOG))
    file.handle(STATUS)
    if how == "copied and emptied":
        shutil.copy(path, old)
        os.truncate(path, 0)
    else:
        path.rename(old)
        if how == "replaced":
            path.write_text("")
    what = {"renamed": "was removed or moved", "replaced": "was replaced by another file"}
    lost = "was emptied; 1 line of this session went with it"
    assert texts(file.handle(STATUS)) == [
        f"{path}: {what.get(how, lost)}",
        f"{path}: opened again",
    ]
    file.handle(EventEnded(DOG))
    file.close()
    assert lines_of(old) == lines_of(path) == ["label", "dog"]


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_file_that_is_cut_short_is_noticed_and_continued_behind_its_last_whole_line(
    tmp_path, format
):
    path = tmp_path / f"events.{format}"
    file = EventFileSink(path)
    for label in ("dog", "siren", "rain"):
        file.handle(EventEnded(replace(DOG, label=label)))
    # The file has grown since it was last looked for, which was before the last line.
    size = path.stat().st_size
    os.truncate(path, size - 10)
    assert texts(file.handle(STATUS)) == [
        f"{path}: was cut short from {size} to {size - 10} bytes; what went is lost",
        f"{path}: opened again",
    ]
    os.truncate(path, 5)
    # Before a line is written the file is looked for, so that it continues no other line.
    assert len(texts(file.handle(EventEnded(DOG)))) == 2
    assert list(file.handle(STATUS)) == []
    file.close()
    assert [event.label for event in read_events(path, format)] == ["dog"]


def test_what_is_cut_off_is_no_row(tmp_path):
    path = tmp_path / "events.csv"
    file = EventFileSink(path)
    for label in ("dog", "siren"):
        file.handle(EventEnded(replace(DOG, label=label)))
    # Without the rest of its time the row would be one of another time.
    os.truncate(path, path.stat().st_size - len("00\n"))
    assert len(texts(file.handle(EventEnded(ODD)))) == 2
    file.close()
    assert [event.label for event in read_events(path, "csv")] == ["dog", ODD.label]


def test_lines_wait_in_bounds_until_the_place_of_a_file_is_there_again(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.sinks.event_file.RETRY_SECONDS", 0.0)
    monkeypatch.setattr("streaming.sinks.event_file.MAX_WAITING_LINES", 3)
    path = tmp_path / "disk" / "events.csv"
    file = EventFileSink(path)
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    first, second = texts(file.handle(EventEnded(DOG)))
    assert first == f"{path}: was removed or moved"
    assert second.startswith(f"{path}: cannot write: File exists")
    for _ in range(4):
        assert list(file.handle(EventEnded(DOG))) == []
    path.parent.unlink()
    assert texts(file.handle(STATUS)) == [
        f"{path}: opened again",
        f"{path}: written again, with all that waited; 2 lines were dropped",
    ]
    file.close()
    assert lines_of(path) == ["label", *["dog"] * 3]


def test_a_disk_that_is_unmounted_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.sinks.event_file.RETRY_SECONDS", 0.0)
    path = tmp_path / "events.csv"
    with ExitStack() as stack:
        stack.enter_context(tiny_disk(tmp_path, 256))
        file = EventFileSink(path)
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
        first, second = texts(file.handle(STATUS))
        assert first == f"{path}: is on a disk that is not there any more"
        assert f"the disk at {tmp_path} is not there" in second
        assert list(file.handle(EventEnded(DOG))) == []
        assert list(tmp_path.iterdir()) == []
        subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path)], check=True)
        assert texts(file.handle(STATUS)) == [
            f"{path}: opened again",
            f"{path}: written again, with all that waited",
        ]
        file.close()
        assert lines_of(path) == ["label", "dog"]


@pytest.mark.parametrize("kind", ["lines", "database", "sound"])
def test_a_disk_behind_a_symbolic_link_is_noticed_too(tmp_path, kind):
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(disk)
    folder = link / "of"
    with ExitStack() as stack:
        stack.enter_context(tiny_disk(disk, 512))
        sink = {
            "lines": lambda: EventFileSink(folder / "events.csv"),
            "database": lambda: EventDatabase(folder / "events.db"),
            "sound": lambda: AudioRecorder(folder),
        }[kind]()
        sink.handle(audio_block(np.ones(800) / 2))
        subprocess.run(["umount", "-l", str(disk)], check=True)
        first, *others = texts(sink.handle(STATUS))
        assert first.endswith(": is on a disk that is not there any more")
        assert len(others) == (kind != "sound")
        sink.handle(audio_block(np.ones(800) / 2, 800))
        sink.close()
        # Nothing is written, and no folder made, where the disk was.
        assert list(disk.iterdir()) == []
        subprocess.run(["mount", "-t", "tmpfs", "none", str(disk)], check=True)


def cut(path, part):
    """Cut a file to a part of its size."""
    os.truncate(path, round(part * path.stat().st_size))


@pytest.mark.parametrize(("part", "left"), [(0.0, 0.0), (0.5, 2.0)])
@pytest.mark.parametrize("is_noticed_at_once", [True, False])
def test_saved_sound_that_is_emptied_or_cut_is_reported_with_its_length(
    tmp_path, part, left, is_noticed_at_once
):
    saved = AudioRecorder(tmp_path)
    sound = rising_noise(40_000)
    for first in range(0, 32_000, 400):
        saved.handle(audio_block(sound[first : first + 400], first))
        if first % 4_000 == 3_600:
            assert list(saved.handle(STATUS)) == []
    (path,) = tmp_path.iterdir()
    cut(path, part)
    if not is_noticed_at_once:
        # What is written meanwhile goes behind a hole of zeros.
        for first in range(32_000, 40_000, 400):
            saved.handle(audio_block(sound[first : first + 400], first))
    (report,) = texts(saved.handle(STATUS))
    what = "was emptied" if part == 0 else "was cut short"
    match = re.fullmatch(rf"{re.escape(str(path))}: {what}; (\S+) s of sound went with it", report)
    # What was written since the last status is written once more.
    assert float(match[1]) == pytest.approx(4.0 - left, abs=0.6)
    assert list(saved.handle(STATUS)) == []
    saved.close()
    files = sorted(tmp_path.iterdir())
    if not is_noticed_at_once:
        again = read_recording(files.pop(), RATE)
        np.testing.assert_allclose(again, sound[32_000:], rtol=0, atol=2.0**-23)
    if part == 0:
        assert files == []
    else:
        # It ends where it was cut: no later sound follows behind a hole.
        assert files == [path]
        # Without FFmpeg nothing reads on behind what is damaged.
        reason = "its header promises" if find_spec("av") else "cannot be decoded any further"
        with pytest.raises(SedError, match=reason):
            read_recording(path, RATE)


def test_saved_sound_that_is_removed_is_begun_again_with_the_last_half_second(tmp_path):
    folder = tmp_path / "saved"
    saved = AudioRecorder(folder)
    sound = rising_noise(12_000)
    for first in range(0, 8_000, 400):
        saved.handle(audio_block(sound[first : first + 400], first))
        if first == 3_600:
            assert list(saved.handle(STATUS)) == []
    (path,) = folder.iterdir()
    shutil.rmtree(folder)
    assert texts(saved.handle(STATUS)) == [
        f"{path}: was removed or moved; 0.5 s of sound went with it"
    ]
    for first in range(8_000, 12_000, 400):
        assert list(saved.handle(audio_block(sound[first : first + 400], first))) == []
    assert list(saved.close()) == []
    (path,) = folder.iterdir()
    np.testing.assert_allclose(read_recording(path, RATE), sound[4_000:], rtol=0, atol=2.0**-23)


def test_saved_sound_that_is_moved_is_whole_there(tmp_path):
    saved = AudioRecorder(tmp_path / "saved")
    sound = rising_noise(8_000)
    saved.handle(audio_block(sound[:4_000]))
    (path,) = (tmp_path / "saved").iterdir()
    path.rename(tmp_path / "old.flac")
    assert texts(saved.handle(STATUS)) == [f"{path}: was removed or moved"]
    saved.handle(audio_block(sound[4_000:], 4_000))
    saved.close()
    (new,) = (tmp_path / "saved").iterdir()
    whole = np.concatenate([read_recording(each, RATE) for each in (tmp_path / "old.flac", new)])
    np.testing.assert_allclose(whole, sound, rtol=0, atol=2.0**-23)


def test_sound_that_cannot_be_saved_for_long_is_counted(tmp_path):
    saved = AudioRecorder(tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved")
    (tmp_path / "saved").write_text("in the way")
    reports = []
    for second in range(14):
        reports += saved.handle(audio_block(np.ones(RATE) / 2, second * RATE))
    assert len(reports) == 1
    (tmp_path / "saved").unlink()
    for second in range(14, 20):
        reports += saved.handle(audio_block(np.ones(RATE) / 2, second * RATE))
    saved.close()
    (path,) = (tmp_path / "saved").iterdir()
    lost = 20 - soundfile.info(path).frames / RATE
    assert reports[1:] == [
        Problem(f"audio is saved again in {tmp_path}/saved; {lost:.1f} s were lost")
    ]
    assert 4 <= lost <= 10


def test_a_flac_is_whole_or_not_there(tmp_path):
    write_flac(tmp_path / "a.flac", rising_noise(999)[:, None], RATE)
    assert soundfile.info(tmp_path / "a.flac").frames == 999
    with pytest.raises(OutputError):
        write_flac(tmp_path / "a.flac" / "b.flac", rising_noise(9)[:, None], RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


def test_plain_lines_and_the_log():
    out, log = io.StringIO(), io.StringIO()
    for message in (EventStarted(DOG), EventEnded(DOG), GAP, Problem("odd"), EventEnded(ODD)):
        TextSink(out).handle(message)
        ErrorSink(log).handle(message)
    assert out.getvalue().splitlines() == [
        "2026-11-21T13:15:02.350+00:00  dog  0.91  begins  (garden)",
        "2026-11-21T13:15:02.350+00:00  dog  0.91  lasted 1.25 s  (garden)",
        "2026-11-21T13:15:02.350+00:00  'a, b\\t\"c\"\\n'  0.50  lasted 1.00 s  (garden)",
    ]
    assert log.getvalue().splitlines() == [
        "sed: garden: lost 2.50 s (40,000 samples) at 2026-11-21T13:15:02.350+00:00: "
        "the device was gone",
        "sed: odd",
    ]


def test_a_full_disk_behind_the_lines_is_reported_once_and_stops_nothing():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for sink in (TextSink(Full()), EventStreamSink(io.StringIO(), "csv")):
        if isinstance(sink, EventStreamSink):
            sink._writer.out = Full()
        (problem,) = sink.handle(EventEnded(DOG))
        assert problem.text.startswith("lines: cannot write: No space left on device")
        assert list(sink.handle(EventEnded(DOG))) == []
    assert list(ErrorSink(Full()).handle(Problem("not written"))) == []
    with pytest.raises(OutputError, match="lines: cannot write"):
        EventStreamSink(Full(), "csv")


def test_a_closed_pipe_is_noticed_and_the_rest_is_finished():
    for make in (TextSink, lambda out, left: EventStreamSink(out, "jsonl", on_broken_pipe=left)):
        reading, writing = os.pipe()
        left = []
        with open(writing, "w") as out:
            sink = make(out, lambda left=left: left.append(True))
            os.close(reading)
            assert list(sink.handle(EventEnded(DOG))) == []
            assert left == [True]
            assert list(sink.handle(EventEnded(DOG))) == []
        assert left == [True]


def test_the_log_escapes_control_characters():
    log = io.StringIO()
    ErrorSink(log).handle(Problem("\x1b[2Jcleared\n"))
    assert log.getvalue() == "sed: \\x1b[2Jcleared\\n\n"


def test_24_bits_go_through_a_file_unchanged(tmp_path):
    samples = quantize_24bit(
        np.concatenate([rising_noise(5_000), [2.0, -2.0, np.nan, np.inf]], dtype="f4")
    )
    assert samples.dtype == np.float32
    write_flac(tmp_path / "a.flac", samples[:, None], RATE)
    again, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    np.testing.assert_array_equal(again, samples)
    np.testing.assert_array_equal(samples[-4:], [1 - 2.0**-23, -1.0, 0.0, 1 - 2.0**-23])
