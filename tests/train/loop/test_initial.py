"""Where the weights of a model come from before training."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from sed.errors import CheckpointError
from sed.models import registry
from sed.models.backbone import ModelConfig, create_backbone
from sed.models.checkpoint import Checkpoint, save_checkpoint
from sed.models.network import SedModel
from sed.models.registry import find_model
from tests.conftest import TINY_LOG_MEL
from train.config.optim import CheckpointConfig
from train.config.recipe import load_recipe
from train.loop.initial import build_model, freeze_batch_norms, load_backbone, load_pretrained


def test_the_default_recipe_trains_from_the_model_that_ships():
    config = load_recipe("default")
    assert config.checkpoint.init_weights == "default"
    backbone = create_backbone(config.model)
    assert load_backbone(backbone, find_model("everyday")) == []


def test_initial_weights_are_filled_in_and_others_refused(tmp_path):
    source = create_backbone(ModelConfig("resnet10t"))
    weights = source.state_dict() | {"fc.weight": torch.zeros(3, 3)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    target = create_backbone(ModelConfig("resnet10t"))
    assert load_backbone(target, tmp_path / "w.safetensors") == []
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="Set the backbone, in_channels"):
        load_backbone(create_backbone(ModelConfig("mobilenetv1_100")), tmp_path / "w.safetensors")
    (tmp_path / "bad.safetensors").write_text("nothing")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_backbone(target, tmp_path / "bad.safetensors")


def test_yamnets_weights_fit_its_backbone(shared):
    backbone = create_backbone(ModelConfig(backbone_args={"pad_type": "same"}))
    path = shared / "weights" / "mobilenetv1_100.audioset_yamnet.safetensors"
    assert load_backbone(backbone, path) == []


def test_frozen_batch_norms_keep_their_statistics():
    backbone = create_backbone(ModelConfig("resnet10t")).train()
    freeze_batch_norms(backbone)
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    backbone.forward_features(torch.randn(2, 1, 64, 64))
    for name, value in before.items():
        assert torch.equal(backbone.state_dict()[name], value)


def test_what_is_known_of_a_label_goes_to_the_same_label(tmp_path):
    config = ModelConfig("mobilenetv3_small_050", hidden=16)
    known = SedModel(config, TINY_LOG_MEL, 3)
    save_checkpoint(Checkpoint(known, ("wren", "robin", "crow"), 1.0), tmp_path / "k.safetensors")
    new = SedModel(config, TINY_LOG_MEL, 4)
    fresh = new.heads[0].classes.weight.detach().clone()
    load_pretrained(new, ("crow", "dog", "siren", "wren"), tmp_path / "k.safetensors")
    for layer in ("classes", "attention"):
        there, here = getattr(known.heads[0], layer), getattr(new.heads[0], layer)
        assert torch.equal(here.weight[0], there.weight[2])
        assert torch.equal(here.bias[3], there.bias[0])
    assert torch.equal(new.heads[0].classes.weight[1:3], fresh[1:3])
    assert torch.equal(new.hidden.weight, known.hidden.weight)
    for name, value in known.backbone.state_dict().items():
        assert torch.equal(new.backbone.state_dict()[name], value)


def test_a_named_model_gives_its_backbone_and_one_of_ones_own_its_head_too(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path)
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "own"))
    config = ModelConfig("mobilenetv3_small_050", hidden=0, smoothing_frames=1)
    known = SedModel(config, TINY_LOG_MEL, 2)
    weights = tmp_path / "general.safetensors"
    save_checkpoint(Checkpoint(known, ("wren", "crow"), 1.0), weights)
    registry.add_model("mine", weights.with_suffix(".json").read_bytes(), {".safetensors": weights})
    for name, brings_head in (("general", False), ("mine", True)):
        recipe = load_recipe("default", init_weights=name)
        recipe = replace(recipe, model=config, log_mel=TINY_LOG_MEL)
        model, note = build_model(recipe, ("crow", "dog"))
        assert note == ""
        for key, value in known.backbone.state_dict().items():
            assert torch.equal(model.backbone.state_dict()[key], value)
        row = model.heads[0].classes.weight[0]
        assert torch.equal(row, known.heads[0].classes.weight[1]) == brings_head
    with pytest.raises(CheckpointError, match=r"minee: no such file.* Did you mean mine\?"):
        build_model(replace(recipe, checkpoint=CheckpointConfig("minee")), ("crow", "dog"))


def test_a_head_of_another_width_starts_anew(tmp_path):
    known = SedModel(ModelConfig("mobilenetv3_small_050", hidden=16), TINY_LOG_MEL, 2)
    save_checkpoint(Checkpoint(known, ("a", "b"), 1.0), tmp_path / "k.safetensors")
    new = SedModel(ModelConfig("mobilenetv3_small_050", hidden=24), TINY_LOG_MEL, 2)
    before = new.hidden.weight.detach().clone()
    load_pretrained(new, ("a", "b"), tmp_path / "k.safetensors")
    assert torch.equal(new.hidden.weight, before)
    assert torch.equal(
        new.backbone.state_dict()["conv_stem.weight"],
        known.backbone.state_dict()["conv_stem.weight"],
    )
