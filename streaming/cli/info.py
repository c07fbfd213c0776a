"""What a checkpoint or a recording is, in a few lines for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sed.errors import CheckpointError
from sed.models.metadata import DEFAULT, check_weights, library_versions, read_metadata
from sed.text import printable


def describe_program() -> str:
    """Return the versions, and the default model if it is there."""
    versions = library_versions()
    lines = [f"sed-engine {versions.pop('sed-engine')}"]
    lines.append("  " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if DEFAULT.exists():
        lines += ["", describe_checkpoint(DEFAULT)]
    return "\n".join(lines)


def describe(path: Path) -> str:
    """Return what a file is, or the best checkpoint of a run directory.

    Raises
    ------
    SedError
        If it is neither a checkpoint nor a recording.
    """
    is_run = path.is_dir() and (path / "best.json").exists()
    if is_run or path.suffix in (".safetensors", ".json"):
        return describe_checkpoint(path)
    return describe_recording(path)


def describe_checkpoint(path: Path) -> str:
    """Return what a checkpoint hears, how it is built and how good it was."""
    about = read_metadata(path)
    try:
        check_weights(path, about)
        log_mel, model, tracker = about["log_mel"], about["model"], about["post_processing"]
        heads = (
            "1 attention head" if model["n_heads"] == 1 else f"{model['n_heads']} attention heads"
        )
        lines = [
            f"{printable(str(path))}: a checkpoint",
            f"  hears     {log_mel['sample_rate'] / 1000:g} kHz, {log_mel['n_mels']} mel bands "
            f"{log_mel['f_min']:g}–{log_mel['f_max']:g} Hz, windows of "
            f"{about['window_seconds']:g} s",
            f"  network   {model['backbone']}, {model['in_channels']} channel, hidden "
            f"{model['hidden']}, {heads}; {about['weights']['dtype']}",
            f"  events    on {_range(tracker['onset_threshold'])}, off {_range(tracker['offset_threshold'])}, median "
            f"{_range(tracker['median_filter_frames'])} frames, at least "
            f"{tracker['min_duration_seconds']:g} s, gaps up to {tracker['min_gap_seconds']:g} s",
            *(f"  {name:9} {_figures(values)}" for name, values in about["metrics"].items()),
            *(f"  {name:9} {_value(value)}" for name, value in about["data"].items()),
            "  made with " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
            f"  {len(about['labels'])} classes: " + ", ".join(about["labels"]),
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{printable(str(path))}: the description is incomplete: {error}. Copy both again."
        ) from error
    return "\n".join(lines)


def describe_recording(path: Path) -> str:
    """Return format, length, rate and channels of a recording."""
    # NumPy stays out of `sed --help`.
    from sed.audio.decode import open_recording
    from sed.audio.start_time import recording_start

    decoder = open_recording(path)
    try:
        n_samples = decoder.n_samples
        length = "of unknown length"
        if n_samples is not None:
            seconds = n_samples / decoder.sample_rate
            length = f"{seconds:.3f} s ({n_samples:,} samples)"
        start = recording_start(path)
        began = "" if start is None else f"\n  began {start.isoformat(' ')}"
        return (
            f"{printable(str(path))}: a recording\n  {decoder.format}, {length}, "
            f"{decoder.sample_rate:,} Hz, {decoder.n_channels} channel"
            f"{'s' * (decoder.n_channels != 1)}{began}"
        )
    finally:
        decoder.close()


def _range(value: Any) -> str:
    if isinstance(value, list):
        low, high = min(value), max(value)
        return f"{low:g}" if low == high else f"{low:g} to {high:g} by class"
    return f"{value:g}"


def _figures(values: Any) -> str:
    if not isinstance(values, dict):
        return _value(values)
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint or a recording.", show_default="this program and its default model"
        ),
    ] = None,
) -> None:
    """Say what a checkpoint or a recording is; without one, what this program is."""
    print(describe_program() if path is None else describe(path))
