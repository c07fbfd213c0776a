"""Tiny encoders with random weights, made from their configurations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

SAMPLE_RATE = 16_000
LAYERS = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WAVEFORM = {
    **LAYERS,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
# Models by name: their classes, and what differs from `WAVEFORM`.
WAVEFORM_MODELS = {
    "wav2vec2": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm": ("WavLM", {}),
    "hubert": ("Hubert", {}),
    "data2vec": ("Data2VecAudio", {}),
    "sew": ("SEW", {"conv_dim": (8,) * 13}),
}


def save(model: object, extractor: object | None, folder: Path) -> None:
    """Write a model and its feature extractor as a hub would hold them."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if extractor is not None:
        extractor.save_pretrained(folder)


def waveform_model(name: str, folder: Path, *, masks: bool = False) -> torch.nn.Module:
    """Return a random model of the family of wav2vec 2.0, and write it."""
    import transformers

    prefix, changes = WAVEFORM_MODELS[name]
    config = getattr(transformers, f"{prefix}Config")(**{**WAVEFORM, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(transformers, f"{prefix}Model")(config).eval()
    save(model, transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masks), folder)
    return model


def noise(*shape: int) -> np.ndarray:
    """Return noise at a tenth of full scale."""
    return (0.1 * np.random.default_rng(2).standard_normal(shape)).astype(np.float32)
