"""The commands `sed export` and `sed info`. What is heavy is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Checkpoint (.safetensors) or run directory.",
            show_default="the default model",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="onnx, openvino (.xml and .bin) or torch-export (.pt2).")
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(help="File to write.", show_default="the name of the model, here"),
    ] = None,
) -> None:
    """Write a model as one graph, from samples to probabilities, that runs without this package.

    `sed detect --model` takes the first two.
    """
    from sed.models.checkpoint import load_model
    from streaming.export.export import export as export_graph

    checkpoint = load_model(model)
    written = export_graph(checkpoint, output or Path(Path(checkpoint.path).stem), to)
    print(
        f"{written}: samples (batch, n) at {checkpoint.timeline.sample_rate:,} Hz → frame_probs "
        f"(batch, frames, {len(checkpoint.labels)}), clip_probs (batch, {len(checkpoint.labels)})"
    )
