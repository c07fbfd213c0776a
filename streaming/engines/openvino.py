"""Run graphs in OpenVINO, the fastest runtime on most processors."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np

from sed.errors import UsageError
from sed.types import Floats
from streaming.engines.base import SUB_BATCH, FrameOutput, Shape
from streaming.engines.graph import GraphEngine
from streaming.export.openvino import (
    extract_openvino_subgraph,
    openvino_core,
    read_openvino_graph,
    read_openvino_metadata,
)

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine(GraphEngine):
    """A graph, in OpenVINO's own format or in ONNX, on the CPU.

    Parameters
    ----------
    path
        The graph.
    metadata
        Its metadata; read from the graph if not given, which only OpenVINO's format allows.
    precision
        auto, fp32 or bf16. ``auto`` is bf16 where the processor multiplies in it.
    n_streams
        Calls of `infer` that may run at once.
    n_threads
        Cores for each of them.
    layer
        Layer whose output to give as embeddings; none if None.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    CheckpointError
        If the graph cannot be read, or was not written by this version of `sed export`.
    UsageError
        If the precision is unknown, or the graph does not give the layer.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Any] | None = None,
        precision: str = "auto",
        *,
        n_streams: int = 1,
        n_threads: int = 1,
        layer: str | None = None,
    ) -> None:
        if precision not in ("auto", *PRECISIONS):
            raise UsageError(f"the engine openvino computes in fp32 or bf16, not in {precision}")
        self._core = openvino_core()
        if precision == "auto":
            capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bf16" if "BF16" in capabilities else "fp32"
        self.precision = precision
        graph = read_openvino_graph(path)
        metadata = read_openvino_metadata(graph, path) if metadata is None else metadata
        super().__init__(path, metadata, n_streams, n_threads, layer)
        self._network = extract_openvino_subgraph(
            graph, self.spec.log_mel.n_mels, self.output_names
        )
        self._free_requests: dict[tuple[int, ...], queue.SimpleQueue[Any]] = {}  # by their shape
        self._compiling = threading.Lock()

    def __str__(self) -> str:
        return f"OpenVINO {packages.version('openvino')} on cpu, {self._threads}, {self.precision}"

    def warmup(self, shape: Shape) -> None:
        """Compile the network for batches of a shape, (batch, columns, mels)."""
        self._requests((1 if shape[0] == 1 else SUB_BATCH, *shape[1:]))

    def _infer(self, log_mel: Floats) -> FrameOutput:
        requests = self._requests(log_mel.shape)
        request = requests.get()
        try:
            return _run(request, log_mel)
        finally:
            requests.put(request)

    def _requests(self, shape: tuple[int, ...]) -> queue.SimpleQueue[Any]:
        """Return the free requests for one shape, for which the network is compiled.

        A network compiled for one shape is a tenth faster than one for any shape. The first request
        runs here, under the lock: two threads that create their first tensor in OpenVINO's Python
        at once can deadlock.
        """
        with self._compiling:
            if shape not in self._free_requests:
                compiled = self._compile(shape)
                requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
                for i in range(self.n_streams):
                    request = compiled.create_infer_request()
                    if i == 0:
                        _run(request, np.zeros(shape, np.float32))
                    requests.put(request)
                self._free_requests[shape] = requests
            return self._free_requests[shape]

    def _compile(self, shape: tuple[int, ...]) -> Any:
        network = self._network.clone()
        network.reshape(list(shape))
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.precision],
            "NUM_STREAMS": self.n_streams,
            "INFERENCE_NUM_THREADS": self.n_streams * self.n_threads,
            # With pinning, all processes would share the first core.
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(network, "CPU", options)


def _run(request: Any, log_mel: Floats) -> FrameOutput:
    # Tensors that share memory with Python need its lock to be freed, so all values are copied.
    request.get_input_tensor().data[:] = log_mel
    request.infer()
    outputs = (tensor.data for tensor in request.output_tensors)
    return FrameOutput(*(np.array(output, np.float32) for output in outputs))
