"""Open the engine for a model: the requested one, or the fastest on this machine.

Which one is fastest is measured once per model, machine and versions, in a second or two. The
result is kept beside the exported graph (see `streaming.engines.exported`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sed.errors import CheckpointError, MissingExtraError, SedError, UsageError, check_extra
from sed.models.devices import check_precision, check_torch, has_gpu, has_torch, n_cores
from sed.models.metadata import check_weights, checkpoint_files, read_metadata
from sed.models.registry import find_model
from sed.text import message_of, near, printable
from streaming.engines.base import Engine, benchmark_in_child
from streaming.engines.cache import cached_json, machine_key
from streaming.engines.encoder import is_encoder, open_encoder
from streaming.engines.exported import GRAPH, export_cached, export_folder, read_graph_metadata
from streaming.engines.graph_model import open_graph_model
from streaming.engines.graphs.description import find_graph

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

ENGINES = ("auto", "torch", "compile", "openvino", "onnx", "tflite")
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}  # of the engines for graphs
GRAPH_SUFFIXES = (".onnx", ".xml")
MEASUREMENT = 3  # raised when engines are measured in another way

_log = logging.getLogger("sed.engines")


def open_engine(
    model: Engine | Checkpoint | str | os.PathLike[str] | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    n_streams: int | None = None,
    n_threads: int = 1,
    layer: str | None = None,
    sample_rate: int | None = None,
    window_seconds: float | None = None,
) -> Engine:
    """Load a model into an engine.

    What was chosen and measured is logged to ``sed.engines``, with a warning where an engine does
    not work or a faster one is not installed.

    Parameters
    ----------
    model
        Name of a model (``general``, ``everyday``, one of one's own), path of a checkpoint or run
        directory, a graph that `sed export` wrote (.onnx, .xml), a loaded checkpoint, or an engine,
        which is returned as it is; the default model if not given.
    engine
        torch, compile (torch.compile: slow to start), openvino or onnx. auto is torch on a GPU and
        for a loaded checkpoint, else the fastest of those installed, as measured on this machine,
        except compile.
    device
        auto, cpu, cuda or cuda:N. Only torch and compile run on a GPU.
    precision
        auto, fp32, bf16 or, on a GPU, fp16. ``auto`` is bf16 where the device multiplies in it.
    n_streams
        Calls of the engine that may run at once on a CPU; the number of cores if not given. On a
        GPU it is 2: one batch is copied while another is computed.
    n_threads
        Cores for each of them, on a CPU.
    layer
        Layer whose output the engine gives as embeddings, such as ``features``; none if None. See
        `sed.models.inference.layers`. An encoder always needs one.
    sample_rate, window_seconds
        Of an encoder, where its files do not say.

    Raises
    ------
    UsageError
        If an option is unknown, or does not fit the others.
    CheckpointError
        If the model cannot be loaded, or there is none of this name.
    MissingExtraError
        If the requested engine is not installed.
    DeviceError
        If the requested device is missing.
    """
    if hasattr(model, "infer"):
        return cast(Engine, model)
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}. {near(engine, ENGINES)}")
    options_for_all: dict[str, Any] = {
        "engine": engine,
        "device": device,
        "precision": precision,
        "n_streams": n_streams,
        "n_threads": n_threads,
    }
    if is_encoder(model, layer):
        return open_encoder(
            cast(str, model),
            layer,
            sample_rate=sample_rate,
            window_seconds=window_seconds,
            **options_for_all,
        )
    if (graph := find_graph(model)) is not None:
        return open_graph_model(graph, layer=layer, **options_for_all)
    if engine == "tflite":
        raise UsageError("the engine tflite runs graphs of others: leave out --engine tflite")
    if sample_rate is not None or window_seconds is not None:
        raise UsageError("sample rate and window are part of a checkpoint: leave them out")
    source = _Source(model, layer)
    for_cpu = runs_on_cpu(source.path, engine)
    if for_cpu and device not in ("auto", "cpu"):
        what = "graphs run" if source.is_graph else f"the engine {engine} runs"
        raise UsageError(f"{what} on the CPU: leave out --device {device}")
    on_gpu = not for_cpu and (has_gpu() if device == "auto" else device != "cpu")
    check_precision(precision, on_gpu=on_gpu)
    n_streams = 2 if on_gpu else n_streams or n_cores()
    options = _Options(device, precision, n_streams, n_threads, on_gpu, layer)
    if source.is_graph:
        return _open_graph(source, engine, options)
    if engine == "auto" and not on_gpu and source.has_files:
        return _open_fastest(source, options)
    return _OPENERS["torch" if engine == "auto" else engine](source, options)


def runs_on_cpu(path: Path | None, engine: str) -> bool:
    """Return whether only the CPU can run a model, because of its format or of the engine."""
    return engine in PACKAGES or _is_graph(path) or find_graph(path) is not None


def engine_speeds_file(folder: Path, precision: str = "auto") -> Path:
    """Return the file with the speeds of all engines that work for an exported model here.

    Parameters
    ----------
    folder
        Where the model is exported to; see `streaming.engines.exported`.
    precision
        As for `open_engine`.
    """
    return folder / f"engines-{_machine_key(precision, _installed(precision))}.json"


def _installed(precision: str) -> list[str]:
    """Return the engines for graphs that are installed and run in a precision."""
    installed = [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]
    return [name for name in installed if precision != "bf16" or name != "onnx"]


def _is_graph(path: Path | None) -> bool:
    return path is not None and path.suffix in GRAPH_SUFFIXES


class _Source:
    """A model to open: a path, or a loaded checkpoint."""

    def __init__(
        self, model: Checkpoint | str | os.PathLike[str] | None, layer: str | None
    ) -> None:
        self._model = model
        self._layer = layer
        self.has_files = model is None or isinstance(model, str | os.PathLike)
        name = cast("str | os.PathLike[str] | None", model)
        self.path = find_model(name) if self.has_files else None
        self.is_graph = _is_graph(self.path)
        self._exported: tuple[Path, dict[str, Any]] | None = None

    def checkpoint(self) -> Checkpoint:
        """Return the loaded checkpoint."""
        if self.path is None:
            return cast("Checkpoint", self._model)
        check_torch(printable(str(self.path)))
        from sed.models.checkpoint import load_checkpoint

        return load_checkpoint(self.path)

    def exported(self) -> tuple[Path, dict[str, Any]]:
        """Return the path and the metadata of the checkpoint as a graph."""
        if self._exported is None:
            if self.path is None:
                raise UsageError(
                    "a loaded checkpoint runs in torch: give its path for another engine"
                )
            weights_path, json_path = checkpoint_files(self.path)
            check_weights(weights_path, read_metadata(self.path))
            self._exported = export_cached(weights_path, json_path, self._layer)
        return self._exported

    def cache_folder(self) -> Path:
        """Return the folder for what is kept about the checkpoint, which need not exist."""
        assert self.path is not None
        graph, _ = self.exported()
        # A linked graph lies beside the checkpoint, where nothing is written.
        is_linked = graph.name != GRAPH
        return export_folder(*checkpoint_files(self.path)) if is_linked else graph.parent

    def graph(self) -> tuple[Path, dict[str, Any] | None]:
        """Return the path of a graph, and its metadata unless the engine reads them there."""
        if not self.is_graph:
            return self.exported()
        assert self.path is not None
        return self.path, read_graph_metadata(self.path) if self.path.suffix == ".onnx" else None


@dataclass(frozen=True)
class _Options:
    """Options of an engine; see `open_engine`."""

    device: str
    precision: str
    n_streams: int
    n_threads: int
    on_gpu: bool
    layer: str | None

    @property
    def on_cpu(self) -> dict[str, Any]:
        """Arguments of all engines for the CPU."""
        return {"n_streams": self.n_streams, "n_threads": self.n_threads, "layer": self.layer}


def _open_torch(source: _Source, options: _Options, *, compiled: bool = False) -> Engine:
    purpose = f"the device {options.device}" if options.on_gpu else "the engine torch"
    check_extra("torch", purpose)
    if options.on_gpu:
        from streaming.engines.cuda import CudaEngine

        return CudaEngine(
            source.checkpoint(),
            options.device,
            options.precision,
            n_streams=options.n_streams,
            compiled=compiled,
            layer=options.layer,
        )
    from streaming.engines.pytorch import TorchEngine

    return TorchEngine(
        source.checkpoint(), options.device, options.precision, **options.on_cpu, compiled=compiled
    )


def _open_openvino(source: _Source, options: _Options) -> Engine:
    from streaming.engines.openvino import OpenVinoEngine

    graph, metadata = source.graph()
    return OpenVinoEngine(graph, metadata, options.precision, **options.on_cpu)


def _open_onnx(source: _Source, options: _Options) -> Engine:
    from streaming.engines.onnx import OnnxEngine

    graph, metadata = source.graph()
    return OnnxEngine(graph, metadata, options.precision, **options.on_cpu)


_OPENERS: dict[str, Callable[[_Source, _Options], Engine]] = {
    "torch": _open_torch,
    "compile": partial(_open_torch, compiled=True),
    "openvino": _open_openvino,
    "onnx": _open_onnx,
}


def _open_graph(source: _Source, engine: str, options: _Options) -> Engine:
    """Return an engine for an exported graph; auto is OpenVINO where it is installed."""
    path = source.path
    assert path is not None
    if engine == "auto":
        is_openvino = path.suffix == ".xml" or importlib.util.find_spec("openvino") is not None
        engine = "openvino" if is_openvino else "onnx"
    if engine not in PACKAGES or (engine == "onnx" and path.suffix != ".onnx"):
        raise UsageError(f"the engine {engine} does not run {path.name}: leave out --engine")
    return _OPENERS[engine](source, options)


def _open_fastest(source: _Source, options: _Options) -> Engine:
    """Return the fastest engine, measured now unless it was measured before."""
    installed = _installed(options.precision)
    if not installed:
        if not has_torch():
            raise MissingExtraError(f"precision {options.precision}", "openvino")
        _log.warning(
            "engine: torch, the only one here for this precision; openvino may be faster: "
            "pip install 'sed-engine[openvino]'"
        )
        return _open_torch(source, options)
    try:
        source.exported()
    except SedError as error:
        if isinstance(error, CheckpointError) or not has_torch():
            raise
        _log.warning("engine: torch, since the model cannot be exported for others: %s", error)
        return _open_torch(source, options)
    names = [*installed, *["torch"] * has_torch()]
    if len(names) == 1:
        _log.info("engine: %s, the only one installed", names[0])
        return _OPENERS[names[0]](source, options)
    speeds = cached_json(
        engine_speeds_file(source.cache_folder(), options.precision),
        lambda: _measure_engines(source, options, names),
        is_valid=lambda speeds: any(speeds.values()) and speeds.keys() <= _OPENERS.keys(),
    )
    if not any(speeds.values()):
        # No engine works: this raises the reason.
        return _open_torch(source, options)
    best = max(speeds, key=lambda name: speeds[name])
    _log.info("engine: %s; measured on this machine: %s", best, _ranking(speeds))
    return _OPENERS[best](source, options)


def _measure_engines(source: _Source, options: _Options, names: Sequence[str]) -> dict[str, Any]:
    """Return the throughput of each engine on all cores, 0 for one that fails."""
    _log.info("measuring engines, once")
    values = {"device": options.device, "precision": options.precision, "layer": options.layer}
    speeds = {}
    for name in names:
        try:
            speed = benchmark_in_child(source.path, engine=name, n_streams=n_cores(), **values)
            speeds[name] = round(speed, 1)
        except Exception as error:
            # A library may raise any exception; the other engines may still work.
            reason = message_of(error)
            _log.warning("the engine %s does not work here: %s", name, reason)
            speeds[name] = 0.0
    return speeds


def _ranking(speeds: dict[str, Any]) -> str:
    ranking = sorted(speeds.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {speed:,.0f} ×" if speed else f"{name} fails" for name, speed in ranking
    )


def _machine_key(precision: str, names: list[str]) -> str:
    """Return a hash of what the speed of engines depends on, except the model."""
    versions = [packages.version(PACKAGES[name]) for name in names]
    return machine_key(MEASUREMENT, n_cores(), precision, names, versions)
