"""Take the output of a layer of the network as embeddings: one vector per frame.

``features`` is the output of the backbone, pooled over frequency, that the heads start from.
``hidden`` is the layer between backbone and heads. Any other module of the network is named by its
path, such as ``backbone.blocks.3``: its output, (batch, channels, time, bands), is averaged over
bands, and over the steps of a frame.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed.errors import UsageError
from sed.models.network import SedModel
from sed.text import near

FEATURES, HIDDEN = "features", "hidden"
PROBE_FRAMES = 8


class LayerNetwork(nn.Module):
    """A network from log-mels to the features of frames, and the output of one of its layers.

    Several threads may call it at once.

    Parameters
    ----------
    model
        The network, in inference mode. It keeps a hook if the layer is a module: give a copy.
    layer
        ``features``, ``hidden``, or the path of a module.

    Attributes
    ----------
    n_features
        Width of the layer's output.

    Raises
    ------
    UsageError
        If the network has no such layer, or its output does not follow time.
    """

    def __init__(self, model: SedModel, layer: str = FEATURES) -> None:
        super().__init__()
        self._model = model
        self._layer = layer
        self._steps = 1  # of the layer's output per frame
        self._caught = threading.local()
        if layer == FEATURES:
            self.n_features = model.n_features
        elif layer == HIDDEN and model.config.hidden:
            self.n_features = model.config.hidden
        else:
            modules = dict(model.named_modules())
            if not layer or layer not in modules:
                names = [FEATURES, *[HIDDEN] * bool(model.config.hidden), *filter(None, modules)]
                raise UsageError(f"the network has no layer {layer!r}. {near(layer, names)}")
            modules[layer].register_forward_hook(self._catch)
            self.n_features = self._probe()

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and embeddings, each (batch, frames, …), for (batch, columns, mels)."""
        features = self._model.frame_features(log_mel)
        if self._layer == FEATURES:
            return features, features
        if self._layer == HIDDEN:
            return features, F.relu(self._model.hidden(features))
        return features, self._per_frame(self._caught.output)

    def _catch(self, module: nn.Module, arguments: object, output: Tensor) -> None:
        self._caught.output = output

    def _per_frame(self, x: Tensor) -> Tensor:
        """Return (batch, frames, channels) for the output of a layer."""
        x = x.mean(dim=3)
        if self._steps > 1:
            # Strides round up, so the last frame may have fewer steps.
            x = F.avg_pool1d(x, self._steps, ceil_mode=True)
        return x.transpose(1, 2)

    @torch.inference_mode()
    def _probe(self) -> int:
        """Return the number of channels; find the number of steps per frame."""
        model = self._model
        n_columns = PROBE_FRAMES * model.frame_columns
        self._caught.output = None
        parameter = next(model.parameters())
        model.frame_features(parameter.new_zeros(1, n_columns, model.log_mel.config.n_mels))
        x = self._caught.output
        n_frames = model.n_frames(n_columns)
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[2] % n_frames:
            shape = tuple(x.shape) if isinstance(x, Tensor) else x
            raise UsageError(
                f"the output of the layer {self._layer} does not follow time: expected shape "
                f"(batch, channels, time, bands), got {shape}. Choose features, hidden or a stage "
                "of the backbone, such as backbone.blocks"
            )
        self._steps = x.shape[2] // n_frames
        return int(x.shape[1])
