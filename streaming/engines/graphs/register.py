"""Check a graph of others and describe it: ask it for what it says, refuse what does not fit."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sed.errors import CheckpointError, UsageError
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.models.metadata import sha256_of
from sed.models.registry import add_model
from sed.text import near, printable
from sed.timeline import samples_from_seconds
from streaming.encoders.onnx import describe_shape
from streaming.engines.graphs.description import (
    ACTIVATIONS,
    SUFFIXES,
    GraphModel,
    graph_metadata,
)
from streaming.engines.graphs.labels import Labels
from streaming.engines.graphs.output import with_output
from streaming.engines.graphs.select import open_runtime
from streaming.export.onnx_file import METADATA_KEY as ONNX_KEY
from streaming.export.onnx_file import GraphTensor
from streaming.export.openvino import METADATA_KEY as OPENVINO_KEY

# The metadata of `streaming.export`: an entry of metadata_props in protobuf, an element of XML.
ONNX_MARK = b"\n\x0a" + ONNX_KEY.encode() + b"\x12"
OPENVINO_MARK = b"<" + OPENVINO_KEY[0].encode() + b">"
THRESHOLD = 0.5  # of registered graphs, if none is given


def describe_graph(
    path: str | os.PathLike[str],
    labels: Labels,
    *,
    sample_rate: int | None = None,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    input: str | None = None,
    output: str | None = None,
    activation: str | None = None,
    log_mel: LogMelConfig | None = None,
    threshold: float = THRESHOLD,
    licence: str = "",
) -> GraphModel:
    """Load a graph, run it on a few windows, and return its description.

    Parameters
    ----------
    path
        The graph: .onnx, .xml with its .bin, or .tflite.
    labels
        The classes, in the order of the output.
    sample_rate
        Samples per second; that of `log_mel` if it is given.
    window_seconds
        Length of a window; what the graph takes, if it takes one length only.
    hop_seconds
        From one window to the next; a window if not given.
    input
        Name of the input, where the graph should be checked for it.
    output
        Name of the output with the scores; the only one of as many values as there are labels, if
        not given.
    activation
        sigmoid, softmax or none: what makes probabilities of the output. none if not given, and the
        output is within 0 and 1.
    log_mel
        The spectrogram that the graph takes, instead of samples.
    threshold
        Probability that an event must reach, and down to which it lasts.
    licence
        Licence of the graph, for `sed models`.

    Raises
    ------
    UsageError
        If something is missing, or does not fit the graph.
    CheckpointError
        If the graph cannot be loaded or run, or has no fitting input.
    MissingExtraError
        If a package is not installed.
    """
    path = Path(path)
    name = printable(str(path))
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{name}: expected a graph that ends in {', '.join(SUFFIXES)}")
    if activation not in (None, *ACTIVATIONS):
        raise UsageError(f"unknown activation {activation!r}. {near(str(activation), ACTIVATIONS)}")
    if not os.path.isfile(path):
        raise CheckpointError(f"{name}: no such file. Check the name.")
    refuse_exported(path)
    sample_rate = _checked_rate(name, sample_rate, log_mel)
    # Of the libraries for ONNX its own is the strictest.
    engine = "onnx" if path.suffix.lower() == ".onnx" and find_spec("onnxruntime") else "auto"
    runtime = open_runtime(path, engine)
    tensor = _checked_input(name, runtime.inputs, input, log_mel)
    if path.suffix.lower() != ".tflite":  # those can be resized
        _check_batch(name, tensor, log_mel)
    window_seconds = _window_seconds(name, tensor, sample_rate, window_seconds, log_mel)
    hop_seconds = window_seconds if hop_seconds is None else hop_seconds
    if not 0 < hop_seconds <= window_seconds:
        raise UsageError(
            f"expected a hop above 0 and up to the window of {window_seconds:g} s, got "
            f"{hop_seconds:g} s"
        )
    if not 0 < threshold <= 1:
        raise UsageError(f"expected a threshold above 0 and up to 1, got {threshold:g}")
    model = GraphModel(
        path.name,
        sha256_of(path),
        tensor.name,
        "",
        "none",
        labels.names,
        sample_rate,
        window_seconds,
        hop_seconds,
        labels.species,
        log_mel,
        # A frame is a whole window: an event lasts as long as windows reach the same threshold.
        TrackerConfig(onset_threshold=threshold, offset_threshold=threshold),
        licence,
    )
    _check_grid(name, model, tensor)
    return with_output(name, model, runtime, tensor, output, activation)


def add_graph(
    path: str | os.PathLike[str], name: str, model: GraphModel, *, replace: bool = False
) -> Path:
    """Copy a graph into the user's model folder, and write its description there.

    Parameters
    ----------
    path
        The graph.
    name
        The name that it gets.
    model
        As `describe_graph` returns it.
    replace
        Whether to replace a model of this name.

    Returns
    -------
    The description.

    Raises
    ------
    UsageError
        If the name cannot be one or is taken, or the graph needs other files beside it.
    CheckpointError
        If the graph cannot be read.
    OutputError
        If a file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    files = {suffix: path}
    if suffix == ".xml":
        files[".bin"] = path.with_suffix(".bin")
    _check_alone(path, files)
    renamed = dataclasses.replace(model, file=name + suffix)
    return add_model(name, graph_metadata(renamed), files, replace=replace)


def _check_alone(path: Path, files: Mapping[str, Path]) -> None:
    """Refuse a graph that cannot be loaded without other files, such as weights in ONNX.

    Raises
    ------
    UsageError
        If so.
    """
    with tempfile.TemporaryDirectory() as folder:
        for suffix, file in files.items():
            with suppress(OSError):  # a missing .bin is reported with the graph
                shutil.copyfile(file, Path(folder, f"graph{suffix}"))
        try:
            open_runtime(Path(folder, f"graph{path.suffix.lower()}"))
        except CheckpointError as error:
            raise UsageError(
                f"{printable(str(path))}: it cannot be loaded from another folder, so it needs "
                "files beside it. Save it as one file, with its weights"
            ) from error


def _checked_rate(name: str, sample_rate: int | None, log_mel: LogMelConfig | None) -> int:
    if log_mel is not None and sample_rate not in (None, log_mel.sample_rate):
        raise UsageError(
            f"the sample rate is {log_mel.sample_rate} in the log-mel, and not {sample_rate}: "
            "leave out one"
        )
    rate = log_mel.sample_rate if log_mel is not None else sample_rate
    if rate is None:
        raise UsageError(f"{name}: its sample rate is not known: give --sample-rate")
    if rate < 1:
        raise UsageError(f"expected a sample rate above 0 Hz, got {rate}")
    return rate


def _checked_input(
    name: str, inputs: Sequence[GraphTensor], wanted: str | None, log_mel: LogMelConfig | None
) -> GraphTensor:
    """Return the only input, if it can be samples or a log-mel.

    Raises
    ------
    UsageError
        If it has another name.
    CheckpointError
        If it cannot be.
    """
    found = ", ".join(f"{i.name} {describe_shape(i)}" for i in inputs) or "none"
    if wanted is not None and wanted not in [tensor.name for tensor in inputs]:
        raise UsageError(f"{name}: there is no input {wanted!r}. It has: {found}")
    shapes = "(samples), (batch, samples), (batch, 1, samples) or (batch, samples, 1)"
    n_values = 1
    if log_mel is not None:
        n_values = 2
        shapes = "(batch, columns, mels), (batch, 1, columns, mels) or (batch, columns, mels, 1)"
    axes = inputs[0].shape if inputs else None
    n_axes = n_values if axes is None else len(axes)
    if len(inputs) != 1 or not inputs[0].is_float or not n_values <= n_axes <= n_values + 2:
        what = "samples" if log_mel is None else "a log-mel"
        raise CheckpointError(
            f"{name}: expected one input of {what} in fp32, {shapes}, found {found}. Export such a "
            "graph."
        )
    return inputs[0]


def refuse_exported(path: Path) -> None:
    """Refuse a graph that `sed export` wrote: as one of others it would lose most of its metadata.

    Raises
    ------
    UsageError
        If it is one.
    """
    name = printable(str(path))
    mark = {".onnx": ONNX_MARK, ".xml": OPENVINO_MARK}.get(path.suffix.lower())
    try:
        is_exported = mark is not None and mark in path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}. Check the name.") from error
    if is_exported:
        raise UsageError(
            f"{name}: sed export wrote this graph. Add the checkpoint that it was exported from, "
            "or give the graph to --model as it is"
        )


def _check_batch(name: str, tensor: GraphTensor, log_mel: LogMelConfig | None) -> None:
    """Refuse an input for several windows or channels at once.

    Raises
    ------
    UsageError
        If it is one.
    """
    axes = list(tensor.shape or ())
    n_values = 1 if log_mel is None else 2
    if len(axes) > n_values + 1 and axes[-1] == 1:
        axes.pop()
    for n, what in zip(axes[:-n_values], ("windows", "channels"), strict=False):
        if n not in (None, 1):
            raise UsageError(
                f"{name}: the input {tensor.name} {describe_shape(tensor)} takes {n} {what} at "
                "once. Export it for one, or for any number"
            )


def _window_seconds(
    name: str,
    tensor: GraphTensor,
    sample_rate: int,
    given: float | None,
    log_mel: LogMelConfig | None,
) -> float:
    """Return the length of a window: what the graph takes, or what is given.

    Raises
    ------
    UsageError
        If it is not known, or both contradict each other.
    """
    axes = list(tensor.shape or ())
    n_values = 1 if log_mel is None else 2
    if len(axes) > n_values + 1 and axes[-1] == 1:
        axes.pop()
    fixed = axes[-n_values] if axes else None
    step = 1 if log_mel is None else log_mel.hop_length
    unit = "samples" if log_mel is None else "columns"
    if fixed is None and given is None:
        raise UsageError(f"{name}: it takes any number of {unit}: give --window SECONDS")
    if fixed is None:
        assert given is not None
        if samples_from_seconds(given, sample_rate) < step:
            raise UsageError(f"expected a window above 0 s, got {given:g} s")
        return given
    seconds = fixed * step / sample_rate
    if given is not None and samples_from_seconds(given, sample_rate) != fixed * step:
        raise UsageError(
            f"{name}: it takes {fixed} {unit}, which are {seconds:g} s at {sample_rate} Hz, and "
            f"not {given:g} s: check --sample-rate and --window"
        )
    return seconds


def _check_grid(name: str, model: GraphModel, tensor: GraphTensor) -> None:
    """Refuse a window or a hop that are not whole columns, or a hop that does not divide it."""
    try:
        spec = model.spec
        window_columns = spec.window_columns
    except ValueError as error:
        raise UsageError(f"{name}: window or hop: {error}") from error
    if window_columns % spec.frame_columns:
        raise UsageError(
            f"a hop of {model.hop_seconds:g} s does not divide the window of "
            f"{model.window_seconds:g} s"
        )
    axes = tensor.shape or ()
    mels = axes[-2] if len(axes) == 4 and axes[-1] == 1 else axes[-1] if axes else None
    if model.log_mel is not None and mels not in (None, model.log_mel.n_mels):
        raise UsageError(
            f"{name}: it takes {mels} mel bands, and the log-mel has {model.log_mel.n_mels}"
        )
