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
GRAPH_VERSION = 3  # raised when graphs or their metadata change

_log = logging.getLogger("sed.engines")


def export_cached(weights_path: Path, json_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a checkpoint as a graph in ONNX, and its metadata; export it if it is not cached.

    Parameters
    ----------
    weights_path, json_path
        The two files of the checkpoint.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be loaded.
    MissingExtraError
        If the packages for exporting are not installed.
    OutputError
        If the folder cannot be written.
    """
    folder = cache_folder() / _key(weights_path, json_path)
    graph, metadata = folder / GRAPH, folder / METADATA
    # The metadata is written last. exists() is also False without permission to look.
    if not os.path.exists(metadata):
        _log.info("exporting the model for this engine, once")
        _export(weights_path, graph, metadata)
    return graph, json.loads(metadata.read_text("utf-8"))


def _export(weights_path: Path, graph: Path, metadata: Path) -> None:
    from sed.models.checkpoint import load_checkpoint
    from streaming.export.export import export, graph_metadata

    checkpoint = load_checkpoint(weights_path)
    export(checkpoint, graph, "onnx")
    with written_whole(metadata) as part:
        part.write_text(json.dumps(graph_metadata(checkpoint)) + "\n", "utf-8")


def _key(weights_path: Path, json_path: Path) -> str:
    digest = hashlib.sha256(f"graph {GRAPH_VERSION}\n".encode())
    for name in ("sed-engine", "torch", "timm"):
        digest.update(f"{name} {packages.version(name)}\n".encode())
    for path in (json_path, weights_path):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]
