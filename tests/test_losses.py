import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sed.losses import LOSSES, focal_loss, frame_maximum, soft_cross_entropy
from sed.model import SedOutput


def some_output(batch=4, frames=6, classes=5):
    torch.manual_seed(0)
    logits = torch.randn(batch, frames, classes)
    attention = torch.softmax(torch.randn(batch, frames, classes), 1)
    clip_logits = (attention * logits).sum(1)
    return SedOutput(logits, clip_logits, (attention * logits.sigmoid()).sum(1), attention)


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    logits, targets = torch.randn(8, 3), torch.rand(8, 3).round()
    expected = 0.5 * binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(focal_loss(logits, targets, alpha=0.5, gamma=0.0), expected)


def test_focal_loss_follows_its_formula():
    logit, p = torch.tensor([[0.3]]), torch.sigmoid(torch.tensor(0.3))
    positive = -0.25 * (1 - p) ** 2 * p.log()
    negative = -0.75 * p**2 * (1 - p).log()
    torch.testing.assert_close(focal_loss(logit, torch.ones(1, 1)), positive)
    torch.testing.assert_close(focal_loss(logit, torch.zeros(1, 1)), negative)


def test_soft_cross_entropy_of_one_label_is_torchs():
    logits, labels = torch.randn(8, 5), torch.randint(0, 5, (8,))
    targets = torch.nn.functional.one_hot(labels, 5).float()
    torch.testing.assert_close(soft_cross_entropy(logits, targets), cross_entropy(logits, labels))


def test_soft_cross_entropy_of_no_label_is_nothing():
    assert soft_cross_entropy(torch.randn(3, 5), torch.zeros(3, 5)) == 0


def test_frame_maximum_takes_the_best_frame():
    output = some_output()
    torch.testing.assert_close(frame_maximum(output), output.frame_logits.max(1).values)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_when_the_answer_gets_better(name):
    targets = torch.eye(5)[:4]
    good = some_output()
    push = 6 * (targets[:, None] - 0.5)
    better = good._replace(
        frame_logits=good.frame_logits + push, clip_logits=good.clip_logits + push[:, 0]
    )
    assert LOSSES[name](better, targets) < 0.5 * LOSSES[name](good, targets)
