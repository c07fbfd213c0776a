"""Find the output of a graph of others with the scores, and what makes probabilities of them."""

from __future__ import annotations

import dataclasses
import logging
from typing import cast

import numpy as np

from sed.errors import UsageError
from sed.text import near
from sed.types import Floats
from streaming.engines.graphs.description import Activation, GraphModel, input_shape
from streaming.engines.graphs.runtime import GraphRuntime
from streaming.export.onnx_file import GraphTensor

PROBES = "noise, loud noise, silence and an impulse"
TOLERANCE = 1e-4  # by which rounded probabilities may leave 0 to 1

_log = logging.getLogger("sed.engines")


def with_output(
    name: str,
    model: GraphModel,
    runtime: GraphRuntime,
    tensor: GraphTensor,
    wanted: str | None,
    activation: str | None,
) -> GraphModel:
    """Return a description with the output and its activation, after running the graph.

    Scores of one window say little: a graph without a sigmoid may give values within 0 and 1 for
    noise, and others for sound. So the graph is run on four windows that differ.

    Parameters
    ----------
    name
        The graph, for messages.
    model
        Its description without them.
    runtime, tensor
        The graph and its input.
    wanted
        Name of the output; the only one of as many values as there are labels, if None.
    activation
        What makes probabilities of it; if None it has to be probabilities already.

    Raises
    ------
    UsageError
        If the output or the activation cannot be found out, or the labels are not as many.
    """
    names = [output.name for output in runtime.outputs]
    if wanted is not None and wanted not in names:
        raise UsageError(f"{name}: there is no output {wanted!r}. {near(wanted, names)}")
    names = names if wanted is None else [wanted]
    found = [runtime.run(window, names) for window in _windows(input_shape(tensor.shape, model))]
    outputs = dict(zip(names, found[0], strict=True))
    n_labels = len(model.labels)
    fitting = [each for each, values in outputs.items() if _n_classes(values) == n_labels]
    if len(fitting) != 1:
        listed = ", ".join(f"{each} {values.shape}" for each, values in outputs.items())
        if fitting:
            raise UsageError(f"{name}: several outputs may be the scores, {listed}: give --output")
        raise UsageError(
            f"{name}: there are {n_labels} labels, and no output has as many scores for a window: "
            f"{listed}. Check --labels"
        )
    (chosen,) = fitting
    if activation is None:
        scores = np.stack([window[names.index(chosen)] for window in found])
        _check_probabilities(name, chosen, scores)
        activation = "none"
    return dataclasses.replace(model, output=chosen, activation=cast(Activation, activation))


def are_probabilities(scores: Floats) -> bool:
    """Return whether scores lie within 0 and 1; those that are not finite do not count."""
    scores = scores[np.isfinite(scores)]
    return not scores.size or bool(scores.min() >= -TOLERANCE and scores.max() <= 1 + TOLERANCE)


def _check_probabilities(name: str, output: str, scores: Floats) -> None:
    """Refuse scores that are none; say what follows from those that may be.

    Raises
    ------
    UsageError
        If one is below 0 or above 1.
    """
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    measured = f"from {low:.3g} to {high:.3g} for {PROBES}"
    if not are_probabilities(scores):
        raise UsageError(
            f"{name}: the output {output} is no probability ({measured}): give --activation "
            "sigmoid (classes that may sound together) or softmax (one of all), as its authors say"
        )
    _log.warning(
        "%s: taken for probabilities, as with --activation none: %s is %s. If its authors say "
        "otherwise, give --activation",
        name,
        output,
        measured,
    )


def _windows(shape: tuple[int, ...]) -> list[Floats]:
    """Return windows of noise, loud noise, silence, and an impulse."""
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    silence = np.zeros(shape, np.float32)
    impulse = silence.copy()
    impulse.reshape(-1)[impulse.size // 2] = 1.0
    return [np.float32(0.1) * noise, np.clip(noise, -1, 1), silence, impulse]


def _n_classes(values: Floats) -> int | None:
    """Return the classes of an output for one window: all axes but one have the length 1."""
    is_scores = values.dtype == np.float32 and max(values.shape, default=0) == values.size
    return int(values.size) if is_scores else None
