import math

import pytest
import torch

from sed.features.log_mel import LogMelConfig
from sed.models.backbone import ModelConfig, create_backbone
from sed.models.network import SedModel

# Five families. Frames are those of 5 s, 500 columns.
BACKBONES = {
    "mobilenetv1_100": (32, 16),
    "efficientnet_b0": (32, 16),
    "resnet18": (32, 16),
    "eca_nfnet_l0": (32, 16),
    "convnext_atto": (32, 15),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes(name):
    stride, n_frames = BACKBONES[name]
    model = SedModel(ModelConfig(name, hidden=64), LogMelConfig(), 7).eval()
    with torch.inference_mode():
        output = model(torch.randn(2, 80_000) * 0.1)
    assert model.frame_columns == stride
    assert output.frame_logits.shape == (2, n_frames, 7)
    assert output.attention.shape == (2, n_frames, 7)
    assert output.clip_logits.shape == output.clip_probs.shape == (2, 7)
    torch.testing.assert_close(output.attention.sum(1), torch.ones(2, 7))
    weighted = (output.attention * output.frame_probs).sum(1)
    torch.testing.assert_close(output.clip_probs, weighted)
    assert model.n_frames(500) == n_frames
    edges = model.frame_edges(500)
    assert len(edges) == n_frames + 1
    assert edges[0] == 0
    assert edges[-1] == 500


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "crossvit_tiny_240"]
)
def test_a_backbone_that_cannot_keep_time_is_refused(name):
    with pytest.raises(
        ValueError, match=r"does not keep the time axis.*Choose a convolutional one"
    ):
        SedModel(ModelConfig(name), LogMelConfig(), 5)


def test_an_unknown_backbone_is_refused_with_the_near_ones():
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet1'. Did you mean resnet18"):
        SedModel(ModelConfig("resnet1"), LogMelConfig(), 5)


def test_untrained_classes_start_at_the_prior():
    model = SedModel(ModelConfig("resnet10t", n_heads=2), LogMelConfig(), 50)
    for head in model.heads:
        torch.testing.assert_close(head.classes.bias, torch.full((50,), math.log(1 / 49)))


def test_several_heads_are_averaged():
    torch.manual_seed(0)
    model = SedModel(ModelConfig("resnet10t", hidden=16, n_heads=3), LogMelConfig(), 4).eval()
    columns = torch.randn(1, 500, 64)
    with torch.inference_mode():
        together = model.forward_log_mel(columns).clip_probs
        heads = model.heads
        alone = []
        for head in heads:
            model.heads = torch.nn.ModuleList([head])
            alone.append(model.forward_log_mel(columns).clip_probs)
    torch.testing.assert_close(together, torch.stack(alone).mean(0))


def test_three_channels_repeat_the_spectrogram():
    model = SedModel(ModelConfig("resnet10t", in_channels=3), LogMelConfig(), 4).eval()
    seen = []
    forward = model.backbone.forward_features
    model.backbone.forward_features = lambda x: seen.append(x) or forward(x)
    model.forward_log_mel(torch.randn(1, 96, 64))
    assert seen[0].shape == (1, 3, 96, 64)
    torch.testing.assert_close(seen[0][:, 0], seen[0][:, 2])


def test_time_stays_in_order():
    """A click late in the window moves the late frames most."""
    torch.manual_seed(0)
    model = SedModel(ModelConfig("mobilenetv1_100", hidden=32), LogMelConfig(), 3).eval()
    quiet = torch.zeros(1, 80_000)
    click = quiet.clone()
    click[0, 72_000:72_400] = 0.5  # at column 450, frame 14
    with torch.inference_mode():
        change = (model(click).frame_logits - model(quiet).frame_logits).abs().sum(2)[0]
    assert change.argmax().item() in (13, 14, 15)
    assert change[:10].max() < 0.05 * change.max()


@pytest.mark.parametrize("values", [{"in_channels": 2}, {"n_heads": 0}, {"class_prior": 1.5}])
def test_impossible_configs_are_refused(values):
    with pytest.raises(ValueError, match=r"expected"):
        ModelConfig(**values)


SAME = {"pad_type": "same"}


@pytest.mark.parametrize("name", ["mobilenetv1_100", "tf_efficientnet_lite0"])
def test_a_time_stride_adds_frames_between_those_of_the_backbone(name):
    torch.manual_seed(0)
    coarse = create_backbone(ModelConfig(name, backbone_args=SAME)).eval()
    fine = create_backbone(ModelConfig(name, backbone_args=SAME, time_stride=16)).eval()
    fine.load_state_dict(coarse.state_dict())
    x = torch.randn(1, 1, 320, 64)
    with torch.inference_mode():
        expected, found = coarse.forward_features(x), fine.forward_features(x)
    assert found.shape == (1, expected.shape[1], 20, 2)
    torch.testing.assert_close(found[:, :, 1::2], expected, rtol=1e-4, atol=1e-5)


def test_a_time_stride_that_branches_do_not_allow_is_refused():
    with pytest.raises(ValueError, match=r"time_stride 16 needs a chain of convolutions"):
        SedModel(ModelConfig("resnet18", time_stride=16), LogMelConfig(), 5)


def test_without_hidden_layer_and_smoothing_frames_are_sums_of_their_own_features():
    config = ModelConfig("mobilenetv1_100", hidden=0, smoothing_frames=1, time_stride=16)
    model = SedModel(config, LogMelConfig(), 7).eval()
    log_mel = torch.randn(2, 500, 64)
    with torch.inference_mode():
        output = model.forward_log_mel(log_mel)
        features = model.backbone.forward_features(log_mel[:, None]).mean(3).transpose(1, 2)
    assert output.frame_logits.shape == (2, 32, 7)
    classes = model.heads[0].classes
    torch.testing.assert_close(output.frame_logits, features @ classes.weight.T + classes.bias)
