"""Run graphs in TensorFlow Lite, in LiteRT on the CPU. Only this module imports `ai_edge_litert`.

LiteRT computes what it can in XNNPACK. Each call at once has an interpreter of its own, since one
cannot be shared; they are faster with one core each than one interpreter with several.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np

from sed.errors import CheckpointError, MissingExtraError
from sed.text import message_of, printable
from sed.types import Floats
from streaming.engines.graphs.runtime import GraphRuntime, does_not_run, float32, threads_text
from streaming.export.onnx_file import GraphTensor


class TfliteRuntime(GraphRuntime):
    """A graph in TensorFlow Lite.

    Parameters
    ----------
    path
        The graph.
    n_streams, n_threads
        Calls at once, and cores for each.

    Raises
    ------
    MissingExtraError
        If LiteRT is not installed.
    CheckpointError
        If it does not take the graph.
    """

    def __init__(self, path: Path, n_streams: int = 1, n_threads: int = 1) -> None:
        self._path = path
        self._threads = threads_text(n_streams, n_threads)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(n_streams):
            interpreter = _open_interpreter(path, n_threads)
            self._free.put(interpreter)
        self._input = interpreter.get_input_details()[0]["index"]
        details = interpreter.get_output_details()
        self._outputs = {output["name"]: output["index"] for output in details}
        self.inputs = tuple(map(_tensor, interpreter.get_input_details()))
        self.outputs = tuple(map(_tensor, details))

    def __str__(self) -> str:
        return f"LiteRT {packages.version('ai-edge-litert')} on cpu, {self._threads}, fp32"

    def run(self, values: Floats, outputs: Sequence[str]) -> list[Floats]:
        """Return some outputs; see `GraphRuntime`."""
        interpreter = self._free.get()
        try:
            if tuple(interpreter.get_input_details()[0]["shape"]) != values.shape:
                interpreter.resize_tensor_input(self._input, values.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(self._input, values)
            interpreter.invoke()
            return [float32(interpreter.get_tensor(self._outputs[name])) for name in outputs]
        except (RuntimeError, ValueError) as error:
            raise does_not_run(self._path, values.shape, error) from error
        finally:
            self._free.put(interpreter)


def _open_interpreter(path: Path, n_threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError(f"{printable(path.name)}: LiteRT", "tflite") from error
    try:
        with _quiet():
            interpreter = Interpreter(model_path=os.fspath(path), num_threads=n_threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = message_of(error)
        raise CheckpointError(
            f"{printable(path.name)}: LiteRT does not take this graph ({reason}). Check the file."
        ) from error
    return interpreter


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard what LiteRT prints from C++, a line of information for the first graph."""
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed: there is nothing to discard
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        with suppress(OSError):
            os.dup2(kept, 2)
        os.close(null)
        os.close(kept)


def _tensor(details: dict[str, Any]) -> GraphTensor:
    # The signature has -1 where an axis may have any length.
    signature = details.get("shape_signature", details["shape"])
    axes = tuple(int(n) if n >= 0 else None for n in signature)
    return GraphTensor(str(details["name"]), axes, details["dtype"] == np.float32)
