"""Embeddings of a layer: checked against the network's own modules."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sed.errors import UsageError
from sed.models.inference.layers import LayerNetwork
from streaming.engines.pytorch import TorchEngine


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return copy.deepcopy(tiny_checkpoint.model)


def log_mel(model, n_windows=2, n_frames=8):
    generator = torch.Generator().manual_seed(0)
    shape = n_windows, n_frames * model.frame_columns, model.log_mel.config.n_mels
    return torch.randn(shape, generator=generator)


@torch.inference_mode()
def test_features_and_hidden_are_what_the_heads_see(model):
    x = log_mel(model)
    expected = model.frame_features(x)
    features, embeddings = LayerNetwork(model)(x)
    assert torch.equal(features, expected)
    assert torch.equal(embeddings, expected)
    _, hidden = LayerNetwork(model, "hidden")(x)
    assert torch.equal(hidden, F.relu(model.hidden(expected)))
    assert LayerNetwork(model, "hidden").n_features == hidden.shape[2] == model.config.hidden


@torch.inference_mode()
def test_a_module_is_averaged_over_bands_and_the_steps_of_a_frame(model):
    x = log_mel(model)
    names = [n for n, _ in model.named_modules() if n.startswith("backbone.") and n.count(".") == 2]
    n_tried = 0
    for name in names:
        try:
            network = LayerNetwork(model, name)
        except UsageError:
            continue
        caught = {}
        module = model.get_submodule(name)
        handle = module.register_forward_hook(lambda *a, caught=caught: caught.update(x=a[2]))
        features, embeddings = network(x)
        handle.remove()
        whole = caught["x"].mean(3).transpose(1, 2)  # (batch, steps, channels)
        frames = whole.unflatten(1, (features.shape[1], -1)).mean(2)
        assert embeddings.shape == (2, 8, network.n_features)
        torch.testing.assert_close(embeddings, frames)
        n_tried += 1
    assert n_tried >= 2


def test_a_layer_that_is_not_there_or_does_not_follow_time_is_refused(model):
    with pytest.raises(UsageError, match=r"no layer 'featres'.*features"):
        LayerNetwork(model, "featres")
    with pytest.raises(UsageError, match=r"does not follow time: expected shape \(batch, ch"):
        LayerNetwork(model, "heads.0")


def test_an_engine_gives_embeddings_only_when_a_layer_is_named(tiny_checkpoint):
    x = log_mel(tiny_checkpoint.model, 3).numpy()
    plain = TorchEngine(tiny_checkpoint, "cpu", "fp32")
    engine = TorchEngine(tiny_checkpoint, "cpu", "fp32", layer="features")
    output = engine.infer(x)
    assert plain.infer(x).embeddings is None
    assert (plain.n_features, engine.n_features) == (0, tiny_checkpoint.model.n_features)
    np.testing.assert_array_equal(output.frame_probs, plain.infer(x).frame_probs)
    np.testing.assert_array_equal(output[1:].embeddings, output.embeddings[1:])
