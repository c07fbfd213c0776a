"""ONNX Runtime as an engine, in fp32. The door to `onnxruntime`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sed.errors import MissingExtraError, UsageError
from sed.types import Floats
from streaming.engines.base import FrameOutput
from streaming.engines.graph import GraphEngine
from streaming.export.onnx import ANSWERS, extract_subgraph, read_metadata


class OnnxEngine(GraphEngine):
    """A graph in ONNX, on the CPU.

    Parameters
    ----------
    path
        The graph.
    about
        Its description; read from the graph if not given.
    precision
        auto or fp32.
    n_streams
        Calls of `hear` that may run at once.
    n_threads
        Cores for each of them.

    Raises
    ------
    MissingExtraError
        If a package is not installed.
    CheckpointError
        If the graph cannot be read, or was not written by `sed export`.
    UsageError
        If another precision is asked for.
    """

    precision = "fp32"

    def __init__(
        self,
        path: Path,
        about: Mapping[str, Any] | None = None,
        precision: str = "auto",
        *,
        n_streams: int = 1,
        n_threads: int = 1,
    ) -> None:
        if precision not in ("auto", "fp32"):
            raise UsageError(f"the engine onnx computes in fp32, not in {precision}")
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("the engine onnx", "onnx") from error
        super().__init__(read_metadata(path) if about is None else about, n_streams, n_threads)
        self._version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            extract_subgraph(path), options, providers=["CPUExecutionProvider"]
        )

    def __str__(self) -> str:
        return f"ONNX Runtime {self._version} on cpu, {self._threads}, fp32"

    def _infer(self, columns: Floats) -> FrameOutput:
        return FrameOutput(*self._session.run(ANSWERS, {"columns": columns}))
