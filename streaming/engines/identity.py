"""Identify a model by its files, so that results say what they were made with."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from sed.models.metadata import DEFAULT, checkpoint_files
from streaming.encoders.hub import PREFIX, encoder_checksum, is_hub_name, parse_hub_name


def absolute_name(model: str) -> str:
    """Return the name of a model from any working directory: an absolute path, unless on the hub.

    Raises
    ------
    CheckpointError
        If it is ``hf:`` without a name.
    """
    if is_hub_name(model):
        folder = parse_hub_name(model).folder
        return model if folder is None else f"{PREFIX}{os.path.abspath(folder)}"
    return os.path.abspath(model) if os.path.exists(model) else model


def is_missing(model: str) -> bool:
    """Return whether a model is named by a path where there is nothing.

    Raises
    ------
    CheckpointError
        If it is ``hf:`` without a name.
    """
    if is_hub_name(model):
        folder = parse_hub_name(model).folder
        return folder is not None and not folder.exists()
    return "://" not in model and not os.path.exists(model)


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
    path = Path(model or DEFAULT)
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    for file in sorted({*checkpoint_files(None if model is None else str(model)), path, *weights}):
        # What is wrong with a missing file is reported when the model is loaded.
        with suppress(OSError), open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
