import time

import numpy as np
import pytest
import soundfile

from sed.errors import RecordingError
from streaming.bench.stages import Stages, measure_stages
from streaming.engines.select import open_engine
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from tests.conftest import rising_noise

COSTS = Stages(
    decode=0.001, resample=0.0005, log_mel=0.0005, network=0.002, events=0.0009, write=0.0001
)
ON_GPU = Stages(0.001, 0.0005, 0.00002, 0.00003, 0.0004, 0.0001, transfer=0.00001)


def test_the_limit_is_the_cores_over_the_sum_of_the_costs():
    assert COSTS.throughput_limit(1) == pytest.approx(1 / 0.005)
    assert COSTS.throughput_limit(2) == pytest.approx(2 / 0.005)
    assert COSTS.share("network") == pytest.approx(0.4)
    assert sum(COSTS.share(stage) for stage in COSTS.cpu_stages) == pytest.approx(1.0)


def test_the_limit_with_a_gpu_is_that_of_the_slowest():
    assert list(ON_GPU.cpu_stages) == ["decode", "resample", "events", "write"]
    assert ON_GPU.throughput_limit(2) == pytest.approx(2 / 0.002)  # the cores
    assert ON_GPU.throughput_limit(64) == pytest.approx(1 / 0.00005)  # front end and network
    assert ON_GPU.share("network") == pytest.approx(0.6)
    slow = Stages(0.001, 0.0005, 0.00002, 0.00003, 0.0004, 0.0001, transfer=0.01)
    assert slow.throughput_limit(64) == pytest.approx(100.0)


@pytest.mark.parametrize(
    "config", [DetectorConfig(hop_seconds=1.0, batch_size=4), DetectorConfig(hop_seconds=0.5)]
)
def test_every_stage_has_a_cost_and_the_engine_gets_the_batches_of_a_detector(
    tiny_checkpoint, tmp_path, config
):
    path = tmp_path / "noise.wav"
    soundfile.write(path, rising_noise(2 * 8_000 * 6).reshape(-1, 2), 8_000)
    engine = _Counting(open_engine(tiny_checkpoint))
    costs = measure_stages(path, engine, config, repetitions=2)
    for stage, cost in costs.cpu_stages.items():
        assert 0 < cost < 1, stage
    assert costs.transfer is None
    counted, n_windows = engine.n_windows, _Counting(open_engine(tiny_checkpoint))
    detector = Detector(n_windows, config)
    detector.push(rising_noise(8_000 * 6))
    detector.flush()
    assert counted == 3 * n_windows.n_windows > 0  # once to record, and twice again


def test_only_the_start_of_a_recording_is_processed(tiny_checkpoint, tmp_path):
    path = tmp_path / "noise.flac"
    soundfile.write(path, rising_noise(8_000 * 10), 8_000)
    engine = _Counting(open_engine(tiny_checkpoint))
    measure_stages(path, engine, DetectorConfig(hop_seconds=1.0), seconds=3.0, repetitions=1)
    assert engine.n_windows == 2 * 3


def test_a_slow_network_raises_the_cost_of_the_network_only(tiny_checkpoint, noise_wav):
    engine = _Counting(open_engine(tiny_checkpoint), busy_seconds=0.02)
    costs = measure_stages(noise_wav, engine, DetectorConfig(hop_seconds=1.0), repetitions=1)
    assert costs.network >= 0.02
    assert costs.decode + costs.resample + costs.events + costs.write < 0.02


def test_a_recording_that_is_too_short_is_refused(tiny_checkpoint, tmp_path):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.zeros(20, np.float32), 8_000)
    with pytest.raises(RecordingError, match=r"too short to measure with\. Give a longer one"):
        measure_stages(path, open_engine(tiny_checkpoint), DetectorConfig())


class _Counting:
    """An engine that counts windows, and takes some time for each."""

    def __init__(self, engine, busy_seconds=0.0):
        self._engine, self._busy_seconds, self.n_windows = engine, busy_seconds, 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def infer(self, log_mel):
        self.n_windows += len(log_mel)
        end = time.process_time() + self._busy_seconds * len(log_mel)
        while time.process_time() < end:
            pass
        return self._engine.infer(log_mel)
