"""Save and load a head that is not part of a checkpoint: a JSON with its encoder, and its numbers.

::

    NAME.json           format, encoder and checksum, layer, pooling, task, labels, metrics
    NAME.safetensors    arrays of a linear, prototype, knn or mlp head
    NAME.trees-0.txt    boosted trees in LightGBM's text format, a file for each output

Loading executes nothing that is in the files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from sed.config import config_from_dict
from sed.errors import CheckpointError
from sed.files import written_whole
from sed.models.heads.added import AddedHead, AddedHeadConfig, create_added_head
from sed.models.metadata import (
    FITTED_FORMAT,
    checkpoint_files,
    library_versions,
    parse_metadata,
    sha256_of,
)
from sed.models.registry import DEFAULT_ALIAS, find_model, shipped_with_weights
from sed.text import message_of, printable
from sed.types import Floats
from train.fit.embeddings import Encoder
from train.fit.heads import predict_clips
from train.fit.vectors import VECTOR_HEADS, VectorHead

FITTED_VERSION = 1
_SUFFIXES = (".json", ".safetensors", ".txt")


@dataclass(frozen=True)
class FittedModel:
    """A head with all that is needed to use it on recordings.

    Attributes
    ----------
    encoder
        What computes the features.
    encoder_sha256
        Checksum of the encoder's weights; empty for one that is not a file.
    task
        ``classify``, ``tag`` or ``regress``.
    target
        Name of what is predicted.
    labels
        Names of the outputs; none for a number.
    kind
        Of the head.
    vectors
        A head on one vector per recording.
    frames
        A head on frames, instead.
    frames_config
        Its architecture.
    metrics
        What was measured on clips held out.
    """

    encoder: Encoder
    encoder_sha256: str
    task: str
    target: str
    labels: tuple[str, ...]
    kind: str
    vectors: VectorHead | None = None
    frames: AddedHead | None = None
    frames_config: AddedHeadConfig | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    def predict(self, features: list[Floats]) -> NDArray[np.float64]:
        """Return (recordings, outputs) for the features of recordings, of `Encoder.embed`.

        Raises
        ------
        CheckpointError
            If the head is for other features.
        """
        if self.frames is not None:
            return predict_clips(self.frames, features)[0].astype(np.float64)
        assert self.vectors is not None
        x = np.stack(features).astype(np.float64)
        if x.shape[1] != self.vectors.n_features:
            raise CheckpointError(
                f"the head is for {self.vectors.n_features} features, and the encoder gives "
                f"{x.shape[1]}. Copy the files of the head again, or fit it again."
            )
        return self.vectors.predict(x)


def fitted_json(path: str | os.PathLike[str]) -> Path:
    """Return the path of the JSON of a fitted model."""
    return Path(f"{fitted_stem(path)}.json")


def fitted_stem(path: str | os.PathLike[str]) -> Path:
    """Return the path of the files of a fitted model without their endings."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in _SUFFIXES else path


def is_fitted(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a fitted model of this name that is not a checkpoint."""
    if os.path.isdir(path):  # a run of the same name
        return False
    json_path = fitted_json(path)
    try:
        return f'"{FITTED_FORMAT}"' in json_path.read_text("utf-8", errors="replace")[:200]
    except OSError:
        return False


def encoder_sha256(model: str) -> str:
    """Return the checksum of an encoder's weights; empty if it is not a file.

    Raises
    ------
    CheckpointError
        If a file is missing, or there is no model of this name.
    """
    if model.startswith("hf:"):
        return ""
    path = find_model(model)
    if path.suffix == ".onnx":
        weights = path
    elif path.suffix == ".xml":
        weights = path.with_suffix(".bin")
    else:
        weights, _ = checkpoint_files(path)
    try:
        return sha256_of(weights)
    except OSError as error:
        raise CheckpointError(
            f"{printable(str(weights))}: the encoder cannot be read: {error.strerror}. Check the "
            "name, or bring back that file."
        ) from error


def save_fitted(model: FittedModel, path: str | os.PathLike[str]) -> Path:
    """Write a model; return the path of its JSON, which is written last.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    stem = fitted_stem(path)
    contents: dict[str, bytes] = {}
    if model.frames is not None:
        tensors = {k: v.numpy() for k, v in model.frames.state_dict().items()}
        contents[f"{stem.name}.safetensors"] = safetensors.numpy.save(tensors)
    elif model.vectors is not None and model.vectors.texts:
        for i, text in enumerate(model.vectors.texts):
            contents[f"{stem.name}.trees-{i}.txt"] = text.encode()
    elif model.vectors is not None:
        contents[f"{stem.name}.safetensors"] = safetensors.numpy.save(model.vectors.arrays)
    files = {}
    for name, content in contents.items():
        with written_whole(stem.with_name(name)) as part:
            part.write_bytes(content)
            files[name] = sha256_of(part)
    encoder = model.encoder
    metadata = {
        "format": FITTED_FORMAT,
        "format_version": FITTED_VERSION,
        "encoder": {"model": encoder.model, "sha256": model.encoder_sha256},
        "layer": encoder.layer,
        "pool": list(encoder.pool),
        "task": model.task,
        "target": model.target,
        "labels": list(model.labels),
        "head": model.kind,
        "frames": None if model.frames_config is None else asdict(model.frames_config),
        "metrics": model.metrics,
        "versions": library_versions(),
        "files": files,
    }
    json_path = fitted_json(path)
    with written_whole(json_path) as part:
        part.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return json_path


def load_fitted(path: str | os.PathLike[str]) -> FittedModel:
    """Load a model that `save_fitted` wrote.

    Raises
    ------
    CheckpointError
        If a file is missing, corrupt or of another program, or the encoder has changed.
    """
    stem = fitted_stem(path)
    json_path = fitted_json(path)
    name = printable(str(json_path))
    metadata = _read(json_path)
    try:
        contents = _contents(stem, metadata["files"])
        checksum = str(metadata["encoder"]["sha256"])
        encoder_name = str(metadata["encoder"]["model"])
        if encoder_name == DEFAULT_ALIAS:  # of older versions, whose default may be another now
            encoder_name = shipped_with_weights(checksum) or encoder_name
        encoder = Encoder(encoder_name, str(metadata["layer"]), tuple(metadata["pool"]))
        head = str(metadata["head"])
        model = FittedModel(
            encoder,
            checksum,
            str(metadata["task"]),
            str(metadata["target"]),
            tuple(map(str, metadata["labels"])),
            head,
            metrics=dict(metadata["metrics"]),
        )
        model = _with_head(model, metadata["frames"], contents)
        _try(model)
    except (
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise CheckpointError(
            f"{name}: the files do not fit together ({message_of(error)}). Copy all of them again."
        ) from error
    if encoder_sha256(encoder.model) != checksum:
        raise CheckpointError(
            f"{name}: was fitted to another encoder than {printable(encoder.model)} is now. Fit it "
            "again, or bring back that file."
        )
    return model


def _with_head(
    model: FittedModel, frames: Mapping[str, Any] | None, contents: Mapping[str, bytes]
) -> FittedModel:
    if model.kind == "trees":
        texts = tuple(content.decode() for content in contents.values())
        head = VectorHead(model.kind, texts=texts)
        if len(texts) != max(1, len(model.labels)):
            raise ValueError(f"{len(texts)} files of trees")
        return replace(model, vectors=head)
    (content,) = contents.values()
    arrays = safetensors.numpy.load(content)
    if frames is None:
        if model.kind not in VECTOR_HEADS:
            raise ValueError(f"unknown head {model.kind!r}")
        return replace(model, vectors=VectorHead(model.kind, arrays))
    import torch

    config = config_from_dict(AddedHeadConfig, frames, "frames")
    width = len(arrays["mean"])
    rows = max(config.hidden, config.n_examples, config.n_classes)
    if rows * (config.hidden or config.n_examples or width) > sum(a.size for a in arrays.values()):
        raise ValueError("size mismatch: the head is larger than its weights")
    added = create_added_head(config, width)
    added.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    return replace(model, frames=added.eval().requires_grad_(False), frames_config=config)


def _try(model: FittedModel) -> None:
    """Raise an error if the head does not give a number for each output."""
    if model.vectors is not None:
        found = model.vectors.predict(np.zeros((1, model.vectors.n_features)))
    else:
        assert model.frames is not None
        found = model.predict([np.zeros((1, len(model.frames.mean)), np.float32)])
    if found.shape != (1, max(1, len(model.labels))) or not np.isfinite(found).all():
        raise ValueError(f"the head gives {found.shape[-1]} numbers for {len(model.labels)} labels")


def _read(json_path: Path) -> dict[str, Any]:
    name = printable(str(json_path))
    try:
        metadata = parse_metadata(json_path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{name}: cannot read: {error.strerror}. Check the name.") from error
    except ValueError as error:
        raise CheckpointError(f"{name}: is not JSON ({error}). Copy it again.") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FITTED_FORMAT:
        raise CheckpointError(f"{name}: is not a head that `sed fit` wrote. Check the name.")
    if metadata.get("format_version") != FITTED_VERSION:
        raise CheckpointError(
            f"{name}: format version {metadata.get('format_version')}, and this sed-engine reads "
            f"version {FITTED_VERSION} only. Upgrade, or fit it again."
        )
    return metadata


def _contents(stem: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """Return the bytes of the files of a model, whose checksums are right."""
    contents = {}
    for name in files:
        # Files lie beside the JSON, whatever it says.
        if Path(name).name != name:
            raise ValueError(f"unexpected file name {name!r}")
        path = stem.with_name(name)
        shown = printable(str(path))
        if not path.is_file():
            raise CheckpointError(f"{shown}: not found. Keep it beside {stem.name}.json.")
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{shown}: cannot read: {error.strerror}.") from error
        if hashlib.sha256(contents[name]).hexdigest() != files[name]:
            raise CheckpointError(
                f"{shown}: is corrupt, truncated or of another model than {stem.name}.json. Copy "
                "both again."
            )
    return contents
