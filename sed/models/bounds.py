"""Refuse metadata of a model with numbers that no model has, before anything is made of them.

A checkpoint may come from anywhere. A number in it decides how much memory is taken, so each has a
range here, far beyond what models have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_LABELS = 100_000
MAX_ADDED_HEADS = 1_000
MAX_ARGUMENT = 1_024  # of the backbone
MAX_INPUT = 1 << 27  # values of a window, as samples and as spectrogram
MAX_FILTERBANK = 1 << 26

Range = tuple[float, float]

_ANY: Range = (-1e9, 1e9)
_SHARE: Range = (0, 1)
RANGES: Mapping[str, Mapping[str, Range]] = {
    "": {
        "sample_rate": (1, 10_000_000),
        "window_seconds": (0, 600),
        "hop_seconds": (0, 600),
        "frame_columns": (1, 1_000_000),
        "n_frames": (1, 1_000_000),
    },
    "log_mel": {
        "sample_rate": (1, 10_000_000),
        "win_length": (1, 1 << 17),
        "hop_length": (1, 1 << 17),
        "n_fft": (1, 1 << 17),
        "n_mels": (1, 4_096),
        "f_min": (0, 5_000_000),
        "f_max": (0, 5_000_000),
        "power": (1, 2),
        "log_offset": (0, 1e9),
        "amin": (0, 1e9),
        "mean": _ANY,
        "std": (0, 1e9),
    },
    "model": {
        "in_channels": (1, 3),
        "resize_time": (0, 64),
        "resize_freq": (0, 64),
        "time_stride": (0, 4_096),
        "smoothing_frames": (1, 1_001),
        "hidden": (0, 65_536),
        "n_heads": (1, 64),
        "dropout": _SHARE,
        "class_prior": _SHARE,
    },
    "post_processing": {
        "onset_threshold": _SHARE,
        "offset_threshold": _SHARE,
        "median_filter_frames": (1, 10_001),
        "min_duration_seconds": (0, 86_400),
        "min_gap_seconds": (0, 86_400),
        "step_filter_seconds": (0, 60),
        "merge_threshold_absolute": _SHARE,
        "merge_threshold_relative": _SHARE,
    },
    "added_heads": {
        "n_classes": (1, MAX_LABELS),
        "hidden": (0, 65_536),
        "n_examples": (0, 1_000_000),
        "n_neighbors": (0, 1_000_000),
    },
}


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Check the numbers and the labels in the metadata of a checkpoint or a graph.

    Parameters
    ----------
    metadata
        Content of its JSON. What it lacks is not looked at.

    Raises
    ------
    ValueError
        If a number is out of its range or none, or the labels are not names.
    """
    labels = metadata.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("expected labels as a list of names")
    if len(labels) > MAX_LABELS:
        raise ValueError(f"has {len(labels):,} labels, expected at most {MAX_LABELS:,}")
    _check_numbers(metadata, "")
    for name in ("log_mel", "model", "post_processing"):
        _check_numbers(_table(metadata, name), name)
    heads = metadata.get("added_heads", [])
    if not isinstance(heads, list) or len(heads) > MAX_ADDED_HEADS:
        raise ValueError(f"expected added_heads as a list of at most {MAX_ADDED_HEADS:,}")
    for head in heads:
        _check_numbers(_table({"added_heads": head}, "added_heads"), "added_heads")
    arguments = _table(_table(metadata, "model"), "backbone_args")
    for key, value in arguments.items():
        if not isinstance(value, str | bool | None):
            _check_number(f"model.backbone_args.{key}", value, (-MAX_ARGUMENT, MAX_ARGUMENT))
    _check_sizes(metadata)


def _check_sizes(metadata: Mapping[str, Any]) -> None:
    """Check what several numbers give together."""
    log_mel, model = _table(metadata, "log_mel"), _table(metadata, "model")
    seconds = metadata.get("window_seconds", 5.0)
    rate = log_mel.get("sample_rate", metadata.get("sample_rate", 16_000))
    hop, mels = log_mel.get("hop_length", 160), log_mel.get("n_mels", 64)
    values = seconds * rate / hop * mels
    for key in ("resize_time", "resize_freq", "in_channels"):
        values *= model.get(key, 1)
    if max(values, seconds * rate) > MAX_INPUT:
        raise ValueError(
            f"a window of {seconds:g} s at {rate:,} Hz with {mels} mel bands, a column every {hop} "
            "samples, is too large for any model"
        )
    if log_mel.get("n_fft", 512) * mels > 2 * MAX_FILTERBANK:
        raise ValueError(f"{mels} mel bands of an FFT of {log_mel['n_fft']} are too many")


def _check_numbers(table: Mapping[str, Any], name: str) -> None:
    for key, limits in RANGES[name].items():
        value = table.get(key)
        if value is None:
            continue
        is_per_class = isinstance(value, list | tuple) and name == "post_processing"
        for number in value if is_per_class else [value]:
            _check_number(f"{name}.{key}".lstrip("."), number, limits)


def _check_number(name: str, value: Any, limits: Range) -> None:
    least, most = limits
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected {name} as a number, got {str(value)[:40]!r}")
    if not least <= value <= most:  # nor is NaN
        raise ValueError(f"{name} is {str(value)[:20]}, expected {least:,} to {most:,}")


def _table(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = metadata.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"expected a table for {name!r}, got {str(table)[:40]!r}")
    return table
