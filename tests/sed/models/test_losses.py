"""Losses."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sed.models.heads.attention import SedOutput
from sed.models.losses import (
    LOSSES,
    bce,
    focal_loss,
    frame_bce,
    frame_maximum,
    soft_cross_entropy,
)


def test_focal_loss_is_the_formula():
    logits = torch.tensor([[2.0, -1.0, 0.3]])
    targets = torch.tensor([[1.0, 0.0, 1.0]])
    p = logits.sigmoid().numpy()[0]
    expected = [
        -0.25 * (1 - p[0]) ** 2 * np.log(p[0]),
        -0.75 * p[1] ** 2 * np.log(1 - p[1]),
        -0.25 * (1 - p[2]) ** 2 * np.log(p[2]),
    ]
    assert focal_loss(logits, targets).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_without_focus_it_is_half_the_cross_entropy():
    logits, targets = torch.randn(4, 5), torch.rand(4, 5)
    plain = F.binary_cross_entropy_with_logits(logits, targets)
    focal = focal_loss(logits, targets, alpha=0.5, gamma=0.0)
    assert torch.allclose(focal.mean(), 0.5 * plain)


def test_soft_targets_are_lowest_where_the_probability_is_the_target():
    target = torch.full((1, 1), 0.7)
    losses = [focal_loss(torch.logit(torch.full((1, 1), p)), target) for p in (0.5, 0.7, 0.9)]
    assert losses[1] == pytest.approx(0.0, abs=1e-6)
    assert losses[0] > 0 < losses[2]


def test_soft_cross_entropy_is_torchs_on_one_label():
    logits = torch.randn(6, 4)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    ours = soft_cross_entropy(logits, F.one_hot(labels, 4).float())
    assert torch.allclose(ours, F.cross_entropy(logits, labels, reduction="none"))


def test_doubtful_targets_count_less_and_several_share():
    logits = torch.randn(1, 3)
    one = soft_cross_entropy(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    doubtful = soft_cross_entropy(logits, torch.tensor([[0.1, 0.0, 0.0]]))
    both = soft_cross_entropy(logits, torch.tensor([[1.0, 1.0, 0.0]]))
    assert doubtful.item() == pytest.approx(0.1 * one.item())
    other = soft_cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.0]]))
    assert both.item() == pytest.approx(0.5 * (one + other).item())


def test_a_clip_without_a_label_has_no_cross_entropy():
    assert soft_cross_entropy(torch.randn(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def an_output(batch=3, frames=7, classes=4):
    logits = torch.randn(batch, frames, classes)
    clip = torch.randn(batch, classes)
    return SedOutput(logits, clip, clip.sigmoid(), torch.softmax(logits, 1))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_one_value_per_clip_and_weights_classes(name):
    output, targets = an_output(), torch.rand(3, 4)
    loss = LOSSES[name](output, targets)
    assert loss.shape == (3,)
    ones = LOSSES[name](output, targets, torch.ones(4), alpha=0.25, gamma=2.0)
    assert torch.allclose(loss, ones)
    each = [LOSSES[name](output, targets, torch.eye(4)[c]) for c in range(4)]
    assert torch.allclose(torch.stack(each).sum(0), loss, rtol=1e-5)


def test_two_ways_are_half_clip_and_half_frame_maximum():
    output, targets = an_output(), torch.rand(3, 4)
    expected = 0.5 * (bce(output.clip_logits, targets) + bce(frame_maximum(output), targets))
    assert torch.allclose(LOSSES["bce"](output, targets), expected)
    focal = LOSSES["focal"](output, targets, alpha=0.5, gamma=0.0)
    assert torch.allclose(focal, 0.5 * expected)


def test_frame_targets_count_every_frame():
    output, targets = an_output(), torch.rand(3, 7, 4)
    expected = F.binary_cross_entropy_with_logits(output.frame_logits, targets) * 4
    assert torch.allclose(frame_bce(output, targets).mean(), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_when_the_output_improves(name):
    targets = torch.eye(4)[:3]
    good = an_output()
    push = 12 * (targets - 0.5)
    better = good._replace(
        frame_logits=good.frame_logits + push[:, None], clip_logits=good.clip_logits + push
    )
    assert (LOSSES[name](better, targets) < LOSSES[name](good, targets)).all()


@pytest.mark.parametrize("loss", [focal_loss, bce])
def test_a_target_that_is_unknown_has_no_loss(loss):
    logits = torch.tensor([[0.3, -1.0, 2.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[1.0, float("nan"), 0.0]]))
    known = loss(logits[:, [0, 2]], torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(value, known * 2 / 3)
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert (logits.grad[0, [0, 2]] != 0).all()


def test_an_unknown_class_does_not_compete():
    logits = torch.tensor([[1.0, 5.0, 0.0]], requires_grad=True)
    loss = soft_cross_entropy(logits, torch.tensor([[1.0, float("nan"), 0.0]]))
    expected = soft_cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    assert logits.grad[0, 1] == 0
    assert soft_cross_entropy(logits, torch.full((1, 3), float("nan"))).item() == 0


def test_frames_of_unknown_targets_have_no_loss():
    logits = torch.randn(2, 4, 3)
    targets = torch.zeros(2, 4, 3)
    targets[:, :, 1] = float("nan")
    output = SedOutput(logits, *[torch.zeros(2, 3)] * 2, torch.zeros(2, 4, 3))
    rest = SedOutput(logits[..., [0, 2]], *[torch.zeros(2, 2)] * 2, torch.zeros(2, 4, 2))
    torch.testing.assert_close(frame_bce(output, targets), frame_bce(rest, targets[..., [0, 2]]))
