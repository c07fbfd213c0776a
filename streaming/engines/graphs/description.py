"""Describe a graph of others in a JSON file beside it, so that it runs as a model.

::

    {
     "format": "sed-engine graph", "format_version": 1,
     "graph": {"file": "birdnet.tflite", "sha256": …, "input": "INPUT", "output": "Identity",
               "activation": "sigmoid"},
     "labels": ["Abroscopus albogularis", …],
     "species": [["Abroscopus albogularis", "Rufous-faced Warbler"], …],     only for species
     "sample_rate": 48000, "window_seconds": 3.0, "hop_seconds": 3.0,
     "log_mel": {…},                               only for graphs of log-mel spectrograms
     "post_processing": {"onset_threshold": 0.5, …},
     "data": {"licence": "CC BY-NC-SA 4.0"}
    }

`sed models add` writes it after it has checked the graph; see `streaming.engines.graphs.register`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sed.config import config_from_dict
from sed.errors import CheckpointError, UsageError
from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig
from sed.models.bounds import check_metadata
from sed.models.metadata import GRAPH_FORMAT, parse_metadata, sha256_of
from sed.models.registry import find_model
from sed.models.spec import ModelSpec, sample_blocks
from sed.text import printable
from sed.timeline import samples_from_seconds
from streaming.engines.graphs.labels import read_text

FORMAT_VERSION = 1
SUFFIXES = (".onnx", ".xml", ".tflite")  # of graphs that can be registered
ACTIVATIONS = ("sigmoid", "softmax", "none")
MIN_COLUMN_SECONDS, MAX_COLUMN_SECONDS = 0.001, 0.02

Activation = Literal["sigmoid", "softmax", "none"]


@dataclass(frozen=True)
class GraphModel:
    """A graph from windows of samples or log-mel to the scores of classes, and what it needs.

    Attributes
    ----------
    file
        Name of the graph, beside the description.
    sha256
        Its checksum.
    input, output
        Names of the input and of the output with the scores.
    activation
        What makes probabilities of the output.
    labels
        Names of the classes, in the order of the output.
    sample_rate
        Samples per second.
    window_seconds
        Length of the input.
    hop_seconds
        From one window to the next, unless another hop is requested.
    species
        Scientific and common name of each class; empty if they are not known.
    log_mel
        The spectrogram that the graph takes; samples if None.
    post_processing
        Thresholds and durations that turn probabilities into events.
    licence
        Licence of the graph; empty if it is not known.
    """

    file: str
    sha256: str
    input: str
    output: str
    activation: Activation
    labels: tuple[str, ...]
    sample_rate: int
    window_seconds: float
    hop_seconds: float
    species: tuple[tuple[str, str], ...] = ()
    log_mel: LogMelConfig | None = None
    post_processing: TrackerConfig = field(default_factory=TrackerConfig)
    licence: str = ""

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return samples_from_seconds(self.window_seconds, self.sample_rate)

    @property
    def spec(self) -> ModelSpec:
        """Input and output as those of a model whose frames are whole windows.

        Raises
        ------
        ValueError
            If window or hop are not whole columns of the spectrogram.
        """
        hop_samples = samples_from_seconds(self.hop_seconds, self.sample_rate)
        log_mel = self.log_mel or sample_blocks(
            self.sample_rate, column_samples(self.window_samples, hop_samples, self.sample_rate)
        )
        whole = ModelSpec(
            self.labels,
            log_mel,
            frame_columns=1,
            n_frames=1,
            window_seconds=self.window_seconds,
            post_processing=self.post_processing,
            species=self.species,
        )
        return whole.with_hop(whole.timeline.columns_from_seconds(self.hop_seconds))


def read_log_mel(path: str | os.PathLike[str]) -> LogMelConfig:
    """Return the parameters of a spectrogram in a JSON file.

    Parameters
    ----------
    path
        Holds the table, or a checkpoint's metadata with the table ``log_mel``.

    Raises
    ------
    SedError
        If the file cannot be read.
    UsageError
        If it holds something else.
    """
    try:
        values = parse_metadata(read_text(Path(path)))
        check_metadata({"log_mel": values.get("log_mel", values)})
        return config_from_dict(LogMelConfig, values.get("log_mel", values), "log_mel")
    except (AttributeError, ValueError) as error:
        raise UsageError(
            f"{printable(os.fspath(path))}: no parameters of a log-mel ({error}). Give JSON with "
            "names and values as in the table log_mel of a checkpoint"
        ) from error


def column_samples(window_samples: int, hop_samples: int, sample_rate: int) -> int:
    """Return the samples of a column: short enough to show, and a divisor of window and hop.

    Hops may be multiples of it. It is the longest divisor of up to 20 ms; a long one, if there is
    none.
    """
    both = math.gcd(window_samples, hop_samples)
    longest = max(1, int(MAX_COLUMN_SECONDS * sample_rate))
    shortest = max(1, int(MIN_COLUMN_SECONDS * sample_rate))
    fitting = (n for n in range(min(longest, both), shortest - 1, -1) if both % n == 0)
    return next(fitting, both)


def input_shape(axes: tuple[int | None, ...] | None, model: GraphModel) -> tuple[int, ...]:
    """Return the shape of one window for an input with some axes; (1, …) if they are not known."""
    values: tuple[int, ...] = (model.window_samples,)
    if model.log_mel is not None:
        values = (model.spec.window_columns, model.log_mel.n_mels)
    n_ones = 1 if axes is None else len(axes) - len(values)
    if n_ones > 1 and axes is not None and axes[-1] == 1:
        return (*(1,) * (n_ones - 1), *values, 1)
    return (*(1,) * n_ones, *values)


def find_graph(model: object) -> Path | None:
    """Return the description of a graph of others; None if a model is something else.

    Parameters
    ----------
    model
        Anything that may be a model; a graph is named by its name in the user's model folder, by
        the path of its description, or by its own path beside the description.
    """
    if not isinstance(model, str | os.PathLike):
        return None
    try:
        path = find_model(model)
    except CheckpointError:
        return None
    if path.suffix not in (".json", *SUFFIXES):
        return None
    described = path.with_suffix(".json")
    try:
        metadata = parse_metadata(described.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(metadata, dict) or metadata.get("format") != GRAPH_FORMAT:
        return None
    graph = metadata.get("graph")
    is_its_file = isinstance(graph, dict) and graph.get("file") == path.name
    return described if path.suffix == ".json" or is_its_file else None


def graph_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a graph beside its description, a path: one, or two of OpenVINO.

    Raises
    ------
    CheckpointError
        If the description cannot be read.
    """
    path = Path(path)
    graph = path.with_name(read_graph_model(path).file)
    return [graph, graph.with_suffix(".bin")] if graph.suffix == ".xml" else [graph]


def read_graph_model(path: str | os.PathLike[str]) -> GraphModel:
    """Return the description of a graph.

    Parameters
    ----------
    path
        The JSON file, or the graph beside it.

    Raises
    ------
    CheckpointError
        If it cannot be read, is incomplete, or of a newer version.
    """
    path = Path(path).with_suffix(".json")
    name = printable(str(path))
    try:
        metadata = parse_metadata(path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}. Check the name.") from error
    except ValueError as error:
        raise CheckpointError(f"{name}: not JSON ({error}). Register the graph again.") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{name}: not the description of a graph. Register the graph again.")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{name}: format version {metadata.get('format_version')}, and this sed-engine reads "
            f"version {FORMAT_VERSION}. Register the graph again with `sed models add`."
        )
    try:
        check_metadata(metadata)
        graph, log_mel = metadata["graph"], metadata.get("log_mel")
        model = GraphModel(
            str(graph["file"]),
            str(graph["sha256"]),
            str(graph["input"]),
            str(graph["output"]),
            graph["activation"],
            tuple(map(str, metadata["labels"])),
            int(metadata["sample_rate"]),
            float(metadata["window_seconds"]),
            float(metadata["hop_seconds"]),
            tuple((str(a), str(b)) for a, b in metadata.get("species", ())),
            None if log_mel is None else config_from_dict(LogMelConfig, log_mel, "log_mel"),
            config_from_dict(TrackerConfig, metadata["post_processing"], "post_processing"),
            str(metadata.get("data", {}).get("licence", "")),
        )
        if model.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {model.activation!r}")
        _ = model.spec
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name}: the description of this graph is wrong ({error}). Register the graph again "
            "with `sed models add`."
        ) from error
    return model


def graph_metadata(model: GraphModel) -> bytes:
    """Return the content of the JSON file of a graph, which `read_graph_model` reads."""
    values: dict[str, Any] = dataclasses.asdict(model)
    values["post_processing"] = model.post_processing.as_dict()
    in_graph = ("file", "sha256", "input", "output", "activation")
    licence = values.pop("licence")
    metadata = {
        "format": GRAPH_FORMAT,
        "format_version": FORMAT_VERSION,
        "graph": {name: values.pop(name) for name in in_graph},
        **{name: value for name, value in values.items() if value not in (None, ())},
        "data": {"licence": licence} if licence else {},
    }
    return (json.dumps(metadata, indent=1, ensure_ascii=False) + "\n").encode()


def check_graph(path: Path, model: GraphModel) -> Path:
    """Return the graph beside a description, after comparing its checksum.

    Raises
    ------
    CheckpointError
        If it is missing, or another one than was registered.
    """
    graph = path.with_name(model.file)
    name = printable(str(graph))
    if not os.path.isfile(graph):
        raise CheckpointError(f"{name}: not found. Keep the graph beside its .json.")
    if sha256_of(graph) != model.sha256:
        raise CheckpointError(
            f"{name}: not the graph that {path.name} describes. Register it again with "
            "`sed models add`."
        )
    return graph
