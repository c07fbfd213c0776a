"""Checkpoints as graphs, exported once and kept: later runs need not wait for torch.

They lie in ``$XDG_CACHE_HOME/sed-engine`` (``~/.cache/sed-engine``; ``$SED_CACHE`` if that is set),
a folder for each model, which may be deleted at any time. What is in one belongs to the bytes of
the checkpoint and to the versions that made it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sed.files import written_whole
from streaming.engines.cache import Tell, cache_folder

GRAPH, ABOUT = "graph.onnx", "about.json"
GRAPH_VERSION = 2  # raised when graphs, or their descriptions, are made in another way


@dataclass(frozen=True)
class ExportedModel:
    """A graph and what has to be known of it."""

    graph: Path
    about: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where more about this model may be kept."""
        return self.graph.parent


def prepared(weights: Path, description: Path, tell: Tell) -> ExportedModel:
    """Return a checkpoint as a graph, exported now if it was not before.

    Parameters
    ----------
    weights, description
        The two files of the checkpoint.
    tell
        Is told what takes long.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be loaded.
    MissingExtraError
        If the packages for exporting are not installed.
    OutputError
        If the folder cannot be written.
    """
    folder = cache_folder() / _key(weights, description)
    graph, about = folder / GRAPH, folder / ABOUT
    if not os.path.exists(about):  # it is written last; nor is what nobody may look at
        tell("preparing the model for this engine, once")
        _prepare(weights, graph, about)
    return ExportedModel(graph, json.loads(about.read_text("utf-8")))


def _prepare(weights: Path, graph: Path, about: Path) -> None:
    from sed.models.checkpoint import load_checkpoint
    from streaming.export.export import export, graph_metadata

    checkpoint = load_checkpoint(weights)
    export(checkpoint, graph, "onnx")
    with written_whole(about) as part:
        part.write_text(json.dumps(graph_metadata(checkpoint)) + "\n", "utf-8")


def _key(weights: Path, description: Path) -> str:
    digest = hashlib.sha256(f"graph {GRAPH_VERSION}\n".encode())
    for name in ("sed-engine", "torch", "timm"):
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for path in (description, weights):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]
