"""Options that commands share: what a model is, how it is led and run, and raw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint (.safetensors), run directory, or what `sed export` wrote.",
        show_default="the default model",
    ),
]
Hop = Annotated[
    float | None,
    typer.Option(
        "--hop",
        help="Seconds from one window to the next; divides the window.",
        show_default="half the window, 2.5",
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        help="windowed, or dense: the network runs once over long stretches and the hop costs "
        "nothing. auto is dense where windows overlap by more than half and the network allows it."
    ),
]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Score that an event must reach, for all classes; it lasts down to half of it.",
        show_default="the model's, per class",
    ),
]
OnsetThreshold = Annotated[
    float | None, typer.Option(help="Score that an event must reach.", show_default=False)
]
OffsetThreshold = Annotated[
    float | None,
    typer.Option(
        help="Score down to which an event lasts.", show_default="half of the onset threshold"
    ),
]
MinDuration = Annotated[
    float | None,
    typer.Option(
        "--min-duration",
        help="Drop events shorter than this, in seconds.",
        show_default="the model's",
    ),
]
MinGap = Annotated[
    float | None,
    typer.Option(
        "--min-gap",
        help="Join events of a class no further apart than this, in seconds.",
        show_default="the model's",
    ),
]
Classes = Annotated[str, typer.Option(help="Only these classes, as a,b,c.", show_default="all")]
TopK = Annotated[
    int | None,
    typer.Option(
        help="At any moment only the N likeliest classes count.",
        metavar="N",
        show_default="all",
    ),
]
Channel = Annotated[
    int | None,
    typer.Option(help="Channel to hear, counted from 1.", show_default="their mean"),
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto (bf16 where the device multiplies in it), fp32, bf16 or, on a GPU, fp16."
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        help="What runs the model: torch, compile, openvino or onnx; auto measures once which is "
        "fastest here."
    ),
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        help="Zone of the place (Europe/Berlin, +02:00, UTC, local): events get the time of day "
        "that the recorder wrote into names or headers, and clocks of recorders that do not say "
        "their zone were set to it.",
        show_default="no times, but in Parquet",
    ),
]
RawRate = Annotated[
    int | None,
    typer.Option(help="Standard input is raw samples at this rate.", show_default=False),
]
RawEncoding = Annotated[
    str, typer.Option(help="Of raw samples: u8, s16, s24, s32, f32 or f64, little-endian.")
]
RawChannels = Annotated[int, typer.Option(help="Interleaved channels of raw samples.")]


def named(text: str) -> tuple[str, ...]:
    """Return the classes that are named as a,b,c."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
