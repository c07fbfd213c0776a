"""Define the command `sed export`. Heavy libraries are imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streaming.cli.options import MODEL, OUTPUT, Verbose


def export(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE",
            help="Name of a model, checkpoint (.safetensors) or run directory of `sed train`.",
            show_default="the default model",
            rich_help_panel=MODEL,
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="onnx|openvino|torch-export",
            help="Format of the graph: onnx (.onnx), openvino (.xml and .bin) or torch-export "
            "(.pt2).",
            rich_help_panel=OUTPUT,
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write.",
            show_default="the name of the model, in the current directory",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write a model as one graph, from samples to probabilities, that runs without this package.

    `sed detect --model` reads graphs in the formats onnx and openvino.
    """
    from sed.cli import show_log
    from sed.models.checkpoint import load_model
    from streaming.export.export import export as export_graph

    show_log(verbose=verbose)
    checkpoint = load_model(model)
    path = Path(checkpoint.path)
    # A run's model is named after the run, so that those of two runs do not replace each other.
    name = path.absolute().parent.name if path.stem in ("best", "last") else path.stem
    name += "-last" * (path.stem == "last")
    written = export_graph(checkpoint, output or Path(name), to)
    print(
        f"{written}: samples (batch, n) at {checkpoint.timeline.sample_rate:,} Hz → frame_probs "
        f"(batch, frames, {len(checkpoint.labels)}), clip_probs (batch, {len(checkpoint.labels)})"
    )
