"""Run graphs of others in OpenVINO."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np

from sed.errors import CheckpointError
from sed.text import message_of, printable
from sed.types import Floats
from streaming.engines.graphs.runtime import GraphRuntime, does_not_run, float32, threads_text
from streaming.export.onnx_file import GraphTensor
from streaming.export.openvino import openvino_core, read_openvino_graph


class OpenVinoRuntime(GraphRuntime):
    """A graph in OpenVINO's format or in ONNX, in OpenVINO on the CPU, in fp32.

    Parameters
    ----------
    path
        The graph.
    n_streams, n_threads
        Calls at once, and cores for each.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    CheckpointError
        If OpenVINO does not take the graph.
    """

    def __init__(self, path: Path, n_streams: int = 1, n_threads: int = 1) -> None:
        self._path = path
        self._threads = threads_text(n_streams, n_threads)
        graph = read_openvino_graph(path)
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # what the graph was made with is not known
            "NUM_STREAMS": n_streams,
            "INFERENCE_NUM_THREADS": n_streams * n_threads,
            "ENABLE_CPU_PINNING": False,  # else all processes would share the first core
        }
        try:
            self._compiled = openvino_core().compile_model(graph, "CPU", options)
        except RuntimeError as error:
            reason = message_of(error)
            raise CheckpointError(
                f"{printable(path.name)}: OpenVINO does not take this graph ({reason}). Export it "
                "again, or in another format."
            ) from error
        self.inputs = tuple(map(_tensor, self._compiled.inputs))
        self.outputs = tuple(map(_tensor, self._compiled.outputs))
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(n_streams):
            self._requests.put(self._compiled.create_infer_request())
        self._first = threading.Lock()
        self._has_run = False

    def __str__(self) -> str:
        return f"OpenVINO {packages.version('openvino')} on cpu, {self._threads}, fp32"

    def run(self, values: Floats, outputs: Sequence[str]) -> list[Floats]:
        """Return some outputs; see `GraphRuntime`."""
        names = [tensor.name for tensor in self.outputs]
        if self._has_run:
            found = self._run(values)
        else:
            # Two threads that create their first tensor in OpenVINO's Python at once can deadlock.
            with self._first:
                found = self._run(values)
                self._has_run = True
        return [found[names.index(name)] for name in outputs]

    def _run(self, values: Floats) -> list[Floats]:
        request = self._requests.get()
        try:
            # Tensors that share memory with Python need its lock to be freed: values are copied.
            tensor = request.get_input_tensor()
            tensor.shape = values.shape
            tensor.data[:] = values
            request.infer()
            return [float32(tensor.data) for tensor in request.output_tensors]
        except RuntimeError as error:
            raise does_not_run(self._path, values.shape, error) from error
        finally:
            self._requests.put(request)


def _tensor(port: Any) -> GraphTensor:
    shape = port.get_partial_shape()
    axes = None
    if not shape.rank.is_dynamic:
        axes = tuple(axis.get_length() if axis.is_static else None for axis in shape)
    is_float = np.dtype(port.get_element_type().to_dtype()) == np.float32
    return GraphTensor(port.get_any_name() if port.get_names() else "", axes, is_float)
