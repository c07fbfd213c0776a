"""Load encoders by Hugging Face `transformers`; the only module that imports it.

Nothing is unpickled and no code of a repository is run: weights are safetensors.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sed.errors import CheckpointError, MissingExtraError
from sed.models.metadata import sha256_of
from sed.text import printable

PREFIX = "hf:"
SUPPORTED = (
    "WavLM, HuBERT, wav2vec 2.0, data2vec-audio, UniSpeech, SEW, AST, Whisper, and others that "
    "have a feature extractor of sound"
)
# Weights that only training uses; checkpoints may lack them.
UNUSED_WEIGHTS = ("masked_spec_embed", "pooler")


@dataclass(frozen=True)
class HubName:
    """An encoder by its name on the hub or its folder.

    Attributes
    ----------
    name
        ``organisation/model``, or the path of a folder.
    revision
        Branch, tag or commit on the hub; the main branch if None.
    """

    name: str
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder, if the name is one."""
        looks_local = self.name.startswith((".", "/", "~", "\\"))
        path = Path(self.name).expanduser()
        return path if looks_local or os.path.isdir(path) else None

    def __str__(self) -> str:
        return PREFIX + self.name + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Pretrained:
    """An encoder as `transformers` loads it."""

    name: HubName
    config: Any  # transformers.PreTrainedConfig
    model: Any  # transformers.PreTrainedModel, in evaluation mode
    extractor: Any | None  # its feature extractor, where the repository has one


def is_hub_name(model: object) -> bool:
    """Return whether a model is given as ``hf:NAME``."""
    return isinstance(model, str | os.PathLike) and os.fspath(model).startswith(PREFIX)


def parse_hub_name(model: str | os.PathLike[str]) -> HubName:
    """Return the parts of ``hf:NAME``, ``hf:NAME@REVISION`` or ``hf:FOLDER``.

    Raises
    ------
    CheckpointError
        If the name is empty.
    """
    name = os.fspath(model).removeprefix(PREFIX)
    whole = HubName(name)
    if not name:
        raise CheckpointError("hf:: a name is missing. Give for example hf:microsoft/wavlm-large.")
    if whole.folder is not None:
        return whole
    name, _, revision = name.partition("@")
    return HubName(name, revision or None)


def load_pretrained(name: HubName) -> Pretrained:
    """Load an encoder, from a folder, the cache of the hub or the hub.

    Raises
    ------
    MissingExtraError
        If `transformers` is not installed.
    CheckpointError
        If the encoder cannot be found or loaded, has no safetensors, or lacks weights.
    """
    transformers = _import_transformers()
    where, options = _location(name)
    with _quiet(transformers), _translated(name):
        config = transformers.AutoConfig.from_pretrained(where, **options)
        if getattr(config, "add_adapter", False):
            # The adapter of wav2vec 2.0 would drop frames; it belongs to the decoder.
            config.add_adapter = False
        extractor = _load_extractor(transformers, where, options)
        if extractor is None and not _takes_samples(config) and not _is_ast(config):
            raise CheckpointError(
                f"{printable(str(name))}: a model of the type {config.model_type} takes no sound, "
                f"as far as its files say. Supported are {SUPPORTED}."
            )
        model, loading = transformers.AutoModel.from_pretrained(
            where, config=config, use_safetensors=True, output_loading_info=True, **options
        )
    model = _audio_part(model)
    missing = [
        key for key in loading["missing_keys"] if not any(word in key for word in UNUSED_WEIGHTS)
    ]
    if missing:
        raise CheckpointError(
            f"{printable(str(name))}: {len(missing)} weights are missing, the first is "
            f"{min(missing)}: the files are incomplete, or of another model. Copy them again."
        )
    return Pretrained(name, config, model.eval(), extractor)


def default_extractor(config: Any) -> Any:
    """Return the feature extractor that AST's own configuration implies."""
    transformers = _import_transformers()
    with _quiet(transformers):
        return transformers.ASTFeatureExtractor(
            num_mel_bins=config.num_mel_bins, max_length=config.max_length
        )


def encoder_checksum(name: HubName) -> str:
    """Return hexadecimal digits that identify the files of an encoder.

    They are made from the files of a folder, or from the name and the commit on the hub.

    Raises
    ------
    MissingExtraError
        If `transformers` is not installed.
    CheckpointError
        If the encoder cannot be found.
    """
    digest = hashlib.sha256()
    if name.folder is not None:
        files = (p for p in name.folder.glob("*") if p.suffix in (".json", ".safetensors"))
        for path in sorted(files):
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
        return digest.hexdigest()
    transformers = _import_transformers()
    where, _ = _location(name)
    with _quiet(transformers), _translated(name):
        path = Path(transformers.utils.cached_file(where, "config.json", revision=name.revision))
    # The cache of the hub is …/snapshots/COMMIT/config.json.
    digest.update(f"{name.name} {path.parent.name}".encode())
    return digest.hexdigest()


def _location(name: HubName) -> tuple[str, dict[str, Any]]:
    """Return what `from_pretrained` takes: a folder or name, and options."""
    folder = name.folder
    if folder is None:
        revision = {"revision": name.revision} if name.revision else {}
        return name.name, {"trust_remote_code": False, **revision}
    shown = printable(str(name))
    if not os.path.isdir(folder):
        raise CheckpointError(f"{shown}: no such folder. Check the name.")
    if not os.path.isfile(folder / "config.json"):
        raise CheckpointError(
            f"{shown}: config.json is missing. Give a folder that save_pretrained wrote."
        )
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(_no_safetensors(shown))
    return str(folder), {"trust_remote_code": False, "local_files_only": True}


def _no_safetensors(shown: str) -> str:
    return (
        f"{shown}: has no weights in safetensors, and weights that are pickled are never loaded. "
        "Convert them once, with save_pretrained of transformers, and give the folder as "
        "hf:./FOLDER; or name a revision that has them, as hf:NAME@refs/pr/1."
    )


def _load_extractor(transformers: Any, where: str, options: dict[str, Any]) -> Any | None:
    """Return the feature extractor of a repository if it has one of sound."""
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(where, **options)
    except (OSError, ValueError, KeyError, ImportError):
        return None
    return extractor if hasattr(extractor, "sampling_rate") else None


def _takes_samples(config: Any) -> bool:
    return hasattr(config, "conv_stride")


def _is_ast(config: Any) -> bool:
    return bool(config.model_type == "audio-spectrogram-transformer")


def _audio_part(model: Any) -> Any:
    """Return the encoder of a model that also has a decoder, or a part for text."""
    if model.config.is_encoder_decoder:
        return model.get_encoder()
    return getattr(model, "audio_model", model)


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("an encoder of Hugging Face", "hf") from error
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars, reports and warnings of `transformers` off the terminal."""
    logging = transformers.utils.logging
    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()


@contextmanager
def _translated(name: HubName) -> Iterator[None]:
    """Raise a `CheckpointError` with a remedy in place of the errors of `transformers`."""
    shown = printable(str(name))
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        # Its errors are of many kinds: OSError, ValueError, KeyError and those of safetensors.
        reason = " ".join(str(error).split())
        if "safetensors" in reason and "does not appear" in reason:
            raise CheckpointError(_no_safetensors(shown)) from error
        remedy = (
            "Check the name and the network; HF_TOKEN opens models with restricted access. On a "
            "machine without network, copy the folder of the model and give hf:./FOLDER"
            if name.folder is None
            else "Save it again, with save_pretrained of transformers"
        )
        raise CheckpointError(f"{shown}: cannot be loaded ({reason[:300]}). {remedy}.") from error
