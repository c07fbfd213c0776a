import csv
import os
import pickle
import signal
import sys
from pathlib import Path

import pytest
import soundfile

from sed.audio.find import Recording
from sed.errors import MissingExtraError, SedError, UsageError
from sed.models.checkpoint import save_checkpoint
from streaming.engines.select import open_engine
from streaming.offline.cluster import RayExecutor, _Actor, _share_devices
from streaming.offline.job_config import JobConfig
from streaming.offline.outputs import OutputConfig
from streaming.offline.scan import Scan
from streaming.offline.summary import ScanCallbacks
from streaming.pipeline.config import DetectorConfig
from tests.conftest import ROOT, rising_noise
from tests.streaming.offline import jobs

# Ray's own: the names of its options change from one version to the next.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Forgetful(jobs.FakeRunner):
    """Writes nothing that is seen here."""

    def _write(self, recording, events):
        pass


def settings(output=None, **options):
    return JobConfig(OutputConfig(output=output), "none", **options)


def response_of(make_runner, content, tmp_path):
    """Return the response of an actor, as the driver unpacks it."""
    path = tmp_path / "a.wav"
    path.write_text(content)
    row = {"number": 7, "recording": pickle.dumps(Recording(str(path), "a.wav"))}
    said = _Actor(settings(), make_runner, str(tmp_path / "not here"))(row)
    assert said["number"] == 7
    return pickle.loads(said["response"])


def test_a_row_becomes_events_and_back_to_the_last_bit(tmp_path):
    log, outcome = response_of(jobs.FakeRunner, "x x x", tmp_path)
    assert log == jobs.FakeRunner.log
    assert outcome.events == jobs.events_of(str(tmp_path / "a.wav"), 3)
    assert (outcome.processed_seconds, outcome.failure) == (10.0, None)


def test_a_surprise_costs_its_recording_and_a_model_that_is_missing_all(tmp_path):
    _, outcome = response_of(jobs.FakeRunner, "surprise", tmp_path)
    assert str(outcome.failure) == (
        f"{tmp_path}/a.wav: the process that analysed it met an unexpected TypeError (what is "
        "this?). Check the file; if it plays elsewhere, convert it."
    )
    _, unable = response_of(jobs.MissingModel, "x", tmp_path)
    assert (unable.is_misuse, unable.reason[:32]) == (False, "x.safetensors: no such file. Che")
    assert response_of(jobs.Misused, "x", tmp_path)[1].is_misuse


def test_devices_are_shared_out():
    assert _share_devices(None, n_cpus=8, n_gpus=0) == (8, 0.0)
    assert _share_devices(3, n_cpus=8, n_gpus=0) == (3, 0.0)
    assert _share_devices(20, n_cpus=8, n_gpus=0) == (8, 0.0)
    assert _share_devices(None, n_cpus=0, n_gpus=0) == (1, 0.0)
    assert _share_devices(None, n_cpus=8, n_gpus=2) == (2, 1.0)
    assert _share_devices(5, n_cpus=8, n_gpus=2) == (5, 1 / 3)
    assert _share_devices(1, n_cpus=8, n_gpus=2) == (1, 1.0)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected workers of 1 or more, got 0"):
        RayExecutor(0)
    with pytest.raises(UsageError, match="choose auto, cpu or cuda, not cuda:1"):
        RayExecutor().start(settings(device="cuda:1"))
    with pytest.raises(
        UsageError, match="standard input cannot be read by worker processes or a cluster"
    ):
        Scan(settings(), RayExecutor()).run(["-"])
    with pytest.raises(UsageError, match="a file in the format raven is about one recording"):
        RayExecutor().start(JobConfig(OutputConfig(("raven",), str(tmp_path / "a.txt"))))


def test_without_ray_the_remedy_is_named(noise_wav, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"Ray cluster needs .* 'sed-engine\[ray\]'"):
        Scan(settings(), RayExecutor()).run([noise_wav])


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster of two processes."""
    ray = pytest.importorskip("ray", reason="needs the ray extra")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, address="local")
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return str(path)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Return a folder of eight recordings, by a path that is relative, and one that is none."""
    monkeypatch.chdir(tmp_path)
    folder = Path("archive")
    (folder / "deep").mkdir(parents=True)
    for n in range(8):
        path = folder / ("deep" if n % 2 else "") / f"{n}.flac"
        soundfile.write(path, rising_noise(80_000 + 800 * n, n), 8_000)
    (folder / "bad.wav").write_text("no sound")
    return folder


def both(model, source, on_progress=lambda *_: None):
    """Scan on the cluster and here; return both summaries."""
    config = DetectorConfig(hop_seconds=0.5, batch_size=4)
    own = JobConfig(OutputConfig(output="ray.csv"), model, config, "torch", "cpu", "fp32")
    far = Scan(own, RayExecutor(), callbacks=ScanCallbacks(on_progress=on_progress)).run([source])
    engine = open_engine(model, engine="torch", device="cpu", precision="fp32", n_streams=1)
    near = Scan(JobConfig(OutputConfig(output="near.csv"), engine, config)).run([source])
    return far, near


def sorted_lines(name):
    return sorted(Path(name).read_bytes().splitlines())


@pytest.mark.slow
def test_a_cluster_finds_what_one_process_finds(cluster, model, archive):
    progress = []
    far, near = both(model, archive, lambda *so_far: progress.append(so_far))
    assert sorted_lines("ray.csv") == sorted_lines("near.csv")
    assert len(sorted_lines("ray.csv")) == 50
    assert [str(e) for e in far.failures] == [str(e) for e in near.failures]
    assert (far.n_files, far.n_events) == (near.n_files, near.n_events) == (8, near.n_events)
    assert far.audio_seconds == pytest.approx(near.audio_seconds) == pytest.approx(82.8)
    n_bytes = sum(path.stat().st_size for path in archive.rglob("*.*"))
    assert len(progress) == 9
    assert progress[-1] == (n_bytes, far.audio_seconds)
    assert far.times_real_time > 0


@pytest.mark.slow
def test_a_cluster_reads_recordings_that_lie_elsewhere(cluster, model, archive):
    pytest.importorskip("fsspec", reason="needs the remote extra")
    far, near = both(model, f"file://{archive.absolute()}")
    assert sorted_lines("ray.csv") == sorted_lines("near.csv")
    assert (far.n_files, len(far.failures)) == (near.n_files, len(near.failures)) == (8, 1)
    with open("ray.csv", newline="") as file:
        names = {row["file"] for row in csv.DictReader(file)}
    assert f"file://{archive.absolute()}/deep/1.flac" in names


@pytest.mark.slow
def test_killed_processes_cost_nothing_but_time(cluster, model, archive, capsys):
    if not Path("/proc/self/stat").exists():
        pytest.skip("finds the processes in /proc")
    killed = []

    def kill_once(*_):
        if not killed:
            killed.extend(actors())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    far, near = both(model, archive, kill_once)
    assert len(killed) == 2
    assert capsys.readouterr().out == ""  # the place for results
    assert sorted_lines("ray.csv") == sorted_lines("near.csv")
    assert [str(e) for e in far.failures] == [str(e) for e in near.failures]
    assert (far.n_files, far.n_events) == (near.n_files, near.n_events)


@pytest.mark.slow
def test_what_ends_its_process_each_time_costs_itself_alone(cluster, tmp_path):
    for name, words in {"a": "x", "b": "abort", "c": "x x", "d": "slow"}.items():
        (tmp_path / f"{name}.wav").write_text(words)
    out = tmp_path / "out"
    out.mkdir()
    (out / ".b.wav.csv.77.part").write_text("half")
    (out / ".z.wav.csv.77.part").write_text("of another run")
    summary = Scan(settings(out), RayExecutor(make_runner=jobs.FakeRunner)).run([tmp_path])
    assert [str(e) for e in summary.failures] == [
        f"{tmp_path}/b.wav: the process that analysed it was lost before the end, each time of "
        "several. Check the file; if it plays elsewhere, convert it."
    ]
    assert (summary.n_files, summary.n_events) == (3, 4)
    assert sorted(os.listdir(out)) == [
        ".z.wav.csv.77.part", "a.wav.csv", "c.wav.csv", "d.wav.csv"
    ]  # fmt: skip


@pytest.mark.slow
def test_results_on_disks_of_other_machines_are_missed(cluster, tmp_path, noise_wav):
    noise_wav.write_text("x")
    out = tmp_path / "out"
    summary = Scan(settings(out), RayExecutor(make_runner=Forgetful)).run([noise_wav])
    assert [str(e) for e in summary.failures] == [
        f"{out}: the results of 1 recording were written on disks of other machines. Give "
        "--output a folder that all machines share, or one file for all results."
    ]


@pytest.mark.slow
def test_a_model_that_is_missing_ends_it(cluster, noise_wav):
    with pytest.raises(SedError, match=r"no such file\. Check --model"):
        Scan(settings(), RayExecutor(make_runner=jobs.MissingModel)).run([noise_wav])
    with pytest.raises(UsageError, match="does not divide the window"):
        Scan(settings(), RayExecutor(make_runner=jobs.Misused)).run([noise_wav])


def actors():
    """Return the ids of the processes below this one that are our actors."""
    parents, found = {}, []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path("/proc", entry, "stat").read_text()
            title = Path("/proc", entry, "cmdline").read_text()
        except OSError:  # it has ended
            continue
        parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
        if title.startswith("ray::MapWorker"):
            found.append(int(entry))
    return sorted(pid for pid in found if os.getpid() in _ancestors(pid, parents))


def _ancestors(pid, parents):
    while pid := parents.get(pid, 0):
        yield pid
