"""Scans with a journal that are killed, interrupted and resumed, over recordings that crash."""

import csv
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from sed.audio.start_time import time_zone
from sed.errors import SedError, UsageError
from sed.events.reading.events import read_events
from sed.events.writing.parquet import read_parquet_events
from sed.files import written_whole
from sed.models.checkpoint import save_checkpoint
from streaming.engines.select import open_engine
from streaming.offline.job_config import JOURNAL, PROBLEMS, JobConfig, result_settings
from streaming.offline.outputs import OutputConfig
from streaming.offline.scan import Scan
from streaming.offline.summary import RecordingProblem, ScanCallbacks, write_problems
from streaming.offline.workers import ProcessExecutor
from streaming.pipeline.config import DetectorConfig
from tests.conftest import ROOT, rising_noise
from tests.streaming.offline import jobs

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    from tests.streaming.offline import jobs
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.scan import Scan
    from streaming.offline.workers import ProcessExecutor
    job = JobConfig(OutputConfig(output=sys.argv[2]), model="none")
    scan = Scan(job, ProcessExecutor(2, make_runner=jobs.SlowRunner), resume=True)
    scan._report_progress = lambda: print("on", flush=True)
    print("interrupted:", scan.run([sys.argv[1]]).interrupted)
"""


def scan(
    out,
    *,
    runner=jobs.FakeRunner,
    config=None,
    formats=("csv",),
    n_workers=1,
    timeout=60.0,
    outputs=None,
    **options,
):
    outputs = OutputConfig(formats, str(out), **outputs or {})
    job = JobConfig(outputs, "none", config or DetectorConfig())
    executor = ProcessExecutor(n_workers, timeout_seconds=timeout, make_runner=runner)
    return Scan(job, executor, journal=True, **options)


@pytest.fixture
def archive(tmp_path):
    """Return what makes a folder of recordings, from their names and words."""

    def make(**contents):
        for name, content in contents.items():
            path = tmp_path / "archive" / f"{name.replace('_', '/')}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path / "archive"

    return make


def rows(out, query):
    with closing(sqlite3.connect(Path(out) / JOURNAL)) as connection:
        return connection.execute(query).fetchall()


def table(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def files(out):
    return sorted(str(p.relative_to(out)) for p in Path(out).rglob("*") if p.is_file())


def test_a_scan_in_processes_reports_as_one_in_threads(archive, tmp_path, caplog):
    folder = archive(a="x", deep_b="x x", deep_er_c="")
    calls = []
    callbacks = ScanCallbacks(
        lambda *start: calls.append(start), lambda *progress: calls.append(progress), calls.append
    )
    caplog.set_level("INFO", "sed")
    summary = scan(tmp_path / "out", n_workers=2, callbacks=callbacks).run([folder])
    assert (summary.n_files, summary.n_events, summary.audio_seconds) == (3, 3, 30.0)
    assert (summary.n_skipped, summary.failures, summary.interrupted) == (0, [], "")
    assert (summary.n_failures, summary.report) == (0, None)
    assert calls[0] == (3, 4)
    assert calls[-1] == (4, 30.0)
    assert caplog.messages == ["an engine of tin"]
    assert files(tmp_path / "out") == [JOURNAL, "a.wav.csv", "deep/b.wav.csv", "deep/er/c.wav.csv"]


def test_results_of_the_longest_names_are_written_and_none_is_lost(archive, tmp_path):
    stem = "a" * 249
    folder = archive(**{f"{stem}{n}": "x " * n for n in (1, 2)}, **{"é" * 125: "x"})
    out = tmp_path / "out"
    assert scan(out, formats=("csv", "raven")).run([folder]).n_files == 3
    names = [name for name in files(out) if name != JOURNAL]
    assert len(names) == 6
    assert all(len(os.fsencode(name)) <= 255 and "~" in name for name in names)
    table_path = tmp_path / f"{'b' * 251}.csv"
    assert scan(table_path).run([folder]).n_files == 3
    assert len(read_events(table_path, "csv")) == 4
    assert len(list(tmp_path.iterdir())) == 4  # the archive, the folder, the table, its journal


def test_what_has_been_replaced_or_whose_results_are_gone_is_made_again(archive, tmp_path):
    """Also with the size of before, and also with its time of change."""
    folder = archive(a="x x", b="x x", c="x x", d="x x", e="x x")
    out = tmp_path / "out"
    assert scan(out).run([folder]).n_files == 5
    assert scan(out, resume=True).run([folder]).n_files == 0
    archive(a="x y")
    before = (folder / "b.wav").stat()
    archive(b="xy ")
    os.utime(folder / "b.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(folder / "c.wav", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    (folder / "d.wav").rename(folder / "d")
    (folder / "d").rename(folder / "d.wav")  # another ctime, and the same content
    (out / "e.wav.csv").unlink()
    again = scan(out, resume=True).run([folder])
    assert (again.n_files, again.n_skipped, again.n_events) == (4, 1, 7)
    assert files(out) == [JOURNAL, *(f"{name}.wav.csv" for name in "abcde")]
    assert rows(out, "SELECT name FROM recordings WHERE n_finished = 1") == [("d.wav",)]


def test_what_is_finished_is_skipped_and_what_failed_or_is_new_is_processed(archive, tmp_path):
    folder = archive(a="x", b="fail", c="x")
    out = tmp_path / "out"
    summary = scan(out).run([folder])
    assert str(summary.failures[0]) == f"{folder}/b.wav: is broken. Mend it."
    assert table(out / PROBLEMS) == [
        ["file", "kind", "what", "remedy"],
        [f"{folder}/b.wav", "failed", "is broken", "Mend it."],
    ]
    assert summary.report == out / PROBLEMS
    archive(b="long", d="x x")
    again = scan(out, resume=True).run([folder])
    assert (again.n_files, again.n_skipped, again.n_events, again.n_failures) == (2, 2, 3, 0)
    assert not (out / PROBLEMS).exists()
    assert rows(out, "SELECT name, n_finished FROM recordings ORDER BY name") == [
        ("a.wav", 1), ("b.wav", 2), ("c.wav", 1), ("d.wav", 1)
    ]  # fmt: skip
    nothing = scan(out, resume=True, runner=jobs.StillBorn).run([folder])
    assert (nothing.n_files, nothing.n_skipped) == (0, 4)


def test_what_an_earlier_run_has_not_processed_is_counted_and_processed_on_request(
    archive, tmp_path
):
    folder = archive(a="x", b="fail", c="fail")
    out = tmp_path / "out"
    scan(out).run([folder])
    with (
        closing(sqlite3.connect(out / JOURNAL)) as journal,
        journal,
    ):  # as if it had been killed before b and c
        journal.execute("UPDATE recordings SET state = 'waiting' WHERE state = 'failed'")
    journal.close()
    part = scan(out, resume=True).run([f"{folder}/b.wav"])
    assert (part.n_not_requested, part.n_failures) == (1, 1)
    assert scan(out, resume=True).run([folder]).n_not_requested == 0


@pytest.mark.parametrize("n_workers", [1, 2])
def test_notices_are_in_the_report_and_the_summary_and_no_failures(archive, tmp_path, n_workers):
    folder = archive(a="odd", b="x", c="damaged")
    out = tmp_path / "out"
    summary = scan(out, n_workers=n_workers).run([folder])
    assert (summary.n_files, summary.n_notices, summary.n_failures) == (3, 2, 1)
    assert dict(summary.notices) == {
        f"{folder}/a.wav": "is loud. Lower it. is odd. Look.", f"{folder}/c.wav": "is odd. Look."
    }  # fmt: skip
    expected = [
        ["file", "kind", "what", "remedy"],
        [f"{folder}/a.wav", "notice", "is loud", "Lower it."],
        [f"{folder}/a.wav", "notice", "is odd", "Look."],
        [f"{folder}/c.wav", "damaged", "damaged at 1.000 s: gone", "Copy it."],
        [f"{folder}/c.wav", "notice", "is odd", "Look."],
    ]
    assert table(out / PROBLEMS) == expected
    again = scan(out, resume=True).run([folder])
    # What is damaged is not analysed again, and is a failure as before.
    assert (again.n_files, again.n_skipped, again.n_failures, again.n_damaged) == (0, 3, 1, 1)
    assert str(again.failures[0]) == f"{folder}/c.wav: damaged at 1.000 s: gone. Copy it."
    assert table(out / PROBLEMS) == expected


def test_a_crash_and_a_hang_are_in_the_report_and_leave_no_parts(archive, tmp_path):
    folder = archive(a="hang", b="crash", c="x")
    out = tmp_path / "out"
    summary = scan(out, timeout=1.0).run([folder])
    assert (summary.n_files, summary.n_failures) == (1, 2)
    _, hang, crash = table(out / PROBLEMS)
    remedy = "Check the file; if it plays elsewhere, convert it, and --resume."
    subject = "the process that analysed it"
    assert hang == [f"{folder}/a.wav", "failed", f"{subject} gave no sign of life for 1 s", remedy]
    assert crash == [f"{folder}/b.wav", "failed", f"{subject} was ended by SIGSEGV", remedy]
    assert files(out) == [JOURNAL, "c.wav.csv", PROBLEMS]


def test_an_earlier_run_is_continued_only_on_request_and_with_the_same_settings(archive, tmp_path):
    folder = archive(a="x")
    out = tmp_path / "out"
    scan(out).run([folder])
    with pytest.raises(
        UsageError, match=r"an earlier run left results here. Give --resume to continue"
    ):
        scan(out).run([folder])
    other = DetectorConfig(hop_seconds=1.0)
    with pytest.raises(UsageError, match=r"was started with hop default, and now it is 1\.0"):
        scan(out, config=other, resume=True).run([folder])
    assert scan(out, config=DetectorConfig(batch_size=4), resume=True).run([folder]).n_skipped == 1


def test_a_run_that_never_started_can_be_repeated_with_other_settings(archive, tmp_path):
    folder = archive(a="x")
    with pytest.raises(SedError, match="no such file"):
        scan(tmp_path / "out", runner=jobs.MissingModel).run([folder])
    settings = {"config": DetectorConfig(hop_seconds=1.0)}
    assert scan(tmp_path / "out", **settings).run([folder]).n_files == 1


def test_one_file_of_results_is_a_table_of_all_in_the_order_of_the_names(archive, tmp_path):
    folder = archive(b="x x", a="x", c="fail")
    out = tmp_path / "all.csv"
    summary = scan(out, n_workers=2).run([folder])
    events = read_events(out, "csv")
    assert [(Path(e.file).name, e.label) for e in events] == [
        ("a.wav", "väl0"), ("b.wav", "väl0"), ("b.wav", "väl1")
    ]  # fmt: skip
    assert summary.report == tmp_path / "all.csv.problems.csv"
    first = out.read_bytes()
    scan(out, resume=True).run([folder])
    assert out.read_bytes() == first


def test_another_time_zone_is_another_setting():
    def settings_of(zone):
        return result_settings(JobConfig(OutputConfig(zone=zone), "none"))

    assert (
        settings_of(None)
        != settings_of(time_zone("UTC"))
        != settings_of(time_zone("Europe/Berlin"))
    )


def test_a_changed_file_of_thresholds_is_another_setting(tmp_path):
    tuned, settings = tmp_path / "tuned.toml", []
    for threshold in (0.4, 0.5):
        tuned.write_text(f"[class.dog]\nonset_threshold = {threshold}", "utf-8")
        config = DetectorConfig(thresholds=tuned)
        settings.append(result_settings(JobConfig(OutputConfig(), "none", config))["thresholds"])
    assert all(text.startswith('"tuned.toml ') for text in settings)
    assert settings[0] != settings[1]
    assert result_settings(JobConfig(OutputConfig(), "none"))["thresholds"] == "default"


def test_one_parquet_table_of_all_is_written_in_the_end(archive, tmp_path):
    pytest.importorskip("pyarrow")
    folder = archive(b="x", a="x")
    scan(tmp_path / "out", formats=("parquet",)).run([folder])
    events = read_parquet_events(tmp_path / "out" / "events.parquet")
    assert [event.file for event in events] == [f"{folder}/a.wav", f"{folder}/b.wav"]


def test_one_table_of_all_beside_the_files_about_each(archive, tmp_path):
    folder = archive(south_b="x x", north_a="x")
    out, table_path = tmp_path / "out", tmp_path / "all.csv"
    outputs = {"combined": table_path, "columns": ("site", "date")}
    scan(out, outputs=outputs).run([folder])
    assert files(out) == [JOURNAL, "north/a.wav.csv", "south/b.wav.csv"]
    assert [(Path(row[0]).name, row[3], *row[5:]) for row in table(table_path)] == [
        ("file", "label", "site", "date"),
        ("a.wav", "väl0", "north", ""),
        ("b.wav", "väl0", "south", ""),
        ("b.wav", "väl1", "south", ""),
    ]
    first = table_path.read_bytes()
    table_path.unlink()
    (tmp_path / ".all.csv.7.part").write_text("what a kill left")
    # Names and sites are relative to the folder of the first run.
    summary = scan(out, outputs=outputs, resume=True).run([folder / "south"])
    assert summary.n_files == 0
    assert table_path.read_bytes() == first
    assert files(tmp_path) == [
        "all.csv", "archive/north/a.wav", "archive/south/b.wav",
        *(f"out/{name}" for name in files(out)),
    ]  # fmt: skip
    for changed in ({"columns": ("site",)}, {"combined": tmp_path / "b.csv"}):
        with pytest.raises(UsageError, match=f"was started with {next(iter(changed))} "):
            scan(out, outputs=outputs | changed, resume=True).run([folder])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combined": "a.csv"}, "--combined is one table besides the files about each recording"),
        ({"output": "out/", "combined": "a.npz"}, r"a\.npz: the ending is of no format"),
        ({"output": "out/", "combined": "a.flac"}, r"--combined a\.flac is the name of a rec"),
        ({"output": "out/", "combined": "a.csv", "skip_existing": True}, "one table would lack"),
        ({"columns": ("sites",)}, "unknown column 'sites'. Did you mean site"),
        ({"formats": ("npz", "raven"), "output": "o/", "columns": ("site",)}, "--columns is about"),
        ({"formats": ("csv",), "output": "a.kaleidoscope.csv"}, "ends like kaleidoscope"),
    ],
)
def test_outputs_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        OutputConfig(**options)


def test_a_table_for_kaleidoscope_may_have_its_own_name():
    assert OutputConfig(("kaleidoscope",), "id.csv").shared_files == [
        (Path("id.csv"), "kaleidoscope")
    ]


def test_recordings_of_one_name_from_several_places_do_not_meet(archive, tmp_path):
    folder = archive(x_a="x", y_a="x x")
    scan(tmp_path / "out").run([folder / "x", folder / "y"])
    assert files(tmp_path / "out") == [JOURNAL, "x/a.wav.csv", "y/a.wav.csv"]


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="keep a journal beside the results: give --output"):
        Scan(JobConfig(OutputConfig()), journal=True)
    with pytest.raises(UsageError, match="expected workers of 1 or more, got 0"):
        scan(tmp_path, n_workers=0)
    with pytest.raises(UsageError, match="expected a timeout above 0 s, got 0"):
        scan(tmp_path, timeout=0)
    with pytest.raises(UsageError, match="a file in the format raven is about one recording"):
        Scan(JobConfig(OutputConfig(("raven",), tmp_path / "x.txt")), journal=True)
    with pytest.raises(UsageError, match="--resume knows what is finished"):
        Scan(JobConfig(OutputConfig(output=tmp_path, skip_existing=True)), resume=True)
    with pytest.raises(UsageError, match="standard input cannot be read by worker processes"):
        scan(tmp_path / "out").run(["-"])


def test_folders_without_recordings_are_in_the_report(tmp_path):
    (tmp_path / "empty").mkdir()
    summary = scan(tmp_path / "out").run([tmp_path / "empty"])
    assert "this folder holds no recordings" in str(summary.failures[0])
    _, row = table(tmp_path / "out" / PROBLEMS)
    assert (row[0], *row[1::2]) == (str(tmp_path / "empty"), "failed", "Check the name.")


def test_a_report_says_what_is_wrong_and_what_to_do(tmp_path):
    path = tmp_path / "problems.csv"
    problems = [
        RecordingProblem("a\nb", "damaged", "'a\\nb': it, or so. Do this. Or that."),
        RecordingProblem("c", "notice", "c: odd"),
        RecordingProblem("=c", "failed", "=c: -d. @e"),
    ]
    assert write_problems(path, problems)
    assert table(path)[1:] == [
        ["a\nb", "damaged", "it, or so", "Do this. Or that."], ["c", "notice", "odd", ""],
        ["'=c", "failed", "'-d", "'@e"],
    ]  # fmt: skip
    assert not write_problems(path, [])
    assert not path.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_at_once_and_undoes_what_is_in_work(archive, tmp_path, how):
    folder = archive(a="x", b="x", c="hang", d="x", e="hang")
    with running(folder, tmp_path) as process:
        for _ in range(6):  # two for each that does not hang
            assert process.stdout.readline() == b"on\n"
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(how)
        said = process.communicate()
    assert time.monotonic() - began < 1.0
    assert said == (f"interrupted: {folder}/c.wav, {folder}/e.wav\n".encode(), b"")
    out = tmp_path / "out"
    assert files(out) == [JOURNAL, "a.wav.csv", "b.wav.csv", "d.wav.csv"]
    states = dict(rows(out, "SELECT name, state FROM recordings"))
    assert [states[f"{n}.wav"] for n in "abcde"] == ["done", "done", "waiting", "done", "waiting"]


def running(folder, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(ROOT)))
    program = [sys.executable, script, folder, tmp_path / "out"]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# test_embed_kills.py kills a scan with a journal in every run of the tests.
@pytest.mark.slow
@pytest.mark.parametrize("n_kills", [3, 20])
def test_kills_at_any_moment_lose_nothing_double_nothing_and_leave_nothing_in_part(
    archive, tmp_path, n_kills
):
    n_recordings = 10 * (n_kills + 1)
    folder = archive(**{f"{n:03}": "x " * (n % 4) for n in range(n_recordings)})
    scan(tmp_path / "undisturbed", n_workers=2).run([folder])
    chance = random.Random(5)
    for _ in range(n_kills):
        with running(folder, tmp_path) as process:
            for _ in range(chance.randrange(9)):  # signs of life that are waited for
                assert process.stdout.readline() == b"on\n"
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    with running(folder, tmp_path) as process:
        out, err = process.communicate()
    assert (out.splitlines()[-1], err) == (b"interrupted: ", b"")
    query = "SELECT name, state, n_finished FROM recordings ORDER BY name"
    assert rows(tmp_path / "out", query) == [
        (f"{n:03}.wav", "done", 1) for n in range(n_recordings)
    ]
    query = """
    SELECT name, n, onset, offset, label, score
    FROM recordings JOIN events ON id = recording ORDER BY name, n
    """
    assert rows(tmp_path / "out", query) == rows(tmp_path / "undisturbed", query) != []
    assert files(tmp_path / "out") == files(tmp_path / "undisturbed")
    for name in files(tmp_path / "out")[1:]:
        assert (tmp_path / "out" / name).read_text().endswith("end\n")


TABLE_SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    from tests.streaming.offline import jobs
    from streaming.offline import scan
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.workers import ProcessExecutor
    left = int(sys.argv[3])
    write_all = scan._write_all
    def dying(writer, events):
        for n, event in enumerate(events):
            if writer is not None and n == left:
                os.kill(os.getpid(), signal.SIGKILL)
            write_all(writer, [event])
    scan._write_all = dying
    job = JobConfig(OutputConfig(output=sys.argv[2]), model="none")
    scan.Scan(job, ProcessExecutor(2, make_runner=jobs.SlowRunner), resume=True).run([sys.argv[1]])
"""


@pytest.mark.slow
def test_kills_while_the_table_is_written_leave_it_whole_in_the_end(archive, tmp_path):
    folder = archive(**{f"{n:02}": "x " * (n % 4) for n in range(20)})
    script = tmp_path / "run.py"
    script.write_text(TABLE_SCRIPT.format(tests=str(ROOT)))
    out = tmp_path / "out" / "events.csv"
    for n_events in range(0, 30, 2):  # 15 kills
        program = [sys.executable, script, folder, out, str(n_events)]
        assert subprocess.run(program).returncode == -signal.SIGKILL
        assert not out.exists()
        assert len(list(out.parent.glob(".*.part"))) == 1  # those of before are removed
    assert subprocess.run([sys.executable, script, folder, out, "1000"]).returncode == 0
    scan(tmp_path / "undisturbed.csv", n_workers=2).run([folder])
    assert out.read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
    assert len(read_events(out, "csv")) == 30
    assert files(out.parent) == [f".events.csv{JOURNAL}", "events.csv"]


def test_a_plain_scan_removes_what_killed_ones_left(tiny_checkpoint, noise_wav, tmp_path):
    engine = open_engine(tiny_checkpoint, device="cpu", n_streams=1)
    left = [f".{noise_wav.name}.csv.7.part", f".{noise_wav.name}.npz.7.part.frames"]
    for name in (*left, ".other.wav.csv.7.part"):
        (tmp_path / name).write_text("half")
    outputs = OutputConfig(("csv", "npz"), output=f"{tmp_path}/")
    with written_whole(tmp_path / f"{noise_wav.name}.csv") as running:
        running.write_text("of a process that still runs")
        Scan(JobConfig(replace(outputs, formats=("npz",)), engine)).run([noise_wav])
        assert running.exists()
        assert not (tmp_path / left[1]).exists()
    Scan(JobConfig(outputs, engine)).run([noise_wav])
    names = [
        ".other.wav.csv.7.part",
        *(f"{noise_wav.name}{ending}" for ending in ("", ".csv", ".npz")),
    ]
    assert files(tmp_path) == sorted(names)


def test_results_are_those_of_a_plain_scan_to_the_byte(tiny_checkpoint, tmp_path):
    model = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, model)
    folder = tmp_path / "archive"
    (folder / "deep").mkdir(parents=True)
    names = ("a.flac", "b.wav", "deep/a.wav")
    for n, name in enumerate(names):
        soundfile.write(folder / name, rising_noise(24_000 + 800 * n, n), 8_000)
    (folder / "bad.wav").write_text("no sound")
    config = DetectorConfig(hop_seconds=0.5, batch_size=4)
    settings = JobConfig(
        OutputConfig(output=f"{tmp_path}/out/"), str(model), config, "torch", "cpu"
    )
    summary = Scan(settings, ProcessExecutor(), journal=True).run([folder])
    engine = open_engine(tiny_checkpoint, device="cpu", n_streams=1)
    plain = Scan(JobConfig(OutputConfig(output=f"{tmp_path}/plain/"), engine, config)).run([folder])
    assert [str(e) for e in summary.failures] == [str(e) for e in plain.failures]
    assert (summary.n_files, summary.n_events) == (3, plain.n_events)
    assert summary.audio_seconds == pytest.approx(9.3)
    for name in names:
        own, plain = (tmp_path / o / f"{name}.csv" for o in ("out", "plain"))
        assert own.read_bytes() == plain.read_bytes()
