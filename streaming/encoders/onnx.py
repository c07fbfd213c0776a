"""Run graphs in ONNX that take samples, in ONNX Runtime on the CPU.

Such a graph has one input of fp32, ``(samples,)``, ``(batch, samples)`` or ``(batch, 1, samples)``
at full scale ±1, and an output ``(batch, features)`` or ``(batch, frames, features)``.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from sed.errors import CheckpointError, UsageError
from sed.models.spec import ModelSpec
from sed.text import message_of, near, printable
from sed.types import Floats
from streaming.encoders.base import LAST_NAMES, WINDOW_SECONDS, AudioEncoder, encoder_spec
from streaming.export.onnx_file import GraphDescription, GraphTensor, describe_onnx

RATE_KEYS = ("sample_rate", "sampling_rate")  # of the metadata of a graph
FATAL = 4  # of ONNX Runtime's log
HOP_PARTS = 10  # of a window with one frame: hops may be multiples of such a part


class OnnxEncoder(AudioEncoder):
    """A graph in ONNX from samples to embeddings.

    The frames of an output ``(batch, frames, features)`` are taken to divide the window evenly.

    Parameters
    ----------
    path
        The graph.
    layer
        Name of an output; ``last`` for the first one of a fitting shape.
    precision
        auto or fp32.
    n_streams
        Calls of `encode` that may run at once.
    n_threads
        Cores for each of them.
    sample_rate
        In Hz; that in the metadata of the graph (``sample_rate``) if not given.
    window_seconds
        Length of a window, where the graph takes any; 5 s if not given.

    Raises
    ------
    UsageError
        If the sample rate is missing, or an option contradicts the graph.
    CheckpointError
        If the graph cannot be read or run, or has no fitting input or output.
    MissingExtraError
        If a package is not installed.
    """

    batch_size = 16

    def __init__(
        self,
        path: str | os.PathLike[str],
        layer: str = "last",
        precision: str = "auto",
        *,
        n_streams: int = 1,
        n_threads: int = 1,
        sample_rate: int | None = None,
        window_seconds: float | None = None,
    ) -> None:
        if precision not in ("auto", "fp32"):
            raise UsageError(f"the engine onnx computes in fp32, not in {precision}")
        self._name = printable(os.fspath(path))
        self.n_streams, self.n_threads = n_streams, n_threads
        graph = describe_onnx(path)
        self._input = _find_input(self._name, graph)
        rate = _find_rate(self._name, graph, sample_rate)
        axes = self._input.shape or (None, None)
        self._rank = len(axes)
        self._takes_batches = self._rank > 1 and axes[0] != 1
        n_samples = _window_samples(self._name, axes[-1], rate, window_seconds)
        self._session, self._version = open_session(path, self._name, n_threads)
        names = _output_names(self._name, graph, layer)
        # The shapes that a graph declares are often incomplete; those of an output are certain.
        outputs = self._run(np.zeros((1, n_samples), np.float32), names)
        self._output = _find_output(self._name, names, outputs)
        n_frames, self.n_features = outputs[names.index(self._output)].shape[1:]
        self.spec = _spec(rate, n_samples, n_frames)

    def __str__(self) -> str:
        n = self.n_streams * self.n_threads
        return f"ONNX Runtime {self._version} on cpu, {n} thread{'s' * (n != 1)}, fp32"

    def encode(self, samples: Floats) -> Floats:
        """Return the embeddings of windows, shape (batch, samples); see `AudioEncoder`."""
        parts = [samples] if self._takes_batches else np.split(samples, len(samples))
        rows = [self._run(part, [self._output])[0] for part in parts]
        return np.concatenate(rows)

    def _run(self, samples: Floats, names: list[str]) -> list[Floats]:
        """Return outputs for windows, shape (batch, samples), as (batch, frames, features).

        An output that cannot be brought to this shape stays as it is.
        """
        n = len(samples)
        shape = {1: (-1,), 2: (n, -1), 3: (n, 1, -1)}[self._rank]
        try:
            outputs = self._session.run(names, {self._input.name: samples.reshape(shape)})
        except Exception as error:
            # ONNX Runtime has exceptions of its own, one class for each status.
            reason = message_of(error)
            raise CheckpointError(
                f"{self._name}: does not run on windows of {samples.shape[1]} samples ({reason}). "
                "Check its sample rate and window."
            ) from error
        return [_as_frames(output, n) for output in outputs]


def _as_frames(output: Any, n_windows: int) -> Floats:
    """Return an output as (batch, frames, features) if its shape allows."""
    values = np.asarray(output)
    if values.dtype not in (np.float32, np.float16) or values.ndim == 0:
        return values
    if len(values) != n_windows or values.ndim == 1:
        # Without an axis for the batch: (features,) or (frames, features).
        values = values[None]
    if values.ndim == 2:
        values = values[:, None]
    return values.astype(np.float32)


def _find_input(name: str, graph: GraphDescription) -> GraphTensor:
    """Return the only input of a graph, if it can be samples.

    Raises
    ------
    CheckpointError
        If it cannot.
    """
    inputs = graph.inputs
    only = inputs[0] if len(inputs) == 1 else None
    axes = only.shape if only is not None else None
    fits = axes is None or (1 <= len(axes) <= 3 and (len(axes) < 3 or axes[1] in (1, None)))
    if only is None or not only.is_float or not fits:
        found = ", ".join(f"{i.name} {describe_shape(i)}" for i in inputs) or "none"
        raise CheckpointError(
            f"{name}: expected one input of samples in fp32, (samples), (batch, samples) or "
            f"(batch, 1, samples), found {found}. Export a graph that takes samples."
        )
    return only


def describe_shape(tensor: GraphTensor) -> str:
    """Return the shape of a tensor for messages, such as (any, 48000)."""
    if tensor.shape is None:
        return "of any shape"
    return "(" + ", ".join("any" if n is None else str(n) for n in tensor.shape) + ")"


def _find_rate(name: str, graph: GraphDescription, sample_rate: int | None) -> int:
    """Return the sample rate: the one given, or that in the metadata.

    Raises
    ------
    UsageError
        If there is none, or it is no rate.
    """
    stored = next((graph.properties[key] for key in RATE_KEYS if key in graph.properties), None)
    rate = stored if sample_rate is None else sample_rate
    if rate is None:
        raise UsageError(
            f"{name}: its sample rate is unknown: give --sample-rate, or store it in the graph as "
            "the property sample_rate"
        )
    try:
        hertz = int(float(rate))
    except ValueError:
        hertz = 0
    if hertz < 1:
        raise UsageError(f"{name}: expected a sample rate above 0 Hz, got {rate!r}")
    return hertz


def _window_samples(
    name: str, static: int | None, sample_rate: int, window_seconds: float | None
) -> int:
    """Return the samples of a window: what the graph takes, or what is given.

    Raises
    ------
    UsageError
        If both contradict each other, or the window is no sound.
    """
    given = None if window_seconds is None else round(window_seconds * sample_rate)
    if static is not None and given not in (None, static):
        raise UsageError(
            f"{name}: this graph takes windows of {static / sample_rate:g} s ({static} samples): "
            "leave out the window"
        )
    n_samples = static or given or round(WINDOW_SECONDS * sample_rate)
    if given is not None and given < 1:
        raise UsageError(f"{name}: expected a window above 0 s, got {window_seconds:g} s")
    return n_samples


def _output_names(name: str, graph: GraphDescription, layer: str) -> list[str]:
    """Return the outputs that a layer may be.

    Raises
    ------
    UsageError
        If there is no such output.
    """
    names = [output.name for output in graph.outputs]
    if layer in names:
        return [layer]
    if layer not in LAST_NAMES:
        raise UsageError(f"{name}: there is no output {layer!r}. {near(layer, names)}")
    return names


def _find_output(name: str, names: list[str], outputs: list[Floats]) -> str:
    """Return the first output of the shape (1, frames, features).

    Raises
    ------
    CheckpointError
        If there is none.
    """
    for output, values in zip(names, outputs, strict=True):
        if values.dtype == np.float32 and values.ndim == 3 and len(values) == 1 and values.size:
            return output
    found = ", ".join(f"{n} {v.shape}" for n, v in zip(names, outputs, strict=True))
    raise CheckpointError(
        f"{name}: expected an output of floats, (batch, features) or (batch, frames, features), "
        f"found {found}. Name another output as the layer, or export one."
    )


def _spec(sample_rate: int, n_samples: int, n_frames: int) -> ModelSpec:
    """Return the grid of a window with frames that divide it evenly, as nearly as integers can.

    Where the frames do not divide the samples, the length of a frame is the one near the quotient
    that has the largest divisor in common with the window; the last frame takes the rest.
    """
    if n_frames == 1:
        parts = next(n for n in (HOP_PARTS, 8, 5, 4, 2, 1) if n_samples % n == 0)
        return encoder_spec(sample_rate, n_samples // parts, parts, 1, parts)
    longest = max(1, n_samples // n_frames)
    shortest = max(1, n_samples // (n_frames + 2))
    frame = max(
        range(shortest, longest + 1),
        key=lambda n: (n * n_frames == n_samples, math.gcd(n, n_samples)),
    )
    block = math.gcd(frame, n_samples)
    return encoder_spec(sample_rate, block, frame // block, n_frames, n_samples // block)


def open_session(path: str | os.PathLike[str], name: str, n_threads: int) -> tuple[Any, str]:
    """Return a session of ONNX Runtime, and its version.

    Raises
    ------
    CheckpointError
        If it does not take the graph.
    """
    import onnxruntime  # not loaded for other engines

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL  # errors are raised, and printed once
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # Its exceptions are one class for each status.
        reason = message_of(error)
        raise CheckpointError(
            f"{name}: ONNX Runtime does not take this graph ({reason}). Export it again."
        ) from error
    return session, onnxruntime.__version__
