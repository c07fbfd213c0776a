"""Workers that crash, hang, cannot start, or lose their supervisor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sed.audio.find import Recording
from sed.errors import SedError, UsageError
from streaming.offline.job import (
    JobFinished,
    JobProgress,
    JobStarted,
    WorkerFailed,
)
from streaming.offline.job_config import JobConfig
from streaming.offline.outputs import OutputConfig
from streaming.offline.workers import ProcessExecutor
from tests.streaming.offline import jobs

# Not that of conftest, which imports torch: worker processes import this module too.
ROOT = Path(__file__).parents[3]


@pytest.fixture
def recordings(tmp_path):
    """Return what makes recordings of words."""

    def make(*contents):
        made = []
        for n, content in enumerate(contents):
            path = tmp_path / f"{n}.wav"
            path.write_text(content)
            made.append(Recording(str(path), path.name, len(content)))
        return made

    return make


def workers(tmp_path, n=1, kind=jobs.FakeRunner, **options):
    executor = ProcessExecutor(n, make_runner=kind, **options)
    executor.start(JobConfig(OutputConfig(output=f"{tmp_path}/out/")))
    return executor


def results(reports):
    return {r.recording.name: r.result for r in reports if isinstance(r, JobFinished)}


def test_every_recording_is_started_and_finished_once_by_any_worker(tmp_path, recordings):
    made = recordings("a", "b b", "slow c", "d", "e")
    reports = list(workers(tmp_path, 2).run(iter(made), len(made)))
    assert [r.recording for r in reports if isinstance(r, JobStarted)] == made
    done = results(reports)
    assert [len(done[r.name].events) for r in made] == [1, 2, 2, 1, 1]
    beats = [r for r in reports if isinstance(r, JobProgress) and r.recording == made[2]]
    assert [b.seconds for b in beats][:3] == [1.0, 2.0, 3.0]
    assert beats[1].share == 0.4


def test_a_recording_is_taken_from_the_list_only_when_a_worker_is_free(tmp_path, recordings):
    taken = []
    made = recordings("a", "b", "c")
    listed = (taken.append(r.name) or r for r in made)
    for report in workers(tmp_path).run(listed, len(made)):
        if isinstance(report, JobFinished):
            assert taken[-1] == report.recording.name


def test_what_crashes_a_worker_costs_itself_alone(tmp_path, recordings, capfd):
    made = recordings("good", "crash", "good", "leave", "surprise", "good")
    done = results(workers(tmp_path).run(iter(made), len(made)))
    assert [done[r.name].failure for r in made][::2] == [None, None, done["4.wav"].failure]
    assert [len(done[f"{n}.wav"].events) for n in (0, 2, 5)] == [1, 1, 1]
    failures = {name: str(r.failure) for name, r in done.items() if r.failure}
    subject = "the process that analysed it"
    assert failures["1.wav"].startswith(
        f"{made[1].path}: {subject} was ended by SIGSEGV. Check the"
    )
    assert f"{subject} ended with status 3. " in failures["3.wav"]
    assert f"{subject} met an unexpected TypeError (what is this?). " in failures["4.wav"]
    assert sorted(failures) == ["1.wav", "3.wav", "4.wav"]
    assert "TypeError: what is this?" in capfd.readouterr().err


@pytest.mark.slow
def test_what_hangs_is_ended_after_a_while_and_costs_itself_alone(tmp_path, recordings):
    made = recordings("hang", "slow", "good")
    began = time.monotonic()
    done = results(workers(tmp_path, timeout_seconds=1.0).run(iter(made), len(made)))
    assert time.monotonic() - began < 8.0
    assert "gave no sign of life for 1 s. Check the file" in str(done["0.wav"].failure)
    assert [r.failure for r in done.values()][1:] == [None, None]  # slow sends progress


def test_workers_that_cannot_start_end_the_run(tmp_path, recordings):
    made = recordings("a")
    with pytest.raises(SedError, match=r"x\.safetensors: no such file\. Check --model"):
        list(workers(tmp_path, 2, jobs.MissingModel).run(iter(made), len(made)))
    with pytest.raises(UsageError, match="a hop of 3 s does not divide"):
        list(workers(tmp_path, kind=jobs.Misused).run(iter(made), len(made)))
    with pytest.raises(SedError, match="a worker ended with status 7 before it could process"):
        list(workers(tmp_path, kind=jobs.StillBorn).run(iter(made), len(made)))


@pytest.mark.slow
def test_where_one_worker_can_start_the_others_are_done_without(tmp_path, recordings):
    made = recordings("slow", "good", "good")
    reports = list(workers(tmp_path, 3, jobs.StartsOnce).run(iter(made), len(made)))
    assert [r.reason for r in reports if isinstance(r, WorkerFailed)] == [
        "there is no memory for another one."
    ] * 2
    assert sum(isinstance(r, JobFinished) for r in reports) == 3


def test_no_worker_replaces_one_that_crashed_on_the_last_recording(tmp_path, recordings):
    reports = workers(tmp_path, 1, jobs.StartsOnce).run(iter(recordings("good", "crash")), 2)
    assert list(results(reports)) == ["0.wav", "1.wav"]
    with pytest.raises(SedError, match="there is no memory"):
        results(workers(tmp_path, 1, jobs.StartsOnce).run(iter(recordings("good")), 1))


@pytest.mark.slow
def test_that_a_worker_cannot_start_is_no_matter_once_all_is_done(tmp_path, recordings):
    reports = list(workers(tmp_path, 2, jobs.LateStartsOnce).run(iter(recordings("good")), 2))
    assert [type(report) for report in reports][-2:] == [JobFinished, WorkerFailed]


def test_no_worker_is_left_when_the_reports_are_closed(tmp_path, recordings):
    supervisor = workers(tmp_path, 2)
    reports = supervisor.run(iter(recordings("slow", "slow")), 2)
    while not isinstance(next(reports), JobProgress):
        pass
    processes = [w.process for w in supervisor._workers.values()]
    reports.close()
    assert len(processes) == 2
    assert not any(p.is_alive() for p in processes)


def test_workers_end_by_themselves_when_their_supervisor_is_killed(tmp_path, recordings):
    made = recordings("hang", "hang")
    program = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from tests.streaming.offline import jobs
from sed.audio.find import Recording
from tests.streaming.offline.test_workers import workers
if __name__ == "__main__":
    supervisor = workers({str(tmp_path)!r}, 2)
    reports = supervisor.run(iter({made!r}), 2)
    started = [r for _, r in zip(range(2), reports)]
    print(*[w.process.pid for w in supervisor._workers.values()], flush=True)
    list(reports)
"""
    script = tmp_path / "run.py"
    script.write_text(program)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.3)
        process.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 2.0
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_running(pid) for pid in pids)
    assert not list((tmp_path / "out").glob("*.csv"))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_workers_ignore_ctrl_c(tmp_path, recordings):
    supervisor = workers(tmp_path, 2)
    reports = supervisor.run(iter(recordings("slow", "slow")), 2)
    assert isinstance(next(reports), JobStarted)
    assert len(supervisor._workers) == 2
    for worker in supervisor._workers.values():
        os.kill(worker.process.pid, signal.SIGINT)
        os.kill(worker.process.pid, signal.SIGTERM)
    assert [r.failure for r in results(reports).values()] == [None, None]
