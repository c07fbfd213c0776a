"""Identify a model by its files, so that results say what they were made with."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from sed.errors import CheckpointError
from sed.models.metadata import checkpoint_files
from sed.models.registry import find_model, is_registered, model_name
from streaming.encoders.hub import PREFIX, encoder_checksum, is_hub_name, parse_hub_name
from streaming.engines.graphs.description import find_graph, graph_files


def absolute_name(model: str) -> str:
    """Return the name of a model that is valid in any working directory.

    It is an absolute path, unless the model is on the hub or has a name of its own.

    Raises
    ------
    CheckpointError
        If it is ``hf:`` without a name.
    """
    if is_hub_name(model):
        folder = parse_hub_name(model).folder
        return model if folder is None else f"{PREFIX}{os.path.abspath(folder)}"
    if is_registered(model):
        return model_name(model)
    return os.path.abspath(model) if os.path.exists(model) else model


def is_missing(model: str) -> bool:
    """Return whether a model is named by a path where there is nothing, or by no known name.

    Raises
    ------
    CheckpointError
        If it is ``hf:`` without a name.
    """
    if is_hub_name(model):
        folder = parse_hub_name(model).folder
        return folder is not None and not os.path.exists(folder)
    if "://" in model:
        return False
    try:
        return not os.path.exists(find_model(model))
    except CheckpointError:
        return True


def model_identity(model: str | os.PathLike[str] | None) -> str:
    """Return hexadecimal digits that identify a model.

    They are made from the files of a checkpoint, a graph or the folder of an encoder, and from name
    and commit of an encoder on the hub.

    Parameters
    ----------
    model
        As for `streaming.engines.select.open_engine`; the default model if None.

    Raises
    ------
    MissingExtraError
        If the model is an encoder and `transformers` is not installed.
    CheckpointError
        If the model is an encoder that cannot be found.
    """
    if is_hub_name(model):
        assert model is not None
        return encoder_checksum(parse_hub_name(model))
    digest = hashlib.sha256()
    try:
        path = find_model(model)
    except CheckpointError:
        path = Path(model_name(model))
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    if (graph := find_graph(path)) is not None:
        weights = graph_files(graph)
    for file in sorted({*checkpoint_files(path), path, *weights}):
        # What is wrong with a missing model is reported when it is loaded.
        with suppress(OSError), open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
