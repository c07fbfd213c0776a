"""Teachers, and the distance of a model to them."""

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

import sed
from sed.errors import CheckpointError
from sed.models.backbone import ModelConfig
from sed.models.network import SedModel
from train.config.optim import LossConfig
from train.distill.classes import read_classes
from train.distill.inference import frozen
from train.distill.loss import Distillation, divergence
from train.distill.teachers import (
    YAMNET_LOG_MEL,
    Mn04Teacher,
    YamnetTeacher,
    mn04,
    teacher_logits,
    upsample,
)
from train.loop.initial import load_pretrained

YAMNET = "mobilenetv1_100.audioset_yamnet.safetensors"
MN04 = "mobilenetv3_040.audioset_mn04.safetensors"


@pytest.fixture(scope="module")
def random_yamnet(tmp_path_factory):
    """Return weights with the names of YAMNet's, and random numbers."""
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv1_100", in_chans=1, num_classes=521, pad_type="same")
    path = tmp_path_factory.mktemp("weights") / "yamnet.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return path


def test_twice_the_sample_rate_has_the_same_sound():
    time = np.arange(1_600) / 16_000
    samples = torch.from_numpy(np.sin(2 * np.pi * 1_000 * time))[None]
    twice = np.sin(2 * np.pi * 1_000 * np.arange(3_200) / 32_000)
    np.testing.assert_allclose(upsample(samples)[0].numpy(), twice, atol=1e-12)


def test_a_frozen_network_gives_what_it_gave(monkeypatch):
    network = timm.create_model("mobilenetv3_small_050", in_chans=1, num_classes=5).eval()
    x = torch.randn(3, 1, 64, 96)
    with torch.no_grad():
        expected = network(x)
    (found,) = frozen(_Tuple(network), x[:2])(x)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)  # in bf16
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    (found,) = frozen(_Tuple(network), x[:2])(x)
    torch.testing.assert_close(found, expected)


class _Tuple(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return (self.network(x),)


def test_the_distance_to_a_teacher_is_one_number_per_clip(random_yamnet):
    config = ModelConfig(
        "mobilenetv1_100",
        backbone_args={"pad_type": "same"},
        hidden=0,
        smoothing_frames=1,
        time_stride=16,
        dropout=0.0,
    )
    labels = [one.name for one in read_classes()]
    model = SedModel(config, YAMNET_LOG_MEL, len(labels)).eval()
    assert load_pretrained(model, labels, random_yamnet) == []
    distillation = Distillation(model, LossConfig(distill_yamnet=str(random_yamnet)))
    samples = 0.1 * torch.randn(2, 25_600)  # 160 columns
    features = model.frame_features(model.log_mel.forward_padded(samples))
    output = model.forward_head(features)
    targets = torch.full((2, len(labels)), float("nan"))
    arguments = samples, features, output, targets, model
    loss = distillation(*arguments, np.random.default_rng(0))
    assert loss.shape == (2,)
    assert (loss > 0).all()
    distillation.features_only = True
    only = distillation(*arguments, np.random.default_rng(0))
    distillation.features_only = False
    assert (only > 0).all()
    assert (only < loss).all()
    # Labels say something about all classes: their probabilities count less.
    known = distillation(*arguments[:3], torch.zeros_like(targets), model, np.random.default_rng(0))
    assert (known < loss).all()


def test_a_model_of_another_architecture_is_refused(random_yamnet):
    model = SedModel(ModelConfig("mobilenetv1_100"), YAMNET_LOG_MEL, 50)
    with pytest.raises(
        ValueError, match=r"expected features, classes, hidden and smoothing_frames"
    ):
        Distillation(model, LossConfig(distill_yamnet=str(random_yamnet)))


def test_the_divergence_from_oneself_is_nothing():
    logits = torch.tensor([-3.0, 0.0, 2.0])
    assert divergence(logits, logits).abs().max() < 1e-6
    p, q = torch.tensor(2.0).sigmoid().item(), torch.tensor(1.0).sigmoid().item()
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    found = divergence(torch.tensor(1.0), torch.tensor(2.0)).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_two_teachers_count_alike():
    patches = torch.tensor([[[0.0], [0.0]]])
    assert teacher_logits(patches, torch.tensor([[4.0]])).item() == pytest.approx(2.0)
    assert teacher_logits(patches, None).item() == pytest.approx(0.0)


def test_a_file_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(
        CheckpointError, match=r"other.safetensors: not the weights of this teacher"
    ):
        YamnetTeacher(path)


def test_yamnet_recognises_a_dog_and_silence(shared):
    teacher = YamnetTeacher(shared / "weights" / YAMNET)
    names = [one.audioset_name for one in read_classes()]
    dog = sed.read_recording(shared / "data" / "esc50" / "audio" / "1-100032-A-0.ogg", 16_000)
    features, logits = teacher(torch.from_numpy(np.stack([dog, 0 * dog])))
    assert features.shape == (2, 9, 1024)
    best = [names[i] for i in logits.amax(1).topk(4).indices[0]]
    assert {"Animal", "Dog"} & set(best)
    assert names[int(logits[1].mean(0).argmax())] == "Silence"


def test_mn04_gives_the_published_logits(shared):
    teacher = Mn04Teacher(shared / "weights" / MN04)
    published = np.load(shared / "data" / "esc50" / "teacher_mn04.npz")
    rows = [3, 40, 90]
    folder = shared / "data" / "esc50" / "audio"
    names = [str(published["filename"][row]).rsplit(".", 1)[0] for row in rows]
    clips = [sed.read_recording(folder / f"{name}.ogg", 16_000) for name in names]
    logits = teacher(torch.from_numpy(np.stack(clips))).numpy()
    expected = published["audioset_logits"][rows][:, teacher.order.numpy()]
    # Those are of the originals, with frequencies above 8 kHz.
    for own, other in zip(logits, expected, strict=True):
        assert np.corrcoef(own, other)[0, 1] > 0.93


def test_a_missing_teacher_and_its_missing_files_are_named(tmp_path, random_yamnet):
    with pytest.raises(CheckpointError, match=r"lost\.safetensors: no such file"):
        YamnetTeacher(tmp_path / "lost.safetensors")
    safetensors.torch.save_file(mn04().state_dict(), tmp_path / "mn04.safetensors")
    with pytest.raises(CheckpointError, match=r"mn04 needs its mel bank, mn04_mel_128x513\.npy"):
        Mn04Teacher(tmp_path / "mn04.safetensors")
