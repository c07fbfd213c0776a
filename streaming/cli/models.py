"""Define the commands `sed models`, and `add`, `remove` and `path` below it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sed.errors import FAILED, CheckpointError, SedError
from sed.text import pluralize, printable
from streaming.cli.graphs import (
    ActivationName,
    GraphHop,
    GraphOptions,
    GraphThreshold,
    Input,
    LabelsFile,
    Licence,
    LogMelFile,
    Output,
    SampleRate,
    Window,
    copy_graph,
    is_graph_file,
    refuse_graph_options,
    register_graph,
)
from streaming.cli.options import MODEL, OUTPUT, Quiet, Verbose

if TYPE_CHECKING:
    from rich.table import Table

    from sed.models.registry import ModelEntry
    from streaming.engines.speed import Speed

# Sets of metrics that say least about other recordings, and are shown only if there is no other.
_WEAK_SETS = ("validation", "example")
# Values of a set of metrics that are no figure of merit.
_NO_FIGURES = ("loss", "learning_rate", "seconds", "clips_per_second", "fold", "epoch")
_MAX_FIGURES = 3

models = typer.Typer(
    help="List the models that have a name; add, remove and find your own.",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
)


@models.callback()
def list_all(
    context: typer.Context,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure the speed of all models on this machine again, one after the other, in a "
            "few seconds each.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print all that is known as JSON, a list with an object for each model.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """List the models that have a name: classes, size, speed on this machine, licence, figures."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from sed.cli import show_log
    from sed.models.registry import list_models, own_folder

    show_log(verbose=verbose)
    entries = list_models()
    failures: list[str] = []
    speeds = [_speed(entry, failures, measure=measure) for entry in entries]
    if as_json:
        rows = [_as_dict(*row) for row in zip(entries, speeds, strict=True)]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        console.print(_table(entries, speeds))
        folder = printable(str(own_folder()))
        notes = [f"* is the default; your own are in {folder}"]
        if dates := sorted({speed.measured for speed in speeds if speed and speed.measured}):
            notes.append("speeds measured on " + " to ".join(dict.fromkeys([dates[0], dates[-1]])))
        console.print("; ".join(notes), markup=False, soft_wrap=True)
    for failure in failures:
        print(f"sed: {failure}", file=sys.stderr)
    if failures:
        raise typer.Exit(FAILED)


@models.command()
def add(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Checkpoint (.safetensors) or run directory of `sed train` or `sed fit`, or a "
            "graph of others (.onnx, .xml, .tflite) from samples to class scores.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name that all commands know it by from now on: lower-case letters, digits, - "
            "and _.",
            show_default=False,
        ),
    ],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace your model of this name.", rich_help_panel=OUTPUT),
    ] = False,
    labels: LabelsFile = None,
    sample_rate: SampleRate = None,
    window_seconds: Window = None,
    hop_seconds: GraphHop = None,
    input: Input = None,
    output: Output = None,
    activation: ActivationName = None,
    log_mel: LogMelFile = None,
    threshold: GraphThreshold = None,
    licence: Licence = "",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Copy a checkpoint, or a graph of others, into the folder of your own models, under a name.

    A graph is run on noise, silence and an impulse first: what it says about itself need not be
    given, and what is missing or does not fit is refused.
    """
    from sed.cli import show_log
    from sed.models.registry import check_name
    from streaming.engines.graphs.description import find_graph

    show_log(quiet=quiet, verbose=verbose)
    check_name(name)
    options = GraphOptions(
        labels,
        sample_rate,
        window_seconds,
        hop_seconds,
        input,
        output,
        activation,
        log_mel,
        threshold,
        licence,
    )
    if is_graph_file(file):
        path, n_classes = register_graph(file, name, options, replace=replace)
    else:
        refuse_graph_options(file, options)
        graph = find_graph(file)
        path, n_classes = (
            add_checkpoint(file, name, replace=replace)
            if graph is None
            else copy_graph(graph, name, replace=replace)
        )
    if not quiet:
        print(
            f"{printable(str(path))}: {n_classes} class{'es' * (n_classes != 1)}. "
            f"Use it: sed detect RECORDINGS --model {name}",
            file=sys.stderr,
        )


@models.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Your model.", show_default=False)],
    quiet: Quiet = False,
) -> None:
    """Remove a model from the folder of your own models."""
    from sed.models.registry import remove_model

    remove_model(name)
    if not quiet:
        print(f"{name}: removed", file=sys.stderr)


@models.command()
def path(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a model.", show_default=False)
    ],
) -> None:
    """Print the file of a model."""
    from sed.models.registry import find_model

    print(find_model(name).absolute())


def add_checkpoint(file: str, name: str, *, replace: bool = False) -> tuple[Path, int]:
    """Copy a checkpoint that can be loaded into the folder of own models.

    Parameters
    ----------
    file
        One of its files, its run directory, or its name.
    name
        The name to give it.
    replace
        Replace a model of this name.

    Returns
    -------
    tuple of Path and int
        Where it lies now, and the number of its classes.

    Raises
    ------
    SedError
        If it cannot be loaded or written, or the name is taken.
    """
    from sed.models.checkpoint import load_checkpoint
    from sed.models.metadata import checkpoint_files
    from sed.models.registry import add_model, find_model

    checkpoint = load_checkpoint(file)
    weights, metadata = checkpoint_files(find_model(file))
    try:
        content = metadata.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{printable(str(metadata))}: cannot read: {error.strerror}."
        ) from error
    added = add_model(name, content, {weights.suffix: weights}, replace=replace)
    return added, len(checkpoint.labels)


def _speed(entry: ModelEntry, failures: list[str], *, measure: bool) -> Speed | None:
    """Return the speed of a model where it is known or can be measured."""
    from streaming.engines.speed import known_speed, measure_speed

    if entry.problem:
        return None
    try:
        if not measure:
            return known_speed(str(entry.path))
        print(f"measuring {entry.name}", file=sys.stderr)
        return measure_speed(str(entry.path))
    except SedError as error:
        failures.append(str(error))
        return None


def _table(entries: Sequence[ModelEntry], speeds: Sequence[Speed | None]) -> Table:
    """Return a row per model."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    for header in ("classes", "MB"):
        table.add_column(header, justify="right")
    table.add_column("× real time", justify="right")
    for header in ("licence", "figures"):
        table.add_column(header)
    for entry, speed in zip(entries, speeds, strict=True):
        if entry.problem:
            table.add_row(entry.name, "", "", "", "", Text(printable(entry.problem)))
            continue
        times = "not measured" if speed is None else f"{speed.times_real_time:,.0f}"
        table.add_row(
            entry.name + " *" * entry.is_default,
            f"{len(entry.labels):,}",
            f"{entry.n_bytes / 1e6:.1f}",
            times,
            Text(printable(_licence(entry).partition(";")[0]) if _licence(entry) else "not stated"),
            Text(figures(entry.metadata.get("metrics"))),
        )
    return table


def figures(metrics: object) -> str:
    """Return the first figures of merit in the metrics of a checkpoint, for one line.

    Parameters
    ----------
    metrics
        Metrics by the data that they were measured on, as in a checkpoint.

    Returns
    -------
    str
        Such as ``fold 1, 400 clips, held out: accuracy 0.905``; empty if there is none. Validation
        data chose the checkpoint, so that its figures are higher than those of other recordings.
    """
    if not isinstance(metrics, Mapping):
        return ""
    for name in sorted(metrics, key=lambda name: name in _WEAK_SETS):  # stable
        values = metrics[name]
        shown = [
            f"{str(key).replace('_', ' ')} {value:.3f}"
            for key, value in (values.items() if isinstance(values, Mapping) else ())
            if isinstance(value, float) and key not in _NO_FIGURES
        ]
        if shown:
            return printable(f"{_data_of(str(name), values)}: " + ", ".join(shown[:_MAX_FIGURES]))
    return ""


def _data_of(name: str, values: Mapping[str, object]) -> str:
    """Return the name of a set of metrics, its clips, and whether training saw them."""
    n_clips = values.get("clips", values.get("n_clips"))
    parts = [name.replace("_", " ")]
    if isinstance(n_clips, int):
        parts.append(pluralize(n_clips, "clip"))
    if name in _WEAK_SETS:
        parts.append("not held out")
    elif name.startswith(("fold", "test")):
        parts.append("held out")
    return ", ".join(parts)


def _licence(entry: ModelEntry) -> str:
    data = entry.metadata.get("data")
    return str(data.get("licence", "")) if isinstance(data, Mapping) else ""


def _as_dict(entry: ModelEntry, speed: Speed | None) -> dict[str, Any]:
    """Return all that is known of a model as plain values."""
    return {
        "name": entry.name,
        "is_default": entry.is_default,
        "is_shipped": entry.is_shipped,
        "path": str(entry.path),
        "labels": list(entry.labels),
        "n_bytes": entry.n_bytes,
        "speed": None if speed is None else asdict(speed),
        "licence": _licence(entry) or None,
        "metrics": entry.metadata.get("metrics", {}),
        "problem": entry.problem or None,
    }
