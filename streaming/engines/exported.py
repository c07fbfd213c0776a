"""Checkpoints as graphs, exported once and kept: later runs need not wait for torch.

They lie in ``$XDG_CACHE_HOME/sed-engine`` (``~/.cache/sed-engine``; ``$SED_CACHE`` if that is set),
a folder for each model, which may be deleted at any time. What is in one belongs to the bytes of
the checkpoint and to the versions that made it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sed.errors import OutputError
from sed.files import written_whole

Tell = Callable[[str], object]  # takes a line for people

GRAPH, ABOUT = "graph.onnx", "about.json"
GRAPH_VERSION = 1  # raised when graphs, or their descriptions, are made in another way


@dataclass(frozen=True)
class Prepared:
    """A graph and what has to be known of it."""

    graph: Path
    about: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where more about this model may be kept."""
        return self.graph.parent


def cache_folder() -> Path:
    """Return the folder for what can be made again."""
    if chosen := os.environ.get("SED_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen, "sed-engine")
    try:
        return Path.home() / ".cache" / "sed-engine"
    except RuntimeError:  # nobody's: a container, a service
        return Path(tempfile.gettempdir(), f"sed-engine-{os.getuid()}")


def prepared(weights: Path, description: Path, tell: Tell) -> Prepared:
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
    return Prepared(graph, json.loads(about.read_text("utf-8")))


def _prepare(weights: Path, graph: Path, about: Path) -> None:
    from sed.models.checkpoint import load_checkpoint
    from streaming.export.export import about_graph, export

    checkpoint = load_checkpoint(weights)
    export(checkpoint, graph, "onnx")
    with written_whole(about) as part:
        part.write_text(json.dumps(about_graph(checkpoint)) + "\n", "utf-8")


def _key(weights: Path, description: Path) -> str:
    digest = hashlib.sha256(f"graph {GRAPH_VERSION}\n".encode())
    for name in ("sed-engine", "torch", "timm"):
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for path in (description, weights):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def remembered(
    path: Path,
    make: Callable[[], dict[str, Any]],
    worth_it: Callable[[dict[str, Any]], bool] = bool,
) -> dict[str, Any]:
    """Return what a small JSON file holds if that is worth it; else make it, and keep it so too."""
    with suppress(OSError, ValueError):
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if worth_it(kept):
            return kept
    values = make()
    if worth_it(values):
        with suppress(OutputError), written_whole(path) as part:  # else it is made again each time
            part.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    return values
