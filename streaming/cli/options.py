"""Command-line options that several commands share, and the panels that `--help` groups them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

INPUT, MODEL, DETECTION = "Input", "Model", "Detection"
OUTPUT, PERFORMANCE = "Output", "Performance"

# Not a Path, which would make the name `mine` of `./mine`.
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Name of a model (`sed models` lists them), checkpoint (.safetensors), run directory "
        "of `sed train`, or a graph that `sed export` wrote (.onnx, .xml). `sed embed` also takes "
        "encoders of Hugging Face, hf:NAME or hf:FOLDER, and other graphs of samples (.onnx).",
        show_default="the default model",
        rich_help_panel=MODEL,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|torch|compile|openvino|onnx|tflite",
        help="Library that runs the model. auto measures once which is fastest on this machine.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N",
        help="Processor that runs the model. auto is a GPU where there is one.",
        rich_help_panel=MODEL,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|bf16|fp16",
        help="Number format of the model; fp16 is for GPUs. auto is bf16 where that is fast.",
        rich_help_panel=MODEL,
    ),
]

Hop = Annotated[
    float | None,
    typer.Option(
        "--hop",
        help="Hop: seconds from the start of one window, which is one input of the model, to the "
        "start of the next. It divides the window.",
        show_default="half the window, 2.5; of a graph of others its own",
        rich_help_panel=DETECTION,
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        metavar="auto|sliding_window|fully_convolutional",
        help="sliding_window runs the model on each window. fully_convolutional runs the network "
        "once over long chunks, so that a short hop costs nothing. auto is fully_convolutional "
        "where windows overlap by more than half and the network allows it.",
        rich_help_panel=DETECTION,
    ),
]
Threshold = Annotated[
    str | None,
    typer.Option(
        metavar="SCORE|CLASS=SCORE,…",
        help="Score that an event has to reach: one for all classes (0.5), for some (dog=0.4, "
        "animal=0.7, which are all animals), or both (0.5,dog=0.4). The event lasts while the "
        "score is at least half of it, and all of it for a graph of others.",
        show_default="the model's, per class",
        rich_help_panel=DETECTION,
    ),
]
Thresholds = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Thresholds, durations, decoder and calibration of classes, in a TOML file (see "
        "docs/events.md). Other options override it.",
        show_default="the model's",
        rich_help_panel=DETECTION,
    ),
]
OnsetThreshold = Annotated[
    float | None,
    typer.Option(
        help="Score that an event has to reach.",
        show_default="--threshold, else the model's, per class",
        rich_help_panel=DETECTION,
    ),
]
OffsetThreshold = Annotated[
    float | None,
    typer.Option(
        help="Score down to which an event lasts.",
        show_default="half of the threshold that is given, all of it for a graph of others; "
        "else the model's, per class",
        rich_help_panel=DETECTION,
    ),
]
MinDuration = Annotated[
    float | None,
    typer.Option(
        "--min-duration",
        help="Drop events shorter than this, in seconds.",
        show_default="the model's",
        rich_help_panel=DETECTION,
    ),
]
MinGap = Annotated[
    float | None,
    typer.Option(
        "--min-gap",
        help="Join events of one class that are at most this far apart, in seconds.",
        show_default="the model's",
        rich_help_panel=DETECTION,
    ),
]
LiveLookahead = Annotated[
    float,
    typer.Option(
        "--lookahead",
        help="Decide on a frame, which is one step of the model's output, when a window has "
        "covered this many seconds after it. Less is faster, more is more accurate.",
        rich_help_panel=DETECTION,
    ),
]
Classes = Annotated[
    str,
    typer.Option(
        help="Detect only these classes: names joined by commas, each with all that belongs to it; "
        "kinds (animal) too, where the model has them. Of species either name.",
        show_default="all",
        rich_help_panel=DETECTION,
    ),
]
AllClasses = Annotated[
    bool,
    typer.Option(
        "--all-classes",
        help="Report every class that is found. By default a dog is not reported as an animal "
        "too, where the model knows which classes belong to which.",
        rich_help_panel=DETECTION,
    ),
]
AtLevel = Annotated[
    str,
    typer.Option(
        metavar="class|kind",
        help="Report classes, or the kinds that they belong to, such as animal and vehicle.",
        rich_help_panel=DETECTION,
    ),
]
Unknown = Annotated[
    bool,
    typer.Option(
        "--unknown",
        help="Also report the class unknown: sound above the background that no class of the model "
        "explains. With --classes unknown, report nothing else.",
        rich_help_panel=DETECTION,
    ),
]
SpeciesList = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Detect only the classes in this file, one a line: scientific names, common names, or "
        "both, as Erithacus rubecula_European Robin.",
        show_default="all",
        rich_help_panel=DETECTION,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        help="In each frame, which is one step of the model's output, only the K most probable "
        "classes count. A class counts in the place of those that it belongs to.",
        show_default="all",
        rich_help_panel=DETECTION,
    ),
]

Channel = Annotated[
    int | None,
    typer.Option(
        help="Channel to analyse, counted from 1.",
        show_default="the mean of all",
        rich_help_panel=INPUT,
    ),
]
Track = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Track of sound to analyse, of containers with several (mp4, mkv), counted from 1. "
        "`sed info` lists them.",
        show_default="the container's default",
        rich_help_panel=INPUT,
    ),
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        help="Time zone of the site (Europe/Berlin, +02:00, UTC, local). Events then get the time "
        "of day there, from what the recorder wrote into file names or headers.",
        show_default="no times, but in Parquet",
        rich_help_panel=OUTPUT,
    ),
]
RecorderZone = Annotated[
    str | None,
    typer.Option(
        help="Time zone of the recorder's clock, where the recorder did not write one.",
        show_default="that of the site",
        rich_help_panel=OUTPUT,
    ),
]
RawRate = Annotated[
    int | None,
    typer.Option(
        help="Read raw samples at this rate, in Hz, from standard input.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
RawEncoding = Annotated[
    str,
    typer.Option(
        metavar="u8|s16|s24|s32|f32|f64",
        help="Encoding of raw samples, little-endian.",
        rich_help_panel=INPUT,
    ),
]
RawChannels = Annotated[
    int,
    typer.Option(help="Interleaved channels of raw samples.", rich_help_panel=INPUT),
]

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print results and errors only.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print diagnostics too: the engine, measurements, what was chosen and why.",
        rich_help_panel=OUTPUT,
    ),
]

SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Skip recordings whose results exist.",
        rich_help_panel=OUTPUT,
    ),
]
SpreadsheetSafe = Annotated[
    bool,
    typer.Option(
        "--spreadsheet-safe",
        help="Put an apostrophe before what a spreadsheet would take for a formula in CSV, TSV.",
        rich_help_panel=OUTPUT,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Process N recordings at once, each in a process of its own, and keep a journal "
        "beside the output. A recording that crashes or blocks its process costs only itself.",
        show_default="threads of one process, no journal",
        rich_help_panel=PERFORMANCE,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue an earlier run with --workers after Ctrl-C, a crash or a power failure.",
        rich_help_panel=PERFORMANCE,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        help="With --workers: seconds without progress after which a recording is given up.",
        rich_help_panel=PERFORMANCE,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="local|ray",
        help="Where recordings are processed: on this machine (local), or on the Ray cluster of "
        "RAY_ADDRESS or that this machine has joined, --workers recordings at once.",
        rich_help_panel=PERFORMANCE,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Windows that go through the model together.",
        show_default="16, from standard input 1, on a GPU what is measured to be fastest",
        rich_help_panel=PERFORMANCE,
    ),
]
Layer = Annotated[
    str,
    typer.Option(
        help="Layer of the network whose output is kept: features (what the heads start from), "
        "hidden, or a module of the network by its path, such as backbone.blocks.3. Of an encoder "
        "(hf:): last, a number, or mean; of a graph of samples: the name of an output.",
        rich_help_panel=MODEL,
    ),
]
Pool = Annotated[
    str,
    typer.Option(
        metavar="mean,max,std,attention",
        help="Statistics over the frames (steps of the model's output) of a part. Those of "
        "several are joined to one vector. attention weighs frames as the heads of the model do.",
        rich_help_panel=OUTPUT,
    ),
]
