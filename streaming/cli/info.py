"""Define the command `sed info`: a checkpoint, a recording or a store in a few lines."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from sed.errors import CheckpointError, SedError, UsageError
from sed.text import clock_time, pluralize, printable, without_controls
from streaming.cli.options import INPUT, OUTPUT, Track, Verbose

MAX_SECONDS = 2.0  # for decoding a recording, unless all of it is to be checked


def _describe_program(*, with_classes: bool = False) -> str:
    """Return the versions, and the default model if it is installed."""
    from sed.models.metadata import library_versions
    from sed.models.registry import list_models

    versions = library_versions()
    lines = [f"sed-engine {versions.pop('sed-engine')}"]
    for package in ("onnxruntime", "openvino"):
        if find_spec(package):
            versions[package] = version(package)
    lines.append("  " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    for entry in list_models():
        if entry.is_default:
            lines += ["", _describe_checkpoint(entry.path, with_classes=with_classes)]
    return "\n".join(lines)


def describe(
    name: str | os.PathLike[str],
    *,
    with_classes: bool = False,
    track: int | None = None,
    is_checked: bool = False,
) -> tuple[str, SedError | None]:
    """Return a few lines about a recording, a model, the best checkpoint of a run, or a store.

    Of a recording also what is wrong with it, if anything is known to be.

    Parameters
    ----------
    name
        Name of a model, a recording, one of the files of a checkpoint, an exported graph, a run
        directory, or a store of embeddings.
    with_classes
        Of a checkpoint, give a line to each class, with its thresholds.
    track
        Track of a recording, counted from 1; its default if not given.
    is_checked
        Decode all of a recording, however long that takes, and not `MAX_SECONDS` at most.

    Raises
    ------
    SedError
        If it is none of them.
    """
    from sed.models.registry import find_model, is_registered
    from streaming.cli.graphs import describe_graph_model
    from streaming.cli.search import describe_store
    from streaming.engines.graphs.description import find_graph

    if not os.fspath(name):
        raise UsageError("expected the name of a model, or a file, got an empty text")
    path = find_model(name) if is_registered(os.fspath(name)) else Path(name)
    if os.path.exists(path / "store.json"):
        return describe_store(path), None
    if (graph := find_graph(path)) is not None:
        return describe_graph_model(graph), None
    is_run = os.path.isdir(path) and os.path.exists(path / "best.json")
    if is_run or path.suffix in (".safetensors", ".json"):
        return _describe_checkpoint(path, with_classes=with_classes), None
    if os.path.isdir(path):
        raise CheckpointError(
            f"{printable(str(path))}: is a folder without best.json and store.json. Give a run "
            "directory, a store of embeddings, a checkpoint or a recording."
        )
    if path.suffix in (".onnx", ".xml"):
        return _describe_exported(path, with_classes=with_classes), None
    return _describe_recording(os.fspath(name), track=track, is_checked=is_checked)


def _describe_checkpoint(path: Path, *, with_classes: bool = False) -> str:
    """Return the input, the network, the post-processing, the metrics and the classes."""
    from sed.models.metadata import check_weights, read_metadata

    metadata = read_metadata(path)
    try:
        check_weights(path, metadata)
        log_mel, model = metadata["log_mel"], metadata["model"]
        tracker = metadata["post_processing"]
        lines = [
            f"{printable(str(path))}: a checkpoint",
            _input_line(log_mel, metadata["window_seconds"]),
            f"  network   {model['backbone']}, {pluralize(model['in_channels'], 'channel')}, "
            f"{_hidden(model['hidden'])}, {pluralize(model['n_heads'], 'attention head')}; "
            f"{metadata['weights']['dtype']}",
            _events_line(tracker),
            *(f"  {_words(k):9} {_metrics(v)}" for k, v in metadata["metrics"].items() if v),
            *(f"  {_words(k):9} {_value(v)}" for k, v in metadata["data"].items() if v),
            "  made with " + ", ".join(f"{k} {v}" for k, v in metadata["versions"].items()),
            *_class_lines(metadata, with_thresholds=with_classes),
        ]
        lines = [line.replace("\n", "\\n") for line in lines]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{printable(str(path))}: the metadata is incomplete: {error}. Copy both files again."
        ) from error
    return "\n".join(lines)


def _describe_exported(path: Path, *, with_classes: bool = False) -> str:
    """Return what an exported graph says about its input, its events and its classes."""
    from streaming.engines.graph import read_graph_spec
    from streaming.export.onnx_file import EMBEDDINGS, read_onnx_metadata
    from streaming.export.openvino import read_openvino_graph, read_openvino_metadata

    if path.suffix == ".onnx":
        form, metadata = "ONNX", read_onnx_metadata(path)
    else:
        form, metadata = "OpenVINO", read_openvino_metadata(read_openvino_graph(path), path)
    spec, field = read_graph_spec(path, metadata)
    context = "the whole window" if field is None else f"{field.before} before, {field.after} after"
    step = spec.frame_columns * spec.log_mel.hop_length / spec.log_mel.sample_rate
    values = spec.as_dict()
    tables = {name: metadata.get(name) for name in (EMBEDDINGS, "data", "versions")}
    embeddings, data, versions = (t if isinstance(t, dict) else {} for t in tables.values())
    lines = [
        f"{printable(str(path))}: an exported graph, {form}",
        _input_line(values["log_mel"], spec.window_seconds),
        f"  output    {pluralize(spec.n_frames, 'frame')} of {step:g} s; a frame depends on "
        f"{context}",
        *([f"  layer     {_value(embeddings['layer'])}"] if "layer" in embeddings else ()),
        _events_line(values["post_processing"]),
        *(f"  {_words(k):9} {_value(v)}" for k, v in data.items() if v),
        *(
            ["  made with " + ", ".join(f"{k} {v}" for k, v in versions.items())]
            if versions
            else ()
        ),
        *_class_lines(values, with_thresholds=with_classes),
    ]
    return "\n".join(line.replace("\n", "\\n") for line in lines)


def _input_line(log_mel: Mapping[str, Any], window_seconds: float) -> str:
    """Return the line about the spectrogram and the windows."""
    return (
        f"  input     {log_mel['sample_rate'] / 1000:g} kHz, {log_mel['n_mels']} mel bands "
        f"{log_mel['f_min']:g}–{log_mel['f_max']:g} Hz, windows of {window_seconds:g} s"
    )


def _events_line(tracker: Mapping[str, Any]) -> str:
    """Return the line about the post-processing."""
    return (
        f"  events    onset threshold {_range(tracker['onset_threshold'])}, offset threshold "
        f"{_range(tracker['offset_threshold'])}, median filter "
        f"{_range(tracker['median_filter_frames'])} frames, at least "
        f"{_range(tracker['min_duration_seconds'])} s, gaps of more than "
        f"{_range(tracker['min_gap_seconds'])} s"
    )


def _class_lines(metadata: Mapping[str, Any], *, with_thresholds: bool) -> list[str]:
    """Return the names of the classes by kind, or a line for each with its kinds and thresholds."""
    from sed.models.spec import hierarchy_of

    labels = tuple(map(str, metadata["labels"]))
    hierarchy = hierarchy_of(metadata, labels)
    kinds = {} if hierarchy is None else {label: hierarchy.kinds_of(label) for label in labels}
    if with_thresholds:
        onsets, offsets = _thresholds(metadata["post_processing"], len(labels))
        rules = metadata.get("thresholds_from", {})
        rows = [("class", "kinds", "onset", "offset", "from" if rules else "")]
        for label, onset, offset in zip(labels, onsets, offsets, strict=True):
            names = ", ".join(kind for kind in kinds.get(label, ()) if kind != label)
            row = (printable(label), names, f"{onset:.3f}", f"{offset:.3f}", rules.get(label, ""))
            rows.append(row)
        columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
        return [f"  {line}" for line in _aligned(columns)]
    if hierarchy is None:
        return [f"  {len(labels)} classes: " + ", ".join(map(printable, labels))]
    members: dict[str, list[str]] = {}
    for label in labels:
        kind = kinds[label][0]
        has_kind = kind != label or hierarchy.descendants(label)
        members.setdefault(kind if has_kind else "others", []).append(label)
    return [
        f"  {len(labels)} classes",
        *(
            f"  {kind:9} {len(names)}: {', '.join(map(printable, names))}"
            for kind, names in members.items()
        ),
    ]


def _aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines with columns of one width."""
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _thresholds(tracker: Mapping[str, Any], n_classes: int) -> tuple[list[float], list[float]]:
    """Return the onset and the offset threshold of each class."""
    found = (tracker["onset_threshold"], tracker["offset_threshold"])
    onsets, offsets = (list(v) if isinstance(v, list | tuple) else [v] * n_classes for v in found)
    return onsets, offsets


def _words(key: str) -> str:
    """Return the words of a key."""
    return key.replace("_", " ")


def _describe_recording(
    name: str, *, track: int | None = None, is_checked: bool = False
) -> tuple[str, SedError | None]:
    """Return format, length, sample rate, channels, start time and tracks; and what is wrong."""
    # Imported here, since `sed --help` should not wait for NumPy.
    from sed.audio.blocks import examine
    from sed.audio.decode import open_recording
    from sed.audio.start_time import recording_start

    decoder = open_recording(name, track=track)
    try:
        found = examine(name, decoder, max_seconds=None if is_checked else MAX_SECONDS)
        rate, length = decoder.sample_rate, "of unknown length"
        if found.n_samples is not None:
            length = f"{found.n_samples / rate:.3f} s ({found.n_samples:,} samples)"
        lines = [
            f"{printable(name)}: a recording",
            f"  {decoder.format}, {length}, {rate:,} Hz, "
            f"{pluralize(decoder.n_channels, 'channel')}",
        ]
        if not found.is_complete and name != "-":
            lines.append(
                f"  {'' if found.n_samples is None else 'by its headers: '}only the first "
                f"{clock_time(found.n_decoded // rate)} were decoded, --check decodes all of it"
            )
        if (start := recording_start(name)) is not None:
            of_clock = " by the recorder's clock, whose zone is not stored"
            lines.append(
                f"  started {start.isoformat(' ')}{of_clock if start.tzinfo is None else ''}"
            )
        tracks, taken = getattr(decoder, "tracks", ()), getattr(decoder, "track", None)
        for each in tracks if len(tracks) > 1 else ():
            lines.append(f"  track {each.number}: {each}{', read' if each == taken else ''}")
        return "\n".join(lines), found.failure
    finally:
        decoder.close()


def _hidden(width: int) -> str:
    return f"hidden {width}" if width else "no hidden layer"


def _range(value: Any) -> str:
    if isinstance(value, list | tuple):
        low, high = min(value), max(value)
        return f"{low:g}" if low == high else f"{low:g} to {high:g} by class"
    return f"{value:g}"


def _metrics(values: Any) -> str:
    if not isinstance(values, dict):
        return _value(values)
    return ", ".join(f"{_words(name)} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def info(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE",
            help="Name of a model, recording, checkpoint (.safetensors), exported graph (.onnx, "
            ".xml), run directory of `sed train`, or store of `sed embed`.",
            show_default="this program and its default model",
            rich_help_panel=INPUT,
        ),
    ] = None,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes",
            help="Of a model, print a line for each class: its kinds and its thresholds.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    track: Track = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Decode all of a recording, however long that takes; otherwise for "
            f"{MAX_SECONDS:g} s at most, and beyond that its headers count.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    thresholds: Annotated[
        bool,
        typer.Option(
            "--thresholds",
            help="Of a model, print only the thresholds, durations and decoder of each class: a "
            "table, or CSV where it does not go to a terminal.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Describe a recording, a model or a store; else the versions and the default model."""
    from sed.cli import show_log
    from sed.models.registry import DEFAULT_ALIAS
    from streaming.cli.graphs import post_processing_columns

    show_log(verbose=verbose)
    if thresholds:
        columns = post_processing_columns(DEFAULT_ALIAS if name is None else name)
        if sys.stdout.isatty():
            print(without_controls("\n".join(_aligned(columns))))
        else:
            csv.writer(sys.stdout, lineterminator="\n").writerows(zip(*columns, strict=True))
    elif name is None:
        print(without_controls(_describe_program(with_classes=classes)))
    else:
        lines, failure = describe(name, with_classes=classes, track=track, is_checked=check)
        print(without_controls(lines))
        if failure is not None:
            raise failure
