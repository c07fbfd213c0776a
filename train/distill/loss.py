"""Compute how far a model is from its teachers, YAMNet and mn04.

The model has YAMNet's network and runs on long inputs. The mean of its frames over the time of one
of YAMNet's patches is to have the patch's features, so that classes that the training clips do not
contain are kept, and through the classifier its probabilities. Over the whole clip the
probabilities are to be those of both teachers. A single frame is free to be sharper in time than a
patch: that is what frame targets are for.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.models.heads.attention import SedOutput
from sed.models.network import SedModel
from train.config.optim import LossConfig
from train.distill.teachers import PATCH_COLUMNS, Mn04Teacher, YamnetTeacher, teacher_logits

PATCH_STEP_COLUMNS = 64
FEATURE_WEIGHT = 3.0  # of the relative squared error of the features of patches
PATCH_WEIGHT = 0.3  # of the divergence of the probabilities of patches
CLIP_WEIGHT = 1.0  # of that of clips
LABELLED_WEIGHT = 0.3  # of the classes that the labels of a clip say something about


class Distillation(nn.Module):
    """The teachers of a model, and its distance to them.

    Parameters
    ----------
    model
        The model to train: without smoothing and hidden layer, with YAMNet's features and classes.
    config
        The teachers' files, and whether features alone are matched.

    Raises
    ------
    ValueError
        If the model is of another architecture.
    CheckpointError
        If a teacher cannot be loaded.
    """

    def __init__(self, model: SedModel, config: LossConfig) -> None:
        super().__init__()
        expected = (1024, 521, 0, 1)
        found = (
            model.n_features,
            model.n_classes,
            model.config.hidden,
            model.config.smoothing_frames,
        )
        if found != expected or PATCH_COLUMNS % model.frame_columns:
            raise ValueError(
                "distill_yamnet needs a model with YAMNet's features and classes: expected "
                f"features, classes, hidden and smoothing_frames {expected}, got {found}"
            )
        self.yamnet = YamnetTeacher(config.distill_yamnet)
        self.mn04 = Mn04Teacher(config.distill_mn04) if config.distill_mn04 else None
        self.features_only = config.distill_features_only
        self.frame_columns = model.frame_columns

    def forward(
        self,
        samples: Tensor,
        features: Tensor,
        output: SedOutput,
        targets: Tensor,
        model: SedModel,
        generator: np.random.Generator,
    ) -> Tensor:
        """Return the loss of each clip, shape (batch,).

        Parameters
        ----------
        samples
            Clips at 16 kHz, shape (batch, samples).
        features, output
            What the model makes of them; features of shape (batch, frames, features).
        targets
            Clip targets, (batch, classes); NaN where the labels say nothing.
        model
            The model, for its classifier.
        generator
            Draws the position of the patches.
        """
        n_frames = PATCH_COLUMNS // self.frame_columns
        step = PATCH_STEP_COLUMNS // self.frame_columns
        first = int(generator.integers(step))
        patch_features, patch_logits = self.yamnet(
            samples, first * self.frame_columns, PATCH_STEP_COLUMNS
        )
        means = F.avg_pool1d(features.transpose(1, 2), n_frames, stride=1).transpose(1, 2)
        means = means[:, first::step][:, : patch_features.shape[1]]
        patch_features = patch_features[:, : means.shape[1]]
        patch_logits = patch_logits[:, : means.shape[1]]
        error = (means - patch_features).square().sum(dim=(1, 2))
        loss = FEATURE_WEIGHT * error / patch_features.square().sum(dim=(1, 2)).clamp_min(1e-6)

        if self.features_only:
            return torch.as_tensor(loss)
        weights = torch.where(targets.isnan(), 1.0, LABELLED_WEIGHT)
        logits = model.heads[0].classes(means)  # type: ignore[operator]
        patches = divergence(logits, patch_logits) * weights[:, None]
        loss = loss + PATCH_WEIGHT * patches.sum(dim=-1).mean(dim=-1)

        clip = teacher_logits(patch_logits, None if self.mn04 is None else self.mn04(samples))
        found = output.clip_probs.clamp(1e-6, 1 - 1e-6).logit()
        clips = divergence(found, clip) * weights
        loss = loss + CLIP_WEIGHT * clips.sum(dim=-1)
        return torch.as_tensor(loss)


def divergence(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each class from a teacher, of the same shape."""
    wanted = teacher_logits.sigmoid()
    own = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    least = F.binary_cross_entropy_with_logits(teacher_logits, wanted, reduction="none")
    return own - least
