"""OpenVINO as an engine: the fastest on most processors. The door to `openvino`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sed.errors import CheckpointError, UsageError
from sed.text import printable
from sed.types import Floats
from streaming.engines.base import SUB_BATCH, FrameOutput, Shape
from streaming.engines.graph import GraphEngine
from streaming.export.openvino import ANSWERS, _about, _core, _openvino

if TYPE_CHECKING:
    pass


PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine(GraphEngine):
    """A graph, in OpenVINO's own format or in ONNX, on the CPU.

    Parameters
    ----------
    path
        The graph.
    about
        Its description; read from the graph if not given, which only OpenVINO's format allows.
    precision
        auto, fp32 or bf16. ``auto`` is bf16 where the processor multiplies in it.
    n_streams
        Calls of `hear` that may run at once.
    n_threads
        Cores for each of them.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    CheckpointError
        If the graph cannot be read, or was not written by `sed export`.
    UsageError
        If the precision is unknown.
    """

    def __init__(
        self,
        path: Path,
        about: Mapping[str, Any] | None = None,
        precision: str = "auto",
        *,
        n_streams: int = 1,
        n_threads: int = 1,
    ) -> None:
        if precision not in ("auto", *PRECISIONS):
            raise UsageError(f"precision {precision}: this engine knows auto, fp32 and bf16")
        self._openvino = _openvino()
        self._core = _core()
        if precision == "auto":
            capable = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bf16" if "BF16" in capable else "fp32"
        self.precision = precision
        graph = self._read(path)
        super().__init__(_about(graph, path) if about is None else about, n_streams, n_threads)
        self._network = self._behind_columns(graph)
        self._ready: dict[tuple[int, ...], queue.SimpleQueue[Any]] = {}  # requests, by their shape
        self._preparing = threading.Lock()

    def __str__(self) -> str:
        version = ".".join(self._openvino.__version__.split("-")[0].split(".")[:3])
        return f"OpenVINO {version} on cpu, {self._threads}, {self.precision}"

    def warmup(self, shape: Shape) -> None:
        """Compile the network for batches of a shape, (batch, columns, mels)."""
        self._requests((1 if shape[0] == 1 else SUB_BATCH, *shape[1:]))

    def _infer(self, columns: Floats) -> FrameOutput:
        requests = self._requests(columns.shape)
        request = requests.get()
        try:
            return _asked(request, columns)
        finally:
            requests.put(request)

    def _requests(self, shape: tuple[int, ...]) -> queue.SimpleQueue[Any]:
        """Return the requests for one shape, compiled for it: a tenth faster than for any.

        All that OpenVINO's Python does for the first time happens here, one thread after the other:
        two that make a tensor for the first time may wait for each other for ever.
        """
        with self._preparing:
            if shape not in self._ready:
                compiled = self._compiled(shape)
                requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
                for i in range(self.n_streams):
                    request = compiled.create_infer_request()
                    if i == 0:
                        _asked(request, np.zeros(shape, np.float32))
                    requests.put(request)
                self._ready[shape] = requests
            return self._ready[shape]

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        network = self._network.clone()
        network.reshape(list(shape))
        n_threads = self.n_streams * self.n_threads
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.precision],
            "NUM_STREAMS": self.n_streams,
            "INFERENCE_NUM_THREADS": n_threads,
            "ENABLE_CPU_PINNING": False,  # else all processes share the first core
        }
        return self._core.compile_model(network, "CPU", options)

    def _read(self, path: Path) -> Any:
        if not path.is_file():
            raise CheckpointError(f"{printable(str(path))}: no such file. Check --model.")
        try:
            return self._core.read_model(path)
        except RuntimeError as error:
            raise CheckpointError(
                f"{printable(str(path))}: cannot be read as a graph "
                f"({' '.join(str(error).split())[:200]}). Export it again."
            ) from error

    def _behind_columns(self, graph: Any) -> Any:
        """Return the network that begins where the columns of a graph come in."""
        source = graph.output("columns").get_node().input_value(0)
        n_mels = self.spec.log_mel.n_mels
        columns = self._openvino.opset13.parameter([-1, -1, n_mels], np.float32, name="columns")
        for target in source.get_target_inputs():
            if target.get_node().get_type_name() != "Result":
                target.replace_source_output(columns.output(0))
        results = [graph.output(name).get_node() for name in ANSWERS]
        return self._openvino.Model(results, [columns], "network")


def _asked(request: Any, columns: Floats) -> FrameOutput:
    # Copied in and out: tensors that share memory with Python need its lock to go away.
    request.get_input_tensor().data[:] = columns
    request.infer()
    answers = (request.get_output_tensor(i).data for i in range(len(ANSWERS)))
    return FrameOutput(*(np.array(answer, np.float32) for answer in answers))
