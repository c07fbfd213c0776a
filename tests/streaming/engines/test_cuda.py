"""The engine for GPUs. What needs one is skipped where there is none."""

import threading

import numpy as np
import pytest
import torch

import sed
from sed.errors import UsageError
from sed.models.devices import choose_precision
from streaming.engines.base import EnginePool
from streaming.engines.cuda import LARGEST, SMALLEST, CudaEngine, _CudaGraph, _fastest_batch
from streaming.engines.pytorch import TorchEngine
from tests.conftest import rising_noise


def on_a_gpu(test):
    reason = "needs a GPU"
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason=reason)(test))


@pytest.mark.parametrize(
    ("speed_limit", "bytes_each", "expected"),
    [
        (1e9, 0, LARGEST),  # nothing holds it up
        (0, 0, SMALLEST),  # not even the smallest has room
        (1e9, 10, 64),  # 128 windows would need 1,280 bytes
        (1e9, 1_000, SMALLEST),  # not even the smallest has room to be doubled
        (100, 0, 128),  # full with a hundred windows at once
        (1, 0, SMALLEST),
    ],
)
def test_batches_are_doubled_while_there_is_room_and_it_is_worth_it(
    speed_limit, bytes_each, expected
):
    measured = []

    def measure(n_windows):
        measured.append(n_windows)
        return min(n_windows, speed_limit), n_windows * bytes_each

    assert _fastest_batch(measure, budget=1_000) == expected
    assert max(measured) <= 2 * expected


def test_fp16_is_for_gpus():
    with pytest.raises(UsageError, match=r"fp16 needs a GPU.+choose bf16 or fp32"):
        choose_precision("fp16", torch.device("cpu"))
    assert choose_precision("fp16", torch.device("cuda")) == torch.float16


def test_fp16_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("SED_CACHE", str(tmp_path / "cache"))
    for options in ({"device": "cpu"}, {"engine": "openvino"}):
        with pytest.raises(UsageError, match="fp16 needs a GPU"):
            sed.open_engine(precision="fp16", **options)
    assert not (tmp_path / "cache").exists()


def test_the_engine_gives_the_default_batch_size(tiny_checkpoint):
    class Wide(TorchEngine):
        batch_size = 5

    engine = Wide(tiny_checkpoint, "cpu")
    assert sed.Detector(engine).batch_shape[0] == 1
    assert sed.Detector(engine, sed.DetectorConfig(batch_size=None)).batch_shape[0] == 5


@pytest.mark.parametrize(
    ("n_windows", "expected"),
    [(64, 64), (17, 64), (16, 16), (5, 16), (4, 4), (2, 4), (1, 1), (0, None), (65, None)],
)
def test_a_smaller_batch_goes_through_the_smallest_graph_that_it_fits_into(
    monkeypatch, n_windows, expected
):
    engine = CudaEngine.__new__(CudaEngine)
    engine._capturing = threading.Lock()
    engine._full_shape = (64, 100, 24)
    monkeypatch.setattr(engine, "_graphs", lambda shape: shape)
    shape = engine._graphs_for(np.zeros((n_windows, 100, 24), np.float32))
    assert shape == (expected and (expected, 100, 24))
    assert engine._graphs_for(np.zeros((4, 99, 24), np.float32)) is None


@on_a_gpu
@pytest.mark.parametrize(("n_windows", "n_replays"), [(1, 6), (3, 6), (8, 6), (9, 0)])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("auto", 0.06)])
def test_a_gpu_gives_what_a_cpu_gives(
    tiny_checkpoint, monkeypatch, n_windows, n_replays, precision, tolerance
):
    cpu = TorchEngine(tiny_checkpoint, "cpu", "fp32")
    gpu = CudaEngine(tiny_checkpoint, "cuda", precision)
    samples = rising_noise(n_windows * 8_000 + 48)
    columns = cpu.extract_features(samples)
    np.testing.assert_allclose(gpu.extract_features(samples), columns, atol=0.01)
    replayed = []
    replay = _CudaGraph.replay
    monkeypatch.setattr(
        _CudaGraph, "replay", lambda graph, batch: replayed.append(1) or replay(graph, batch)
    )
    batch = columns.reshape(n_windows, 100, -1)
    with EnginePool(gpu) as pool:
        pool.submit(gpu.warmup, (8, 100, batch.shape[2])).result()
        outputs = [pool.submit(gpu.infer, batch) for _ in range(6)]
        for output in outputs:
            found = output.result().frame_probs
            np.testing.assert_allclose(found, cpu.infer(batch).frame_probs, atol=tolerance)
    assert len(replayed) == n_replays


@on_a_gpu
def test_the_batch_is_measured_once(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("SED_CACHE", str(tmp_path))
    assert SMALLEST <= CudaEngine(tiny_checkpoint).batch_size <= LARGEST
    monkeypatch.setattr(CudaEngine, "_measure_batch", None)
    assert SMALLEST <= CudaEngine(tiny_checkpoint).batch_size <= LARGEST
