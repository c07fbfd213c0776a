"""Build the network: a timm backbone that keeps the time axis, and attention heads over frames.

::

    samples ─ LogMel ─▶ (columns, mels) ─ backbone ─▶ (features, frames, bands)
            ─ pooling over bands ─ max + mean over some frames
            ─ hidden layer, if any ─▶ (frames, hidden)
            ─ attention heads, averaged ─▶ frame_logits, clip_logits, clip_probs, attention
    (features, frames) ─ added heads ─▶ the same for the classes that follow

Each head is the attention pooling of PANNs (Kong et al., 2020, arXiv:1912.10211)::

    attention[t, c] = softmax over t of tanh(W_att · x[t])
    clip_logits[c]  = Σ_t attention[t, c] · frame_logits[t, c]

Time is the height axis of the backbone's input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from sed.models.backbone import (
    ModelConfig,
    create_framewise_backbone,
    input_size,
    try_backbone,
)
from sed.models.heads.added import AddedHeadConfig, create_added_head
from sed.models.heads.attention import AttentionHead, HeadOutput, SedOutput
from sed.timeline import frame_edges

# Columns before and after that a delta feature is computed from.
DELTA_COLUMNS = 4


class SedModel(nn.Module):
    """A sound classifier with an output per frame and per clip.

    Parameters
    ----------
    config
        Architecture.
    log_mel
        Parameters of the input spectrogram.
    n_classes
        Number of labels of the attention heads; 0 where all classes are those of added heads.
    added_heads
        Heads on the features, whose classes follow; see `sed.models.heads.added`.
    pretrained
        Download timm's pretrained weights of the backbone.

    Raises
    ------
    ValueError
        If timm does not have the backbone, its output has no time axis, or there is no class.
    """

    def __init__(
        self,
        config: ModelConfig,
        log_mel: LogMelConfig,
        n_classes: int,
        added_heads: Sequence[AddedHeadConfig] = (),
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if n_classes < (0 if added_heads else 1):
            raise ValueError(f"expected at least one class, got {n_classes}")
        self.config = config
        self.added_head_configs = tuple(added_heads)
        self.n_own_classes = n_classes
        self._n_frames: dict[int, int] = {}  # by the number of columns
        self.log_mel = LogMel(log_mel)
        self.backbone, shape, self.frame_columns = create_framewise_backbone(
            config, log_mel.n_mels, pretrained=pretrained
        )
        _, channels, _, n_bands = shape
        self.n_features = channels * (n_bands if config.freq_pooling == "concat" else 1)
        width = config.hidden or self.n_features
        self.hidden = nn.Linear(self.n_features, width) if config.hidden else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        prior = config.class_prior or 1 / max(2, n_classes)
        self.heads = nn.ModuleList(
            AttentionHead(width, n_classes, prior)
            for _ in range(config.n_heads if n_classes else 0)
        )
        self.added_heads = nn.ModuleList(
            create_added_head(added, self.n_features) for added in added_heads
        )

    def forward(self, samples: Tensor) -> SedOutput:
        """Return the output for clips, (batch, samples), at the sample rate of `log_mel`."""
        return self.forward_log_mel(self.log_mel.forward_padded(samples))

    def forward_log_mel(self, log_mel: Tensor) -> SedOutput:
        """Return the output for log-mel spectrograms, (batch, columns, mels)."""
        return self.forward_head(self.frame_features(log_mel))

    def frame_features(self, log_mel: Tensor) -> Tensor:
        """Return features, (batch, frames, features), of spectrograms, (batch, columns, mels)."""
        return self.forward_features(self.prepare_input(log_mel))

    def prepare_input(self, log_mel: Tensor) -> Tensor:
        """Return the backbone's input for log-mel spectrograms, (batch, columns, mels).

        Returns
        -------
        Tensor
            (batch, channels, columns · resize_time, mels · resize_freq).
        """
        config = self.config
        if config.input_channels_mode == "delta":
            slope = _slope(log_mel)
            x = torch.stack([log_mel, slope, _slope(slope)], dim=1)
        else:
            x = log_mel.unsqueeze(1).expand(-1, config.in_channels, -1, -1)
        if config.resize_time != 1.0 or config.resize_freq != 1.0:
            size = input_size(config, *log_mel.shape[1:])
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """Return features, (batch, frames, features), of the output of `prepare_input`."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.backbone.forward_features(x)  # type: ignore[operator]
        # (batch, channels, frames, bands) to (batch, features, frames)
        x = x.mean(dim=3) if self.config.freq_pooling == "mean" else x.transpose(2, 3).flatten(1, 2)
        if (n := self.config.smoothing_frames) > 1:
            # max_pool2d, because torch.export makes the length of max_pool1d a constant.
            highest = F.max_pool2d(x[:, :, None], (1, n), stride=1, padding=(0, n // 2))[:, :, 0]
            mean = F.avg_pool1d(x, n, stride=1, padding=n // 2, count_include_pad=False)
            x = highest + mean
        return x.transpose(1, 2)

    def forward_head(self, features: Tensor) -> SedOutput:
        """Return the mean output of the heads for features, (batch, frames, features).

        Classes of added heads follow.
        """
        x = self._hidden(features)
        outputs: list[SedOutput] = [head(x) for head in self.heads]
        if len(outputs) > 1:
            parts = zip(*outputs, strict=True)
            outputs = [SedOutput(*(torch.stack(part).mean(0) for part in parts))]
        outputs += [head(features) for head in self.added_heads]
        if len(outputs) == 1:
            return outputs[0]
        return SedOutput(*(torch.cat(parts, dim=-1) for parts in zip(*outputs, strict=True)))

    def frame_outputs(self, features: Tensor) -> HeadOutput:
        """Return the outputs per frame, independent of windows, of (batch, frames, features)."""
        outputs = []
        if self.heads:
            x = self._hidden(features)
            scores = [head.logits_and_attention(x) for head in self.heads]  # type: ignore[operator]
            logits, weights = (torch.stack(parts, dim=2) for parts in zip(*scores, strict=True))
            outputs = [(logits.mean(dim=2).sigmoid(), logits.sigmoid(), weights.exp())]
        n_heads = max(1, len(self.heads))
        for head in self.added_heads:
            _, probs, weights = head.logits_and_weights(features)  # type: ignore[operator]
            # The mean over heads is unchanged if all have the same output.
            same = [x.unsqueeze(2).expand(-1, -1, n_heads, -1) for x in (probs, weights)]
            outputs.append((probs, *same))
        if len(outputs) == 1:
            return HeadOutput(*outputs[0])
        return HeadOutput(*(torch.cat(parts, dim=-1) for parts in zip(*outputs, strict=True)))

    def _hidden(self, features: Tensor) -> Tensor:
        x: Tensor = self.dropout(features)
        if self.config.hidden:
            x = self.dropout(F.relu(self.hidden(x)))
        return x  # (batch, frames, width)

    @property
    def n_classes(self) -> int:
        """Number of labels, those of added heads included."""
        return self.n_own_classes + sum(added.n_classes for added in self.added_head_configs)

    def n_frames(self, n_columns: int) -> int:
        """Return the number of frames that the backbone makes of `n_columns` columns."""
        if n_columns not in self._n_frames:
            mels = self.log_mel.config.n_mels
            size = input_size(self.config, n_columns, mels)
            x = next(self.parameters()).new_zeros(1, self.config.in_channels, *size)
            self._n_frames[n_columns] = try_backbone(self.backbone, x).shape[2]
        return self._n_frames[n_columns]

    def frame_edges(self, n_columns: int) -> NDArray[np.int64]:
        """Return the edges of frames in columns, (n_frames + 1,); see `sed.timeline`."""
        return frame_edges(self.n_frames(n_columns), self.frame_columns, n_columns)

    def as_dict(self) -> dict[str, Any]:
        """Return the configs that rebuild this model, as plain values for JSON."""
        configs: dict[str, Any] = {
            "model": dataclasses.asdict(self.config),
            "log_mel": dataclasses.asdict(self.log_mel.config),
        }
        if self.added_head_configs:
            configs["added_heads"] = [dataclasses.asdict(c) for c in self.added_head_configs]
        return configs


def _slope(log_mel: Tensor) -> Tensor:
    """Return the delta features over nine columns: ``Σ_k k·x[t+k] / Σ_k k²``, k = -4 … 4."""
    n = DELTA_COLUMNS
    steps = torch.arange(-n, n + 1, dtype=log_mel.dtype, device=log_mel.device)
    x = log_mel.transpose(1, 2)  # (batch, mels, columns)
    x = F.pad(x, (n, n), mode="replicate").unfold(2, 2 * n + 1, 1)
    return ((x @ steps) / steps.square().sum()).transpose(1, 2)
