"""Load a graph of others into the library that reads its format."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from sed.errors import CheckpointError, MissingExtraError, UsageError
from sed.text import printable
from streaming.engines.graphs.runtime import GraphRuntime

RUNTIMES = {".onnx": ("openvino", "onnx"), ".xml": ("openvino",), ".tflite": ("tflite",)}
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime", "tflite": "ai_edge_litert"}

_log = logging.getLogger("sed.engines")


def open_runtime(
    path: Path, engine: str = "auto", *, n_streams: int = 1, n_threads: int = 1
) -> GraphRuntime:
    """Load a graph.

    Parameters
    ----------
    path
        The graph: .onnx, .xml or .tflite.
    engine
        openvino, onnx or tflite; auto is OpenVINO for .onnx too, where it is installed and takes
        the graph.
    n_streams
        Calls of `GraphRuntime.run` that may run at once.
    n_threads
        Cores for each of them.

    Raises
    ------
    UsageError
        If the engine does not run this format.
    CheckpointError
        If the graph cannot be read.
    MissingExtraError
        If a package is not installed.
    """
    name = printable(path.name)
    suffix = path.suffix.lower()
    if suffix not in RUNTIMES:
        raise UsageError(f"{name}: expected a graph that ends in {', '.join(RUNTIMES)}")
    fitting = RUNTIMES[suffix]
    if engine != "auto" and engine not in fitting:
        raise UsageError(
            f"the engine {engine} does not run {name}: leave out --engine, or give "
            f"{' or '.join(fitting)}"
        )
    installed = [each for each in fitting if importlib.util.find_spec(PACKAGES[each])]
    if engine == "auto" and len(installed) > 1:
        try:
            return _open(path, installed[0], n_streams, n_threads)
        except CheckpointError as error:
            _log.info("%s does not take this graph, so %s runs it: %s", *installed[:2], error)
            return _open(path, installed[1], n_streams, n_threads)
    chosen = next(iter(installed), fitting[-1]) if engine == "auto" else engine
    return _open(path, chosen, n_streams, n_threads)


def _open(path: Path, engine: str, n_streams: int, n_threads: int) -> GraphRuntime:
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        raise MissingExtraError(f"{printable(path.name)}: the engine {engine}", engine)
    if engine == "openvino":
        from streaming.engines.graphs.openvino import OpenVinoRuntime

        return OpenVinoRuntime(path, n_streams, n_threads)
    if engine == "onnx":
        from streaming.engines.graphs.onnx import OnnxRuntime

        return OnnxRuntime(path, n_streams, n_threads)
    from streaming.engines.graphs.tflite import TfliteRuntime

    return TfliteRuntime(path, n_streams, n_threads)
