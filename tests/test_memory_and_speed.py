"""Bounded memory and speed, on recordings made of the example."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.speed import peak
from streaming.engines.pytorch import TorchEngine
from streaming.offline.detections.overview import _Downsampler
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from streaming.pipeline.prefetch import Prefetcher
from tests.conftest import ROOT, rising_noise


def test_a_detector_holds_no_more_after_ten_minutes_than_after_a_minute(tiny_checkpoint):
    detector = Detector(
        TorchEngine(tiny_checkpoint, "cpu"), DetectorConfig(hop_seconds=1.0, batch_size=8)
    )
    block = rising_noise(80_000)

    def held():
        front_end, mode = detector.front_end, detector._mode
        rings = front_end._features._samples._items.nbytes + mode.slicer._buffer._items.nbytes
        return rings + mode.aggregator._overlap_add._sums.nbytes + len(front_end._batcher._windows)

    for _ in range(6):
        detector.push(block)
    after_a_minute = held()
    for _ in range(54):
        detector.push(block)
    assert held() <= 1.05 * after_a_minute


@pytest.mark.parametrize("n_rows", [1, 7, 64, 65, 1_000, 12_345])
def test_an_overview_is_bounded_and_keeps_the_peaks(n_rows):
    rows = np.random.default_rng(0).random((n_rows, 2)).astype(np.float32)
    mean, peak = _Downsampler("mean", max_rows=64), _Downsampler("max", max_rows=64)
    for part in np.array_split(rows, 13):
        mean.push(part)
        peak.push(part)
    assert len(peak.rows()) <= 65
    np.testing.assert_array_equal(peak.rows().max(axis=0), rows.max(axis=0))
    assert len(peak.rows()) == -(-n_rows // peak.rows_each)
    first = rows[: mean.rows_each].mean(axis=0)
    np.testing.assert_allclose(mean.rows()[0], first, rtol=1e-4)


def test_reading_ahead_keeps_order_and_errors_and_stops_on_request():
    closed = []

    def numbers():
        try:
            yield from range(100)
            raise RuntimeError("the end")
        finally:
            closed.append(True)

    ahead = Prefetcher(numbers(), 4)
    assert [next(ahead) for _ in range(100)] == list(range(100))
    with pytest.raises(RuntimeError, match="the end"):
        next(ahead)
    early = Prefetcher(numbers(), 4)
    assert next(early) == 0
    early.close()
    assert closed == [True, True]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs the memory of a finished process")
def test_the_memory_of_who_starts_a_command_does_not_count_as_its_own():
    ballast = np.ones(100_000_000)  # 800 MB
    assert peak.run([sys.executable, "-c", "pass"]).peak_mib < 100
    assert peak.run([sys.executable, "-c", "x = b'1' * 300_000_000"]).peak_mib > 280
    del ballast


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs the memory of a finished process")
def test_six_hours_take_no_more_memory_than_one(tmp_path):
    samples, rate = soundfile.read(ROOT / "examples" / "village.ogg", dtype="float32")
    peaks = []
    for hours in (1, 6):
        with soundfile.SoundFile(tmp_path / f"{hours}.flac", "w", rate, 1) as out:
            for _ in range(hours * 3_600 // 196):
                out.write(samples)
        # An engine that is chosen by measuring would be prepared the first time, which takes more.
        program = Path(sys.executable).with_name("sed-engine")
        ran = peak.run([program, "detect", tmp_path / f"{hours}.flac", "-q", "--engine", "torch"])
        assert ran.status == 0, ran.messages
        peaks.append(ran.peak_mib)
    assert peaks[1] <= 1.05 * peaks[0]
    assert max(peaks) <= 1_200
