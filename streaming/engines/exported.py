"""Export checkpoints to graphs once, and keep them: later runs load neither torch nor timm.

The cache folder (see `streaming.engines.cache`) holds one folder per model, named by a hash of the
checkpoint's bytes and of the versions that exported it. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from importlib import metadata as packages
from pathlib import Path
from typing import Any

from sed.files import written_whole
from streaming.engines.cache import cache_folder

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
        If the folder cannot be written.
    """
    layer = layer or FEATURES
    folder = export_folder(weights_path, json_path, layer)
    graph, metadata = folder / GRAPH, folder / METADATA
    # The metadata is written last. exists() is also False without permission to look.
    if not os.path.exists(metadata):
        _log.info("exporting the model for this engine, once")
        _export(weights_path, graph, metadata, layer)
    return graph, json.loads(metadata.read_text("utf-8"))


def export_folder(weights_path: Path, json_path: Path, layer: str = FEATURES) -> Path:
    """Return the cache folder of a checkpoint, which need not exist.

    Raises
    ------
    OSError
        If a file of the checkpoint cannot be read.
    """
    return cache_folder() / _key(weights_path, json_path, layer)


def _export(weights_path: Path, graph: Path, metadata: Path, layer: str) -> None:
    from sed.models.checkpoint import load_checkpoint
    from streaming.export.export import export, graph_metadata

    checkpoint = load_checkpoint(weights_path)
    export(checkpoint, graph, "onnx", layer=layer)
    with written_whole(metadata) as part:
        part.write_text(json.dumps(graph_metadata(checkpoint, layer)) + "\n", "utf-8")


def _key(weights_path: Path, json_path: Path, layer: str) -> str:
    digest = hashlib.sha256(f"graph {GRAPH_VERSION} {layer}\n".encode())
    for name in ("sed-engine", "torch", "timm"):
        digest.update(f"{name} {packages.version(name)}\n".encode())
    for path in (json_path, weights_path):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]
