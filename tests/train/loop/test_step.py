"""The loss of a batch: class weights, teacher, batch norms."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sed.errors import TableError
from train.data.clips import Clip
from train.data.tables import read_table
from train.loop.optimizer import sync_batch_norms
from train.loop.step import class_weights, teacher_embeddings


def test_a_teacher_is_matched_by_name(sounds, tiny, tmp_path):
    clips = read_table(sounds)[:9]
    embeddings = np.random.default_rng(0).normal(3.0, 2.0, (9, 5))
    names = [f"{i}.ogg" for i in range(9)]
    np.savez(tmp_path / "t.npz", filename=names, embedding=embeddings)
    features = teacher_embeddings(str(tmp_path / "t.npz"), clips)
    prepared = [replace(clip, path=f"{clip.path}.wav") for clip in clips]  # as sed prepare does
    assert torch.equal(teacher_embeddings(str(tmp_path / "t.npz"), prepared), features)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(features.std(0, correction=0), 1, atol=1e-5)
    with pytest.raises(TableError, match="has no embedding of 1 clips"):
        teacher_embeddings(str(tmp_path / "t.npz"), [*clips, Clip("other.wav", ("x",), "y")])


def test_class_weights_are_even_on_average():
    clips = [Clip(str(i), ("a" if i < 6 else "b",), str(i)) for i in range(8)]
    weights = class_weights(clips, ("a", "b"), "balanced")
    assert weights.tolist() == pytest.approx([0.5, 1.5])
    assert class_weights(clips, ("a", "b"), "none").tolist() == [1, 1]


def test_synchronised_norms_keep_their_activations(tiny_checkpoint):
    model = copy.deepcopy(tiny_checkpoint.model).eval()
    samples = torch.randn(2, 8_000)
    with torch.inference_mode():
        before = model(samples).clip_logits
        after = sync_batch_norms(model).eval()(samples).clip_logits
    torch.testing.assert_close(before, after)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())
