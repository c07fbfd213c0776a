"""Export checkpoints to graphs once, and keep them: later runs load neither torch nor timm.

A checkpoint with a graph beside it that is linked to its weights, as those that ship, needs none of
this: see `streaming.export.export.export_linked`.

The cache folder (see `streaming.engines.cache`) holds one folder per model, named by a hash of the
checkpoint's metadata and of the versions that exported it. It may be deleted at any time. What is
damaged in it is noticed by its checksum, and exported again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError, OutputError, check_extra
from sed.files import parse_json, private_folder
from sed.models.devices import check_torch
from sed.models.metadata import sha256_of
from sed.text import printable
from streaming.engines.cache import cache_folder, clear, made_once, read_values, write_values
from streaming.export.onnx_file import WEIGHTS_KEY, describe_onnx, read_onnx_metadata

GRAPH, METADATA = "graph.onnx", "metadata.json"
FEATURES = "features"  # see sed.models.inference.layers, whose import would load torch
GRAPH_VERSION = 4  # raised when graphs or their metadata change

_log = logging.getLogger("sed.engines")


def export_cached(
    weights_path: Path, json_path: Path, layer: str | None = None
) -> tuple[Path, dict[str, Any]]:
    """Return a checkpoint as a graph in ONNX, and its metadata; export it if it is not cached.

    Parameters
    ----------
    weights_path, json_path
        The two files of the checkpoint.
    layer
        Layer whose output the graph gives as embeddings; the features if None.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be loaded.
    UsageError
        If the network has no such layer.
    MissingExtraError
        If the packages for exporting are not installed.
    OutputError
        If neither the cache folder nor one for temporary files can be written.
    """
    layer = layer or FEATURES
    if layer == FEATURES and (metadata := linked_metadata(weights_path, json_path)) is not None:
        return weights_path.with_suffix(".onnx"), metadata
    folder = export_folder(weights_path, json_path, layer)
    try:
        return _exported(folder, weights_path, layer)
    except OutputError as error:
        own = private_folder() / folder.name
        if own == folder:
            raise
        note = f"{error} The model is prepared in {own.parent} instead."
        return _exported(own, weights_path, layer, note)


def linked_metadata(weights_path: Path, json_path: Path) -> dict[str, Any] | None:
    """Return the metadata of the graph beside a checkpoint that refers to its weights.

    Returns
    -------
    dict or None
        None if there is no such graph, or it belongs to other weights or to a file of another name.
    """
    path = weights_path.with_suffix(".onnx")
    try:
        if not path.is_file():
            return None
        metadata = read_onnx_metadata(path)
        weights_files = describe_onnx(path).weights_files
        weights = parse_json(json_path.read_text("utf-8"))["weights"]["sha256"]
    except (CheckpointError, OSError, LookupError, TypeError, ValueError):
        return None
    is_linked = weights_files == (weights_path.name,) and metadata.get(WEIGHTS_KEY) == weights
    return metadata if is_linked else None


def read_graph_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an exported graph in ONNX that can be run as it is.

    Raises
    ------
    CheckpointError
        If the graph cannot be read, or the weights that it is linked to are missing or others.
    """
    metadata = read_onnx_metadata(path)
    for name in describe_onnx(path).weights_files:
        weights, shown = path.parent / name, f"{printable(str(path))}: {printable(name)}"
        if os.path.basename(name) != name or not os.path.isfile(weights):
            raise CheckpointError(
                f"{shown}, which has the weights of this graph, is not beside it. Keep both files "
                "together, under their names."
            )
        if metadata.get(WEIGHTS_KEY) not in (None, sha256_of(weights)):
            raise CheckpointError(
                f"{shown} beside it has other weights than this graph was made with. Copy both "
                "files again."
            )
    return metadata


def export_folder(weights_path: Path, json_path: Path, layer: str = FEATURES) -> Path:
    """Return the cache folder of a checkpoint, which need not exist.

    Raises
    ------
    OSError
        If a file of the checkpoint cannot be read.
    """
    return cache_folder() / _key(json_path, layer)


def _exported(
    folder: Path, weights_path: Path, layer: str, note: str = ""
) -> tuple[Path, dict[str, Any]]:
    """Return the graph in a folder and its metadata; export it if it is not there, with a note."""
    graph, metadata = folder / GRAPH, folder / METADATA
    if (kept := _kept(graph, metadata)) is not None:
        return graph, kept
    with made_once(metadata) as problem:
        if (kept := _kept(graph, metadata)) is None:
            if problem is not None:
                raise OutputError(folder.parent, problem.error) from problem
            if note:
                _log.warning(note)
            _log.info("exporting the model for this engine, once")
            kept = _export(weights_path, graph, metadata, layer)
    return graph, kept


def _kept(graph: Path, metadata: Path) -> dict[str, Any] | None:
    """Return the metadata of a graph that was exported; None if either is missing or damaged."""
    kept = read_values(metadata)
    try:
        if kept is None or not os.path.isfile(graph) or kept["graph_sha256"] != sha256_of(graph):
            return None
        values: dict[str, Any] = kept["metadata"]
        return values
    except (OSError, KeyError):
        return None


def _export(weights_path: Path, graph: Path, metadata: Path, layer: str) -> dict[str, Any]:
    if layer != FEATURES:
        check_extra("torch", f"a layer other than {FEATURES}")
    check_torch(printable(str(weights_path)))
    from sed.models.checkpoint import load_checkpoint
    from streaming.export.export import export, graph_metadata

    checkpoint = load_checkpoint(weights_path)
    clear(graph)
    export(checkpoint, graph, "onnx", layer=layer)
    values: dict[str, Any] = json.loads(json.dumps(graph_metadata(checkpoint, layer)))
    # Written last: it commits the graph.
    write_values(metadata, {"graph_sha256": sha256_of(graph), "metadata": values})
    return values


def _key(json_path: Path, layer: str) -> str:
    digest = hashlib.sha256(f"graph {GRAPH_VERSION} {layer}\n".encode())
    for name in ("sed-engine", "torch", "timm"):
        with suppress(packages.PackageNotFoundError):
            digest.update(f"{name} {packages.version(name)}\n".encode())
    # It has the checksum of the weights, which is compared where a model is opened.
    digest.update(json_path.read_bytes())
    return digest.hexdigest()[:24]
