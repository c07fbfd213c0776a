"""Run exported graphs in ONNX Runtime, in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError, UsageError
from sed.text import message_of, printable
from sed.types import Floats
from streaming.engines.base import FrameOutput
from streaming.engines.graph import GraphEngine
from streaming.export.onnx_file import extract_subgraph, read_onnx_metadata

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
FATAL = 4  # of ONNX Runtime's log


class OnnxEngine(GraphEngine):
    """A graph in ONNX, on the CPU.

    Parameters
    ----------
    path
        The graph.
    metadata
        Its metadata; read from the graph if not given.
    precision
        auto or fp32.
    n_streams
        Calls of `infer` that may run at once.
    n_threads
        Cores for each of them.
    layer
        Layer whose output to give as embeddings; none if None.

    Raises
    ------
    CheckpointError
        If the graph cannot be read, or was not written by this version of `sed export`.
    UsageError
        If the precision is another, or the graph does not give the layer.
    """

    precision = "fp32"

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
        if precision not in ("auto", "fp32"):
            raise UsageError(f"the engine onnx computes in fp32, not in {precision}")
        import onnxruntime  # not loaded for other engines

        metadata = read_onnx_metadata(path) if metadata is None else metadata
        super().__init__(path, metadata, n_streams, n_threads, layer)
        self._version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = FATAL  # errors are raised, and printed once
        # Where a linked graph has its weights.
        options.add_session_config_entry(WEIGHTS_FOLDER, str(path.parent))
        graph = extract_subgraph(path, self.output_names)
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # Its exceptions are one class for each status.
            raise CheckpointError(
                f"{printable(str(path))}: ONNX Runtime does not take this graph "
                f"({message_of(error)}). Export it again."
            ) from error

    def __str__(self) -> str:
        return f"ONNX Runtime {self._version} on cpu, {self._threads}, fp32"

    def _infer(self, log_mel: Floats) -> FrameOutput:
        return FrameOutput(*self._session.run(list(self.output_names), {"log_mel": log_mel}))
