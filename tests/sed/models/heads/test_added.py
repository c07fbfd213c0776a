import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sed.errors import CheckpointError
from sed.models.backbone import ModelConfig
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from sed.models.heads.added import AddedHeadConfig, create_added_head
from sed.models.network import SedModel
from streaming.engines.select import open_engine
from streaming.export.export import export
from tests.conftest import TINY_LOG_MEL

CONFIGS = (
    AddedHeadConfig("linear", 2),
    AddedHeadConfig("mlp", 1, hidden=8),
    AddedHeadConfig("prototype", 1),
    AddedHeadConfig("knn", 2, n_examples=9, n_neighbors=3),
)
N_ADDED = sum(config.n_classes for config in CONFIGS)


def with_added_heads(checkpoint, configs=CONFIGS, *, keep=True):
    """Return a checkpoint with random added heads, with the old classes or without."""
    old = checkpoint.model
    n_old = len(checkpoint.labels) if keep else 0
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = SedModel(old.config, old.log_mel.config, n_old, configs).eval()
    weights = {k: v for k, v in old.state_dict().items() if keep or not k.startswith("heads.")}
    assert model.load_state_dict(weights, strict=False).unexpected_keys == []
    for head in model.added_heads:
        if hasattr(head, "targets"):
            head.targets[0, :4] = 1
            head.targets[1, 4:] = 1
    labels = tuple(f"new {i}" for i in range(sum(config.n_classes for config in configs)))
    return dataclasses.replace(
        checkpoint,
        model=model,
        labels=checkpoint.labels[:n_old] + labels,
        post_processing=dataclasses.replace(checkpoint.post_processing, median_filter_frames=1),
    )


@pytest.fixture(scope="module")
def log_mel():
    shape = (3, 100, TINY_LOG_MEL.n_mels)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 2 - 3


def test_the_old_outputs_are_bit_identical(tiny_checkpoint, log_mel):
    model = with_added_heads(tiny_checkpoint).model
    with torch.inference_mode():
        features = model.frame_features(torch.from_numpy(log_mel))
        for name in ("forward_head", "frame_outputs"):
            old = getattr(tiny_checkpoint.model, name)(features)
            new = getattr(model, name)(features)
            for ours, theirs in zip(old, new, strict=True):
                assert theirs.shape[-1] == 3 + N_ADDED == model.n_classes
                assert torch.equal(ours, theirs[..., :3])


def test_frames_pool_to_clips_with_their_probabilities_as_weights(tiny_checkpoint, log_mel):
    model = with_added_heads(tiny_checkpoint).model
    with torch.inference_mode():
        features = model.frame_features(torch.from_numpy(log_mel))
        output, frames = model.forward_head(features), model.frame_outputs(features)
    p = output.frame_probs[..., 3:]
    torch.testing.assert_close(output.clip_probs[:, 3:], p.square().sum(1) / p.sum(1), rtol=1e-3,
                               atol=1e-4)  # fmt: skip
    torch.testing.assert_close(output.attention.sum(1), torch.ones(3, 3 + N_ADDED))
    weights = frames.head_weights
    pooled = ((weights * frames.head_probs).sum(1) / weights.sum(1)).mean(1)
    torch.testing.assert_close(pooled, output.clip_probs)


def test_heads_compute_what_their_names_say():
    features = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    head = create_added_head(AddedHeadConfig("prototype", 2), 6)
    unit = F.normalize(torch.arange(12.0).reshape(2, 6) - 4, dim=1)
    head.classes.weight.data = 3 * unit
    head.mean += 0.5
    cosine = F.cosine_similarity((features - 0.5)[:, :, None], unit[None, None], dim=-1)
    expected = 3 * cosine + head.classes.bias
    torch.testing.assert_close(head(features).frame_logits, expected)

    head = create_added_head(AddedHeadConfig("knn", 1, n_examples=5, n_neighbors=2), 6)
    examples = F.normalize(torch.randn(5, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    head.examples.weight.data = examples
    head.targets[0] = torch.tensor([1.0, 1.0, 0.0, 0.0, -1.0])
    cosine = F.cosine_similarity(features[:, :, None], examples[None, None], dim=-1)
    expected = cosine[..., :2].mean(-1) - cosine[..., 2:4].mean(-1)
    torch.testing.assert_close(head(features).frame_logits[..., 0], expected)


def test_a_graph_has_the_outputs_of_the_model(tiny_checkpoint, log_mel, tmp_path):
    pytest.importorskip("onnxruntime")
    checkpoint = with_added_heads(tiny_checkpoint)
    found = open_engine(export(checkpoint, tmp_path / "new"), engine="onnx").infer(log_mel)
    with torch.inference_mode():
        features = checkpoint.model.frame_features(torch.from_numpy(log_mel))
        expected = checkpoint.model.frame_outputs(features)
    for name in ("frame_probs", "head_probs", "head_weights"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_old_classes_are_bit_identical_in_a_graph(tiny_checkpoint, log_mel, tmp_path, to):
    new, old = (
        open_engine(export(model, tmp_path / name, to), engine=to).infer(log_mel)
        for name, model in (("new", with_added_heads(tiny_checkpoint)), ("old", tiny_checkpoint))
    )
    for name in ("frame_probs", "head_probs", "head_weights"):
        assert np.array_equal(getattr(new, name)[..., :3], getattr(old, name))


@pytest.mark.slow
def test_torch_export_has_the_added_classes(tiny_checkpoint, tmp_path):
    checkpoint = with_added_heads(tiny_checkpoint)
    samples = 0.1 * torch.randn(2, 8_000, generator=torch.Generator().manual_seed(0))
    program = torch.export.load(export(checkpoint, tmp_path / "new", "torch-export")).module()
    with torch.inference_mode():
        torch.testing.assert_close(
            program(samples)[1], checkpoint.model(samples).clip_probs, rtol=1e-4, atol=1e-5
        )


def test_a_checkpoint_keeps_its_added_heads(tiny_checkpoint, log_mel, tmp_path):
    for keep in (True, False):
        saved = with_added_heads(tiny_checkpoint, keep=keep)
        save_checkpoint(saved, tmp_path / "mine")
        loaded = load_checkpoint(tmp_path / "mine")
        assert loaded.labels == saved.labels
        assert loaded.model.added_head_configs == CONFIGS
        assert loaded.model.n_own_classes == 3 * keep
        with torch.inference_mode():
            x = torch.from_numpy(log_mel)
            assert torch.equal(
                loaded.model.forward_log_mel(x).clip_probs,
                saved.model.forward_log_mel(x).clip_probs,
            )


def test_a_checkpoint_without_added_heads_does_not_mention_them(tiny_checkpoint, tmp_path):
    save_checkpoint(tiny_checkpoint, tmp_path / "plain")
    assert "added_heads" not in json.loads((tmp_path / "plain.json").read_text("utf-8"))


def test_metadata_of_other_heads_are_refused(tiny_checkpoint, tmp_path):
    save_checkpoint(with_added_heads(tiny_checkpoint), tmp_path / "mine")
    metadata = json.loads((tmp_path / "mine.json").read_text("utf-8"))
    for heads in ([{"kind": "oracle"}], [{"kind": "linear", "n_classes": 9}], [7], 7):
        (tmp_path / "mine.json").write_text(json.dumps(metadata | {"added_heads": heads}))
        with pytest.raises(CheckpointError, match="do not fit together"):
            load_checkpoint(tmp_path / "mine")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "oracle"}, "expected a head of linear, prototype, knn, mlp, got 'oracle'"),
        ({"n_classes": 0}, "expected n_classes >= 1"),
        ({"kind": "mlp"}, "expected hidden >= 1"),
        ({"kind": "knn", "n_examples": 2, "n_neighbors": 3}, "1 <= n_neighbors <= n_examples"),
    ],
)
def test_heads_that_cannot_be_built_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        AddedHeadConfig(**values)


def test_a_model_needs_a_class():
    with pytest.raises(ValueError, match="at least one class"):
        SedModel(ModelConfig("mobilenetv3_small_050"), TINY_LOG_MEL, 0)
