"""Run graphs of others in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sed.text import printable
from sed.types import Floats
from streaming.encoders.onnx import open_session
from streaming.engines.graphs.runtime import GraphRuntime, does_not_run, float32, threads_text
from streaming.export.onnx_file import GraphTensor


class OnnxRuntime(GraphRuntime):
    """A graph in ONNX, in ONNX Runtime on the CPU.

    Parameters
    ----------
    path
        The graph.
    n_streams, n_threads
        Calls at once, and cores for each.

    Raises
    ------
    MissingExtraError
        If ONNX Runtime is not installed.
    CheckpointError
        If it does not take the graph.
    """

    def __init__(self, path: Path, n_streams: int = 1, n_threads: int = 1) -> None:
        self._path = path
        self._session, self._version = open_session(path, printable(path.name), n_threads)
        self._threads = threads_text(n_streams, n_threads)
        self.inputs = tuple(map(_tensor, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor, self._session.get_outputs()))

    def __str__(self) -> str:
        return f"ONNX Runtime {self._version} on cpu, {self._threads}, fp32"

    def run(self, values: Floats, outputs: Sequence[str]) -> list[Floats]:
        """Return some outputs; see `GraphRuntime`."""
        try:
            found = self._session.run(list(outputs), {self.inputs[0].name: values})
        except Exception as error:
            # ONNX Runtime has exceptions of its own, one class for each status.
            raise does_not_run(self._path, values.shape, error) from error
        return [float32(value) for value in found]


def _tensor(value: Any) -> GraphTensor:
    axes = tuple(n if isinstance(n, int) and n > 0 else None for n in value.shape)
    # No axes at all also stand for any shape.
    return GraphTensor(value.name, axes or None, value.type == "tensor(float)")
