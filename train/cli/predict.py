"""The command `sed predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED

if TYPE_CHECKING:
    from train.evaluate.predict import PredictSummary
from train.cli.options import BatchSize, Blend, Device, Quiet, Tta, _bar


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINTS... SOURCES...",
            help="Checkpoints (.safetensors, .json, or run directories), several of which are "
            "blended; recordings, and folders to search for them.",
            show_default=False,
        ),
    ],
    submission: Annotated[
        str | None,
        typer.Option(
            help="birdclef (a row every 5 s), urban (ID,Class) or freesound (fname,label).",
            show_default="a row per window: file, begin, end, classes",
        ),
    ] = None,
    soft: Annotated[
        Path | None,
        typer.Option(
            help="Write pseudo-labels for sed train into this table, NAME.csv.",
            metavar="TABLE",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File for the rows.", show_default="standard output; with --soft alone, none"
        ),
    ] = None,
    tta: Tta = 1,
    blend: Blend = "arithmetic",
    device: Device = "auto",
    batch_size: BatchSize = 32,
    quiet: Quiet = False,
) -> None:
    """Say what is in recordings of any length, window by window.

    The exit status is 1 if some recording could not be heard whole. A submission has all its rows
    even then: where nothing was heard, they hold the mean of all others.
    """
    from train.evaluate.predict import Progress
    from train.evaluate.predict import predict as run

    checkpoints, sources = _checkpoints_and_sources(paths)
    with _bar("recordings", shown=not quiet) as advance:
        summary = run(
            checkpoints,
            sources,
            submission=submission,
            soft=soft,
            output=output,
            tta=tta,
            blend=blend,
            device=device,
            batch_size=batch_size,
            progress=Progress(
                on_progress=lambda n_done, n_all, _: advance(n_done, n_all),
                on_trouble=lambda error: print(f"sed: {error}", file=sys.stderr),
            ),
        )
    if not quiet:
        print(_told(summary), file=sys.stderr)
    if summary.failures:
        raise typer.Exit(FAILED)


def _checkpoints_and_sources(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Tell models from sound."""
    from sed.errors import UsageError
    from sed.text import printable

    def is_checkpoint(path: Path) -> bool:
        return path.suffix in (".safetensors", ".json") or (path / "best.safetensors").is_file()

    checkpoints = [path for path in paths if is_checkpoint(path)]
    sources = [path for path in paths if not is_checkpoint(path)]
    missing = [printable(str(path)) for path in paths if not path.exists()]
    if not checkpoints:
        told = f" ({', '.join(missing)}: no such file or folder)" * bool(missing)
        raise UsageError(
            f"no checkpoint among the arguments{told}: give a .safetensors or a run directory"
        )
    if not sources:
        raise UsageError("no recording among the arguments: give files or folders of sound")
    return checkpoints, sources


def _told(summary: PredictSummary) -> str:
    """Return the last line: what was heard, and what was not."""
    parts = [
        f"{summary.n_recordings:,} recording{'s' * (summary.n_recordings != 1)}",
        f"{summary.n_windows:,} window{'s' * (summary.n_windows != 1)}",
        f"{summary.audio_seconds:,.1f} s of sound",
        f"{len(summary.failures)} failure{'s' * (len(summary.failures) != 1)}",
    ]
    if summary.n_filled:
        parts.append(f"{summary.n_filled} rows filled with the mean of all others")
    return " · ".join(parts)
