"""Several recordings at a time: the same results in the same order, whatever ends first."""

import threading
import time

import pytest
import soundfile

from sed.errors import RecordingError, UsageError
from sed.events.reading.events import read_events
from streaming.engines.pytorch import TorchEngine
from streaming.offline.cluster import RayExecutor
from streaming.offline.executor import ThreadExecutor
from streaming.offline.job import JobProgress, JobStarted
from streaming.offline.job_config import JobConfig
from streaming.offline.outputs import OutputConfig
from streaming.offline.scan import Scan
from streaming.offline.summary import ScanCallbacks
from streaming.pipeline.config import DetectorConfig
from tests.conftest import rising_noise

CONFIG = DetectorConfig(hop_seconds=0.5, batch_size=4)


class SlowAtFirst(TorchEngine):
    """Takes its time with the first batches, so that later recordings are done before."""

    n_processed = 0

    def infer(self, log_mel):
        self.n_processed += 1
        if self.n_processed < 4:
            time.sleep(0.2)
        return super().infer(log_mel)


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i, seconds in enumerate([9, 1, 2, 0.5, 5, 3]):
        noise = rising_noise(round(8_000 * seconds), seed=i)
        soundfile.write(folder / f"{i}.wav", noise, 8_000)
    (folder / "3b.wav").write_bytes(b"no sound")
    return folder


def scanned(engine, recordings, output, n_at_once, formats=("csv",)):
    job = JobConfig(OutputConfig(formats, output), engine, CONFIG)
    return Scan(job, ThreadExecutor(n_at_once=n_at_once)).run([recordings])


@pytest.mark.parametrize("n_at_once", [2, 3, 16])
def test_results_do_not_depend_on_how_many_run_at_once(
    tiny_checkpoint, recordings, tmp_path, n_at_once
):
    alone = scanned(TorchEngine(tiny_checkpoint, "cpu"), recordings, tmp_path / "alone.csv", 1)
    engine = SlowAtFirst(tiny_checkpoint, "cpu", n_streams=2)
    together = scanned(engine, recordings, tmp_path / "together.csv", n_at_once)
    assert (tmp_path / "together.csv").read_text() == (tmp_path / "alone.csv").read_text()
    assert together.n_events == alone.n_events > 10
    assert together.audio_seconds == pytest.approx(20.5) == alone.audio_seconds
    assert together.n_files == alone.n_files == 6
    assert [error.path for error in together.failures] == [str(recordings / "3b.wav")]
    assert isinstance(together.failures[0], RecordingError)


def test_several_formats_and_one_table_of_all_at_once(tiny_checkpoint, recordings, tmp_path):
    engine = SlowAtFirst(tiny_checkpoint, "cpu", n_streams=2)
    (recordings / "pond").mkdir()
    (recordings / "2.wav").rename(recordings / "pond" / "20260501_043000.wav")
    table, out = tmp_path / "all.jsonl", tmp_path / "out"
    columns = ("date", "time", "site")
    outputs = OutputConfig(("csv", "tsv", "npz"), f"{out}/", combined=table, columns=columns)
    summary = Scan(JobConfig(outputs, engine, CONFIG), ThreadExecutor(n_at_once=3)).run(
        [recordings]
    )
    assert len(list(out.rglob("*.npz"))) == len(list(out.rglob("*.tsv"))) == 6
    events = read_events(table, "jsonl")
    assert len(events) == summary.n_events > 10
    assert [e.file for e in events] == sorted(e.file for e in events)
    own = [read_events(path, "csv") for path in sorted(out.glob("*.csv"))]
    dated = read_events(out / "pond/20260501_043000.wav.csv", "csv")
    assert [e.onset for e in events] == [
        onset for part in [*own, dated] for onset in sorted(e.onset for e in part)
    ]
    assert {e.time.date().isoformat() for e in dated} == {"2026-05-01"}
    assert (out / "pond/20260501_043000.wav.csv").read_text().splitlines()[1].endswith(",pond")


def test_progress_only_grows_and_ends_with_all(tiny_checkpoint, recordings):
    calls = []
    engine = TorchEngine(tiny_checkpoint, "cpu", n_streams=2)
    scan = Scan(
        JobConfig(OutputConfig(("csv",), recordings.parent / "out"), engine, CONFIG),
        ThreadExecutor(n_at_once=3),
        callbacks=ScanCallbacks(on_progress=lambda *progress: calls.append(progress)),
    )
    scan.run([recordings])
    assert calls == sorted(calls)
    assert calls[-1][1] == pytest.approx(20.5)


def test_ctrl_c_stops_within_a_second_and_keeps_what_is_finished(tiny_checkpoint, tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    soundfile.write(folder / "0.wav", rising_noise(8_000), 8_000)
    for i in (1, 2):
        soundfile.write(folder / f"{i}.wav", rising_noise(800_000), 8_000)

    class Interrupting(TorchEngine):
        def infer(self, log_mel):
            time.sleep(0.05)
            return super().infer(log_mel)

    def interrupt(*_):
        if threading.current_thread() is threading.main_thread() and (folder / "../out").exists():
            raise KeyboardInterrupt

    engine = Interrupting(tiny_checkpoint, "cpu", n_streams=2)
    scan = Scan(
        JobConfig(OutputConfig(("csv",), tmp_path / "out"), engine, CONFIG),
        ThreadExecutor(n_at_once=2),
        callbacks=ScanCallbacks(
            on_progress=lambda _, seconds: interrupt() if seconds > 3 else None
        ),
    )
    began = time.monotonic()
    summary = scan.run([folder])
    assert time.monotonic() - began < 2.5
    assert summary.interrupted == str(folder / "1.wav")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.wav.csv"]


def test_an_interrupted_scan_counts_what_it_has_processed(tmp_path, tiny_checkpoint, noise_wav):
    class Interrupted(ThreadExecutor):
        def run(self, recordings, n_recordings):
            recording = next(recordings)
            yield JobStarted(recording)
            yield JobProgress(recording, 3_600.0, 0.5)
            raise KeyboardInterrupt

    summary = Scan(JobConfig(model=tiny_checkpoint), Interrupted()).run([noise_wav])
    assert summary.interrupted == str(noise_wav)
    assert (summary.n_files, summary.audio_seconds) == (1, 3_600.0)


def test_a_journal_needs_the_path_of_a_model(tmp_path, tiny_checkpoint, noise_wav):
    job = JobConfig(OutputConfig(output=tmp_path / "out"), tiny_checkpoint)
    with pytest.raises(UsageError, match="give a path, not a loaded model"):
        Scan(job, journal=True).run([noise_wav])


def test_a_cluster_keeps_no_journal(tmp_path):
    job = JobConfig(OutputConfig(output=tmp_path / "out"))
    with pytest.raises(UsageError, match="a journal is for one machine: leave out --resume"):
        Scan(job, RayExecutor(), journal=True)
