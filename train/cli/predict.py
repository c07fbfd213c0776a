"""The command `sed predict`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.errors import FAILED
from sed.text import pluralize
from train.cli.options import (
    OUTPUT,
    BatchSize,
    Blend,
    Device,
    Quiet,
    Tta,
    Verbose,
    progress_bar,
)

if TYPE_CHECKING:
    from train.evaluate.predict import PredictSummary


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINTS... RECORDINGS...",
            help="Checkpoints (.safetensors, .json, run directories, or names of models), several "
            "of which are blended; recordings, and folders to search for them.",
            show_default=False,
        ),
    ],
    submission: Annotated[
        str | None,
        typer.Option(
            help="Format of a competition: birdclef (a row every 5 s), urban (ID,Class) or "
            "freesound (fname,label).",
            metavar="birdclef|urban|freesound",
            show_default="a row per window: file, start, end, classes",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    pseudo_labels: Annotated[
        Path | None,
        typer.Option(
            help="Write pseudo-labels for sed train to this table, NAME.csv.",
            metavar="TABLE",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the rows.",
            show_default="standard output; with --pseudo-labels alone, none",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    tta: Tta = 1,
    blend: Blend = "arithmetic",
    quiet: Quiet = False,
    verbose: Verbose = False,
    device: Device = "auto",
    batch_size: BatchSize = 32,
) -> None:
    """Predict the classes in recordings of any length, window by window.

    The exit status is 1 if some recording could not be read whole. A submission has all its rows
    even then: those that are missing hold the mean of all others. With a number or trees of sed fit
    each recording has a row: filename, label, classes.
    """
    from sed.cli import show_log
    from train.evaluate.predict import predict as run

    show_log(quiet=quiet, verbose=verbose)
    checkpoints, recordings = _split_paths(paths)
    if any(map(_is_fitted, checkpoints)):
        _predict_fitted(checkpoints, recordings, submission, pseudo_labels, output, device, quiet)
        return
    with progress_bar("recordings", shown=not quiet) as advance:
        summary = run(
            checkpoints,
            recordings,
            submission=submission,
            pseudo_labels=pseudo_labels,
            output=output,
            tta=tta,
            blend=blend,
            device=device,
            batch_size=batch_size,
            on_progress=lambda n_done, n_all, _: advance(n_done, n_all),
            on_error=lambda error: print(f"sed: {error}", file=sys.stderr),
        )
    if not quiet:
        print(_summary_line(summary), file=sys.stderr)
    if summary.failures:
        raise typer.Exit(FAILED)


def _is_fitted(path: Path) -> bool:
    from train.fit.fitted import is_fitted

    return is_fitted(path)


def _predict_fitted(
    models: list[Path],
    recordings: list[Path],
    submission: str | None,
    pseudo_labels: Path | None,
    output: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Predict with one head that is not part of a checkpoint."""
    from sed.errors import UsageError
    from train.fit.predict import predict_fitted

    if len(models) > 1 or submission is not None or pseudo_labels is not None:
        raise UsageError(
            "a number or trees of sed fit predict alone, without --submission and --pseudo-labels"
        )
    with progress_bar("recordings", shown=not quiet) as advance:
        result = predict_fitted(
            models[0],
            recordings,
            output=output,
            device=device,
            on_progress=advance,
            on_error=lambda error: print(f"sed: {error}", file=sys.stderr),
        )
    if not quiet:
        counts = (
            pluralize(len(result.files), "recording"),
            pluralize(len(result.failures), "failure"),
        )
        print(" · ".join(counts), file=sys.stderr)
    if result.failures:
        raise typer.Exit(FAILED)


def _split_paths(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the checkpoints and the recordings among the arguments."""
    from sed.errors import UsageError
    from sed.models.registry import is_registered
    from sed.text import printable

    def is_checkpoint(path: Path) -> bool:
        is_run = os.path.isfile(path / "best.safetensors")
        is_name = is_registered(str(path)) and not os.path.exists(path)
        return is_run or is_name or path.suffix in (".safetensors", ".json")

    checkpoints = [path for path in paths if is_checkpoint(path)]
    recordings = [path for path in paths if not is_checkpoint(path)]
    missing = [printable(str(path)) for path in paths if not os.path.exists(path)]
    if not checkpoints:
        note = f" ({', '.join(missing)}: no such file or folder)" * bool(missing)
        raise UsageError(
            f"no checkpoint among the arguments{note}: give a .safetensors, a run directory or "
            "the name of a model"
        )
    if not recordings:
        raise UsageError("no recording among the arguments: give files or folders of sound")
    return checkpoints, recordings


def _summary_line(summary: PredictSummary) -> str:
    """Return the last line: what was predicted, and what was not."""
    parts = [
        pluralize(summary.n_recordings, "recording"),
        pluralize(summary.n_windows, "window"),
        f"{summary.audio_seconds:,.1f} s of sound",
        pluralize(len(summary.failures), "failure"),
    ]
    if summary.n_imputed:
        parts.append(f"{summary.n_imputed} rows filled with the mean of all others")
    return " · ".join(parts)
