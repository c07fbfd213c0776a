"""Which weights are trained."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sed.features.log_mel import LogMelConfig
from sed.models.backbone import ModelConfig
from sed.models.network import SedModel
from train.loop.optimizer import averaged, freeze_pointwise


def test_frozen_pointwise_convolutions_leave_filters_and_norms():
    model = SedModel(ModelConfig("mobilenetv1_100", hidden=0), LogMelConfig(), 3)
    freeze_pointwise(model)
    trained = {n: p for n, p in model.backbone.named_parameters() if p.requires_grad}
    # The stem and 13 depthwise convolutions of 3 × 3; scale and bias of 27 norms.
    channels = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024]
    n_filters = 9 * 32 + 9 * sum(channels)
    n_norms = 2 * (32 + sum(channels) + sum([*channels[1:], 1024]))
    assert sum(p.numel() for p in trained.values()) == n_filters + n_norms
    assert not any("conv_pw" in name for name in trained)
    assert all(p.requires_grad for p in model.heads.parameters())


def test_a_backbone_without_pointwise_convolutions_is_refused():
    model = SimpleNamespace(
        backbone=nn.Sequential(nn.Conv2d(1, 8, 3)), config=SimpleNamespace(backbone="plain")
    )
    with pytest.raises(ValueError, match=r"plain has no pointwise convolutions: leave pointwise"):
        freeze_pointwise(model)


def test_an_average_is_between_both_models():
    models = [SedModel(ModelConfig("mobilenetv3_small_050"), LogMelConfig(), 3) for _ in range(2)]
    (one, other), kept = (m.state_dict() for m in models), averaged(*models, 0.25).state_dict()
    for name, found in kept.items():
        if found.is_floating_point():
            torch.testing.assert_close(found, 0.75 * one[name] + 0.25 * other[name])
    assert any((one[name] != kept[name]).any() for name in kept)
