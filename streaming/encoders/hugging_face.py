"""Run encoders of Hugging Face in PyTorch, on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sed.errors import UsageError
from sed.models.devices import DeviceError, choose_device, choose_precision
from sed.types import Floats
from streaming.encoders.base import LAST_NAMES, AudioEncoder
from streaming.encoders.families import WindowFamily, choose_family
from streaming.encoders.hub import Pretrained

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
MEAN = "mean"


class HuggingFaceEncoder(AudioEncoder):
    """An encoder of `transformers` on a device, frozen.

    Parameters
    ----------
    pretrained
        The encoder, which is moved to the device. Layers that are not needed are dropped from it.
    layer
        ``last``, the output of the encoder; the number of a hidden layer, from 0 for the input of
        the first one; or ``mean`` for the mean of all hidden layers and that input.
    device
        auto, cpu, cuda or cuda:N.
    precision
        auto, fp32, bf16 or, on a GPU, fp16. Embeddings are fp32 in any case.
    n_streams
        Calls of `encode` that may run at once.
    n_threads
        Cores for each of them, on a CPU.
    window_seconds
        Length of a window, where the encoder takes any; 5 s if not given.

    Raises
    ------
    UsageError
        If the layer, the device or the precision is unknown, or the encoder fixes the window.
    DeviceError
        If the device is missing.
    CheckpointError
        If the encoder does not take what its feature extractor gives.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        layer: str = "last",
        device: str = "auto",
        precision: str = "auto",
        *,
        n_streams: int = 1,
        n_threads: int = 1,
        window_seconds: float | None = None,
    ) -> None:
        self.n_streams, self.n_threads = n_streams, n_threads
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch_size = 16 if self.device.type == "cuda" else 4
        config = pretrained.config
        n_layers = int(getattr(config, "num_hidden_layers", 0))
        self._layer = _parse_layer(layer, n_layers)
        self._family = choose_family(pretrained, window_seconds)
        self.spec = self._family.spec
        self._model = pretrained.model
        if isinstance(self._layer, int):
            _drop_layers(self._model, self._layer + 1)
        self._model.to(self.device).requires_grad_(False)
        self._type = config.model_type
        self._n_threads_before = torch.get_num_threads()
        if isinstance(self._family, WindowFamily):
            # The widths of the layers of some encoders differ.
            n_samples = self.spec.window_columns * self.spec.log_mel.hop_length
            self.n_features = self.encode(np.zeros((1, n_samples), np.float32)).shape[2]
        else:
            self.n_features = int(self._model.config.hidden_size)

    def __str__(self) -> str:
        if self.device.type == "cuda":
            where = f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        else:
            n = self.n_streams * self.n_threads
            where = f"{self.device}, {n} thread{'s' * (n != 1)}"
        return (
            f"{self._type} in torch {torch.__version__.split('+')[0]} on {where}, "
            + (NAMES[self.precision])
        )

    def init_thread(self) -> None:
        """Prepare a thread that will call `encode`."""
        if self.device.type == "cuda":
            torch.cuda.set_stream(torch.cuda.Stream(self.device))  # type: ignore[no-untyped-call]
        else:
            torch.set_num_threads(self.n_threads)

    def restore_threads(self) -> None:
        """Undo what `init_thread` changed in the process."""
        if self.device.type != "cuda":
            torch.set_num_threads(self._n_threads_before)

    @torch.inference_mode()
    def encode(self, samples: Floats) -> Floats:
        """Return the embeddings of windows, shape (batch, samples); see `AudioEncoder`.

        Raises
        ------
        DeviceError
            If the device has too little memory for the batch.
        """
        inputs = {
            name: tensor.to(self.device) for name, tensor in self._family.inputs(samples).items()
        }
        is_lower = self.precision != torch.float32
        try:
            with torch.autocast(self.device.type, self.precision if is_lower else None, is_lower):
                output = self._model(**inputs, output_hidden_states=self._layer != "last")
            frames = self._family.frames(self._tokens(output))
            embeddings: Floats = frames.float().cpu().numpy()
            return embeddings
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self.device}: out of memory with {len(samples)} windows at once. "
                "Lower --batch-size."
            ) from error

    def _tokens(self, output: Any) -> Tensor:
        """Return the tokens of the layer, shape (batch, tokens, features)."""
        if self._layer == "last":
            return _as_tokens(output.last_hidden_state)
        if self._layer == MEAN:
            return torch.stack([_as_tokens(h).float() for h in output.hidden_states]).mean(dim=0)
        return _as_tokens(output.hidden_states[self._layer])


def _as_tokens(hidden: Tensor) -> Tensor:
    """Return tokens, (batch, tokens, features), of a picture, (batch, features, height, width)."""
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def _parse_layer(layer: str, n_layers: int) -> int | str:
    """Return ``last``, ``mean`` or the number of a hidden layer.

    Raises
    ------
    UsageError
        If there is no such layer.
    """
    if layer in LAST_NAMES:
        return "last"
    if layer == MEAN:
        return MEAN
    if layer.isdecimal() and int(layer) <= n_layers:
        return int(layer)
    raise UsageError(
        f"unknown layer {layer!r}: expected last, mean or a number from 0 to {n_layers}"
    )


def _drop_layers(model: Any, n_layers: int) -> None:
    """Keep the first layers of a network, where it has a plain list of them."""
    for part in (getattr(model, "encoder", None), model):
        layers = getattr(part, "layers", None)
        if part is not None and isinstance(layers, torch.nn.ModuleList):
            part.layers = layers[:n_layers]
            return
