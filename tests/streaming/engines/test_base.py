import pytest
import torch

from sed.features.log_mel import LogMelConfig
from sed.models.backbone import ModelConfig
from sed.models.checkpoint import Checkpoint
from sed.models.inference.fusion import fuse_conv_bn
from sed.models.network import SedModel
from streaming.engines.pytorch import TorchEngine


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv1_100",
        "efficientnet_b0",
        "resnet18",
        "resnetv2_50",
        "densenet121",
        "convnext_atto",
    ],
)
def test_folding_batch_norms_does_not_change_the_output(name):
    torch.manual_seed(0)
    model = SedModel(ModelConfig(name, hidden=16), LogMelConfig(), 4).train()
    with torch.no_grad():  # statistics other than zero and one
        for _ in range(2):
            model.forward_log_mel(torch.randn(2, 96, 64) * 2 - 3)
    model.eval()
    log_mel = torch.randn(2, 160, 64)
    with torch.inference_mode():
        expected, found = (
            model.forward_log_mel(log_mel),
            fuse_conv_bn(model).forward_log_mel(log_mel),
        )
    torch.testing.assert_close(found.frame_logits, expected.frame_logits, atol=1e-3, rtol=1e-3)


def test_batch_norms_are_folded_in_a_copy_of_the_model():
    def n_norms(model):
        return sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())

    model = SedModel(ModelConfig("efficientnet_b0", hidden=16), LogMelConfig(), 4)
    before = n_norms(model)
    assert before > 40
    assert n_norms(TorchEngine(Checkpoint(model, tuple("abcd")), "cpu").model) == 0
    assert n_norms(model) == before


def test_the_name_of_an_engine_gives_runtime_device_and_precision():
    model = SedModel(ModelConfig("resnet10t", hidden=16), LogMelConfig(), 4)
    for precision in ("fp32", "bf16"):
        name = str(TorchEngine(Checkpoint(model, tuple("abcd")), "cpu", precision))
        assert name.startswith("torch 2.")
        assert "on cpu" in name
        assert name.endswith(precision)
