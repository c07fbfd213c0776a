"""Register graphs of others for `sed models add`: its options about them, and what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sed.errors import CheckpointError, UsageError
from sed.text import printable

GRAPH = "Graphs of others (.onnx, .xml, .tflite)"

LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Names of the classes in the order of the output: one a line, or CSV with a header. "
        "Lines like Erithacus rubecula_European Robin give scientific and common names.",
        show_default=False,
        rich_help_panel=GRAPH,
    ),
]
SampleRate = Annotated[
    int | None,
    typer.Option(
        "--sample-rate",
        metavar="HZ",
        help="Samples per second that the graph takes. Recordings of any rate are resampled to it.",
        show_default=False,
        rich_help_panel=GRAPH,
    ),
]
Window = Annotated[
    float | None,
    typer.Option(
        "--window",
        metavar="SECONDS",
        help="Length of a window, which is one input of the graph.",
        show_default="what the graph says",
        rich_help_panel=GRAPH,
    ),
]
GraphHop = Annotated[
    float | None,
    typer.Option(
        "--hop",
        metavar="SECONDS",
        help="From the start of one window to the start of the next, unless detect or listen are "
        "given another one. It divides the window.",
        show_default="the window",
        rich_help_panel=GRAPH,
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="NAME",
        help="Input that the graph must have.",
        show_default="its only one",
        rich_help_panel=GRAPH,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="NAME",
        help="Output with the scores.",
        show_default="the only one with as many values as labels",
        rich_help_panel=GRAPH,
    ),
]
ActivationName = Annotated[
    str | None,
    typer.Option(
        "--activation",
        metavar="sigmoid|softmax|none",
        help="What makes probabilities of the output: sigmoid if classes may sound together, "
        "softmax if it is one of all.",
        show_default="none, if the output lies within 0 and 1",
        rich_help_panel=GRAPH,
    ),
]
LogMelFile = Annotated[
    Path | None,
    typer.Option(
        "--log-mel",
        metavar="FILE",
        help="For graphs that take a log-mel spectrogram, (batch, columns, mels): JSON with its "
        "parameters, the table log_mel of a checkpoint.",
        show_default="the graph takes samples",
        rich_help_panel=GRAPH,
    ),
]
GraphThreshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="P",
        help="Probability that a window must reach, unless detect or listen are given another one.",
        show_default="0.5",
        rich_help_panel=GRAPH,
    ),
]
Licence = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Licence of the graph, which `sed models` shows.",
        show_default=False,
        rich_help_panel=GRAPH,
    ),
]


@dataclass(frozen=True)
class GraphOptions:
    """The options of `sed models add` about graphs of others; None where one is not given."""

    labels: Path | None = None
    sample_rate: int | None = None
    window_seconds: float | None = None
    hop_seconds: float | None = None
    input: str | None = None
    output: str | None = None
    activation: str | None = None
    log_mel: Path | None = None
    threshold: float | None = None
    licence: str = ""


def is_graph_file(file: str) -> bool:
    """Return whether a file is a graph, by its ending."""
    from streaming.engines.graphs.description import SUFFIXES

    return Path(file).suffix.lower() in SUFFIXES


def register_graph(
    file: str, name: str, options: GraphOptions, *, replace: bool = False
) -> tuple[Path, int]:
    """Check a graph and copy it into the folder of own models.

    Parameters
    ----------
    file
        The graph.
    name
        The name to give it.
    options
        What is known about it.
    replace
        Replace a model of this name.

    Returns
    -------
    tuple of Path and int
        Its description, and the number of its classes.

    Raises
    ------
    UsageError
        If an option is missing or does not fit the graph, or the name is taken.
    SedError
        If a file cannot be read or written, or the graph cannot be run.
    """
    from streaming.engines.graphs.description import read_log_mel
    from streaming.engines.graphs.labels import read_labels
    from streaming.engines.graphs.register import (
        THRESHOLD,
        add_graph,
        describe_graph,
        refuse_exported,
    )

    refuse_exported(Path(file))
    if options.labels is None:
        raise UsageError(
            f"{printable(file)}: a graph has no names of classes: give --labels FILE, with one "
            "label a line"
        )
    model = describe_graph(
        file,
        read_labels(options.labels),
        sample_rate=options.sample_rate,
        window_seconds=options.window_seconds,
        hop_seconds=options.hop_seconds,
        input=options.input,
        output=options.output,
        activation=options.activation,
        log_mel=None if options.log_mel is None else read_log_mel(options.log_mel),
        threshold=THRESHOLD if options.threshold is None else options.threshold,
        licence=options.licence,
    )
    return add_graph(file, name, model, replace=replace), len(model.labels)


def copy_graph(description: Path, name: str, *, replace: bool = False) -> tuple[Path, int]:
    """Copy a registered graph into the folder of own models, under another name.

    Parameters
    ----------
    description
        That of the graph, beside it.
    name
        The name to give it.
    replace
        Replace a model of this name.

    Returns
    -------
    tuple of Path and int
        Its description, and the number of its classes.

    Raises
    ------
    SedError
        If a file cannot be read or written, or the name is taken.
    """
    from streaming.engines.graphs.description import check_graph, read_graph_model
    from streaming.engines.graphs.register import add_graph

    model = read_graph_model(description)
    graph = check_graph(description, model)
    return add_graph(graph, name, model, replace=replace), len(model.labels)


def refuse_graph_options(file: str, options: GraphOptions) -> None:
    """Refuse options about graphs for a checkpoint or a graph that is registered.

    Raises
    ------
    UsageError
        If there is one.
    """
    if options != GraphOptions():
        raise UsageError(
            f"{printable(file)}: options about graphs of others do not fit a checkpoint or a name, "
            "which say all themselves: leave them out, or give a graph (.onnx, .xml, .tflite)"
        )


def describe_graph_model(path: Path) -> str:
    """Return a few lines about a registered graph: input, output, events and classes.

    Parameters
    ----------
    path
        Its description.

    Raises
    ------
    CheckpointError
        If the description is wrong, or the graph is missing or another one.
    """
    from streaming.engines.graphs.description import check_graph, read_graph_model

    model = read_graph_model(path)
    graph = check_graph(path, model)
    what = "samples" if model.log_mel is None else f"{model.log_mel.n_mels} mel bands"
    what = f"{printable(model.input)}: {what} at {model.sample_rate / 1000:g} kHz"
    tracker = model.post_processing
    lines = [
        f"{printable(str(path))}: a graph of others, {printable(graph.name)}",
        f"  input     {what}, windows of {model.window_seconds:g} s, one every "
        f"{model.hop_seconds:g} s",
        f"  output    {printable(model.output)}, activation {model.activation}",
        f"  events    onset threshold {tracker.onset_threshold}, offset threshold "
        f"{tracker.offset_threshold}",
        *([f"  licence   {printable(model.licence)}"] if model.licence else ()),
        f"  {len(model.labels)} classes: " + printable(", ".join(model.labels)),
    ]
    return "\n".join(lines)


def post_processing_columns(name: str) -> list[list[str]]:
    """Return what turns the probabilities of a model into events, class by class.

    Parameters
    ----------
    name
        Name of a model, a checkpoint, or a registered graph.

    Returns
    -------
    The columns of a table: the name of each and its values.

    Raises
    ------
    CheckpointError
        If it is none, or its metadata is incomplete.
    """
    from sed.config import config_from_dict
    from sed.events.tracker import TrackerConfig
    from sed.models.metadata import read_metadata
    from sed.models.registry import find_model
    from streaming.engines.graphs.description import find_graph, read_graph_model

    path = find_model(name)
    if (described := find_graph(path)) is not None:
        graph = read_graph_model(described)
        labels, config = graph.labels, graph.post_processing
    else:
        metadata = read_metadata(path)
        try:
            labels = tuple(map(str, metadata["labels"]))
            values = metadata["post_processing"]
            config = config_from_dict(TrackerConfig, values, "post_processing")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{printable(str(path))}: the metadata is incomplete: {error}. Copy both files "
                "again."
            ) from error
    columns = [["class", *map(printable, labels)]]
    for key in vars(config):
        if key in config.as_dict() or key == "decoder":
            cells = [v if isinstance(v, str) else f"{v:g}" for v in config.values(key, len(labels))]
            columns.append([key, *cells])
    return columns
