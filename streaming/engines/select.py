"""The engine for a model on this machine: the one that was asked for, or the fastest there is.

Which one is fastest is measured once per model, machine and versions, in a second or two, and kept
beside the prepared graph (see `streaming.engines.exported`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sed.errors import CheckpointError, SedError, UsageError
from sed.models.devices import check_precision, has_gpu, n_cores
from sed.models.metadata import check_weights, checkpoint_files, read_metadata
from sed.text import near
from streaming.engines.base import Engine, EnginePool
from streaming.engines.cache import Tell, cached_json
from streaming.engines.exported import ExportedModel, prepared
from streaming.export.onnx import read_metadata as read_about_graph

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

ENGINES = ("auto", "torch", "compile", "openvino", "onnx")
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}  # what an engine cannot be without
GRAPH_SUFFIXES = (".onnx", ".xml")
MEASURED_SECONDS = 0.5  # per engine
MEASUREMENT = 2  # raised when engines are measured in another way


def open_engine(
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    n_streams: int | None = None,
    n_threads: int = 1,
    tell: Tell = lambda _: None,
) -> Engine:
    """Return a model, ready to be asked.

    Parameters
    ----------
    model
        A checkpoint's path or a run directory, a graph that `sed export` wrote (.onnx, .xml), a
        checkpoint that is loaded, or an engine; the default model if not given.
    engine
        torch, compile (torch.compile: slow to start), openvino or onnx; auto is torch on a GPU and
        for a checkpoint that is loaded, else what is measured to be the fastest of those installed
        but compile.
    device
        auto, cpu, cuda or cuda:N. A GPU is for torch.
    precision
        auto, fp32, bf16 or, on a GPU, fp16. ``auto`` is bf16 where the device multiplies in it.
    n_streams
        Calls of the engine that may run at once on a CPU; as many as there are cores if not given.
        On a GPU there are two, so that one is copied while the other is computed.
    n_threads
        Cores for each of them, on a CPU.
    tell
        Is told what was chosen and why, and what could not be.

    Raises
    ------
    UsageError
        If an option is not what it can be.
    CheckpointError
        If the model cannot be loaded.
    MissingExtraError
        If the engine that was asked for is not installed.
    """
    if hasattr(model, "infer"):
        return cast(Engine, model)
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}. {near(engine, ENGINES)}")
    source = _Source(model, tell)
    for_cpu = runs_on_cpu(source.path, engine)
    if for_cpu and device not in ("auto", "cpu"):
        what = "graphs run" if source.is_graph else f"the engine {engine} runs"
        raise UsageError(f"{what} on the CPU: leave out --device {device}")
    on_gpu = not for_cpu and (has_gpu() if device == "auto" else device != "cpu")
    check_precision(precision, on_gpu=on_gpu)
    n_streams = 2 if on_gpu else n_streams or n_cores()
    wanted = _Wanted(device, precision, n_streams, n_threads, on_gpu)
    if source.is_graph:
        return _of_graph(source, engine, wanted)
    if engine == "auto" and not on_gpu and source.has_files:
        return _fastest(source, wanted)
    return _OPENERS["torch" if engine == "auto" else engine](source, wanted)


def is_graph(path: Path | None) -> bool:
    """Return whether a path is that of an exported graph."""
    return path is not None and path.suffix in GRAPH_SUFFIXES


def runs_on_cpu(path: Path | None, engine: str) -> bool:
    """Return whether only the CPU can run a model: a graph, or what is left to such an engine."""
    return engine in PACKAGES or is_graph(path)


class _Source:
    """Where a model comes from."""

    def __init__(self, model: Checkpoint | str | os.PathLike[str] | None, tell: Tell) -> None:
        self.tell = tell
        self._model = model
        path = model if isinstance(model, str | os.PathLike) else None
        self.path = Path(path) if path is not None else None
        self.is_graph = is_graph(self.path)
        self.has_files = path is not None or model is None
        self._prepared: ExportedModel | None = None

    def checkpoint(self) -> Checkpoint:
        """Return it, loaded."""
        from sed.models.checkpoint import load_model

        return load_model(self.path) if self.has_files else cast("Checkpoint", self._model)

    def prepared(self) -> ExportedModel:
        """Return it as a graph."""
        if self._prepared is None:
            if not self.has_files:
                raise UsageError(
                    "a checkpoint that is loaded runs in torch: give its path for another engine"
                )
            weights, description = checkpoint_files(self.path)
            check_weights(weights, read_metadata(self.path or weights))
            self._prepared = prepared(weights, description, self.tell)
        return self._prepared

    def graph(self) -> tuple[Path, dict[str, Any] | None]:
        """Return a graph of it, and its description unless the graph holds it."""
        if not self.is_graph:
            return self.prepared().graph, self.prepared().about
        assert self.path is not None
        return self.path, read_about_graph(self.path) if self.path.suffix == ".onnx" else None


@dataclass(frozen=True)
class _Wanted:
    """How an engine is to run."""

    device: str
    precision: str
    n_streams: int
    n_threads: int
    on_gpu: bool

    @property
    def counts(self) -> dict[str, int]:
        return {"n_streams": self.n_streams, "n_threads": self.n_threads}


def _torch(source: _Source, wanted: _Wanted, *, compiled: bool = False) -> Engine:
    if wanted.on_gpu:
        from streaming.engines.cuda import CudaEngine

        return CudaEngine(
            source.checkpoint(),
            wanted.device,
            wanted.precision,
            n_streams=wanted.n_streams,
            compiled=compiled,
        )
    from streaming.engines.pytorch import TorchEngine

    return TorchEngine(
        source.checkpoint(), wanted.device, wanted.precision, **wanted.counts, compiled=compiled
    )


def _openvino(source: _Source, wanted: _Wanted) -> Engine:
    from streaming.engines.openvino import OpenVinoEngine

    graph, about = source.graph()
    return OpenVinoEngine(graph, about, wanted.precision, **wanted.counts)


def _onnx(source: _Source, wanted: _Wanted) -> Engine:
    from streaming.engines.onnx import OnnxEngine

    graph, about = source.graph()
    return OnnxEngine(graph, about, wanted.precision, **wanted.counts)


_OPENERS: dict[str, Callable[[_Source, _Wanted], Engine]] = {
    "torch": _torch,
    "compile": partial(_torch, compiled=True),
    "openvino": _openvino,
    "onnx": _onnx,
}


def _of_graph(source: _Source, engine: str, wanted: _Wanted) -> Engine:
    """Return an engine for a graph that was exported; OpenVINO where it is installed."""
    path = source.path
    assert path is not None
    if engine == "auto":
        is_openvino = path.suffix == ".xml" or importlib.util.find_spec("openvino") is not None
        engine = "openvino" if is_openvino else "onnx"
    if engine not in PACKAGES or (engine == "onnx" and path.suffix != ".onnx"):
        raise UsageError(f"the engine {engine} does not run {path.name}: leave out --engine")
    return _OPENERS[engine](source, wanted)


def _fastest(source: _Source, wanted: _Wanted) -> Engine:
    """Return the fastest engine, as it was measured or is now."""
    there = [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]
    if wanted.precision == "bf16":
        there = [name for name in there if name != "onnx"]
    if not there:
        source.tell(
            "engine: torch, the only one installed; openvino may be faster: "
            "pip install 'sed-engine[openvino]'"
        )
        return _torch(source, wanted)
    try:
        folder = source.prepared().folder
    except SedError as error:
        if isinstance(error, CheckpointError):
            raise
        source.tell(f"engine: torch, since the model cannot be prepared for others: {error}")
        return _torch(source, wanted)
    speeds = cached_json(
        folder / f"engines-{_machine(wanted.precision, there)}.json",
        lambda: _measured(source, wanted, [*there, "torch"]),
        worth_it=lambda speeds: any(speeds.values()),
    )
    if not any(speeds.values()):
        return _torch(source, wanted)  # which says why not
    best = max(speeds, key=lambda name: speeds[name])
    source.tell(f"engine: {best}; measured on this machine: {_told(speeds)}")
    return _OPENERS[best](source, wanted)


def _measured(source: _Source, wanted: _Wanted, names: Sequence[str]) -> dict[str, Any]:
    """Return how many times real time each engine is on all cores, 0 for one that fails."""
    source.tell("measuring engines, once")
    wanted = replace(wanted, n_streams=n_cores(), n_threads=1)
    speeds = {}
    for name in names:
        try:
            speeds[name] = round(benchmark_engine(_OPENERS[name](source, wanted)), 1)
        except Exception as error:  # whatever a library raises, the others may work
            reason = " ".join(str(error).split())[:300]
            source.tell(f"the engine {name} does not work here: {reason}")
            speeds[name] = 0.0
    return speeds


def benchmark_engine(engine: Engine, seconds: float = MEASURED_SECONDS) -> float:
    """Return the seconds of sound, in windows side by side, that an engine hears in a second."""
    spec = engine.spec
    n_windows = engine.batch_size
    shape = (n_windows, spec.window_columns, spec.log_mel.n_mels)
    batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with EnginePool(engine, shape) as pool:
        best, end = 0.0, time.perf_counter() + seconds
        wait([pool.submit(engine.infer, batch) for _ in range(engine.n_streams)])
        while time.perf_counter() < end or not best:
            began = time.perf_counter()
            for answer in [pool.submit(engine.infer, batch) for _ in range(2 * engine.n_streams)]:
                answer.result()
            passed = time.perf_counter() - began
            heard = 2 * engine.n_streams * n_windows * spec.window_seconds
            best = max(best, heard / passed)
    return best


def _told(speeds: dict[str, Any]) -> str:
    ranking = sorted(speeds.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {speed:,.0f} ×" if speed else f"{name} fails" for name, speed in ranking
    )


def _machine(precision: str, packages: list[str]) -> str:
    """Return a name for what the speed of engines depends on, but for the model."""
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line for line in file if line.startswith("model name")), cpu)
    versions = [metadata.version(PACKAGES[name]) for name in packages]
    facts = repr((MEASUREMENT, cpu, n_cores(), precision, packages, versions))
    return hashlib.sha256(facts.encode()).hexdigest()[:12]
